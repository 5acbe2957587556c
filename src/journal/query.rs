//! The queries of callers, and the pages that they get.

use jiff::Timestamp;

use crate::record::{Action, OperationId, OperationState};

/// The order of a list, by position in the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// Which operations to list.
#[derive(Clone, Debug, Default)]
pub struct OperationQuery {
    /// The systems that the caller may see; no others are listed.
    pub systems: Vec<String>,
    /// Only operations of this record.
    pub record: Option<String>,
    /// Only operations in this state.
    pub state: Option<OperationState>,
    /// Only operations of this caller.
    pub caller: Option<String>,
    /// Only operations of this kind.
    pub action: Option<Action>,
    /// Only operations that began at or after this time.
    pub since: Option<Timestamp>,
    /// Only operations that began before this time.
    pub until: Option<Timestamp>,
    /// The order.
    pub order: SortOrder,
    /// The most operations to list.
    pub limit: usize,
    /// Only what follows this position in the order: the `next` of an earlier page.
    pub after: Option<i64>,
}

/// Which ledger entries to list.
#[derive(Clone, Debug, Default)]
pub struct LedgerQuery {
    /// The systems that the caller may see; no others are listed.
    pub systems: Vec<String>,
    /// Whether the entries of cuts are listed, which belong to no system.
    pub includes_cuts: bool,
    /// Only entries of this record.
    pub record: Option<String>,
    /// Only entries of this caller.
    pub caller: Option<String>,
    /// Only entries of this operation.
    pub operation: Option<OperationId>,
    /// Only entries with this problem.
    pub problem: Option<String>,
    /// Only entries at or after this time.
    pub since: Option<Timestamp>,
    /// Only entries before this time.
    pub until: Option<Timestamp>,
    /// The order.
    pub order: SortOrder,
    /// The most entries to list.
    pub limit: usize,
    /// Only what follows this entry in the order: the `next` of an earlier page.
    pub after_seq: Option<i64>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// At most `limit` items. A page may be empty although a next one exists, because one call
    /// reads a bounded number of rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` = this is the last page.
    pub next: Option<i64>,
}
