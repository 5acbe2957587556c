//! Asynchronous batches (contract 4.10): kept in the journal, so that they resume after a crash and
//! at another replica. The lease of a batch's id says who runs it.
//!
//! A batch's id has the form of an operation id. An item that had begun when its process died is
//! known by its operation, which is followed to its end. Nothing is sent for the item again, unless
//! its write was found not applied: then the item begins again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use super::head::{BatchHead, BatchState, now_text};
use super::lease::BatchLease;
use super::outcome::ItemClass;
use super::repeat::adopt_outcomes;
use super::running::{LoadResult, RunningBatch};
use super::stored_form::RawBatch;
use crate::http::batch_registry::{BatchMemory, RunGuard};
use crate::http::state::SharedApiState;
use crate::journal::{BatchRow, IdempotencyClaim, IdempotencyState, Journal, JournalError};
use crate::problem::ProblemKind;
use crate::record::{JsonObjectWriter, OperationId};

/// How often a replica polls for batches that no process runs.
const RESUME_INTERVAL: Duration = Duration::from_secs(2);
/// How many batches one process resumes at once, and how many it tries to in one poll.
const MAX_RESUMED: usize = 16;
/// The most unfinished batches that one poll reads.
const MAX_OPEN: usize = 1000;

/// A batch that is to be stored.
pub(in crate::http) struct NewBatch {
    pub(in crate::http) id: Arc<str>,
    /// The same id, in the form that it shares with operations.
    batch_id: OperationId,
    rows: Vec<BatchRow>,
    repeats: Option<OperationId>,
    claim: Option<IdempotencyClaim>,
    memory: BatchMemory,
    /// Always `Some`: nobody else has this new id.
    guard: Option<RunGuard>,
}

/// Whether a batch is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) enum StoreResult {
    /// It is, and it runs.
    Stored,
    /// It is not, and nothing of it begins.
    NotStored,
    /// It is not: it is a repetition of the batch of this id.
    Repetition(OperationId),
    /// It is not: another batch has its key.
    KeyReused,
    /// The commit was not confirmed. If the batch is stored, some process runs it.
    Unknown,
}

impl NewBatch {
    /// The rows of a batch.
    pub(in crate::http) fn new(
        shared: &SharedApiState,
        head: &BatchHead,
        (raw, claim): (&RawBatch, Option<IdempotencyClaim>),
        memory: BatchMemory,
    ) -> Self {
        let batch_id = OperationId::new();
        let id: Arc<str> = batch_id.as_str().into();
        let row = |position: usize, request: String| BatchRow {
            id: Arc::clone(&id),
            position: i64::try_from(position).unwrap_or(i64::MAX),
            status: 0,
            request,
            response: None,
        };
        let head_text = serde_json::to_string(head).unwrap_or_default();
        let mut rows = vec![BatchRow { position: BatchRow::HEAD, status: BatchRow::OPEN, ..row(0, head_text) }];
        rows.extend(raw.items().enumerate().map(|(position, item)| row(position, item)));
        let guard = shared.load().process.batches.claim(&id);
        Self { id, batch_id, rows, repeats: head.repeats.as_ref().map(|first| first.id.clone()), claim, memory, guard }
    }

    /// Saves the batch and begins it. It continues when the caller waits no longer.
    pub(in crate::http) async fn begin(self, shared: Arc<SharedApiState>) -> StoreResult {
        let journal = shared.load().gateway.journal().clone();
        // Without the lease another replica would begin, too. Nobody else can have it.
        let Some(lease) = BatchLease::acquire(&journal, &self.id).await else { return StoreResult::NotStored };
        let stored = match journal.store_batch(&self.batch_id, self.rows, self.claim, self.repeats).await {
            Ok(None) => StoreResult::Stored,
            Ok(Some(IdempotencyState::Running(first))) => StoreResult::Repetition(first),
            Ok(Some(_)) => StoreResult::KeyReused,
            Err(error) => find_stored(&journal, &self.id, &error).await,
        };
        if stored == StoreResult::Stored {
            let (id, memory, guard) = (self.id, self.memory, self.guard);
            actix_web::rt::spawn(run(shared, journal, id, lease, memory, guard));
        } else if stored != StoreResult::Unknown {
            lease.release().await;
        }
        stored
    }
}

/// Whether rows are in the store that it did not confirm.
async fn find_stored(journal: &Journal, id: &str, error: &JournalError) -> StoreResult {
    // A server can still commit what this process gave up. An unconfirmed SQLite commit can
    // reappear after a crash, until a later commit succeeds.
    let is_rolled_back =
        *error != JournalError::CommitUnknown || (!journal.is_shared() && journal.ping().await.is_ok());
    match journal.batch_rows(id, BatchRow::HEAD, 1).await {
        Ok(rows) if !rows.is_empty() => StoreResult::Stored,
        Ok(_) if is_rolled_back => StoreResult::NotStored,
        Ok(_) | Err(_) => StoreResult::Unknown,
    }
}

/// Resumes the batches that no process runs, until it is dropped.
pub async fn resume(shared: Arc<SharedApiState>) {
    let mut poll = interval(RESUME_INTERVAL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut polls = 0;
    loop {
        poll.tick().await;
        let api = shared.load();
        if api.gateway.is_draining() {
            continue;
        }
        let journal = api.gateway.journal().clone();
        let registry = &api.process.batches;
        let mut open = journal.open_batches(MAX_OPEN).await.unwrap_or_default();
        open.retain(|id| !registry.is_running(id));
        // Each poll tries others, so that batches of other replicas hide none.
        let tried = open.len().min(MAX_RESUMED);
        let first = polls * MAX_RESUMED % open.len().max(1);
        open.rotate_left(first);
        polls += 1;
        for id in open.into_iter().take(tried) {
            if registry.running_count() < MAX_RESUMED {
                try_to_resume(&shared, &journal, &id).await;
            }
        }
    }
}

async fn try_to_resume(shared: &Arc<SharedApiState>, journal: &Journal, id: &str) {
    let registry = Arc::clone(&shared.load().process.batches);
    let Some(guard) = registry.claim(id) else { return };
    let Some(lease) = BatchLease::acquire(journal, id).await else { return };
    let len = journal.batch_size(id).await.unwrap_or_default();
    let Some(memory) = registry.reserve(len) else {
        // A later poll tries again.
        lease.release().await;
        return;
    };
    tracing::info!(batch = id, "an interrupted batch resumes");
    let (shared, journal) = (Arc::clone(shared), journal.clone());
    actix_web::rt::spawn(run(shared, journal, id.into(), lease, memory, Some(guard)));
}

/// Runs a batch until it is over, its lease is lost, or the process stops.
async fn run(
    shared: Arc<SharedApiState>,
    journal: Journal,
    id: Arc<str>,
    lease: BatchLease,
    memory: BatchMemory,
    _guard: Option<RunGuard>,
) {
    let loaded = async {
        if adopt_outcomes(&journal, &id, &lease).await? {
            return RunningBatch::load(&shared, &journal, (&id, &lease), memory).await;
        }
        Ok(LoadResult::LeaseLost)
    };
    match loaded.await {
        Ok(LoadResult::Batch(mut batch)) => {
            if batch.run(&lease).await {
                batch.close(&lease).await;
            }
        }
        Ok(LoadResult::Unreadable) => end_unreadable(&journal, &id).await,
        Ok(LoadResult::LeaseLost) => {}
        Err(error) => tracing::warn!(batch = &*id, %error, "a stored batch cannot be read now"),
    }
    lease.release().await;
}

/// Ends a batch that another version has stored and this one cannot read, or that is too old, so
/// that it does not stay open for ever. The outcome of items that have not ended is unknown: they
/// may have begun.
async fn end_unreadable(journal: &Journal, id: &Arc<str>) {
    tracing::error!(batch = &**id, "a stored batch cannot be read; what is left of it is ended as unknown");
    let Ok(rows) = journal.batch_rows(id, BatchRow::CANCEL, usize::MAX >> 1).await else { return };
    let is_cancelled = rows.iter().any(|row| row.position == BatchRow::CANCEL);
    let state = BatchState { is_cancelled, finished_at: Some(now_text()) };
    let end = |row: BatchRow| match row.position {
        BatchRow::HEAD => BatchRow { status: 0, response: serde_json::to_string(&state).ok(), ..row },
        _ => BatchRow {
            status: ItemClass::Unknown as i64,
            response: Some(unreadable_item(&row)),
            request: RawBatch::without_body(&row.request),
            ..row
        },
    };
    let is_open = |row: &BatchRow| row.position == BatchRow::HEAD || (row.position >= 0 && row.status == 0);
    let open = rows.into_iter().filter(is_open);
    if let Err(error) = journal.save_batch_rows(open.map(end).collect()).await {
        tracing::warn!(batch = &**id, %error, "a stored batch that cannot be read stays open");
    }
}

/// The document of an item whose batch cannot be read.
fn unreadable_item(row: &BatchRow) -> String {
    let item: Value = serde_json::from_str(&row.request).unwrap_or_default();
    let id = item.get("id").and_then(Value::as_str).map_or_else(|| row.position.to_string(), str::to_owned);
    let detail = "the gateway cannot continue this batch: another version has stored it, or its items are no longer \
                  kept; look for the write among the operations";
    let problem = ProblemKind::OutcomeUnknown.with_detail(detail);
    JsonObjectWriter::new()
        .string("id", &id)
        .serialized("status", &problem.kind.spec().status)
        .raw("headers", r#"{"content-type":"application/problem+json"}"#)
        .serialized("body", &problem.to_stored_json(None, None))
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::JournalSettings;

    async fn open(url: &str) -> Journal {
        let settings = JournalSettings { url: url.to_owned(), ..JournalSettings::default() };
        Journal::open(settings, Arc::new(())).await.expect("a store")
    }

    #[tokio::test]
    async fn a_failed_commit_is_undone_only_if_a_later_one_succeeds() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.db");
        let journal = open(&format!("sqlite:{}", path.display())).await;
        let row = |id: &str| BatchRow {
            id: id.into(),
            position: BatchRow::HEAD,
            status: BatchRow::OPEN,
            request: String::new(),
            response: None,
        };
        journal.save_batch_rows(vec![row("there")]).await.expect("saved");
        let (unknown, unavailable) = (JournalError::CommitUnknown, JournalError::Unavailable);
        assert_eq!(find_stored(&journal, "there", &unknown).await, StoreResult::Stored);
        assert_eq!(find_stored(&journal, "missing", &unknown).await, StoreResult::NotStored);
        let file = rusqlite::Connection::open(&path).expect("a connection");
        let fails = "CREATE TRIGGER fails BEFORE INSERT ON instance BEGIN SELECT RAISE(ABORT, 'fails'); END";
        file.execute_batch(fails).expect("a trigger");
        assert_eq!(find_stored(&journal, "missing", &unknown).await, StoreResult::Unknown);
        assert_eq!(find_stored(&journal, "missing", &unavailable).await, StoreResult::NotStored, "none was sent");
        assert_eq!(find_stored(&journal, "there", &unknown).await, StoreResult::Stored);
        file.execute_batch("DROP TRIGGER fails").expect("no trigger");
        assert!(journal.close(Duration::from_secs(30)).await);
        assert_eq!(find_stored(&journal, "missing", &unknown).await, StoreResult::Unknown);
        assert_eq!(find_stored(&journal, "missing", &unavailable).await, StoreResult::Unknown, "nobody can read it");
    }
}
