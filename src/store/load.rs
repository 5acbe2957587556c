//! What the writer reads before it decides.

use std::sync::Arc;

use sqlx::AnyConnection;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::board::{Board, Head, KeyName, KeyRow, LeaseRow, OnRecord, Running, Target};
use super::command::{Command, Task};
use super::engine::Engine;
use super::lines::Lines;
use super::sql::{Cell, arguments};
use super::{Intent, Told, Unsettled, untabled};
use crate::record::{Action, OperationId, OperationState};

/// How many names one look-up takes; fewer are filled up with the last, so that one statement serves all.
const AT_ONCE: usize = 16;

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
const STILL_RUNNING: &str = "SELECT o.id, o.action, o.system, o.record, o.caller, o.queued, o.key, o.material, o.told,
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
pub(super) async fn head(
    connection: &mut AnyConnection,
    engine: &Engine,
    board: &mut Board,
) -> Result<i64, sqlx::Error> {
    let row = sqlx::query(engine.head_statement()).fetch_one(connection).await?;
    board.head =
        Head { seq: row.try_get(0)?, hash: row.try_get(1)?, fence: row.try_get(2)?, last_operation: row.try_get(4)? };
    let last: i64 = row.try_get(3)?;
    board.tick(last);
    row.try_get(5)
}

/// A complete board for the only writer; the own running operations where the database is shared.
pub(super) async fn everything(
    connection: &mut AnyConnection,
    engine: &Engine,
    board: &mut Board,
) -> Result<(), sqlx::Error> {
    head(connection, engine, board).await?;
    let owner = if engine.is_shared() { board.instance.clone() } else { String::new() };
    let cells = arguments([Cell::text(&owner), Cell::text(&owner)])?;
    for row in sqlx::query_with(RUNNING, cells).fetch_all(&mut *connection).await? {
        let (_, running) = unsettled(&row)?;
        board.run(running);
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
struct Wanted {
    /// Where leases and running operations matter.
    targets: Vec<(String, String)>,
    keys: Vec<KeyName>,
    /// Operations to be settled or told about.
    ours: Vec<OperationId>,
    /// Operations that may have been written before.
    again: Vec<OperationId>,
    orphans: Option<i64>,
}

impl Wanted {
    fn of(batch: &[Command], board: &Board) -> Self {
        let mut wanted = Self::default();
        for command in batch {
            match &command.task {
                Task::Acquire { system, record, .. } => wanted.targets.push((system.clone(), record.clone())),
                Task::Renew { lease, .. } | Task::Release { lease } => {
                    wanted.targets.push((lease.system.clone(), lease.record.clone()));
                }
                Task::Begin(intent) => {
                    if let Some(record) = &intent.record {
                        wanted.targets.push((intent.system.to_string(), record.to_string()));
                    }
                    if let Some(lease) = &intent.lease {
                        wanted.targets.push((lease.system.clone(), lease.record.clone()));
                    }
                    if let Some(claim) = &intent.claim {
                        wanted.keys.push((intent.caller.to_string(), claim.key.clone()));
                    }
                    if command.again {
                        wanted.again.push(intent.operation.clone());
                    }
                }
                Task::Interim { operation, .. } | Task::Abandon(operation) => {
                    wanted.ours(operation, board);
                }
                Task::Finish(outcome) => {
                    wanted.ours(&outcome.operation, board);
                    if let Some(lease) = &outcome.lease {
                        wanted.targets.push((lease.system.clone(), lease.record.clone()));
                    }
                }
                Task::Adopt { limit } => wanted.orphans = Some(*limit),
                Task::Seen | Task::Probe | Task::Flush => {}
            }
        }
        wanted
    }

    fn ours(&mut self, operation: &OperationId, board: &Board) {
        if let Some(running) = board.running.get(operation) {
            self.ours.push(operation.clone());
            if let Some(key) = &running.key {
                self.keys.push((running.intent.caller.to_string(), key.clone()));
            }
        }
    }
}

/// Loads what deciding a batch needs; gives back the operations of dead instances, if the batch asks for them, and those that
/// were this one's before without anybody having heard of it.
pub(super) async fn prepare(
    connection: &mut AnyConnection,
    engine: &Engine,
    board: &mut Board,
    batch: &[Command],
    unheard: &[OperationId],
) -> Result<Vec<(Unsettled, Running)>, sqlx::Error> {
    let wanted = Wanted::of(batch, board);
    board.known.clear();
    if engine.is_shared() {
        concerned(connection, board, &wanted).await?;
    }
    for names in pairs(&wanted.keys) {
        for row in sqlx::query_with(KEYS, arguments(names)?).fetch_all(&mut *connection).await? {
            let (name, key) = key_row(&row)?;
            // What this batch has decided already is newer than what is on disk.
            board.keys.entry(name).or_insert(key);
        }
    }
    for (id, ..) in states(connection, &wanted.again).await? {
        board.known.insert(id);
    }
    for id in wanted.again {
        if !board.known.contains(&id) && untabled::operation(connection, &id, i64::MIN).await?.is_some() {
            board.known.insert(id);
        }
    }
    let Some(limit) = wanted.orphans else { return Ok(Vec::new()) };
    let seen_since = Cell::Number(board.now.saturating_sub(DEAD_AFTER_MS));
    let cells = arguments([Cell::text(&board.instance), seen_since, Cell::Number(limit)])?;
    let mut rows = sqlx::query_with(ORPHANS, cells).fetch_all(&mut *connection).await?;
    for id in unheard {
        let cells = arguments([Cell::text(&board.instance), Cell::text(id.as_str())])?;
        rows.extend(sqlx::query_with(STILL_RUNNING, cells).fetch_optional(&mut *connection).await?);
    }
    rows.iter().map(unsettled).collect()
}

/// What other replicas may have changed.
async fn concerned(connection: &mut AnyConnection, board: &mut Board, wanted: &Wanted) -> Result<(), sqlx::Error> {
    board.records.clear();
    board.leases.clear();
    for names in pairs(&wanted.targets) {
        for row in sqlx::query_with(LEASES_OF, arguments(names.clone())?).fetch_all(&mut *connection).await? {
            set_lease(board, &row)?;
        }
        for row in sqlx::query_with(RUNNING_ON, arguments(names)?).fetch_all(&mut *connection).await? {
            let queued: i64 = row.try_get(3)?;
            let deletes = action(row.try_get(4)?)? == Action::Delete;
            let running = OnRecord { id: operation_id(row.try_get(2)?)?, queued: queued != 0, deletes };
            board.note(target(&row)?, running);
        }
    }
    // One that another replica has taken over is that one's to settle: it may have found out more.
    let still = states(connection, &wanted.ours).await?;
    for id in &wanted.ours {
        let is_ours = |(other, state, owner): &Stood| {
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
type Stood = (OperationId, String, Option<String>);

async fn states(connection: &mut AnyConnection, ids: &[OperationId]) -> Result<Vec<Stood>, sqlx::Error> {
    let mut found = Vec::new();
    for chunk in ids.chunks(AT_ONCE) {
        let cells = filled(chunk).map(|id| Cell::text(id.as_str()));
        for row in sqlx::query_with(STATES_OF, arguments(cells)?).fetch_all(&mut *connection).await? {
            found.push((operation_id(row.try_get(0)?)?, row.try_get(1)?, row.try_get(2)?));
        }
    }
    Ok(found)
}

fn pairs(names: &[(String, String)]) -> impl Iterator<Item = Vec<Cell>> {
    names.chunks(AT_ONCE).map(|chunk| filled(chunk).flat_map(|(one, two)| [Cell::text(one), Cell::text(two)]).collect())
}

fn filled<T>(chunk: &[T]) -> impl Iterator<Item = &T> {
    chunk.iter().chain(std::iter::repeat(chunk.last()).flatten()).take(AT_ONCE)
}

fn set_lease(board: &mut Board, row: &AnyRow) -> Result<(), sqlx::Error> {
    let lease = LeaseRow { fence: row.try_get(2)?, expires: row.try_get(3)? };
    board.leases.insert(target(row)?, lease);
    Ok(())
}

/// The system and the record that a row begins with.
fn target(row: &AnyRow) -> Result<Target, sqlx::Error> {
    let (system, record): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    Ok((system.into(), record.into()))
}

/// A row of the idempotency table.
pub(super) fn key_row(row: &AnyRow) -> Result<(KeyName, KeyRow), sqlx::Error> {
    let key = KeyRow {
        fingerprint: row.try_get(2)?,
        operation: operation_id(row.try_get(3)?)?,
        verdict: row.try_get(4)?,
        interim: row.try_get(5)?,
        expires: row.try_get(6)?,
    };
    Ok(((row.try_get(0)?, row.try_get(1)?), key))
}

fn text(row: &AnyRow, column: usize) -> Result<Option<Arc<str>>, sqlx::Error> {
    Ok(row.try_get::<Option<&str>, _>(column)?.map(Into::into))
}

/// The id in a row.
pub(super) fn operation_id(text: &str) -> Result<OperationId, sqlx::Error> {
    OperationId::parse(text).ok_or_else(|| sqlx::Error::Decode("an operation's id is not a UUID".into()))
}

/// The action in a row.
pub(super) fn action(word: &str) -> Result<Action, sqlx::Error> {
    [Action::Read, Action::Create, Action::Update, Action::Delete]
        .into_iter()
        .find(|action| action.as_str() == word)
        .ok_or_else(|| sqlx::Error::Decode("an operation's action is unknown".into()))
}

fn unsettled(row: &AnyRow) -> Result<(Unsettled, Running), sqlx::Error> {
    let operation = operation_id(row.try_get(0)?)?;
    let (queued, told): (i64, i64) = (row.try_get(5)?, row.try_get(8)?);
    let key: Option<String> = row.try_get(6)?;
    let (seq, started, first, lines): (i64, i64, Option<i64>, Option<String>) =
        (row.try_get(9)?, row.try_get(10)?, row.try_get(11)?, row.try_get(12)?);
    let page = first.zip(lines.as_deref());
    let entry = page.and_then(|(first, lines)| Lines::of(first, String::new(), lines).find(seq));
    // Where the ledger has been tampered with the operation still has to be settled.
    let entry = entry.filter(|entry| entry.operation == operation);
    let (request_id, precondition, bound_to, paths, losses) = entry
        .map(|entry| (entry.request_id, entry.precondition, entry.bound_to, entry.paths, entry.losses))
        .unwrap_or_default();
    let intent = Intent {
        operation: operation.clone(),
        request_id: request_id.into(),
        caller: text(row, 4)?.unwrap_or_default(),
        system: text(row, 2)?.unwrap_or_default(),
        record: text(row, 3)?,
        action: action(row.try_get(1)?)?,
        precondition,
        bound_to,
        paths: Arc::new(paths),
        losses,
        queued: queued != 0,
        lease: None,
        claim: None,
        material: None,
    };
    let unsettled = Unsettled { operation, told: Told::of(told), material: row.try_get(7)? };
    Ok((unsettled, Running { intent: Arc::new(intent), seq, started, key }))
}
