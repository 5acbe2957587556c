//! What callers of the journal pass to it and get back.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::store_url::Location;
use crate::bounded;
use crate::metrics::ChangeType;
use crate::problem::ProblemKind;
use crate::record::{Action, ObservedState, OperationId, OperationState, VendorRequestLog, Warning};

/// What a commit waits for. It is the database's own setting; nothing in the journal differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The disk: `synchronous = FULL` in SQLite, `synchronous_commit = on` in PostgreSQL.
    Commit,
    /// Nothing: `synchronous = NORMAL`, `synchronous_commit = off`. A crash of the process loses
    /// nothing with SQLite; a crash of the machine or of the server may lose the last moments.
    Relaxed,
}

impl Durability {
    /// Every word.
    pub const ALL: [Self; 2] = [Self::Commit, Self::Relaxed];

    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Relaxed => "relaxed",
        }
    }
}

/// The `[store]` section of the configuration.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct JournalSettings {
    /// `sqlite:PATH` (relative to the working directory), `sqlite::memory:` (a temporary file) or
    /// `postgres://…`. Default `sqlite:records-gateway.db`.
    pub url: String,
    /// What a commit waits for. Default [`Durability::Commit`].
    pub durability: Durability,
    /// How long an idempotency key replays its outcome, counted from the outcome, 1 s to 365 d.
    /// Default 24 h.
    #[serde(deserialize_with = "bounded::duration::<1000, 31_536_000_000, _>")]
    pub idempotency_ttl: Duration,
    /// How long finished operations are kept, 1 s to 3650 d. Default 90 d.
    #[serde(deserialize_with = "bounded::duration::<1000, 315_360_000_000, _>")]
    pub retention: Duration,
    /// How long states of records that callers got are kept for all replicas, 1 s to 24 h. Default
    /// zero: each process remembers its own.
    #[serde(deserialize_with = "bounded::duration::<1000, 86_400_000, _>")]
    pub remember_shown: Duration,
}

impl JournalSettings {
    /// Whether replicas share the store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Location::parse(&self.url).is_ok_and(|url| url.is_shared())
    }
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            url: "sqlite:records-gateway.db".to_owned(),
            durability: Durability::Commit,
            idempotency_ttl: Duration::from_hours(24),
            retention: Duration::from_hours(90 * 24),
            remember_shown: Duration::ZERO,
        }
    }
}

impl std::fmt::Debug for JournalSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        formatter
            .debug_struct("JournalSettings")
            .field("durability", &self.durability)
            .field("idempotency_ttl", &self.idempotency_ttl)
            .field("retention", &self.retention)
            .field("remember_shown", &self.remember_shown)
            .finish_non_exhaustive()
    }
}

/// Receives what the journal counts. It runs on the journal's thread and must not block.
pub trait JournalMetrics: Send + Sync {
    /// The ledger has one more entry (`ledger_entries_total`).
    fn on_ledger_entry(&self);
    /// A commit took this many seconds (`ledger_commit_duration_seconds`).
    fn on_commit(&self, seconds: f64);
    /// The feed of changes has one more event of a system (`changes_total`).
    fn on_change(&self, system: &str, change: ChangeType);
}

impl JournalMetrics for () {
    fn on_ledger_entry(&self) {}
    fn on_commit(&self, _seconds: f64) {}
    fn on_change(&self, _system: &str, _change: ChangeType) {}
}

/// The exclusive permission to write one record until it expires (contract 4.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The record's system.
    pub system: String,
    /// The record's full id.
    pub record: String,
    /// The fencing number: greater than that of every earlier lease.
    pub fence: i64,
}

/// The result of [`Journal::acquire`](super::Journal::acquire).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseResult {
    /// The lease is held until it expires, is released, or its operation is finished.
    Lease(Lease),
    /// Another writer holds a live lease; try again soon.
    Held,
    /// An operation runs on the record.
    Running(OperationId),
}

/// An `Idempotency-Key` and the request that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyClaim {
    /// The caller that sent the key; in an [`Intent`] the intent's caller.
    pub caller: String,
    /// The key, unquoted.
    pub key: String,
    /// What the key is bound to: BLAKE3 over method, path, `If-Match`, body and `If-Plan`.
    pub fingerprint: [u8; 32],
    /// Whether it belongs to an asynchronous batch or to one of its items: it is kept as long as
    /// the batch is.
    pub is_of_stored_batch: bool,
}

/// The state of an idempotency key that is not free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdempotencyState {
    /// The first request runs.
    Running(OperationId),
    /// The first request ended with this [`Outcome::replay_json`].
    Completed(String),
    /// The first request got this interim response (JSON as given to
    /// [`Journal::save_interim_outcome`](super::Journal::save_interim_outcome)) and is unresolved.
    Interim(String),
    /// The key belongs to another request.
    Mismatch,
}

/// A write that is about to be sent to a vendor.
#[derive(Clone, Debug)]
pub struct Intent {
    /// A new id.
    pub operation: OperationId,
    /// `X-Request-Id`.
    pub request_id: Arc<str>,
    /// The batch and the item that the write is: `{request id}/{item id}`.
    pub batch_item: Option<Arc<str>>,
    /// The model that the caller used, `{name}@{fingerprint}`.
    pub model: Option<Arc<str>>,
    /// The caller's name.
    pub caller: Arc<str>,
    /// The configured system's name.
    pub system: Arc<str>,
    /// The full canonical id; `None` for a create.
    pub record: Option<Arc<str>>,
    /// Create, update or delete.
    pub action: Action,
    /// `If-Match` as sent.
    pub precondition: Option<String>,
    /// The ETag of the version that the vendor compares, if `precondition` does not name exactly
    /// that.
    pub compared_etag: Option<String>,
    /// The ETag of the state that the change was applied to, if that is not the caller's.
    pub rebased_onto: Option<String>,
    /// Whether the write was compared with a plan.
    pub has_if_plan: bool,
    /// What changes, without values: JSON Pointers.
    pub paths: Arc<[String]>,
    /// The names of the accepted losses.
    pub losses: Vec<String>,
    /// Whether the write is queued: other writes of the record are refused, and reads name it.
    pub is_async: bool,
    /// The lease of a guarded write, which is checked. A native write has `None` and is refused
    /// while another writer holds a lease.
    pub lease: Option<Lease>,
    /// The idempotency key, if the caller sent one.
    pub idempotency: Option<IdempotencyClaim>,
    /// What reconciling needs after a crash, as JSON; dropped when the operation is finished.
    pub recovery: Option<Arc<str>>,
}

/// The result of [`Journal::begin`](super::Journal::begin). Only `Started` permits the caller to
/// send the write, and obliges it to call `finish`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginResult {
    /// The intent is persisted.
    Started,
    /// Another writer holds a live lease on the record; try again soon.
    LeaseHeld,
    /// The given lease has expired or belongs to another writer.
    LeaseLost,
    /// A queued or unresolved write runs on the record.
    Running(OperationId),
    /// The idempotency key is not free.
    IdempotencyKey(IdempotencyState),
}

/// How a write ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The operation that ended.
    pub operation: OperationId,
    /// The state in which it ends, which is never `Running`.
    pub state: OperationState,
    /// The record's id if the write revealed it; `None` keeps the intent's.
    pub record: Option<String>,
    /// The record's ETag after the write, if confirmed.
    pub etag: Option<String>,
    /// The warnings that the caller gets.
    pub warnings: Vec<Warning>,
    /// The problem document.
    pub problem: Option<Value>,
    /// The problem's name, for the ledger.
    pub problem_name: Option<String>,
    /// For `Unknown`: what the final probe read.
    pub observed: Option<ObservedState>,
    /// The vendor calls made.
    pub calls: Vec<VendorRequestLog>,
    /// The names of the losses that happened.
    pub losses: Vec<String>,
    /// JSON that the idempotency key replays; `None` frees the key, so that a repeat runs.
    pub replay_json: Option<String>,
    /// The lease to release.
    pub lease: Option<Lease>,
}

impl Outcome {
    /// An outcome with nothing but its state.
    pub(super) fn without_effect(operation: &OperationId, state: OperationState) -> Self {
        Self {
            operation: operation.clone(),
            state,
            record: None,
            etag: None,
            warnings: Vec::new(),
            problem: None,
            problem_name: None,
            observed: None,
            calls: Vec::new(),
            losses: Vec::new(),
            replay_json: None,
            lease: None,
        }
    }

    /// The outcome of an operation whose caller never received `Started`.
    pub(super) fn not_sent(operation: &OperationId) -> Self {
        let problem_name = Some(ProblemKind::Overloaded.as_str().to_owned());
        Self { problem_name, ..Self::without_effect(operation, OperationState::NotApplied) }
    }

    /// Whether the outcome holds what a ledger entry does not.
    pub(super) fn has_details(&self) -> bool {
        !self.warnings.is_empty() || self.observed.is_some() || self.problem.is_some()
    }
}

/// The response that a caller got while its write still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterimResponse {
    /// 202.
    Accepted,
    /// `outcome-unknown`. From now on the write blocks its record as a queued one does.
    Unknown,
}

impl InterimResponse {
    /// The stored number.
    pub(super) fn code(self) -> i64 {
        match self {
            Self::Accepted => 1,
            Self::Unknown => 2,
        }
    }

    /// The response of a stored number.
    pub(super) fn from_code(code: i64) -> Option<Self> {
        [Self::Accepted, Self::Unknown].into_iter().find(|response| response.code() == code)
    }
}

/// The writes to one system whose outcome is not known, as the store has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWrites {
    /// The system.
    pub system: String,
    /// Those that other instances reconcile, or had begun to before they died.
    pub reconciled_by_others: i64,
    /// Those that ended `unknown` and that nobody has resolved.
    pub ended: i64,
    /// When the oldest of all began, in milliseconds since 1970.
    pub oldest_ms: i64,
}

/// An operation of a dead instance, now this instance's to reconcile and `finish`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanedOperation {
    /// The operation.
    pub operation: OperationId,
    /// The interim response that its caller got, if one was saved.
    pub response: Option<InterimResponse>,
    /// The JSON of [`Intent::recovery`].
    pub recovery: Option<String>,
    /// When the store took its intent, in milliseconds since 1970.
    pub stored_ms: Option<i64>,
    /// When an instance adopted it for the first time, in milliseconds since 1970. Later adoptions
    /// keep this time, so that extra time for reconciling is granted once.
    pub first_adopted_ms: i64,
}
