//! Data definitions (classes), their attributes and their fragments.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::failure::Failure;

/// An attribute of a data definition.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// `ColumnType`; its values are not documented.
    pub(super) kind: &'static str,
    pub(super) localizable: bool,
    pub(super) mandatory: bool,
}

/// A fragment: one row of a data definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Fragment {
    /// GUID in lower case.
    pub id: String,
    /// The counter of the row version, shared by the whole database.
    pub counter: u64,
    /// Every attribute of the class except `ID` and `TimeStamp`; `null` if it has no value.
    pub attributes: Map<String, Value>,
}

impl Fragment {
    /// `TimeStamp`: base64 of the counter's 8 bytes, big-endian.
    pub fn time_stamp(&self) -> String {
        BASE64_STANDARD.encode(self.counter.to_be_bytes())
    }

    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut members = Map::with_capacity(self.attributes.len().saturating_add(2));
        members.insert("ID".to_owned(), Value::String(self.id.clone()));
        members.insert("TimeStamp".to_owned(), Value::String(self.time_stamp()));
        members.extend(self.attributes.iter().map(|(name, value)| (name.clone(), value.clone())));
        members
    }
}

/// A data definition with its rows by id.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) name: &'static str,
    pub(super) columns: Vec<Column>,
    pub(super) rows: BTreeMap<String, Fragment>,
}

impl Class {
    /// An attribute by its name in any case, as ASP.NET reads them.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    pub(super) fn unknown_attribute(&self, name: &str) -> Failure {
        Failure::UnknownAttribute(self.name, name.to_owned())
    }

    pub(super) fn schema(&self) -> Value {
        let column = |column: &Column| json!({ "ColumnName": column.name, "ColumnType": column.kind, "Localizable": column.localizable });
        let fixed = [
            json!({ "ColumnName": "ID", "ColumnType": "Guid", "Localizable": false }),
            json!({ "ColumnName": "TimeStamp", "ColumnType": "Byte[]", "Localizable": false }),
        ];
        fixed.into_iter().chain(self.columns.iter().map(column)).collect()
    }

    pub(super) fn insert(&mut self, id: &str, counter: u64, attributes: &Map<String, Value>) {
        let value =
            |column: &Column| (column.name.to_owned(), attributes.get(column.name).cloned().unwrap_or(Value::Null));
        let attributes = self.columns.iter().map(value).collect();
        self.rows.insert(id.to_owned(), Fragment { id: id.to_owned(), counter, attributes });
    }

    /// Validates the attributes of a request body and returns them under their exact names.
    pub(super) fn validate_attributes(&self, sent: &Map<String, Value>) -> Result<Map<String, Value>, Failure> {
        let mut attributes = Map::new();
        for (name, value) in sent {
            if ["ID", "TimeStamp"].iter().any(|own| own.eq_ignore_ascii_case(name)) {
                continue;
            }
            let column = self.column(name).ok_or_else(|| self.unknown_attribute(name))?;
            if value.is_null() && column.mandatory {
                return Err(Failure::MissingMandatoryAttribute(column.name));
            }
            if !fits(column.kind, value) {
                return Err(Failure::BadValue(column.name));
            }
            attributes.insert(column.name.to_owned(), value.clone());
        }
        Ok(attributes)
    }
}

fn fits(kind: &str, value: &Value) -> bool {
    value.is_null()
        || match kind {
            "Boolean" => value.is_boolean() || matches!(value.as_u64(), Some(0 | 1)),
            "Int32" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            "Decimal" => value.is_number(),
            "Guid" => value.as_str().is_some_and(|text| parse_guid(text).is_some()),
            "DateTime" => value.as_str().is_some_and(|text| {
                // The end of the year 9999 is beyond a timestamp, and the vendor's own "none".
                let local = text.strip_suffix('Z').unwrap_or(text);
                local.parse::<jiff::civil::DateTime>().is_ok() || text.parse::<jiff::Timestamp>().is_ok()
            }),
            _ => value.is_string(),
        }
}

/// Parses a GUID with hyphens and returns it in lower case.
pub(super) fn parse_guid(text: &str) -> Option<String> {
    let hyphens = [8, 13, 18, 23];
    let is_guid = text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, b)| if hyphens.contains(&at) { b == b'-' } else { b.is_ascii_hexdigit() });
    is_guid.then(|| text.to_ascii_lowercase())
}

/// A member by its name in any case.
pub(super) fn find_member<'b>(body: &'b Map<String, Value>, name: &str) -> Option<&'b Value> {
    body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
