//! A field of a model: its name, its type, and what its values must be.

use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::decimal;
use super::time::parse_instant;
use crate::record::RawJson;

/// The type of a value that is no array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarType {
    /// A string.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
}

impl ScalarType {
    /// The word of JSON Schema, and of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    /// Whether a value is of this type.
    pub(super) fn is_type_of(self, value: &Value) -> bool {
        match (self, value) {
            (Self::String, Value::String(_)) | (Self::Number, Value::Number(_)) | (Self::Boolean, Value::Bool(_)) => {
                true
            }
            (Self::Integer, Value::Number(number)) => decimal::is_whole(number.as_str()),
            _ => false,
        }
    }
}

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// One value.
    Scalar(ScalarType),
    /// An array of values of one type.
    Array(ScalarType),
}

impl FieldType {
    /// The type of its values, or of its elements.
    #[must_use]
    pub fn scalar(self) -> ScalarType {
        match self {
            Self::Scalar(scalar) | Self::Array(scalar) => scalar,
        }
    }
}

impl FieldType {
    /// Whether a value has the type of the values, or of the elements.
    #[must_use]
    pub fn is_scalar_of(self, value: &Value) -> bool {
        self.scalar().is_type_of(value)
    }
}

/// `format` of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A calendar date, `2019-12-09` (RFC 3339 `full-date`).
    Date,
    /// An instant, `2019-12-09T10:00:00Z` (RFC 3339 `date-time`).
    DateTime,
    /// An address of mail.
    Email,
}

impl Format {
    /// The words of the configuration.
    pub const WORDS: &'static [&'static str] = &["date", "date-time", "email"];

    /// The format of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Date, Self::DateTime, Self::Email].into_iter().find(|format| format.as_str() == word)
    }

    /// The word of JSON Schema.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::DateTime => "date-time",
            Self::Email => "email",
        }
    }

    fn matches(self, text: &str) -> bool {
        match self {
            Self::Date => text.len() == 10 && text.parse::<Date>().is_ok_and(|date| date.to_string() == text),
            Self::DateTime => parse_instant(text).is_some(),
            Self::Email => text.split_once('@').is_some_and(|(local, domain)| {
                let is_part = |part: &str| !part.is_empty() && !part.contains(|c: char| c == '@' || c.is_whitespace());
                is_part(local) && is_part(domain)
            }),
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Date => "2019-12-09",
            Self::DateTime => "2019-12-09T10:00:00Z",
            Self::Email => "grace@example.com",
        }
    }
}

/// A field of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The path of names below `fields`; never empty. The configuration writes it with dots.
    pub path: Vec<String>,
    /// Its type.
    pub kind: FieldType,
    /// For people.
    pub title: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// `format` of its strings.
    pub format: Option<Format>,
    /// The longest text, in characters.
    pub max_length: Option<u64>,
    /// `enum`: the values that it may have, or that its elements may have. Empty for any.
    pub choices: Vec<Value>,
    /// `example`: a value that it may have, for documents.
    pub sample: Option<Value>,
}

impl Field {
    /// The name as the configuration writes it: with dots.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.join(".")
    }

    /// Whether the field may have a value that is not null.
    #[must_use]
    pub fn allows(&self, value: &Value) -> bool {
        self.validate(value).is_ok()
    }

    /// Checks a value that is not null.
    ///
    /// # Errors
    /// What would be right.
    pub fn validate(&self, value: &Value) -> Result<(), String> {
        match (self.kind, value) {
            (FieldType::Scalar(scalar), value) => self.validate_scalar(scalar, value),
            (FieldType::Array(items), Value::Array(elements)) => {
                elements.iter().try_for_each(|element| self.validate_scalar(items, element))
            }
            (FieldType::Array(items), _) => Err(format!("must be an array of values of type {}", items.as_str())),
        }
    }

    /// Whether a value fits for certain, as its text shows: most do. `false` says nothing.
    pub(super) fn fits_by_text(&self, value: &RawJson) -> bool {
        let text = value.as_str();
        if !self.choices.is_empty() || self.format.is_some() {
            return false;
        }
        let is_number = |allowed: &[u8]| text.bytes().all(|byte| byte.is_ascii_digit() || allowed.contains(&byte));
        match self.kind {
            // Without escapes a text has at most as many characters as bytes, its quotes left out.
            FieldType::Scalar(ScalarType::String) => {
                text.starts_with('"')
                    && !text.contains('\\')
                    && self.max_length.is_none_or(|max| u64::try_from(text.len()).is_ok_and(|len| len <= max + 2))
            }
            FieldType::Scalar(ScalarType::Boolean) => matches!(text, "true" | "false"),
            FieldType::Scalar(ScalarType::Integer) => is_number(b"-"),
            FieldType::Scalar(ScalarType::Number) => is_number(b"-."),
            FieldType::Array(_) => false,
        }
    }

    fn validate_scalar(&self, scalar: ScalarType, value: &Value) -> Result<(), String> {
        if !scalar.is_type_of(value) {
            return Err(format!("must be of type {}", scalar.as_str()));
        }
        if !self.choices.is_empty() && !self.choices.contains(value) {
            let choices: Vec<String> = self.choices.iter().map(Value::to_string).collect();
            return Err(format!("must be one of {}", choices.join(", ")));
        }
        let Value::String(text) = value else { return Ok(()) };
        if let Some(format) = self.format.filter(|format| !format.matches(text)) {
            return Err(format!("must have the format {}, such as {:?}", format.as_str(), format.example()));
        }
        match self.max_length {
            Some(max) if u64::try_from(text.chars().count()).is_ok_and(|length| length > max) => {
                Err(format!("must have at most {max} characters"))
            }
            _ => Ok(()),
        }
    }

    /// JSON Schema 2020-12 of the field's values; every field may be null.
    pub(super) fn schema(&self) -> Value {
        let mut schema = Map::new();
        let is_array = matches!(self.kind, FieldType::Array(_));
        let word = if is_array { "array" } else { self.kind.scalar().as_str() };
        schema.insert("type".to_owned(), json!([word, "null"]));
        for (name, text) in [("title", &self.title), ("description", &self.description)] {
            if let Some(text) = text {
                schema.insert(name.to_owned(), text.as_str().into());
            }
        }
        let mut values = Map::new();
        if let Some(format) = self.format {
            values.insert("format".to_owned(), format.as_str().into());
        }
        if let Some(max) = self.max_length {
            values.insert("maxLength".to_owned(), max.into());
        }
        if !self.choices.is_empty() {
            let null = (!is_array).then_some(Value::Null);
            values.insert("enum".to_owned(), self.choices.iter().cloned().chain(null).collect());
        }
        if is_array {
            values.insert("type".to_owned(), self.kind.scalar().as_str().into());
            schema.insert("items".to_owned(), Value::Object(values));
        } else {
            schema.extend(values);
        }
        schema.insert("examples".to_owned(), json!([self.example()]));
        Value::Object(schema)
    }

    /// A value that the field may have.
    pub(super) fn example(&self) -> Value {
        if let Some(sample) = &self.sample {
            return sample.clone();
        }
        let scalar = match (self.choices.first(), self.format, self.kind.scalar()) {
            (Some(choice), _, _) => choice.clone(),
            (None, Some(format), _) => format.example().into(),
            (None, None, ScalarType::String) => {
                let text = self.path.last().map_or("text", String::as_str);
                let max = self.max_length.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
                text.chars().take(max).collect::<String>().into()
            }
            (None, None, ScalarType::Integer | ScalarType::Number) => 1.into(),
            (None, None, ScalarType::Boolean) => true.into(),
        };
        if matches!(self.kind, FieldType::Array(_)) { json!([scalar]) } else { scalar }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_by_its_text_fits_and_reads_as_the_same_text() {
        let field = |kind, format, max_length, choices: &[Value]| Field {
            path: vec!["f".to_owned()],
            kind,
            title: None,
            description: None,
            format,
            max_length,
            choices: choices.to_vec(),
            sample: None,
        };
        let scalar = FieldType::Scalar;
        let fields = [
            field(scalar(ScalarType::String), None, None, &[]),
            field(scalar(ScalarType::String), None, Some(3), &[]),
            field(scalar(ScalarType::String), Some(Format::Date), None, &[]),
            field(scalar(ScalarType::String), None, None, &[json!("a")]),
            field(scalar(ScalarType::Boolean), None, None, &[]),
            field(scalar(ScalarType::Integer), None, None, &[]),
            field(scalar(ScalarType::Number), None, None, &[]),
            field(FieldType::Array(ScalarType::String), None, None, &[]),
        ];
        let texts = [
            r#""""#,
            r#""a""#,
            r#""abc""#,
            r#""abcd""#,
            r#""äöüß""#,
            r#""\u0041""#,
            "true",
            "false",
            "null",
            "0",
            "-0",
            "-12",
            "12345678901234567890",
            "1.10",
            "1e2",
            "{}",
            "[]",
            r#"["a"]"#,
        ];
        let mut certain = 0;
        for field in &fields {
            for text in texts {
                let raw: RawJson = serde_json::from_str(text).expect("JSON");
                let value: Value = serde_json::from_str(text).expect("JSON");
                if field.fits_by_text(&raw) {
                    certain += 1;
                    assert!(field.allows(&value), "{field:?} {text}");
                    assert_eq!(RawJson::from(&value).as_str(), text, "it is written as it was read");
                }
            }
        }
        assert_eq!(certain, 19);
    }
}
