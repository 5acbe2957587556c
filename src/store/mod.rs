//! The durable store of operations, idempotency keys, leases and the ledger (contract 4.3 to 4.5,
//! 4.9, 5), in SQLite (one file, one process) or PostgreSQL (shared by replicas). Its parts:
//!
//! - Each call on a [`Store`] (`handle`) becomes a command (`command`) in the queue of the one
//!   writer, which runs on the store's own thread (`store_thread`, `shared`).
//! - The writer (`writer`) takes all waiting commands as a batch, reads what it is missing
//!   (`preload`, `decode`) and applies them to its state in memory (`writer_state`, `rows`). One
//!   transaction writes the changes (`write_set`, `persist`); after its commit all callers get
//!   their responses (group commit). The writers of several replicas take turns on the head row.
//! - In relaxed mode with SQLite the responses come before the commit (`writer/ack`): a batch stays
//!   open (`open_batch`) for up to a second, and callers apply commands to it (`inline_path`).
//! - The ledger has one block for each commit and one line for each entry (`ledger_block`,
//!   `block_reader`). Each hash covers the entry before (`ledger`, `verify`). An operation that the
//!   ledger holds completely has no other row (`ledger_only_operations`).
//! - A lease is a row with a fencing number and an expiry time, checked when a write begins.
//! - Every heartbeat deletes what has expired (`retention`). The ledger keeps all its entries.
//! - While the database fails, the writer rejects new writes, keeps what must persist in memory and
//!   retries (`writer/recovery`). After a crash the next start, or another replica, adopts the
//!   operations that still run.
//! - Reads have connections of their own (`queries`, `ledger_query`, `where_clause`); the running
//!   queued writes are also in memory (`async_write_index`).
//! - `backend` has what differs between the databases, `sql` values and bulk statements, `schema`
//!   the migrations, `model` the public types.

mod async_write_index;
mod backend;
mod block_reader;
mod command;
mod decode;
mod error;
mod handle;
mod inline_path;
mod ledger;
mod ledger_block;
mod ledger_only_operations;
mod ledger_query;
mod model;
mod open_batch;
mod persist;
mod preload;
mod queries;
mod retention;
mod rows;
mod schema;
mod shared;
mod sql;
mod store_thread;
mod verify;
mod where_clause;
mod write_set;
mod writer;
mod writer_state;

#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use handle::Store;
pub use ledger::{LedgerEntry, LedgerEvent};
pub use model::{
    BeginResult, ChangedPaths, Durability, IdempotencyClaim, IdempotencyState, Intent, InterimResponse, Lease,
    LeaseResult, LedgerQuery, OperationQuery, OrphanedOperation, Outcome, Page, RecoveryPayload, StoreMetrics,
    StoreSettings,
};
pub use verify::{ChainError, VerifyReport, verify_ledger};
