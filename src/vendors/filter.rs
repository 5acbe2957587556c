//! Conditions of a list.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Map, Value};

use super::common::parse_guid;
use super::schema::FieldSchema;
use crate::record::{FieldChange, parse_time, parse_vendor_time};

/// How a text is compared, which its field's schema decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValueForm {
    /// As it is; numbers by value.
    #[default]
    Plain,
    /// In any case.
    Guid,
    /// As a day.
    Date,
    /// As a time; one without a zone is in UTC.
    Time,
}

impl ValueForm {
    /// The form of a field's values.
    #[must_use]
    pub fn for_field(field: &FieldSchema) -> Self {
        match field.value.get("format").and_then(Value::as_str) {
            Some("uuid") => Self::Guid,
            Some("date") => Self::Date,
            Some("date-time") => Self::Time,
            _ => Self::Plain,
        }
    }

    /// A text in the form that is compared; `None` if no value of the field has this form.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<String> {
        match self {
            Self::Plain => Some(text.to_owned()),
            Self::Guid => parse_guid(text.trim_matches(['{', '}'])),
            Self::Date => text.parse::<Date>().ok().map(|day| day.to_string()),
            Self::Time => {
                let in_utc = || parse_time(&[text, "Z"].concat());
                let time: Option<Timestamp> = parse_vendor_time(text).or_else(|| parse_time(text)).or_else(in_utc);
                time.map(|time| time.to_string())
            }
        }
    }
}

/// A member of `fields` that listed records show with this value.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldFilter {
    /// The member.
    pub field: String,
    /// Its value; a text in the form that is compared.
    pub value: Value,
    /// How it is compared.
    pub form: ValueForm,
}

impl FieldFilter {
    /// Whether a record shows the value. Numbers are compared by value.
    pub(super) fn matches(&self, fields: &Map<String, Value>) -> bool {
        let shown = fields.get(&self.field).and_then(Value::as_str).filter(|_| self.form != ValueForm::Plain);
        match (shown.and_then(|shown| self.form.parse(shown)), &self.value) {
            (Some(shown), Value::String(expected)) => shown == *expected,
            _ => FieldChange::for_member(&self.field, Some(self.value.clone())).is_applied_in(fields),
        }
    }

    /// The value of a number whose text is the same wherever it is compared by value.
    pub(super) fn plain_number(&self) -> Option<&str> {
        let Value::Number(number) = &self.value else { return None };
        Some(number.as_str()).filter(|text| !text.contains(['e', 'E']))
    }
}

/// Whether a record shows every value.
pub(super) fn all_match(filters: &[FieldFilter], fields: &Map<String, Value>) -> bool {
    filters.iter().all(|filter| filter.matches(fields))
}
