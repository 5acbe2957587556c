//! What comes of an item that runs.

use super::outcome::ItemOutcome;

/// What the future of an item has come to.
pub(super) enum ItemStep {
    Responded(usize, Box<ItemOutcome>),
    /// It could not begin in time, or its batch was stopped before.
    NotBegun(usize),
    /// Nothing is stored for it any more: its key is free, and its write was not made. It begins as
    /// if it had not begun.
    KeyFree(usize),
    /// The operation of a queued write that other items waited for has ended, or time is up.
    Followed(usize, Option<OperationEnd>),
}

/// How a queued write ended.
pub(super) struct OperationEnd {
    pub(super) applied: bool,
    pub(super) record: Option<String>,
    pub(super) etag: Option<String>,
}
