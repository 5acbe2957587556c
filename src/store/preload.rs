//! What the writer reads before it applies a batch.

use sqlx::AnyConnection;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::backend::Backend;
use super::command::{QueuedCommand, StoreCommand};
use super::decode::{idempotency_from_row, orphan_from_row, parse_action, parse_operation_id, record_key_from_row};
use super::ledger_only_operations;
use super::model::OrphanedOperation;
use super::rows::{ChainHead, IdempotencyKeyId, LeaseRow, RecordOperation, RunningOperation};
use super::sql::{SqlValue, bind_all, pad_chunk};
use super::writer_state::WriterState;
use crate::record::{Action, OperationId, OperationState};

/// How many names one lookup takes: the statements below have placeholders for as many.
const NAMES_PER_LOOKUP: usize = 16;

const RUNNING: &str = "SELECT o.id, o.action, o.system, o.record, o.caller, o.queued, o.key, o.material, o.told,
    o.intent_seq, o.started, l.first_seq, l.lines
    FROM operation o LEFT JOIN ledger l ON l.first_seq = (SELECT max(first_seq) FROM ledger WHERE first_seq <= o.intent_seq)
    WHERE o.state = 'running' AND ($1 = '' OR o.owner = $2)";
const ORPHANS: &str = "SELECT o.id, o.action, o.system, o.record, o.caller, o.queued, o.key, o.material, o.told,
    o.intent_seq, o.started, l.first_seq, l.lines
    FROM operation o LEFT JOIN ledger l ON l.first_seq = (SELECT max(first_seq) FROM ledger WHERE first_seq <= o.intent_seq)
    WHERE o.state = 'running' AND o.owner <> $1
    AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.id = o.owner AND i.seen > $2)
    ORDER BY o.id LIMIT $3";
const UNCLAIMED: &str = "SELECT o.id, o.action, o.system, o.record, o.caller, o.queued, o.key, o.material, o.told,
    o.intent_seq, o.started, l.first_seq, l.lines
    FROM operation o LEFT JOIN ledger l ON l.first_seq = (SELECT max(first_seq) FROM ledger WHERE first_seq <= o.intent_seq)
    WHERE o.state = 'running' AND o.owner = $1 AND o.id = $2";
const LEASES: &str = "SELECT system, record, fence, expires FROM lease";
const LEASES_OF: &str = "SELECT system, record, fence, expires FROM lease WHERE (system, record) IN (VALUES
    ($1,$2),($3,$4),($5,$6),($7,$8),($9,$10),($11,$12),($13,$14),($15,$16),
    ($17,$18),($19,$20),($21,$22),($23,$24),($25,$26),($27,$28),($29,$30),($31,$32))";
const RUNNING_ON: &str =
    "SELECT system, record, id, queued, action FROM operation WHERE state = 'running' AND (system, record) IN (VALUES
    ($1,$2),($3,$4),($5,$6),($7,$8),($9,$10),($11,$12),($13,$14),($15,$16),
    ($17,$18),($19,$20),($21,$22),($23,$24),($25,$26),($27,$28),($29,$30),($31,$32)) ORDER BY id";
const STATES_OF: &str = "SELECT id, state, owner FROM operation
    WHERE id IN ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16)";
const KEYS: &str = "SELECT caller, key, fingerprint, operation, verdict, interim, expires FROM idempotency
    WHERE (caller, key) IN (VALUES
    ($1,$2),($3,$4),($5,$6),($7,$8),($9,$10),($11,$12),($13,$14),($15,$16),
    ($17,$18),($19,$20),($21,$22),($23,$24),($25,$26),($27,$28),($29,$30),($31,$32))";

/// An instance without a heartbeat for this long is dead.
pub(super) const DEAD_AFTER_MS: i64 = 20_000;

/// Loads the chain's head and returns the time in milliseconds. On PostgreSQL this takes the lock
/// that makes the writers of all replicas take turns.
pub(super) async fn load_head(
    connection: &mut AnyConnection,
    backend: &Backend,
    state: &mut WriterState,
) -> Result<i64, sqlx::Error> {
    let row = sqlx::query(backend.head_statement()).fetch_one(connection).await?;
    state.head = ChainHead {
        seq: row.try_get(0)?,
        hash: row.try_get(1)?,
        fence: row.try_get(2)?,
        last_operation: row.try_get(4)?,
    };
    let head_time: i64 = row.try_get(3)?;
    state.advance_clock(head_time);
    row.try_get(5)
}

/// Loads the complete state for the only writer, or this instance's operations on PostgreSQL.
pub(super) async fn load_state(
    connection: &mut AnyConnection,
    backend: &Backend,
    state: &mut WriterState,
) -> Result<(), sqlx::Error> {
    load_head(connection, backend, state).await?;
    let owner = if backend.is_shared() { state.instance.clone() } else { String::new() };
    let values = bind_all([SqlValue::text(&owner), SqlValue::text(&owner)])?;
    for row in sqlx::query_with(RUNNING, values).fetch_all(&mut *connection).await? {
        let (_, running) = orphan_from_row(&row)?;
        state.track(running);
    }
    if !backend.is_shared() {
        for row in sqlx::query(LEASES).fetch_all(&mut *connection).await? {
            set_lease(state, &row)?;
        }
    }
    Ok(())
}

/// The records, keys and operations that a batch concerns.
#[derive(Default)]
struct BatchKeys {
    /// Records whose leases and running operations matter.
    record_keys: Vec<(String, String)>,
    keys: Vec<IdempotencyKeyId>,
    /// Operations of this instance that the batch continues or ends.
    owned: Vec<OperationId>,
    /// Operations whose intent may be in the database already.
    retried: Vec<OperationId>,
    orphan_limit: Option<i64>,
}

impl BatchKeys {
    fn from_batch(batch: &[QueuedCommand], state: &WriterState) -> Self {
        let mut batch_keys = Self::default();
        for queued in batch {
            match &queued.command {
                StoreCommand::Acquire { system, record, .. } => {
                    batch_keys.record_keys.push((system.clone(), record.clone()));
                }
                StoreCommand::Renew { lease, .. } | StoreCommand::Release { lease } => {
                    batch_keys.record_keys.push((lease.system.clone(), lease.record.clone()));
                }
                StoreCommand::Begin(intent) => {
                    if let Some(record) = &intent.record {
                        batch_keys.record_keys.push((intent.system.to_string(), record.to_string()));
                    }
                    if let Some(lease) = &intent.lease {
                        batch_keys.record_keys.push((lease.system.clone(), lease.record.clone()));
                    }
                    if let Some(claim) = &intent.idempotency {
                        batch_keys.keys.push((intent.caller.to_string(), claim.key.clone()));
                    }
                    if queued.is_retry {
                        batch_keys.retried.push(intent.operation.clone());
                    }
                }
                StoreCommand::SaveInterim { operation, .. } | StoreCommand::CancelUnclaimed(operation) => {
                    batch_keys.add_owned(operation, state);
                }
                StoreCommand::Finish(outcome) => {
                    batch_keys.add_owned(&outcome.operation, state);
                    if let Some(lease) = &outcome.lease {
                        batch_keys.record_keys.push((lease.system.clone(), lease.record.clone()));
                    }
                }
                StoreCommand::Adopt { limit } => batch_keys.orphan_limit = Some(*limit),
                StoreCommand::Heartbeat | StoreCommand::Probe | StoreCommand::Flush => {}
            }
        }
        batch_keys
    }

    fn add_owned(&mut self, operation: &OperationId, state: &WriterState) {
        if let Some(running) = state.running.get(operation) {
            self.owned.push(operation.clone());
            if let Some(key) = &running.key {
                self.keys.push((running.intent.caller.to_string(), key.clone()));
            }
        }
    }
}

/// Loads what applying a batch needs. If the batch adopts, returns the operations of dead instances
/// and the `unclaimed` ones: adopted before, but their caller never received them.
pub(super) async fn preload_batch(
    connection: &mut AnyConnection,
    backend: &Backend,
    state: &mut WriterState,
    batch: &[QueuedCommand],
    unclaimed: &[OperationId],
) -> Result<Vec<(OrphanedOperation, RunningOperation)>, sqlx::Error> {
    let batch_keys = BatchKeys::from_batch(batch, state);
    state.already_written.clear();
    if backend.is_shared() {
        reload_shared_state(connection, state, &batch_keys).await?;
    }
    for names in bind_pairs(&batch_keys.keys) {
        for row in sqlx::query_with(KEYS, bind_all(names)?).fetch_all(&mut *connection).await? {
            let (key_id, row) = idempotency_from_row(&row)?;
            // What this batch has changed already is newer than the database.
            state.keys.entry(key_id).or_insert(row);
        }
    }
    for (id, ..) in load_statuses(connection, &batch_keys.retried).await? {
        state.already_written.insert(id);
    }
    for id in batch_keys.retried {
        if !state.already_written.contains(&id)
            && ledger_only_operations::operation(connection, &id, i64::MIN).await?.is_some()
        {
            state.already_written.insert(id);
        }
    }
    let Some(limit) = batch_keys.orphan_limit else { return Ok(Vec::new()) };
    let alive_since = SqlValue::Number(state.now_ms.saturating_sub(DEAD_AFTER_MS));
    let values = bind_all([SqlValue::text(&state.instance), alive_since, SqlValue::Number(limit)])?;
    let mut rows = sqlx::query_with(ORPHANS, values).fetch_all(&mut *connection).await?;
    for id in unclaimed {
        let values = bind_all([SqlValue::text(&state.instance), SqlValue::text(id.as_str())])?;
        rows.extend(sqlx::query_with(UNCLAIMED, values).fetch_optional(&mut *connection).await?);
    }
    rows.iter().map(orphan_from_row).collect()
}

/// Reloads what other replicas may have changed.
async fn reload_shared_state(
    connection: &mut AnyConnection,
    state: &mut WriterState,
    batch_keys: &BatchKeys,
) -> Result<(), sqlx::Error> {
    state.records.clear();
    state.leases.clear();
    for names in bind_pairs(&batch_keys.record_keys) {
        for row in sqlx::query_with(LEASES_OF, bind_all(names.clone())?).fetch_all(&mut *connection).await? {
            set_lease(state, &row)?;
        }
        for row in sqlx::query_with(RUNNING_ON, bind_all(names)?).fetch_all(&mut *connection).await? {
            let is_async: i64 = row.try_get(3)?;
            let deletes = parse_action(row.try_get(4)?)? == Action::Delete;
            let running =
                RecordOperation { id: parse_operation_id(row.try_get(2)?)?, is_async: is_async != 0, deletes };
            state.track_on_record(record_key_from_row(&row)?, running);
        }
    }
    // Another replica may have adopted an operation. Its outcome counts: it may know more.
    let statuses = load_statuses(connection, &batch_keys.owned).await?;
    for id in &batch_keys.owned {
        let is_ours = |(other, status, owner): &OperationStatus| {
            other == id
                && status == OperationState::Running.as_str()
                && owner.as_deref() == Some(state.instance.as_str())
        };
        if !statuses.iter().any(is_ours) {
            state.running.remove(id);
        }
    }
    Ok(())
}

/// An operation, its state and its owner.
type OperationStatus = (OperationId, String, Option<String>);

async fn load_statuses(
    connection: &mut AnyConnection,
    ids: &[OperationId],
) -> Result<Vec<OperationStatus>, sqlx::Error> {
    let mut found = Vec::new();
    for chunk in ids.chunks(NAMES_PER_LOOKUP) {
        let values = pad_chunk(chunk, NAMES_PER_LOOKUP).map(|id| SqlValue::text(id.as_str()));
        for row in sqlx::query_with(STATES_OF, bind_all(values)?).fetch_all(&mut *connection).await? {
            found.push((parse_operation_id(row.try_get(0)?)?, row.try_get(1)?, row.try_get(2)?));
        }
    }
    Ok(found)
}

/// The values of one lookup for each chunk of names.
fn bind_pairs(names: &[(String, String)]) -> impl Iterator<Item = Vec<SqlValue>> {
    let bind = |(one, two): &(String, String)| [SqlValue::text(one), SqlValue::text(two)];
    names.chunks(NAMES_PER_LOOKUP).map(move |chunk| pad_chunk(chunk, NAMES_PER_LOOKUP).flat_map(bind).collect())
}

fn set_lease(state: &mut WriterState, row: &AnyRow) -> Result<(), sqlx::Error> {
    let lease = LeaseRow { fence: row.try_get(2)?, expires_ms: row.try_get(3)? };
    state.leases.insert(record_key_from_row(row)?, lease);
    Ok(())
}
