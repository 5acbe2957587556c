//! Values that certainly fit their field, judged by their text, so that most updates need no parsed
//! values. The JSON Schema library judges all others.

use std::ops::RangeInclusive;

use foldhash::{HashMap, HashMapExt as _};
use memchr::memchr;
use serde_json::{Map, Value};

use super::formats::format_check;
use crate::vendors::{FieldSchema, RecordSchema};

/// The fields of a collection that an update may change, by name. A field whose schema says more
/// than is understood here is missing.
pub(super) struct PlainFields(HashMap<String, PlainValues>);

impl PlainFields {
    pub(super) fn new(schema: &RecordSchema) -> Self {
        let mut fields = HashMap::new();
        for field in schema.fields.iter().filter(|field| field.is_updatable) {
            // The last field of a name counts, as it does for the library.
            match PlainValues::of(field) {
                Some(values) => fields.insert(field.name.clone(), values),
                None => fields.remove(&field.name),
            };
        }
        Self(fields)
    }

    /// Whether a member certainly fits. `json` is a valid JSON text.
    pub(super) fn fits(&self, name: &str, json: &str) -> bool {
        self.0.get(name).is_some_and(|values| values.include(json))
    }
}

/// The values that certainly fit one field.
#[derive(Default)]
struct PlainValues {
    null: bool,
    boolean: bool,
    /// Whether every number fits.
    number: bool,
    whole: Option<RangeInclusive<i64>>,
    text: Option<PlainText>,
}

/// The texts that certainly fit.
struct PlainText {
    max_bytes: usize,
    format: Option<fn(&str) -> bool>,
}

impl PlainValues {
    /// `None` for a schema with a keyword that is not understood.
    fn of(field: &FieldSchema) -> Option<Self> {
        const KNOWN: [&str; 8] =
            ["type", "minimum", "maximum", "maxLength", "format", "title", "description", "examples"];
        let schema = &field.value;
        if !schema.keys().all(|keyword| KNOWN.contains(&keyword.as_str())) {
            return None;
        }
        let mut values = Self { null: field.is_nullable, ..Self::default() };
        for word in types_of(schema)? {
            match word {
                "boolean" => values.boolean = true,
                "integer" => values.whole = Some(range_of(schema)?),
                "number" => {
                    values.whole = Some(range_of(schema)?);
                    values.number = !schema.contains_key("minimum") && !schema.contains_key("maximum");
                }
                "string" => values.text = Some(PlainText::of(schema)?),
                _ => return None,
            }
        }
        Some(values)
    }

    fn include(&self, json: &str) -> bool {
        match json.as_bytes() {
            [b'n', ..] => self.null,
            [b't' | b'f', ..] => self.boolean,
            [b'"', .., b'"'] => {
                let inner = json.get(1..json.len() - 1).unwrap_or_default();
                self.text.as_ref().is_some_and(|text| text.includes(inner))
            }
            [b'-' | b'0'..=b'9', ..] => {
                let is_within = |range: &RangeInclusive<i64>| json.parse().is_ok_and(|number| range.contains(&number));
                self.number || self.whole.as_ref().is_some_and(is_within)
            }
            _ => false,
        }
    }
}

impl PlainText {
    fn of(schema: &Map<String, Value>) -> Option<Self> {
        let max_bytes = match schema.get("maxLength") {
            None => usize::MAX,
            Some(max) => usize::try_from(max.as_u64()?).ok()?,
        };
        let format = match schema.get("format") {
            None => None,
            Some(format) => Some(format_check(format.as_str()?)?),
        };
        Some(Self { max_bytes, format })
    }

    /// `inner` is what stands between the quotes. It has at least as many bytes as the text has
    /// characters.
    fn includes(&self, inner: &str) -> bool {
        let has_format = |check: fn(&str) -> bool| memchr(b'\\', inner.as_bytes()).is_none() && check(inner);
        inner.len() <= self.max_bytes && self.format.is_none_or(has_format)
    }
}

fn types_of(schema: &Map<String, Value>) -> Option<Vec<&str>> {
    match schema.get("type")? {
        Value::String(one) => Some(vec![one]),
        Value::Array(several) => several.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// `None` for a limit that is no whole number.
fn range_of(schema: &Map<String, Value>) -> Option<RangeInclusive<i64>> {
    let limit = |keyword: &str, default: i64| schema.get(keyword).map_or(Some(default), Value::as_i64);
    Some(limit("minimum", i64::MIN)?..=limit("maximum", i64::MAX)?)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::compiled::CollectionSchema;
    use super::*;
    use crate::record::RawObject;

    const VALUES: &str = r#"null true false 0 1 -1 -0 1.0 1.5 1e2 127 128 9223372036854775808 -9223372036854775808 ""
        "a" "abc" "\u00e9\u00e9" "\ud83d\ude00" "äöü" "2027-03-31" "\u0031" "7777780d-71a0-df11-708c-000c2968299f"
        "a@b" [] {}"#;

    fn any_value() -> impl Strategy<Value = &'static str> {
        prop::sample::select(VALUES.split_whitespace().collect::<Vec<_>>())
    }

    fn schemas() -> Vec<Value> {
        vec![
            json!({ "type": "string" }),
            json!({ "type": "string", "maxLength": 3, "title": "T" }),
            json!({ "type": "string", "format": "date-time" }),
            json!({ "type": "string", "format": "uuid" }),
            json!({ "type": "string", "format": "email", "maxLength": 10 }),
            json!({ "type": "string", "format": "unheard-of" }),
            json!({ "type": "string", "minLength": 2 }),
            json!({ "type": "integer", "minimum": -128, "maximum": 127 }),
            json!({ "type": "integer" }),
            json!({ "type": "integer", "minimum": 0.5 }),
            json!({ "type": "number" }),
            json!({ "type": "number", "minimum": 0, "maximum": 100.5 }),
            json!({ "type": "number", "minimum": 0, "maximum": 100 }),
            json!({ "type": "boolean" }),
            json!({ "type": ["boolean", "integer"], "minimum": 0, "maximum": 1 }),
            json!({ "type": "array" }),
            json!({ "enum": ["a"] }),
            json!({}),
        ]
    }

    fn any_field() -> impl Strategy<Value = FieldSchema> {
        (prop::sample::select(schemas()), any::<bool>(), any::<bool>()).prop_map(
            |(value, is_nullable, is_updatable)| {
                let value = value.as_object().expect("an object").clone();
                FieldSchema { value, is_nullable, is_updatable, ..FieldSchema::new("Name", json!({})) }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn what_fits_by_its_text_fits_by_the_library(field in any_field(), value in any_value()) {
            let schema = RecordSchema { title: "T".to_owned(), fields: vec![field], is_closed: true };
            let fits = PlainFields::new(&schema).fits("Name", value);
            let compiled = CollectionSchema::compile("/collections", "c", schema).expect("a schema");
            let body = Bytes::from(format!(r#"{{"Name":{value}}}"#));
            let members = RawObject::parse(&body).expect("an object").to_map();
            prop_assert!(!fits || compiled.check_members(members).is_empty(), "{value}");
        }
    }

    #[test]
    fn usual_values_need_no_library() {
        let fields = [("t", json!({ "type": "string", "maxLength": 20 })), ("n", json!({ "type": "number" }))];
        let fields = fields.map(|(name, value)| FieldSchema::new(name, value)).to_vec();
        let plain = PlainFields::new(&RecordSchema { title: String::new(), fields, is_closed: true });
        assert!(plain.fits("t", r#""a text""#) && plain.fits("n", "12.50") && plain.fits("n", "null"));
        assert!(!plain.fits("t", "1") && !plain.fits("other", "1"));
    }
}
