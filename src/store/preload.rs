//! What the writer reads before it decides.

use std::sync::Arc;

use sqlx::AnyConnection;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::backend::Backend;
use super::block_reader::BlockReader;
use super::command::{QueuedCommand, StoreCommand};
use super::sql::{SqlValue, bind_all};
use super::writer_state::{
    ChainHead, IdempotencyKeyId, IdempotencyRow, LeaseRow, RecordKey, RecordOperation, RunningOperation, WriterState,
};
use super::{Intent, InterimResponse, OrphanedOperation, ledger_only_operations};
use crate::record::{Action, OperationId, OperationState};

/// How many names one look-up takes; fewer are filled up with the last, so that one statement serves all.
const BIND_CHUNK: usize = 16;

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

/// An instance that has not been seen for so long is dead.
pub(super) const DEAD_AFTER_MS: i64 = 20_000;

/// Where the chain ends, and the time. On a shared database this waits for the other writers and keeps them waiting.
pub(super) async fn load_head(
    connection: &mut AnyConnection,
    engine: &Backend,
    board: &mut WriterState,
) -> Result<i64, sqlx::Error> {
    let row = sqlx::query(engine.head_statement()).fetch_one(connection).await?;
    board.head = ChainHead {
        seq: row.try_get(0)?,
        hash: row.try_get(1)?,
        fence: row.try_get(2)?,
        last_operation: row.try_get(4)?,
    };
    let last: i64 = row.try_get(3)?;
    board.advance_clock(last);
    row.try_get(5)
}

/// A complete board for the only writer; the own running operations where the database is shared.
pub(super) async fn load_state(
    connection: &mut AnyConnection,
    engine: &Backend,
    board: &mut WriterState,
) -> Result<(), sqlx::Error> {
    load_head(connection, engine, board).await?;
    let owner = if engine.is_shared() { board.instance.clone() } else { String::new() };
    let cells = bind_all([SqlValue::text(&owner), SqlValue::text(&owner)])?;
    for row in sqlx::query_with(RUNNING, cells).fetch_all(&mut *connection).await? {
        let (_, running) = orphan_from_row(&row)?;
        board.track(running);
    }
    if !engine.is_shared() {
        for row in sqlx::query(LEASES).fetch_all(&mut *connection).await? {
            set_lease(board, &row)?;
        }
    }
    Ok(())
}

/// What a batch is about.
#[derive(Default)]
struct BatchKeys {
    /// Where leases and running operations matter.
    record_keys: Vec<(String, String)>,
    keys: Vec<IdempotencyKeyId>,
    /// Operations to be settled or told about.
    owned: Vec<OperationId>,
    /// Operations that may have been written before.
    retried: Vec<OperationId>,
    orphan_limit: Option<i64>,
}

impl BatchKeys {
    fn from_batch(batch: &[QueuedCommand], board: &WriterState) -> Self {
        let mut wanted = Self::default();
        for command in batch {
            match &command.task {
                StoreCommand::Acquire { system, record, .. } => {
                    wanted.record_keys.push((system.clone(), record.clone()))
                }
                StoreCommand::Renew { lease, .. } | StoreCommand::Release { lease } => {
                    wanted.record_keys.push((lease.system.clone(), lease.record.clone()));
                }
                StoreCommand::Begin(intent) => {
                    if let Some(record) = &intent.record {
                        wanted.record_keys.push((intent.system.to_string(), record.to_string()));
                    }
                    if let Some(lease) = &intent.lease {
                        wanted.record_keys.push((lease.system.clone(), lease.record.clone()));
                    }
                    if let Some(claim) = &intent.idempotency {
                        wanted.keys.push((intent.caller.to_string(), claim.key.clone()));
                    }
                    if command.is_retry {
                        wanted.retried.push(intent.operation.clone());
                    }
                }
                StoreCommand::SaveInterim { operation, .. } | StoreCommand::CancelUnclaimed(operation) => {
                    wanted.add_owned(operation, board);
                }
                StoreCommand::Finish(outcome) => {
                    wanted.add_owned(&outcome.operation, board);
                    if let Some(lease) = &outcome.lease {
                        wanted.record_keys.push((lease.system.clone(), lease.record.clone()));
                    }
                }
                StoreCommand::Adopt { limit } => wanted.orphan_limit = Some(*limit),
                StoreCommand::Heartbeat | StoreCommand::Probe | StoreCommand::Flush => {}
            }
        }
        wanted
    }

    fn add_owned(&mut self, operation: &OperationId, board: &WriterState) {
        if let Some(running) = board.running.get(operation) {
            self.owned.push(operation.clone());
            if let Some(key) = &running.key {
                self.keys.push((running.intent.caller.to_string(), key.clone()));
            }
        }
    }
}

/// Loads what deciding a batch needs; gives back the operations of dead instances, if the batch asks for them, and those that
/// were this one's before without anybody having heard of it.
pub(super) async fn preload_batch(
    connection: &mut AnyConnection,
    engine: &Backend,
    board: &mut WriterState,
    batch: &[QueuedCommand],
    unheard: &[OperationId],
) -> Result<Vec<(OrphanedOperation, RunningOperation)>, sqlx::Error> {
    let wanted = BatchKeys::from_batch(batch, board);
    board.already_written.clear();
    if engine.is_shared() {
        reload_shared_state(connection, board, &wanted).await?;
    }
    for names in bind_pairs(&wanted.keys) {
        for row in sqlx::query_with(KEYS, bind_all(names)?).fetch_all(&mut *connection).await? {
            let (name, key) = idempotency_from_row(&row)?;
            // What this batch has decided already is newer than what is on disk.
            board.keys.entry(name).or_insert(key);
        }
    }
    for (id, ..) in load_statuses(connection, &wanted.retried).await? {
        board.already_written.insert(id);
    }
    for id in wanted.retried {
        if !board.already_written.contains(&id)
            && ledger_only_operations::operation(connection, &id, i64::MIN).await?.is_some()
        {
            board.already_written.insert(id);
        }
    }
    let Some(limit) = wanted.orphan_limit else { return Ok(Vec::new()) };
    let seen_since = SqlValue::Number(board.now.saturating_sub(DEAD_AFTER_MS));
    let cells = bind_all([SqlValue::text(&board.instance), seen_since, SqlValue::Number(limit)])?;
    let mut rows = sqlx::query_with(ORPHANS, cells).fetch_all(&mut *connection).await?;
    for id in unheard {
        let cells = bind_all([SqlValue::text(&board.instance), SqlValue::text(id.as_str())])?;
        rows.extend(sqlx::query_with(UNCLAIMED, cells).fetch_optional(&mut *connection).await?);
    }
    rows.iter().map(orphan_from_row).collect()
}

/// What other replicas may have changed.
async fn reload_shared_state(
    connection: &mut AnyConnection,
    board: &mut WriterState,
    wanted: &BatchKeys,
) -> Result<(), sqlx::Error> {
    board.records.clear();
    board.leases.clear();
    for names in bind_pairs(&wanted.record_keys) {
        for row in sqlx::query_with(LEASES_OF, bind_all(names.clone())?).fetch_all(&mut *connection).await? {
            set_lease(board, &row)?;
        }
        for row in sqlx::query_with(RUNNING_ON, bind_all(names)?).fetch_all(&mut *connection).await? {
            let queued: i64 = row.try_get(3)?;
            let deletes = parse_action(row.try_get(4)?)? == Action::Delete;
            let running = RecordOperation { id: parse_operation_id(row.try_get(2)?)?, is_async: queued != 0, deletes };
            board.track_on_record(record_key_from_row(&row)?, running);
        }
    }
    // One that another replica has taken over is that one's to settle: it may have found out more.
    let still = load_statuses(connection, &wanted.owned).await?;
    for id in &wanted.owned {
        let is_ours = |(other, state, owner): &OperationStatus| {
            other == id
                && state == OperationState::Running.as_str()
                && owner.as_deref() == Some(board.instance.as_str())
        };
        if !still.iter().any(is_ours) {
            board.running.remove(id);
        }
    }
    Ok(())
}

/// An operation with its state and its owner.
type OperationStatus = (OperationId, String, Option<String>);

async fn load_statuses(
    connection: &mut AnyConnection,
    ids: &[OperationId],
) -> Result<Vec<OperationStatus>, sqlx::Error> {
    let mut found = Vec::new();
    for chunk in ids.chunks(BIND_CHUNK) {
        let cells = pad_chunk(chunk).map(|id| SqlValue::text(id.as_str()));
        for row in sqlx::query_with(STATES_OF, bind_all(cells)?).fetch_all(&mut *connection).await? {
            found.push((parse_operation_id(row.try_get(0)?)?, row.try_get(1)?, row.try_get(2)?));
        }
    }
    Ok(found)
}

fn bind_pairs(names: &[(String, String)]) -> impl Iterator<Item = Vec<SqlValue>> {
    names
        .chunks(BIND_CHUNK)
        .map(|chunk| pad_chunk(chunk).flat_map(|(one, two)| [SqlValue::text(one), SqlValue::text(two)]).collect())
}

fn pad_chunk<T>(chunk: &[T]) -> impl Iterator<Item = &T> {
    chunk.iter().chain(std::iter::repeat(chunk.last()).flatten()).take(BIND_CHUNK)
}

fn set_lease(board: &mut WriterState, row: &AnyRow) -> Result<(), sqlx::Error> {
    let lease = LeaseRow { fence: row.try_get(2)?, expires: row.try_get(3)? };
    board.leases.insert(record_key_from_row(row)?, lease);
    Ok(())
}

/// The system and the record that a row begins with.
fn record_key_from_row(row: &AnyRow) -> Result<RecordKey, sqlx::Error> {
    let (system, record): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    Ok((system.into(), record.into()))
}

/// A row of the idempotency table.
pub(super) fn idempotency_from_row(row: &AnyRow) -> Result<(IdempotencyKeyId, IdempotencyRow), sqlx::Error> {
    let key = IdempotencyRow {
        fingerprint: row.try_get(2)?,
        operation: parse_operation_id(row.try_get(3)?)?,
        replay_json: row.try_get(4)?,
        interim: row.try_get(5)?,
        expires: row.try_get(6)?,
    };
    Ok(((row.try_get(0)?, row.try_get(1)?), key))
}

fn optional_text(row: &AnyRow, column: usize) -> Result<Option<Arc<str>>, sqlx::Error> {
    Ok(row.try_get::<Option<&str>, _>(column)?.map(Into::into))
}

/// The id in a row.
pub(super) fn parse_operation_id(text: &str) -> Result<OperationId, sqlx::Error> {
    OperationId::parse(text).ok_or_else(|| sqlx::Error::Decode("an operation's id is not a UUID".into()))
}

/// The action in a row.
pub(super) fn parse_action(word: &str) -> Result<Action, sqlx::Error> {
    [Action::Read, Action::Create, Action::Update, Action::Delete]
        .into_iter()
        .find(|action| action.as_str() == word)
        .ok_or_else(|| sqlx::Error::Decode("an operation's action is unknown".into()))
}

fn orphan_from_row(row: &AnyRow) -> Result<(OrphanedOperation, RunningOperation), sqlx::Error> {
    let operation = parse_operation_id(row.try_get(0)?)?;
    let (queued, told): (i64, i64) = (row.try_get(5)?, row.try_get(8)?);
    let key: Option<String> = row.try_get(6)?;
    let (seq, started, first, lines): (i64, i64, Option<i64>, Option<String>) =
        (row.try_get(9)?, row.try_get(10)?, row.try_get(11)?, row.try_get(12)?);
    let page = first.zip(lines.as_deref());
    let entry = page.and_then(|(first, lines)| BlockReader::new(first, String::new(), lines).find(seq));
    // Where the ledger has been tampered with the operation still has to be settled.
    let entry = entry.filter(|entry| entry.operation == operation);
    let (request_id, precondition, bound_to, paths, losses) = entry
        .map(|entry| (entry.request_id, entry.precondition, entry.compared_etag, entry.paths, entry.losses))
        .unwrap_or_default();
    let intent = Intent {
        operation: operation.clone(),
        request_id: request_id.into(),
        caller: optional_text(row, 4)?.unwrap_or_default(),
        system: optional_text(row, 2)?.unwrap_or_default(),
        record: optional_text(row, 3)?,
        action: parse_action(row.try_get(1)?)?,
        precondition,
        compared_etag: bound_to,
        paths: Arc::new(paths),
        losses,
        is_async: queued != 0,
        lease: None,
        idempotency: None,
        recovery: None,
    };
    let unsettled =
        OrphanedOperation { operation, response: InterimResponse::from_number(told), recovery: row.try_get(7)? };
    Ok((unsettled, RunningOperation { intent: Arc::new(intent), seq, started, key }))
}
