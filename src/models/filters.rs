//! Conditions of a list in the words of a model.

use serde_json::Value;

use super::codec::{Codec, plain_form};
use super::field::{FieldType, ScalarType};
use super::system_map::{MapEntry, SystemMap};
use crate::record::{FieldError, ListCondition, SchemaRule};

impl SystemMap {
    /// The conditions on fields of the model as conditions on members of the record.
    ///
    /// # Errors
    /// Every field that lists cannot be filtered by, and every value that it cannot have.
    pub fn translate_conditions(&self, conditions: &[(&str, &str)]) -> Result<Vec<ListCondition>, Vec<FieldError>> {
        let (mut translated, mut errors) = (Vec::new(), Vec::new());
        for (name, text) in conditions {
            match self.translate_condition(name, text) {
                Ok(condition) => translated.push(condition),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(translated) } else { Err(errors) }
    }

    fn translate_condition(&self, name: &str, text: &str) -> Result<ListCondition, FieldError> {
        let path: Vec<&str> = name.split('.').collect();
        let entry = self.entries.iter().find(|entry| entry.field.path == path);
        let entry = entry.ok_or_else(|| self.unknown_field(&path).rule(SchemaRule::Unknown))?;
        let error = |detail: String| entry.error(detail).rule(SchemaRule::Type);
        if !entry.place.is_member() {
            return Err(error("lists cannot be filtered by a value that the system keeps inside another".to_owned()));
        }
        let value = parse_text(entry.field.kind, text).map_err(error)?;
        let spellings = entry.spellings(&value).map_err(error)?;
        Ok(ListCondition { member: entry.place.member().to_owned(), spellings })
    }
}

/// A text of the query as a value of the field.
fn parse_text(kind: FieldType, text: &str) -> Result<Value, String> {
    let scalar = match kind {
        FieldType::Scalar(scalar) => scalar,
        FieldType::Array(_) => return Err("lists cannot be filtered by an array".to_owned()),
    };
    let parsed = match scalar {
        ScalarType::String => Some(text.into()),
        ScalarType::Boolean => text.parse::<bool>().ok().map(Value::from),
        ScalarType::Integer | ScalarType::Number => serde_json::from_str(text).ok().filter(Value::is_number),
    };
    parsed.ok_or_else(|| format!("must be of type {}", scalar.as_str()))
}

impl MapEntry {
    /// Every text that the system may have for a value.
    fn spellings(&self, value: &Value) -> Result<Vec<String>, String> {
        self.field.validate(value)?;
        let all = match &self.codec {
            Codec::Enum(words) => words.iter().filter(|one| one.means == *value).map(|one| one.word.clone()).collect(),
            Codec::Boolean { yes, no } => {
                let values = if *value == Value::Bool(true) { yes } else { no };
                values.iter().filter_map(plain_form).collect()
            }
            Codec::DateTime(form) if form.pattern.is_none() => {
                return Err("lists cannot be filtered by a time that the system spells in several ways".to_owned());
            }
            _ => Vec::new(),
        };
        if !all.is_empty() {
            return Ok(all);
        }
        let encoded = self.encode(value, None)?;
        Ok(plain_form(&encoded).into_iter().collect())
    }
}
