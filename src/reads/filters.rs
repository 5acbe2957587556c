//! The conditions of a list, typed by the collection's schema.

use serde_json::Value;

use crate::catalog::Requester;
use crate::problem::{Problem, ProblemKind};
use crate::record::{FieldError, ListCondition, SchemaRule, VendorErrorKind, json_pointer};
use crate::system::System;
use crate::vendors::{FieldFilter, FieldSchema};

/// The conditions as values. Without conditions no schema is needed.
///
/// # Errors
/// `rejected` for a member that lists cannot be filtered by, and for a value of another type; the
/// vendor's problem if the schema cannot be read.
pub(super) async fn parse(
    system: &System,
    collection: &str,
    conditions: &[ListCondition],
    requester: Requester<'_>,
) -> Result<Vec<FieldFilter>, Problem> {
    if conditions.is_empty() {
        return Ok(Vec::new());
    }
    let filterable = system.adapter.capabilities().filters;
    let schema = match system.catalog.schema(collection, requester).await {
        Ok(schema) => schema,
        Err(fault) if fault.kind == VendorErrorKind::Unsupported => {
            return Err(ProblemKind::Rejected.with_detail("lists of this system take no filters"));
        }
        Err(fault) => return Err(system.collection_error_to_problem(&fault)),
    };
    let shown = || schema.schema.fields.iter().filter(|field| field.is_shown);
    let known = || shown().filter(|field| filterable.allows(&field.name));
    let parse_one = |condition: &ListCondition| {
        let name = &condition.member;
        if let Some(field) = known().find(|field| field.name == *name) {
            parse_value(field, &condition.spellings).map(|value| FieldFilter { field: field.name.clone(), value })
        } else if shown().any(|field| field.name == *name) {
            let detail = "lists of this system cannot be filtered by this member";
            Err(FieldError::new(json_pointer("/fields", &[name]), detail).rule(SchemaRule::Unknown))
        } else {
            let names = known().map(|field| field.name.as_str());
            Err(FieldError::unknown_member(name, names).rule(SchemaRule::Unknown))
        }
    };
    let (mut filters, mut errors) = (Vec::new(), Vec::new());
    for parsed in conditions.iter().map(parse_one) {
        match parsed {
            Ok(filter) => filters.push(filter),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(filters) } else { Err(system.rejected_problem(errors)) }
}

/// The text of a condition as a value of the field. Of several spellings only one may have the
/// field's type: a list is compared with one value.
fn parse_value(field: &FieldSchema, spellings: &[String]) -> Result<Value, FieldError> {
    let types: Vec<&str> = match field.value.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut values: Vec<Value> = spellings.iter().filter_map(|text| parse_text(&types, text)).collect();
    values.dedup();
    let detail = match values.pop() {
        Some(value) if values.is_empty() => return Ok(value),
        Some(_) => format!("lists cannot be filtered by this value; it is one of {} here", spellings.join(", ")),
        None => format!("lists cannot be filtered by this value; the member holds {}", types.join(" or ")),
    };
    Err(FieldError::new(json_pointer("/fields", &[&field.name]), detail).rule(SchemaRule::Type))
}

fn parse_text(types: &[&str], text: &str) -> Option<Value> {
    let has = |name: &str| types.contains(&name);
    match text {
        "true" | "false" if has("boolean") => Some(Value::Bool(text == "true")),
        // Some vendors show a flag as a number.
        "0" | "1" if has("boolean") => Some(Value::Bool(text == "1")),
        _ if has("integer") || has("number") => serde_json::from_str::<Value>(text).ok().filter(Value::is_number),
        _ if types.is_empty() || has("string") => Some(Value::from(text)),
        _ => None,
    }
}
