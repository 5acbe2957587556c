//! Validates the bodies of PUT and POST.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::definition::{Property, QueuedUpdate};

/// A key of `errors` and its text. The keys are not documented.
pub(super) type ValidationError = (&'static str, String);

/// Whether an id is valid: 24 lower-case hexadecimal digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Parses the body of a PUT. Members that the vendor does not use (`type`, `status`, names in
/// `related_boem`) are ignored.
pub(super) fn parse_update(id: &str, body: Option<Value>) -> Result<QueuedUpdate, ValidationError> {
    let body = parse_object(body)?;
    match body.get("id") {
        None | Some(Value::Null) => {}
        Some(Value::String(sent)) if sent == id => {}
        Some(_) => return Err(("id", "The id in the body must match the id in the URL.".to_owned())),
    }
    let name = parse_text("name", body.get("name"), 255)?;
    let mut names = HashSet::new();
    let mut properties = Vec::new();
    for item in parse_list("object_properties", &body)? {
        let property = parse_property(item)?;
        if !names.insert(property.name.clone()) {
            return Err(("object_properties", format!("The property name '{}' must be unique.", property.name)));
        }
        properties.push(property);
    }
    let mut questionnaires = Vec::new();
    for item in parse_list("related_boem", &body)? {
        match item.get("id").and_then(Value::as_str) {
            Some(id) if is_id(id) => questionnaires.push(id.to_owned()),
            _ => return Err(("related_boem", "'id' is not a valid 24 digit hex string.".to_owned())),
        }
    }
    Ok(QueuedUpdate { name, properties, questionnaires })
}

fn parse_property(item: &Value) -> Result<Property, ValidationError> {
    let name = parse_text("object_properties", item.get("name"), 255)?;
    // A property without a value is stored as such; an empty value is invalid.
    let value = match item.get("value") {
        None | Some(Value::Null) => None,
        value => Some(parse_text("object_properties", value, 255)?),
    };
    let locked = match item.get("is_mandatory") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(locked)) => *locked,
        Some(_) => return Err(("object_properties", "'is_mandatory' must be true or false.".to_owned())),
    };
    Ok(Property { name, value, locked })
}

/// Parses the body of a POST and returns the name.
pub(super) fn parse_create(body: Option<Value>, template: &str) -> Result<String, ValidationError> {
    let body = parse_object(body)?;
    let name = parse_text("name", body.get("name"), 256)?;
    if body.get("object_template_id").and_then(Value::as_str) != Some(template) {
        return Err(("object_template_id", "object_template_id is incorrect".to_owned()));
    }
    if parse_list("roles", &body)?.iter().all(Value::is_string) {
        Ok(name)
    } else {
        Err(("roles", "roles is incorrect".to_owned()))
    }
}

fn parse_object(body: Option<Value>) -> Result<Map<String, Value>, ValidationError> {
    match body {
        Some(Value::Object(body)) => Ok(body),
        _ => Err(("$", "The JSON value could not be converted.".to_owned())),
    }
}

fn parse_text(key: &'static str, value: Option<&Value>, max_chars: usize) -> Result<String, ValidationError> {
    match value {
        Some(Value::String(text)) if (1..=max_chars).contains(&text.chars().count()) => Ok(text.clone()),
        _ => Err((key, format!("The length must be between 1 and {max_chars} characters."))),
    }
}

fn parse_list<'b>(name: &'static str, body: &'b Map<String, Value>) -> Result<&'b [Value], ValidationError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err((name, "The JSON value could not be converted to a list.".to_owned())),
    }
}
