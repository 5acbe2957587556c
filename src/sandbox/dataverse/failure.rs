//! Why requests fail, in the vendor's codes and words.

use serde_json::json;

use crate::sandbox::common::FakeResponse;

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
