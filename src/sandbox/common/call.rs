//! The kinds of vendor calls.

use serde::{Deserialize, Serialize};

/// The kind of a call: the same words as the gateway's metrics use, plus one for the rest.
///
/// It goes by what the vendor is asked, not by what the asker is after: a scan of a Pretectum dataset for one record is `List`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// Getting a token.
    SignIn,
    /// Reading one record.
    Read,
    /// Reading a page of records, or a search.
    List,
    /// Making a record.
    Create,
    /// Changing a record; enabling and disabling too.
    Update,
    /// Deleting a record.
    Delete,
    /// Reading what fields, areas, datasets or classes there are.
    Schema,
    /// Liveness and every unknown route.
    Other,
}
