//! What the gateway tells the store and hears from it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::record::{Action, ObservedState, OperationId, OperationState, VendorCallLog, Warning};

/// When a write counts as remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it is on disk.
    Commit,
    /// When it is in memory (SQLite; on disk within a second) or in the server (PostgreSQL, `synchronous_commit` off).
    Relaxed,
}

/// The `[store]` section.
#[derive(Clone)]
pub struct StoreSettings {
    /// `sqlite:PATH` (relative to the working directory), `sqlite::memory:` (a throw-away) or `postgres://…`.
    pub url: String,
    /// When a write counts as remembered.
    pub durability: Durability,
    /// How long a verdict is kept for its idempotency key, from the moment it was reached.
    pub idempotency_ttl: Duration,
    /// How long settled operations are kept.
    pub retention: Duration,
}

impl std::fmt::Debug for StoreSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address may hold a password.
        formatter
            .debug_struct("StoreSettings")
            .field("durability", &self.durability)
            .field("idempotency_ttl", &self.idempotency_ttl)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

/// What the store counts. Called on the store's thread; must not block.
pub trait StoreMetrics: Send + Sync {
    /// One more entry is in the ledger (`ledger_entries_total`).
    fn on_ledger_entry(&self);
    /// A commit took this many seconds (`ledger_commit_duration_seconds`).
    fn on_commit(&self, seconds: f64);
}

impl StoreMetrics for () {
    fn on_ledger_entry(&self) {}
    fn on_commit(&self, _seconds: f64) {}
}

/// The right to make a guarded write of one record, for a while (contract 4.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The record's system.
    pub system: String,
    /// The record's full id.
    pub record: String,
    /// The fencing number: greater than that of every earlier lease.
    pub fence: i64,
}

/// The answer to [`Store::acquire`](super::Store::acquire).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseResult {
    /// It is yours until it expires, is released, or the operation is finished.
    Lease(Lease),
    /// Somebody else has a live one: ask again soon.
    Held,
    /// An operation runs on the record.
    Running(OperationId),
}

/// An `Idempotency-Key` with what it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyClaim {
    /// Whose key; in an [`Intent`] the intent's caller.
    pub caller: String,
    /// The key, unquoted.
    pub key: String,
    /// SHA-256 over method, path, `If-Match` and body.
    pub fingerprint: [u8; 32],
}

/// What is known of an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdempotencyState {
    /// The first request runs.
    Running(OperationId),
    /// The first request ended with this (JSON as given to [`Outcome::verdict`]).
    Completed(String),
    /// The first request was told this (JSON as given to [`Store::interim`](super::Store::interim)); it is not settled yet.
    Interim(String),
    /// The key came with another request.
    Mismatch,
}

/// What settling needs after a crash. It is asked for its text only if its operation outlives the batch it began in.
pub trait RecoveryPayload: std::fmt::Debug + Send + Sync {
    /// As JSON; `None` if it cannot be written down.
    fn to_json(&self) -> Option<String>;
}

/// The places that a write changes. They are asked for when the ledger's entry is written.
pub trait ChangedPaths: std::fmt::Debug + Send + Sync {
    /// Tells each, as a JSON Pointer.
    fn for_each(&self, tell: &mut dyn FnMut(&str));

    /// All of them.
    fn paths(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.for_each(&mut |path| all.push(path.to_owned()));
        all
    }
}

impl ChangedPaths for Vec<String> {
    fn for_each(&self, tell: &mut dyn FnMut(&str)) {
        for path in self {
            tell(path);
        }
    }
}

/// A write that is about to be sent to a vendor.
#[derive(Clone, Debug)]
pub struct Intent {
    /// A new id.
    pub operation: OperationId,
    /// `X-Request-Id`.
    pub request_id: Arc<str>,
    /// For whom.
    pub caller: Arc<str>,
    /// The configured system's name.
    pub system: Arc<str>,
    /// The full canonical id; `None` for a create.
    pub record: Option<Arc<str>>,
    /// What.
    pub action: Action,
    /// `If-Match` as sent.
    pub precondition: Option<String>,
    /// The tag of the version that the vendor compares, where `precondition` is not just that.
    pub compared_etag: Option<String>,
    /// What changes; never values.
    pub paths: Arc<dyn ChangedPaths>,
    /// The names of the losses accepted.
    pub losses: Vec<String>,
    /// Whether other writes of the record must be refused and reads name the operation.
    pub is_async: bool,
    /// The lease of a guarded write; checked. `None` for a native write: it must meet no lease.
    pub lease: Option<Lease>,
    /// The idempotency key, if the caller sent one.
    pub idempotency: Option<IdempotencyClaim>,
    /// Whatever settling needs after a crash; dropped when the operation is finished.
    pub recovery: Option<Arc<dyn RecoveryPayload>>,
}

/// The answer to [`Store::begin`](super::Store::begin). Only `Started` allows the write to be sent, and obliges to `finish`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginResult {
    /// The intent is remembered.
    Started,
    /// Another writer has a live lease on the record: ask again soon.
    LeaseHeld,
    /// The lease given has expired or was taken over.
    LeaseLost,
    /// A queued write runs on the record.
    Running(OperationId),
    /// The idempotency key is not free.
    IdempotencyKey(IdempotencyState),
}

/// How a write ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub operation: OperationId,
    /// How; `Running` counts as `Unknown`.
    pub state: OperationState,
    /// The record's id if it has become known; `None` leaves what is known.
    pub record: Option<String>,
    /// The record's tag after the write, when it is proven.
    pub etag: Option<String>,
    /// What the caller would otherwise not learn.
    pub warnings: Vec<Warning>,
    /// The problem document.
    pub problem: Option<Value>,
    /// The problem's name, for the ledger.
    pub problem_name: Option<String>,
    /// For `Unknown`: what the last read showed.
    pub observed: Option<ObservedState>,
    /// The vendor calls made.
    pub calls: Vec<VendorCallLog>,
    /// The names of the losses that were done.
    pub losses: Vec<String>,
    /// JSON to replay for the idempotency key; `None` forgets the key, so that a repeat runs.
    pub replay_json: Option<String>,
    /// The lease to give back.
    pub lease: Option<Lease>,
}

impl Outcome {
    /// What an operation that ends so is.
    pub(super) fn final_state(&self) -> OperationState {
        match self.state {
            OperationState::Running => OperationState::Unknown,
            settled => settled,
        }
    }

    /// Whether its ledger entry is not all there is to tell.
    pub(super) fn has_details(&self) -> bool {
        !self.warnings.is_empty() || self.observed.is_some() || self.problem.is_some()
    }
}

/// What the caller of a write that goes on was told meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterimResponse {
    /// 202.
    Accepted,
    /// `outcome-unknown`.
    Unknown,
}

impl InterimResponse {
    /// The number in the store; 0 = nothing, 1 = either of them, as earlier versions wrote.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Accepted => 2,
            Self::Unknown => 3,
        }
    }

    /// What a number in the store means.
    pub(super) fn from_number(number: i64) -> Option<Self> {
        [Self::Accepted, Self::Unknown].into_iter().find(|told| told.number() == number)
    }
}

/// An operation whose instance is dead, taken over by this one: settle it and `finish` it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanedOperation {
    /// Which.
    pub operation: OperationId,
    /// What its caller was told, where [`Store::interim`](super::Store::interim) was told of it.
    pub response: Option<InterimResponse>,
    /// What `begin` was given for this moment.
    pub recovery: Option<String>,
}

/// Which operations to list.
#[derive(Clone, Debug, Default)]
pub struct OperationQuery {
    /// The systems the caller may see; of no others anything is told.
    pub systems: Vec<String>,
    /// Only of this record.
    pub record: Option<String>,
    /// Only in this state.
    pub state: Option<OperationState>,
    /// At most so many.
    pub limit: usize,
    /// Only after this one: a former page's `next`.
    pub after: Option<OperationId>,
}

/// Which ledger entries to list.
#[derive(Clone, Debug, Default)]
pub struct LedgerQuery {
    /// The systems the caller may see; of no others anything is told.
    pub systems: Vec<String>,
    /// Only of this record.
    pub record: Option<String>,
    /// Only of this caller.
    pub caller: Option<String>,
    /// Only at or after.
    pub since: Option<jiff::Timestamp>,
    /// Only before.
    pub until: Option<jiff::Timestamp>,
    /// At most so many.
    pub limit: usize,
    /// Only after this one: a former page's `next`.
    pub after_seq: Option<i64>,
}

/// A part of a list, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// At most `limit`; perhaps none although there is a next page, because one call looks at a bounded number of rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` = this was the last.
    pub next: Option<C>,
}
