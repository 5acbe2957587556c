//! The durable journal of operations, idempotency keys, leases and the ledger (contract 4.3 to 4.5,
//! 4.9, 5), in SQLite (one file, one process) or PostgreSQL (shared by replicas). For operators it
//! is the store (`[store]` of the configuration). Its parts:
//!
//! - Each call on a [`Journal`] (`handle`) becomes a command (`command`) in the queue of the one
//!   writer, which runs on the journal's own thread (`journal_thread`, `shared`).
//! - The writer (`writer`) takes all waiting commands as a group, which one transaction commits. A
//!   session (`database`, `sqlite`, `postgres`) reads what the group needs (`group_needs`,
//!   `row_decoding`), the commands are applied to the state in memory (`writer_state`,
//!   `writer_rows`, `clock`), and one transaction writes the changes (`change_set`). After its
//!   commit all callers get their responses (group commit). The writers of several replicas wait
//!   for a lock.
//! - The ledger has one row for each entry (`entry_json`), whose hash covers the entry before
//!   (`ledger`, `verify`). `schema` has the tables.
//!   `export` writes it to a file, after which it can be cut.
//! - A lease has a fencing number and an expiry time, checked when a write begins.
//! - An asynchronous batch is rows of texts (`batches`), and the lease of its id names who runs it.
//! - Expired rows are deleted between groups. Entries of the ledger are deleted only by a cut.
//! - While the database fails, the writer rejects new writes, keeps what must persist in memory and
//!   retries (`writer/outage`). After a crash the next start, or another replica, adopts the
//!   operations that still run.
//! - Reads have connections of their own (`readers`) and the same statements on both databases
//!   (`sql`): operations (`operations`) and entries (`ledger_list`) in pages (`query`,
//!   `bounded_page`), found by time (`time_search`), and the feed of changes (`changes`). What
//!   blocks a record is in memory (`blocking_index`).

mod batches;
mod blocking_index;
mod bounded_page;
mod change_set;
mod changes;
mod check;
mod clock;
mod command;
mod database;
mod entry_json;
mod error;
mod export;
mod group_needs;
mod handle;
mod journal_thread;
mod ledger;
mod ledger_list;
mod model;
mod operations;
mod ownership;
mod postgres;
mod query;
mod readers;
mod row_decoding;
mod schema;
mod shared;
mod sql;
mod sqlite;
mod store_url;
mod time_search;
mod verdict;
mod verify;
mod writer;
mod writer_rows;
mod writer_state;

#[cfg(test)]
pub(crate) mod tests;

pub use batches::BatchRow;
pub use changes::{ChangePage, ChangeQuery, ChangeRead, ChangeStart, FeedEvent};
pub use check::check_store;
pub use error::JournalError;
pub use export::{ExportHead, LedgerFileError, cut_ledger, export_ledger};
pub use handle::Journal;
pub use ledger::{LedgerCut, LedgerEntry, LedgerEvent};
pub use model::{
    BeginResult, Durability, IdempotencyClaim, IdempotencyState, Intent, InterimResponse, JournalMetrics,
    JournalSettings, Lease, LeaseResult, OrphanedOperation, Outcome, UnknownWrites,
};
pub use ownership::MAX_CONNECT_TIMEOUT;
pub use query::{LedgerQuery, OperationQuery, Page, SortOrder};
pub use verdict::{Verdict, VerdictResult};
pub use verify::{ChainError, LedgerHead, VerifiedRange, VerifyReport, verify_ledger};
