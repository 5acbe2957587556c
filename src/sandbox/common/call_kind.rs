//! The kinds of requests to a vendor.

use serde::{Deserialize, Serialize};

/// What a request to a vendor does.
///
/// The words are those of the gateway's `call` metric label, and `other`. The type is separate on
/// purpose: fake vendors know nothing of the gateway. It describes what the vendor does, not
/// what its client needs it for: the scan of a Pretectum dataset for one record is a `List`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// Gets a token.
    SignIn,
    /// Reads one record.
    Read,
    /// Reads a page of records, or searches.
    List,
    /// Creates a record.
    Create,
    /// Changes, enables or disables a record.
    Update,
    /// Deletes a record.
    Delete,
    /// Describes fields, areas, datasets or classes.
    Schema,
    /// The liveness check and unknown routes.
    Other,
}
