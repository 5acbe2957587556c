//! The form that a vendor certainly accepts. The check of formats refuses only what is certainly
//! wrong (`formats`); a value between the two has an unusual form: it is sent, and read back.

use serde_json::{Map, Value};

use crate::record::RawJson;

/// What a stricter check than the schema's expects of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum StrictForm {
    /// No more than the schema.
    Any,
    /// A whole number that is written as one: neither `1.0` nor `1e3`.
    Integer,
    /// A text of which this is true.
    Text(fn(&str) -> bool),
}

impl StrictForm {
    /// The form of the values that fit a schema.
    pub(super) fn for_schema(schema: &Map<String, Value>) -> Self {
        let has_type = |name: &str| match schema.get("type") {
            Some(Value::Array(types)) => types.iter().any(|one| one == name),
            one => one.is_some_and(|one| one == name),
        };
        match schema.get("format").and_then(Value::as_str) {
            Some("email") => Self::Text(is_usual_email),
            Some("phone") => Self::Text(is_usual_phone),
            Some("uri") => Self::Text(is_usual_uri),
            _ if has_type("integer") && !has_type("number") => Self::Integer,
            _ => Self::Any,
        }
    }

    /// Whether a value that fits the schema has another form.
    pub(super) fn is_broken_by(self, value: &RawJson) -> bool {
        let text = value.as_str();
        match self {
            Self::Any => false,
            Self::Integer => text.contains(['.', 'e', 'E']) && !text.starts_with(['t', 'f', '"']),
            Self::Text(is_usual) => text.starts_with('"') && !value.to_text().is_some_and(|text| is_usual(&text)),
        }
    }
}

/// One `@`, and a domain of two parts or more.
fn is_usual_email(text: &str) -> bool {
    let usual = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c);
    text.split_once('@').is_some_and(|(local, domain)| {
        let is_label = |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        !local.is_empty() && local.chars().all(usual) && domain.contains('.') && domain.split('.').all(is_label)
    })
}

/// Digits, with the signs that people put between them.
fn is_usual_phone(text: &str) -> bool {
    let inner = text.strip_prefix('+').unwrap_or(text);
    inner.bytes().any(|byte| byte.is_ascii_digit())
        && inner.bytes().all(|byte| byte.is_ascii_digit() || b" ()-".contains(&byte))
}

/// An address of the web.
fn is_usual_uri(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_strict_form_is_broken_by_unusual_values() {
        let is_unusual = |schema: Value, text: &str| {
            let value: Value = serde_json::from_str(text).expect("JSON");
            StrictForm::for_schema(schema.as_object().expect("an object")).is_broken_by(&RawJson::from(&value))
        };
        for (format, usual, unusual) in [
            ("email", "ada@example.com", ["a@b", "a@b@c.de", "a b@c.de", "a@b..de"].as_slice()),
            ("phone", "+44 (20) 7946-0001", &["030/123", "tel:+1", "1 ext 2"]),
            ("uri", "https://example.com/a?b=c", &["ftp://example.com", "example.com", "https://"]),
        ] {
            let schema = || json!({ "type": ["string", "null"], "format": format });
            assert!(!is_unusual(schema(), &json!(usual).to_string()) && !is_unusual(schema(), "null"), "{usual}");
            for text in unusual {
                assert!(is_unusual(schema(), &json!(text).to_string()), "{text}");
            }
        }
        let integer = || json!({ "type": ["integer", "null"] });
        assert!(is_unusual(integer(), "1.0") && is_unusual(integer(), "1e3"));
        assert!(!is_unusual(integer(), "12345678901234567890") && !is_unusual(integer(), "null"));
        assert!(!is_unusual(json!({ "type": "number" }), "1.0") && !is_unusual(json!({ "type": "string" }), "\"1e3\""));
    }
}
