//! Parses the values of options (`PUT /_sandbox/settings`). The errors are for people.

use serde_json::Value;

pub(in crate::sandbox) fn parse_flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "the value must be true or false".to_owned())
}

pub(in crate::sandbox) fn parse_number(value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| "the value must be a whole number".to_owned())
}

pub(in crate::sandbox) fn parse_optional_text(value: &Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err("the value must be a text or null".to_owned()),
    }
}
