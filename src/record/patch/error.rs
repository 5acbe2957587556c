//! Why a patch is rejected.

use crate::record::json_error::JsonError;
use crate::record::json_pointer::json_pointer;
use crate::record::vendor_error::FieldError;

/// Why a patch is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchError {
    /// The body is not a patch document: 400.
    Malformed(String),
    /// The patch would change members that callers cannot change: 422 `read-only-member`.
    ReadOnly(Vec<FieldError>),
    /// Values that can never be sent: 422 `rejected`.
    Rejected(Vec<FieldError>),
    /// A `test` operation failed: 409 `patch-test-failed`.
    TestFailed(FieldError),
    /// An operation of a JSON Patch cannot be applied: 422 `patch-failed`.
    Failed(FieldError),
}

impl From<JsonError> for PatchError {
    fn from(error: JsonError) -> Self {
        Self::Malformed(error.0)
    }
}

/// What is wrong with a member that callers cannot change.
pub const READ_ONLY_DETAIL: &str = "read-only: the vendor or the gateway sets it";

/// The error of a member that callers cannot change.
pub(super) fn read_only_error(name: &str) -> FieldError {
    FieldError::new(json_pointer("/fields", &[name]), READ_ONLY_DETAIL)
}
