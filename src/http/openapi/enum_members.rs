//! The values of members that the schemas know as texts and the code as types: `enum` lists them,
//! from `ALL` of the type, so that the document has every one.

use serde_json::{Map, Value, json};

use crate::http::change_event;
use crate::http::model_document;
use crate::journal::Durability;
use crate::metrics::{ChangeType, QuotaPolicy};
use crate::problem::ProblemKind;
use crate::record::{Action, OperationState, VendorRequestKind, WarningCode};
use crate::system::Validation;
use crate::transport::CircuitState;
use crate::vendors::{SchemaSource, UpdateStyle, VENDORS};

/// A member of a schema with an `enum`.
struct EnumMember {
    schema: &'static str,
    name: &'static str,
    /// Every value that it may have.
    values: fn() -> Vec<Value>,
}

const MEMBERS: [EnumMember; 15] = [
    member("CallMade", "call", || {
        words(VendorRequestKind::ALL.iter().filter(|kind| kind.is_logged()).map(|kind| kind.as_str()))
    }),
    member("ChangeEvent", "type", || {
        ChangeType::ALL.iter().map(|kind| change_event::type_name(*kind).into()).collect()
    }),
    member("Collection", "schema_source", || words(SchemaSource::ALL.map(SchemaSource::as_str))),
    member("ExpectedResponse", "problem", problems),
    member("GatewayStatus", "durability", || words(Durability::ALL.map(Durability::as_str))),
    member("LedgerEntry", "problem", problems),
    member("LedgerEntry", "state", || words(OperationState::ALL.map(OperationState::as_str))),
    member("ModelWarning", "code", || {
        let of_records = WarningCode::ALL.iter().filter_map(|code| serde_json::to_value(code).ok());
        of_records.chain([model_document::UNMAPPED_VALUE.into()]).collect()
    }),
    member("Operation", "action", || words(Action::WRITES.map(Action::as_str))),
    member("PreviewCall", "call", || {
        words(VendorRequestKind::ALL.iter().filter(|kind| !kind.is_safe()).map(|kind| kind.as_str()))
    }),
    member("Problem", "violated_policies", || words(QuotaPolicy::ALL.iter().map(|policy| policy.as_str()))),
    member("System", "update", || words(UpdateStyle::ALL.map(UpdateStyle::as_str))),
    member("System", "validation", || words(Validation::ALL.map(Validation::as_str))),
    member("System", "vendor", || words(VENDORS.iter().map(|factory| factory.vendor))),
    member("SystemHealth", "circuit", || words(CircuitState::ALL.map(CircuitState::as_str))),
];

const fn member(schema: &'static str, name: &'static str, values: fn() -> Vec<Value>) -> EnumMember {
    EnumMember { schema, name, values }
}

fn words(of: impl IntoIterator<Item = &'static str>) -> Vec<Value> {
    of.into_iter().map(Value::from).collect()
}

fn problems() -> Vec<Value> {
    words(ProblemKind::ALL.iter().map(|problem| problem.as_str()))
}

/// Adds the `enum` of every such member.
pub(super) fn add_enums(document: &mut Value) {
    for EnumMember { schema, name, values } in &MEMBERS {
        let pointer = format!("/components/schemas/{schema}/properties/{name}");
        if let Some(Value::Object(member)) = document.pointer_mut(&pointer) {
            add_enum(member, values());
        }
    }
}

/// Of a list, each element has one of the values; null is one more where it is allowed.
fn add_enum(schema: &mut Map<String, Value>, mut values: Vec<Value>) {
    if let Some(Value::Object(items)) = schema.get_mut("items") {
        return add_enum(items, values);
    }
    let is_nullable = schema.get("type").and_then(Value::as_array).is_some_and(|types| types.contains(&json!("null")));
    if is_nullable {
        values.push(Value::Null);
    }
    schema.insert("enum".to_owned(), values.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_every_value_that_the_code_has() {
        let document: Value = serde_json::from_str(&crate::http::openapi::openapi_json()).expect("JSON");
        for EnumMember { schema, name, values } in &MEMBERS {
            let member = &document["components"]["schemas"][schema]["properties"][name];
            let listed = member.get("enum").or_else(|| member["items"].get("enum")).and_then(Value::as_array);
            let listed = listed.unwrap_or_else(|| panic!("{schema}.{name}"));
            let values = values();
            assert!(!values.is_empty() && values.iter().all(|value| listed.contains(value)), "{schema}.{name}");
        }
    }
}
