//! What a batch writes, collected while it is decided and written with few statements.

use std::sync::Arc;

use foldhash::HashMap;
use sqlx::AnyConnection;

use super::ledger_block::{LedgerBlock, PendingEntry};
use super::sql::{BulkStatement, SqlValue, StatementCache, bind_all};
use super::writer_state::{IdempotencyKeyId, IdempotencyRow, LeaseRow, RecordKey, RunningOperation, WriterState};
use super::{Intent, InterimResponse, Outcome};
use crate::record::{OperationId, OperationState};

const INSERT_RUNNING: BulkStatement = BulkStatement {
    before: "INSERT INTO operation
             (id, owner, state, action, system, record, caller, queued, started, intent_seq, key, material) VALUES",
    after: "",
};
/// Of an operation that begins and ends in one batch only the end is written.
const INSERT_FINISHED: BulkStatement = BulkStatement {
    before: "INSERT INTO operation
             (id, action, system, caller, started, state, record, finished, etag, warnings, problem, observed) VALUES",
    after: "",
};
const SET_OWNER: BulkStatement = BulkStatement {
    before: "UPDATE operation SET owner = v.column2 FROM (VALUES",
    after: ") AS v WHERE operation.id = v.column1",
};
const SET_INTERIM: BulkStatement = BulkStatement {
    before: "UPDATE operation SET told = v.column2 FROM (VALUES",
    after: ") AS v WHERE operation.id = v.column1",
};
const FINISH_OPERATION: BulkStatement = BulkStatement {
    before: "UPDATE operation SET material = NULL, state = v.column2, record = v.column3, finished = v.column4,
             etag = v.column5, warnings = v.column6, problem = v.column7, observed = v.column8 FROM (VALUES",
    after: ") AS v WHERE operation.id = v.column1",
};
const INSERT_LEDGER: BulkStatement =
    BulkStatement { before: "INSERT INTO ledger (first_seq, at, prev, lines, last_operation) VALUES", after: "" };
const INSERT_RECORD_INDEX: BulkStatement =
    BulkStatement { before: "INSERT INTO ledger_record (system, record, first_seq) VALUES", after: "" };
const SET_KEYS: BulkStatement = BulkStatement {
    before: "INSERT INTO idempotency (caller, key, fingerprint, operation, verdict, interim, expires) VALUES",
    after:
        " ON CONFLICT (caller, key) DO UPDATE SET fingerprint = excluded.fingerprint, operation = excluded.operation,
             verdict = excluded.verdict, interim = excluded.interim, expires = excluded.expires",
};
const FORGET_KEYS: BulkStatement =
    BulkStatement { before: "DELETE FROM idempotency WHERE (caller, key) IN (VALUES", after: ")" };
const SET_LEASES: BulkStatement = BulkStatement {
    before: "INSERT INTO lease (system, record, owner, fence, expires) VALUES",
    after: " ON CONFLICT (system, record)
             DO UPDATE SET owner = excluded.owner, fence = excluded.fence, expires = excluded.expires",
};
const FREE_LEASES: BulkStatement =
    BulkStatement { before: "DELETE FROM lease WHERE (system, record) IN (VALUES", after: ")" };
const UPSERT_HEARTBEAT: &str =
    "INSERT INTO instance (id, seen) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen";
/// Only from where the chain ended when this batch was decided: nothing that is written is written over.
const ADVANCE_HEAD: &str =
    "UPDATE head SET seq = $1, hash = $2, fence = $3, at = $4, last_operation = $5 WHERE id = 1 AND seq = $6";

/// An operation that has ended, and has a row: the ledger does not tell all of it.
#[derive(Debug)]
pub(super) struct FinishedOperation {
    pub(super) intent: Arc<Intent>,
    pub(super) intent_seq: i64,
    pub(super) outcome: Arc<Outcome>,
    /// Milliseconds since 1970.
    pub(super) started: i64,
    pub(super) finished: i64,
}

impl FinishedOperation {
    /// The columns that its end sets.
    fn end_columns(&self) -> [SqlValue; 7] {
        let outcome = &*self.outcome;
        let warnings =
            (!outcome.warnings.is_empty()).then(|| serde_json::to_string(&outcome.warnings).unwrap_or_default());
        [
            SqlValue::text(outcome.final_state().as_str()),
            SqlValue::opt_text(outcome.record.as_deref().or(self.intent.record.as_deref())),
            SqlValue::Number(self.finished),
            SqlValue::opt_text(outcome.etag.as_ref()),
            SqlValue::opt_text(warnings),
            SqlValue::opt_text(outcome.problem.as_ref().map(ToString::to_string)),
            SqlValue::opt_text(outcome.observed.map(super::ObservedState::as_str)),
        ]
    }

    /// The row of `END`.
    fn insert_row(&self) -> Vec<SqlValue> {
        let what_it_is = [
            SqlValue::text(self.intent.operation.as_str()),
            SqlValue::text(self.intent.action.as_str()),
            SqlValue::text(&*self.intent.system),
            SqlValue::text(&*self.intent.caller),
            SqlValue::Number(self.started),
        ];
        what_it_is.into_iter().chain(self.end_columns()).collect()
    }

    /// The row of `SETTLE`.
    fn update_row(&self) -> Vec<SqlValue> {
        [SqlValue::text(self.intent.operation.as_str())].into_iter().chain(self.end_columns()).collect()
    }
}

/// The row of `BEGIN`.
fn running_row(running: &RunningOperation, owner: &str) -> Vec<SqlValue> {
    let intent = &*running.intent;
    vec![
        SqlValue::text(intent.operation.as_str()),
        SqlValue::text(owner),
        SqlValue::text(OperationState::Running.as_str()),
        SqlValue::text(intent.action.as_str()),
        SqlValue::text(&*intent.system),
        SqlValue::opt_text(intent.record.as_deref()),
        SqlValue::text(&*intent.caller),
        SqlValue::Number(intent.is_async.into()),
        SqlValue::Number(running.started),
        SqlValue::Number(running.seq),
        SqlValue::opt_text(running.key.as_ref()),
        SqlValue::Recovery(intent.recovery.clone()),
    ]
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct WriteSet {
    /// What the ledger gets.
    pub(super) entries: Vec<PendingEntry>,
    pub(super) finished: Vec<FinishedOperation>,
    adopted: Vec<OperationId>,
    interim_rows: Vec<Vec<SqlValue>>,
    /// The greatest id of the operations that these entries tell.
    last_operation: Option<OperationId>,
    /// The final state of each lease that changed.
    pub(super) leases: HashMap<RecordKey, Option<LeaseRow>>,
    /// The final state of each key that changed.
    pub(super) keys: HashMap<IdempotencyKeyId, Option<IdempotencyRow>>,
    /// Whether this instance says that it lives.
    pub(super) heartbeat: bool,
}

impl WriteSet {
    pub(super) fn is_empty(&self) -> bool {
        !self.heartbeat
            && self.leases.is_empty()
            && self.keys.is_empty()
            && self.interim_rows.is_empty()
            && self.adopted.is_empty()
            && self.entries.is_empty()
    }

    /// Whether an entry is among these.
    pub(super) fn contains_entry(&self, seq: i64) -> bool {
        self.entries.first().is_some_and(|first| first.seq <= seq)
    }

    /// The entries tell all of this operation.
    pub(super) fn mark_ledger_only(&mut self, operation: &OperationId) {
        if self.last_operation.as_ref().is_none_or(|last| last.as_str() < operation.as_str()) {
            self.last_operation = Some(operation.clone());
        }
    }

    pub(super) fn adopt(&mut self, operation: &OperationId) {
        self.adopted.push(operation.clone());
    }

    pub(super) fn set_interim_state(&mut self, operation: &OperationId, told: InterimResponse) {
        self.interim_rows.push(vec![SqlValue::text(operation.as_str()), SqlValue::Number(told.number())]);
    }

    /// Writes everything, in an order that holds within one batch: an operation may begin and end in it.
    pub(super) async fn write(
        self,
        connection: &mut AnyConnection,
        statements: &mut StatementCache,
        board: &mut WriterState,
    ) -> Result<(), sqlx::Error> {
        let before = board.head.seq.saturating_sub(self.entries.len().try_into().unwrap_or(i64::MAX));
        let instance = board.instance.as_str();
        let owner = |id: &OperationId| vec![SqlValue::text(id.as_str()), SqlValue::text(instance)];
        let mut page = LedgerBlock::from_entries(&self.entries, &board.head.hash);
        let (begun_here, settled): (Vec<_>, Vec<_>) =
            self.finished.iter().partition(|one| self.contains_entry(one.intent_seq));
        // Of what began here, that which has not ended.
        let begun = board
            .running
            .values()
            .filter(|one| self.contains_entry(one.seq))
            .map(|one| running_row(one, instance))
            .collect();
        let (set_leases, free_leases) = lease_rows(self.leases, instance);
        let (set_keys, forget_keys) = key_rows(self.keys);
        for (bulk, rows) in [
            (INSERT_RUNNING, begun),
            (INSERT_FINISHED, begun_here.into_iter().map(FinishedOperation::insert_row).collect()),
            (SET_OWNER, self.adopted.iter().map(owner).collect()),
            (SET_INTERIM, self.interim_rows),
            (FINISH_OPERATION, settled.into_iter().map(FinishedOperation::update_row).collect()),
            (INSERT_LEDGER, page.iter_mut().map(|page| ledger_row(page, self.last_operation.as_ref())).collect()),
            (INSERT_RECORD_INDEX, page.iter().flat_map(record_index_rows).collect()),
            (SET_KEYS, set_keys),
            (FORGET_KEYS, forget_keys),
            (SET_LEASES, set_leases),
            (FREE_LEASES, free_leases),
        ] {
            statements.run(connection, bulk, rows).await?;
        }
        let now = SqlValue::Number(board.now);
        if self.heartbeat {
            let cells = bind_all([SqlValue::text(instance), now.clone()])?;
            sqlx::query_with(UPSERT_HEARTBEAT, cells).execute(&mut *connection).await?;
        }
        let head = &mut board.head;
        if let Some(page) = page {
            head.hash = page.hash();
        }
        if let Some(last) = &self.last_operation {
            last.as_str().clone_into(&mut head.last_operation);
        }
        let (seq, hash, fence) = (SqlValue::Number(head.seq), SqlValue::text(&head.hash), SqlValue::Number(head.fence));
        let cells = bind_all([seq, hash, fence, now, SqlValue::text(&head.last_operation), SqlValue::Number(before)])?;
        let moved = sqlx::query_with(ADVANCE_HEAD, cells).execute(&mut *connection).await?.rows_affected();
        if moved == 1 { Ok(()) } else { Err(sqlx::Error::Protocol("the ledger does not end where it ended".into())) }
    }
}

type Rows = Vec<Vec<SqlValue>>;

fn ledger_row(page: &mut LedgerBlock<'_>, last_operation: Option<&OperationId>) -> Vec<SqlValue> {
    vec![
        SqlValue::Number(page.first),
        SqlValue::Number(page.at),
        SqlValue::text(&page.prev),
        // JSON text holds no NUL, and a page is long.
        SqlValue::Text(std::mem::take(&mut page.lines)),
        SqlValue::opt_text(last_operation.map(OperationId::as_str)),
    ]
}

fn record_index_rows(page: &LedgerBlock<'_>) -> impl Iterator<Item = Vec<SqlValue>> {
    let trace = |(system, record): (&str, &str)| {
        vec![SqlValue::text(system), SqlValue::text(record), SqlValue::Number(page.first)]
    };
    page.records().map(trace)
}

fn lease_rows(changed: HashMap<RecordKey, Option<LeaseRow>>, owner: &str) -> (Rows, Rows) {
    let (mut set, mut free) = (Vec::new(), Vec::new());
    for ((system, record), row) in changed {
        let mut cells = vec![SqlValue::text(&*system), SqlValue::text(&*record)];
        match row {
            Some(row) => {
                cells.extend([SqlValue::text(owner), SqlValue::Number(row.fence), SqlValue::Number(row.expires)]);
                set.push(cells);
            }
            None => free.push(cells),
        }
    }
    (set, free)
}

fn key_rows(changed: HashMap<IdempotencyKeyId, Option<IdempotencyRow>>) -> (Rows, Rows) {
    let (mut set, mut forget) = (Vec::new(), Vec::new());
    for ((caller, key), row) in changed {
        let mut cells = vec![SqlValue::text(caller), SqlValue::text(key)];
        match row {
            Some(row) => {
                cells.extend([
                    SqlValue::Bytes(row.fingerprint),
                    SqlValue::text(row.operation.as_str()),
                    SqlValue::opt_text(row.replay_json),
                    SqlValue::opt_text(row.interim),
                    SqlValue::Number(row.expires),
                ]);
                set.push(cells);
            }
            None => forget.push(cells),
        }
    }
    (set, forget)
}
