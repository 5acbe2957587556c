//! What can be accepted without parsing the value: most values fit their schema by their type, or
//! by a bound of integers, a length or a format. The JSON Schema library decides about all others,
//! so nothing is refused here.

use std::ops::RangeInclusive;

use jsonschema::{JsonType, JsonTypeSet};
use serde_json::{Map, Value};

use super::formats::{FormatCheck, find_check};
use crate::record::RawJson;

/// A range without numbers.
const NO_INTEGERS: RangeInclusive<i64> = RangeInclusive::new(1, 0);

/// The values of a schema that can be accepted without parsing them.
pub(super) struct QuickCheck {
    types: JsonTypeSet,
    /// Integers outside of it are left to the library.
    integers: RangeInclusive<i64>,
    /// The longest text, in characters.
    max_length: Option<u64>,
    format: Option<FormatCheck>,
}

impl QuickCheck {
    /// Accepts nothing where the schema has a rule that is not known here.
    pub(super) fn from_schema(schema: &Map<String, Value>) -> Self {
        let format = schema.get("format").and_then(Value::as_str).and_then(find_check);
        let is_known = |rule: &String| match rule.as_str() {
            "type" | "minimum" | "maximum" | "maxLength" | "title" | "x-vendor" => true,
            "format" => format.is_some(),
            _ => false,
        };
        let is_type = |name: &str| match schema.get("type") {
            None => true,
            Some(Value::Array(types)) => types.iter().any(|one| one == name),
            Some(one) => one == name,
        };
        let mut types = JsonTypeSet::empty();
        let mut integers = NO_INTEGERS;
        if schema.keys().all(is_known) {
            types = JsonTypeSet::all().iter().filter(|one| is_type(one.as_str())).fold(types, JsonTypeSet::insert);
            let bound = |rule: &str, default| schema.get(rule).map_or(Some(default), Value::as_i64);
            if is_type("integer") || is_type("number") {
                let bounds = bound("minimum", i64::MIN).zip(bound("maximum", i64::MAX));
                integers = bounds.map_or(NO_INTEGERS, |(low, high)| low..=high);
            }
            if schema.contains_key("minimum") || schema.contains_key("maximum") {
                types = types.remove(JsonType::Number);
            }
        }
        let max_length = schema.get("maxLength").map(|max| max.as_u64().unwrap_or_default());
        Self { types, integers, max_length, format }
    }

    /// Whether the value fits for certain.
    pub(super) fn accepts(&self, value: &RawJson) -> bool {
        let text = value.as_str();
        let one = match text.as_bytes().first() {
            Some(b'"') if self.accepts_text(text) => JsonType::String,
            Some(b'"') => return false,
            Some(b't' | b'f') => JsonType::Boolean,
            Some(b'n') => JsonType::Null,
            Some(b'{') => JsonType::Object,
            Some(b'[') => JsonType::Array,
            _ if text.parse().is_ok_and(|number| self.integers.contains(&number)) => return true,
            _ => JsonType::Number,
        };
        self.types.contains(one)
    }

    /// Whether a quoted text has the length and the format for certain. Without escapes it has at
    /// most as many characters as bytes.
    fn accepts_text(&self, quoted: &str) -> bool {
        if self.max_length.is_none() && self.format.is_none() {
            return true;
        }
        let Some(text) = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return false };
        let is_short = |max: u64| u64::try_from(text.len()).is_ok_and(|bytes| bytes <= max);
        !text.contains('\\')
            && self.max_length.is_none_or(is_short)
            && self.format.is_none_or(|has_format| has_format(text))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::formats::add_formats;

    #[test]
    fn what_is_certain_is_accepted_by_the_library() {
        let schemas = [
            json!({}),
            json!({ "type": "string" }),
            json!({ "type": ["string", "null"], "title": "a text", "x-vendor": { "type": "String" } }),
            json!({ "type": ["boolean", "integer"], "minimum": 0, "maximum": 1 }),
            json!({ "type": ["integer", "null"], "minimum": i32::MIN, "maximum": i32::MAX }),
            json!({ "type": "integer", "maximum": u64::MAX }),
            json!({ "type": "number" }),
            json!({ "type": "number", "minimum": 2 }),
            json!({ "minimum": 2 }),
            json!({ "type": ["object", "array"] }),
            json!({ "type": "string", "maxLength": 3 }),
            json!({ "type": "integer", "minimum": 0.5 }),
            json!({ "enum": ["a", 1] }),
            json!({ "type": "string", "format": "uuid" }),
            json!({ "type": ["string", "null"], "format": "date-time", "maxLength": 30 }),
            json!({ "type": "string", "format": "email" }),
            json!({ "type": "string", "format": "ipv4" }),
        ];
        let values = [
            "\"\"",
            "\"abcd\"",
            "\"\\u0041\"",
            "\"7777780d-71a0-df11-708c-000c2968299f\"",
            "\"2027-03-31T21:59:59.997Z\"",
            "\"a@b\"",
            "true",
            "false",
            "null",
            "{}",
            "{\"a\":1}",
            "[]",
            "[1]",
            "0",
            "-0",
            "1",
            "2",
            "-1",
            "2147483648",
            "9223372036854775807",
            "9223372036854775808",
            "1.0",
            "1.5",
            "1e2",
            "12345678901234567890",
        ];
        let mut certain = 0;
        for schema in &schemas {
            let quick = QuickCheck::from_schema(schema.as_object().expect("an object"));
            let library = add_formats(jsonschema::options()).build(schema).expect("a schema");
            for text in values {
                let value: Value = serde_json::from_str(text).expect("JSON");
                if quick.accepts(&RawJson::from(&value)) {
                    certain += 1;
                    assert!(library.is_valid(&value), "{schema} {text}");
                }
            }
        }
        assert!(certain > 60, "{certain}");
    }

    #[test]
    fn the_usual_schemas_are_certain() {
        for (schema, value) in [
            (json!({ "type": "string", "x-vendor": {} }), json!("a")),
            (json!({ "type": ["boolean", "integer"], "minimum": 0, "maximum": 1 }), json!(true)),
            (json!({ "type": ["string", "null"] }), json!(null)),
            (json!({ "type": "string", "maxLength": 3 }), json!("abc")),
            (json!({ "type": "string", "format": "date-time" }), json!("2027-03-31T21:59:59.997Z")),
            (json!({ "type": "string", "format": "uuid" }), json!("7777780d-71a0-df11-708c-000c2968299f")),
            (json!({ "type": "integer", "minimum": 0, "maximum": 9 }), json!(7)),
        ] {
            let quick = QuickCheck::from_schema(schema.as_object().expect("an object"));
            assert!(quick.accepts(&RawJson::from(&value)), "{schema} {value}");
        }
    }
}
