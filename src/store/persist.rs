//! Writes a batch's changes to the database with few statements.

use foldhash::HashMap;
use sqlx::AnyConnection;

use super::ledger_block::LedgerBlock;
use super::rows::{IdempotencyKeyId, IdempotencyRow, LeaseRow, RecordKey, RunningOperation};
use super::sql::{BulkStatement, SqlValue, StatementCache, bind_all};
use super::write_set::{FinishedOperation, WriteSet};
use super::writer_state::WriterState;
use crate::record::{ObservedState, OperationId, OperationState};

const INSERT_RUNNING: BulkStatement = BulkStatement {
    before: "INSERT INTO operation
             (id, owner, state, action, system, record, caller, queued, started, intent_seq, key, material) VALUES",
    after: "",
};
/// An operation that begins and ends in one batch is inserted in its final state.
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
/// Only if the chain still ends where it did when the batch was applied: no entry is overwritten.
const ADVANCE_HEAD: &str =
    "UPDATE head SET seq = $1, hash = $2, fence = $3, at = $4, last_operation = $5 WHERE id = 1 AND seq = $6";

type Rows = Vec<Vec<SqlValue>>;

impl WriteSet {
    /// Writes everything, in an order that holds within one batch: an operation may begin and end
    /// in it.
    pub(super) async fn write(
        self,
        connection: &mut AnyConnection,
        statements: &mut StatementCache,
        state: &mut WriterState,
    ) -> Result<(), sqlx::Error> {
        let seq_before = state.head.seq.saturating_sub(self.entries.len().try_into().unwrap_or(i64::MAX));
        let instance = state.instance.as_str();
        let mut block = LedgerBlock::from_entries(&self.entries, &state.head.hash);
        let (begun_here, begun_before): (Vec<_>, Vec<_>) =
            self.finished.iter().partition(|finished| self.contains_entry(finished.intent_seq));
        let still_running = state
            .running
            .values()
            .filter(|running| self.contains_entry(running.intent_seq))
            .map(|running| running_row(running, instance))
            .collect();
        let (set_leases, free_leases) = lease_rows(self.leases, instance);
        let (set_keys, forget_keys) = key_rows(self.keys);
        for (statement, rows) in [
            (INSERT_RUNNING, still_running),
            (INSERT_FINISHED, begun_here.into_iter().map(insert_row).collect()),
            (SET_OWNER, self.adopted.iter().map(|id| owner_row(id, instance)).collect()),
            (SET_INTERIM, self.interim.iter().map(|(id, response)| interim_row(id, response.code())).collect()),
            (FINISH_OPERATION, begun_before.into_iter().map(update_row).collect()),
            (INSERT_LEDGER, block.iter_mut().map(|block| ledger_row(block, self.last_operation.as_ref())).collect()),
            (INSERT_RECORD_INDEX, block.iter().flat_map(record_index_rows).collect()),
            (SET_KEYS, set_keys),
            (FORGET_KEYS, forget_keys),
            (SET_LEASES, set_leases),
            (FREE_LEASES, free_leases),
        ] {
            statements.execute(connection, statement, rows).await?;
        }
        let now = SqlValue::Number(state.now_ms);
        if self.heartbeat {
            let values = bind_all([SqlValue::text(instance), now.clone()])?;
            sqlx::query_with(UPSERT_HEARTBEAT, values).execute(&mut *connection).await?;
        }
        let head = &mut state.head;
        if let Some(block) = block {
            head.hash = block.hash();
        }
        if let Some(last) = &self.last_operation {
            last.as_str().clone_into(&mut head.last_operation);
        }
        let (seq, hash, fence) = (SqlValue::Number(head.seq), SqlValue::text(&head.hash), SqlValue::Number(head.fence));
        let last_operation = SqlValue::text(&head.last_operation);
        let values = bind_all([seq, hash, fence, now, last_operation, SqlValue::Number(seq_before)])?;
        let updated = sqlx::query_with(ADVANCE_HEAD, values).execute(&mut *connection).await?.rows_affected();
        if updated == 1 { Ok(()) } else { Err(sqlx::Error::Protocol("another writer has extended the ledger".into())) }
    }
}

/// The row of `INSERT_RUNNING`.
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
        SqlValue::Number(running.started_ms),
        SqlValue::Number(running.intent_seq),
        SqlValue::opt_text(running.key.as_ref()),
        SqlValue::Recovery(intent.recovery.clone()),
    ]
}

/// The row of `INSERT_FINISHED`.
fn insert_row(finished: &FinishedOperation) -> Vec<SqlValue> {
    let intent = &finished.intent;
    let begin_columns = [
        SqlValue::text(intent.operation.as_str()),
        SqlValue::text(intent.action.as_str()),
        SqlValue::text(&*intent.system),
        SqlValue::text(&*intent.caller),
        SqlValue::Number(finished.started_ms),
    ];
    begin_columns.into_iter().chain(end_columns(finished)).collect()
}

/// The row of `FINISH_OPERATION`.
fn update_row(finished: &FinishedOperation) -> Vec<SqlValue> {
    [SqlValue::text(finished.intent.operation.as_str())].into_iter().chain(end_columns(finished)).collect()
}

fn end_columns(finished: &FinishedOperation) -> [SqlValue; 7] {
    let outcome = &*finished.outcome;
    let warnings = (!outcome.warnings.is_empty()).then(|| serde_json::to_string(&outcome.warnings).unwrap_or_default());
    [
        SqlValue::text(outcome.final_state().as_str()),
        SqlValue::opt_text(outcome.record.as_deref().or(finished.intent.record.as_deref())),
        SqlValue::Number(finished.finished_ms),
        SqlValue::opt_text(outcome.etag.as_ref()),
        SqlValue::opt_text(warnings),
        SqlValue::opt_text(outcome.problem.as_ref().map(ToString::to_string)),
        SqlValue::opt_text(outcome.observed.map(ObservedState::as_str)),
    ]
}

fn owner_row(operation: &OperationId, instance: &str) -> Vec<SqlValue> {
    vec![SqlValue::text(operation.as_str()), SqlValue::text(instance)]
}

fn interim_row(operation: &OperationId, response: i64) -> Vec<SqlValue> {
    vec![SqlValue::text(operation.as_str()), SqlValue::Number(response)]
}

fn ledger_row(block: &mut LedgerBlock<'_>, last_operation: Option<&OperationId>) -> Vec<SqlValue> {
    vec![
        SqlValue::Number(block.first_seq),
        SqlValue::Number(block.at),
        SqlValue::text(&block.prev),
        // JSON text holds no NUL, and a block is long: it is moved, not searched.
        SqlValue::Text(std::mem::take(&mut block.lines)),
        SqlValue::opt_text(last_operation.map(OperationId::as_str)),
    ]
}

fn record_index_rows(block: &LedgerBlock<'_>) -> impl Iterator<Item = Vec<SqlValue>> {
    let row = |(system, record): (&str, &str)| {
        vec![SqlValue::text(system), SqlValue::text(record), SqlValue::Number(block.first_seq)]
    };
    block.records().map(row)
}

/// The rows to set and the rows to delete.
fn lease_rows(changed: HashMap<RecordKey, Option<LeaseRow>>, owner: &str) -> (Rows, Rows) {
    let (mut set, mut free) = (Vec::new(), Vec::new());
    for ((system, record), row) in changed {
        let mut values = vec![SqlValue::text(&*system), SqlValue::text(&*record)];
        match row {
            Some(row) => {
                values.extend([SqlValue::text(owner), SqlValue::Number(row.fence), SqlValue::Number(row.expires_ms)]);
                set.push(values);
            }
            None => free.push(values),
        }
    }
    (set, free)
}

/// The rows to set and the rows to delete.
fn key_rows(changed: HashMap<IdempotencyKeyId, Option<IdempotencyRow>>) -> (Rows, Rows) {
    let (mut set, mut forget) = (Vec::new(), Vec::new());
    for ((caller, key), row) in changed {
        let mut values = vec![SqlValue::text(caller), SqlValue::text(key)];
        match row {
            Some(row) => {
                values.extend([
                    SqlValue::Bytes(row.fingerprint),
                    SqlValue::text(row.operation.as_str()),
                    SqlValue::opt_text(row.replay_json),
                    SqlValue::opt_text(row.interim),
                    SqlValue::Number(row.expires_ms),
                ]);
                set.push(values);
            }
            None => forget.push(values),
        }
    }
    (set, forget)
}
