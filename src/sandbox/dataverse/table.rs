//! Tables and their rows.

use serde_json::{Map, Value, json};

use super::columns::Column;
use crate::sandbox::common::FakeResponse;

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The logical name, in the singular.
    pub(super) name: &'static str,
    /// The name of its entity set, which stands in paths.
    pub(super) set: &'static str,
    /// The name for people.
    pub(super) title: &'static str,
    pub(super) key: &'static str,
    /// Whether `If-Match` may name a version.
    pub(super) compares_versions: bool,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
}

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// The primary key, in lower case.
    pub key: String,
    /// The row version; it grows with every write in the organization.
    pub version: u64,
    /// The columns under the names that a read shows, except the key.
    pub columns: Map<String, Value>,
}

impl Row {
    /// The weak validator of the row's state.
    pub fn etag(&self) -> String {
        format!("W/\"{}\"", self.version)
    }

    /// The row as a response shows it.
    pub(super) fn to_map(&self, table: &Table) -> Map<String, Value> {
        let mut shown = Map::new();
        shown.insert("@odata.etag".to_owned(), self.etag().into());
        for column in &table.columns {
            let name = column.shown_name();
            let value = self.columns.get(&name).cloned().unwrap_or_default();
            shown.insert(name, value);
        }
        shown.insert(table.key.to_owned(), self.key.clone().into());
        shown
    }
}

impl Table {
    pub(super) fn row(&self, key: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.key == key)
    }

    /// The column that a read shows under this name.
    pub(super) fn column(&self, shown: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.shown_name() == shown)
    }
}

/// Why a request fails.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failure {
    /// Table and key.
    MissingRow(&'static str, String),
    UnknownSet(String),
    Stale,
    NoConcurrency(&'static str),
    /// Table and property.
    UnknownProperty(&'static str, String),
    /// Value and type.
    WrongType(String, &'static str),
    TooLong(&'static str, usize),
    OutOfRange(&'static str),
    UnknownChoice(&'static str),
    Duplicate,
    BadBody,
    BadQuery(String),
}

impl Failure {
    pub(super) fn to_response(&self) -> FakeResponse {
        let (status, code, message) = match self {
            Self::MissingRow(table, key) => {
                (404, "0x80040217", format!("Entity '{table}' With Id = {key} Does Not Exist"))
            }
            Self::UnknownSet(set) => (404, "0x8006088a", format!("Resource not found for the segment '{set}'.")),
            Self::Stale => (
                412,
                "0x80060882",
                "The version of the existing record doesn't match the RowVersion property provided.".to_owned(),
            ),
            Self::NoConcurrency(table) => (
                400,
                "0x80060883",
                format!(
                    "Optimistic concurrency isn't enabled for entity type {table}. The IfVersionMatches value of ConcurrencyBehavior can only be used if optimistic concurrency is enabled."
                ),
            ),
            Self::UnknownProperty(table, name) => (
                400,
                "0x80048d19",
                format!(
                    "Error identified in Payload provided by the user for Entity :'', For more information on this error please follow this help link https://go.microsoft.com/fwlink/?linkid=2195293  ---->  InnerException : Microsoft.Crm.CrmException: Invalid property '{name}' was found in entity 'Microsoft.Dynamics.CRM.{table}'. ---> Microsoft.OData.ODataException: Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{table}'."
                ),
            ),
            Self::WrongType(value, edm) => {
                (400, "0x80048d19", format!("Cannot convert the literal '{value}' to the expected type '{edm}'."))
            }
            Self::TooLong(name, max) => (
                400,
                "0x80044331",
                format!(
                    "A validation error occurred. The length of the '{name}' attribute exceeded the maximum allowed length of '{max}'."
                ),
            ),
            Self::OutOfRange(name) => (
                400,
                "0x80044331",
                format!("A validation error occurred. The value of '{name}' is outside the valid range."),
            ),
            Self::UnknownChoice(name) => (
                400,
                "0x80044331",
                format!(
                    "A validation error occurred. The value of '{name}' on record is outside the valid range of its choices."
                ),
            ),
            Self::Duplicate => (412, "0x80040237", "A record with matching key values already exists.".to_owned()),
            Self::BadBody => (
                400,
                "0x80048d19",
                "Error identified in Payload provided by the user: the body is not a JSON object.".to_owned(),
            ),
            Self::BadQuery(text) => (400, "0x80060888", text.clone()),
        };
        error_response(status, code, &message)
    }
}

/// An error as the Web API writes it.
pub(super) fn error_response(status: u16, code: &str, message: &str) -> FakeResponse {
    FakeResponse::json(status, &json!({ "error": { "code": code, "message": message } }))
        .with_header("OData-Version", "4.0")
}
