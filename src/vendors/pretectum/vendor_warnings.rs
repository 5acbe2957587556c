//! The warnings that Pretectum attaches to a record.

use serde_json::Value;

use crate::record::{Warning, WarningCode};
use crate::transport::sanitize_text;
use crate::vendors::common::member_pointer;

/// The warnings of a record's `_errors`. The vendor documents two shapes of its items, `{name,
/// errors}` and `{}`; any other is read as far as possible.
pub(super) fn parse_warnings(errors: &Value) -> Vec<Warning> {
    match errors {
        Value::Array(entries) => entries.iter().map(parse_warning).collect(),
        Value::Object(by_name) => by_name.iter().map(|(name, errors)| build_warning(Some(name), errors)).collect(),
        Value::String(text) if !text.is_empty() => vec![parse_warning(errors)],
        _ => Vec::new(),
    }
}

fn parse_warning(entry: &Value) -> Warning {
    match entry {
        Value::Object(members) => {
            let name = members.get("name").and_then(Value::as_str);
            let texts = members.get("errors").or_else(|| members.get("message"));
            build_warning(name, texts.unwrap_or(&Value::Null))
        }
        other => build_warning(None, other),
    }
}

fn build_warning(field: Option<&str>, errors: &Value) -> Warning {
    let mut texts = Vec::new();
    collect_texts(errors, &mut texts);
    let detail = sanitize_text(&texts.join("; "));
    Warning::new(
        WarningCode::InvalidField,
        field.map_or_else(|| "/fields".to_owned(), member_pointer),
        detail.unwrap_or_else(|| "the vendor marks the value as invalid and does not name the rule".to_owned()),
    )
}

fn collect_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect_texts(value, texts)),
        Value::Object(members) => members.values().for_each(|value| collect_texts(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
