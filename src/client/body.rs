//! The body of a patch: from `-f Field=value` or from standard input.

use std::io::Read;

use serde_json::{Map, Value};

use super::command_error::CommandError;

/// More than any gateway accepts.
const MAX_BODY: u64 = 64 * 1024 * 1024;

/// A patch with its media type.
pub(super) struct Patch {
    pub(super) media_type: &'static str,
    pub(super) text: Vec<u8>,
}

/// The merge patch of the fields or, without fields, what standard input holds: a JSON Patch if it
/// is an array.
pub(super) fn patch_body(fields: &[String], input: &mut dyn Read) -> Result<Patch, CommandError> {
    if fields.is_empty() {
        return read_patch(input);
    }
    let mut members = Map::new();
    for field in fields {
        let (name, value) = field
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| CommandError::usage(format!("-f {field:?} is not Field=value")))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        set(&mut members, name, value)?;
    }
    let text = serde_json::json!({ "fields": members }).to_string().into_bytes();
    Ok(Patch { media_type: "application/merge-patch+json", text })
}

fn read_patch(input: &mut dyn Read) -> Result<Patch, CommandError> {
    let mut text = Vec::new();
    let read = input.take(MAX_BODY).read_to_end(&mut text);
    read.map_err(|error| CommandError::usage(format!("standard input cannot be read: {error}")))?;
    if text.trim_ascii().is_empty() {
        return Err(CommandError::usage("give the change with -f Field=value, or as JSON on standard input"));
    }
    let is_json_patch = text.trim_ascii_start().first() == Some(&b'[');
    let media_type = if is_json_patch { "application/json-patch+json" } else { "application/merge-patch+json" };
    Ok(Patch { media_type, text })
}

/// Sets one member. A name that begins with `/` is a JSON Pointer below `fields`.
fn set(members: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), CommandError> {
    let Some(pointer) = name.strip_prefix('/') else {
        members.insert(name.to_owned(), value);
        return Ok(());
    };
    let mut steps: Vec<String> = pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    let last = steps.pop().unwrap_or_default();
    let mut at = members;
    for step in steps {
        let next = at.entry(step).or_insert_with(|| Value::Object(Map::new()));
        at = next
            .as_object_mut()
            .ok_or_else(|| CommandError::usage(format!("-f {name}: another -f gives a value there")))?;
    }
    at.insert(last, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fields: &[&str]) -> String {
        let fields: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
        let patch = patch_body(&fields, &mut std::io::empty()).unwrap_or_else(|error| panic!("{}", error.message));
        String::from_utf8(patch.text).unwrap()
    }

    #[test]
    fn a_value_is_json_where_it_can_be_and_text_otherwise() {
        for (field, expected) in [
            ("Name=Facilities", r#"{"Name":"Facilities"}"#),
            ("Name=", r#"{"Name":""}"#),
            ("Name=a=b", r#"{"Name":"a=b"}"#),
            ("Amount=1.10", r#"{"Amount":1.10}"#),
            ("Amount=\"1.10\"", r#"{"Amount":"1.10"}"#),
            ("Old=null", r#"{"Old":null}"#),
            ("List=[1,true]", r#"{"List":[1,true]}"#),
        ] {
            assert_eq!(text(&[field]), format!("{{\"fields\":{expected}}}"), "{field}");
        }
    }

    #[test]
    fn a_pointer_names_a_member_within_a_member() {
        let expected = r#"{"fields":{"properties":{"a/b":{"value":"x"},"Supplier":{"value":1}}}}"#;
        assert_eq!(text(&["/properties/a~1b/value=x", "/properties/Supplier/value=1"]), expected);
        let clash = ["/a=1".to_owned(), "/a/b=2".to_owned()];
        assert!(patch_body(&clash, &mut std::io::empty()).is_err());
    }

    #[test]
    fn an_array_on_standard_input_is_a_json_patch() {
        let read = |input: &str| patch_body(&[], &mut input.as_bytes()).map(|patch| patch.media_type).ok();
        assert_eq!(read(" [{}]"), Some("application/json-patch+json"));
        assert_eq!(read("{\"fields\":{}}"), Some("application/merge-patch+json"));
        assert_eq!(read(" \n"), None);
    }
}
