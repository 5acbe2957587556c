//! What a batch writes, collected while it is decided and written with few statements.

use std::sync::Arc;

use foldhash::HashMap;
use sqlx::AnyConnection;

use super::board::{Board, KeyName, KeyRow, LeaseRow, Running, Target};
use super::page::{NewEntry, Page};
use super::sql::{Bulk, Cell, Statements, arguments};
use super::{Intent, Outcome, Told};
use crate::record::{OperationId, OperationState};

const BEGIN: Bulk = Bulk {
    before: "INSERT INTO operation
             (id, owner, state, action, system, record, caller, queued, started, intent_seq, key, material) VALUES",
    after: "",
};
/// Of an operation that begins and ends in one batch only the end is written.
const END: Bulk = Bulk {
    before: "INSERT INTO operation
             (id, action, system, caller, started, state, record, finished, etag, warnings, problem, observed) VALUES",
    after: "",
};
const ADOPT: Bulk = Bulk {
    before: "UPDATE operation SET owner = v.column2 FROM (VALUES",
    after: ") AS v WHERE operation.id = v.column1",
};
const TOLD: Bulk = Bulk {
    before: "UPDATE operation SET told = v.column2 FROM (VALUES",
    after: ") AS v WHERE operation.id = v.column1",
};
const SETTLE: Bulk = Bulk {
    before: "UPDATE operation SET material = NULL, state = v.column2, record = v.column3, finished = v.column4,
             etag = v.column5, warnings = v.column6, problem = v.column7, observed = v.column8 FROM (VALUES",
    after: ") AS v WHERE operation.id = v.column1",
};
const APPEND: Bulk =
    Bulk { before: "INSERT INTO ledger (first_seq, at, prev, lines, last_operation) VALUES", after: "" };
const TRACE: Bulk = Bulk { before: "INSERT INTO ledger_record (system, record, first_seq) VALUES", after: "" };
const SET_KEYS: Bulk = Bulk {
    before: "INSERT INTO idempotency (caller, key, fingerprint, operation, verdict, interim, expires) VALUES",
    after:
        " ON CONFLICT (caller, key) DO UPDATE SET fingerprint = excluded.fingerprint, operation = excluded.operation,
             verdict = excluded.verdict, interim = excluded.interim, expires = excluded.expires",
};
const FORGET_KEYS: Bulk = Bulk { before: "DELETE FROM idempotency WHERE (caller, key) IN (VALUES", after: ")" };
const SET_LEASES: Bulk = Bulk {
    before: "INSERT INTO lease (system, record, owner, fence, expires) VALUES",
    after: " ON CONFLICT (system, record)
             DO UPDATE SET owner = excluded.owner, fence = excluded.fence, expires = excluded.expires",
};
const FREE_LEASES: Bulk = Bulk { before: "DELETE FROM lease WHERE (system, record) IN (VALUES", after: ")" };
const SEEN: &str =
    "INSERT INTO instance (id, seen) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen";
/// Only from where the chain ended when this batch was decided: nothing that is written is written over.
const HEAD: &str =
    "UPDATE head SET seq = $1, hash = $2, fence = $3, at = $4, last_operation = $5 WHERE id = 1 AND seq = $6";

/// An operation that has ended, and has a row: the ledger does not tell all of it.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) intent: Arc<Intent>,
    pub(super) intent_seq: i64,
    pub(super) outcome: Arc<Outcome>,
    /// Milliseconds since 1970.
    pub(super) started: i64,
    pub(super) finished: i64,
}

impl Ended {
    /// The columns that its end sets.
    fn end(&self) -> [Cell; 7] {
        let outcome = &*self.outcome;
        let warnings =
            (!outcome.warnings.is_empty()).then(|| serde_json::to_string(&outcome.warnings).unwrap_or_default());
        [
            Cell::text(outcome.settled_as().as_str()),
            Cell::maybe(outcome.record.as_deref().or(self.intent.record.as_deref())),
            Cell::Number(self.finished),
            Cell::maybe(outcome.etag.as_ref()),
            Cell::maybe(warnings),
            Cell::maybe(outcome.problem.as_ref().map(ToString::to_string)),
            Cell::maybe(outcome.observed.map(super::Observed::as_str)),
        ]
    }

    /// The row of `END`.
    fn whole(&self) -> Vec<Cell> {
        let what_it_is = [
            Cell::text(self.intent.operation.as_str()),
            Cell::text(self.intent.action.as_str()),
            Cell::text(&*self.intent.system),
            Cell::text(&*self.intent.caller),
            Cell::Number(self.started),
        ];
        what_it_is.into_iter().chain(self.end()).collect()
    }

    /// The row of `SETTLE`.
    fn change(&self) -> Vec<Cell> {
        [Cell::text(self.intent.operation.as_str())].into_iter().chain(self.end()).collect()
    }
}

/// The row of `BEGIN`.
fn begun(running: &Running, owner: &str) -> Vec<Cell> {
    let intent = &*running.intent;
    vec![
        Cell::text(intent.operation.as_str()),
        Cell::text(owner),
        Cell::text(OperationState::Running.as_str()),
        Cell::text(intent.action.as_str()),
        Cell::text(&*intent.system),
        Cell::maybe(intent.record.as_deref()),
        Cell::text(&*intent.caller),
        Cell::Number(intent.queued.into()),
        Cell::Number(running.started),
        Cell::Number(running.seq),
        Cell::maybe(running.key.as_ref()),
        Cell::Material(intent.material.clone()),
    ]
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What the ledger gets.
    pub(super) entries: Vec<NewEntry>,
    pub(super) ended: Vec<Ended>,
    adopted: Vec<OperationId>,
    told: Vec<Vec<Cell>>,
    /// The greatest id of the operations that these entries tell.
    last_operation: Option<OperationId>,
    /// The final state of each lease that changed.
    pub(super) leases: HashMap<Target, Option<LeaseRow>>,
    /// The final state of each key that changed.
    pub(super) keys: HashMap<KeyName, Option<KeyRow>>,
    /// Whether this instance says that it lives.
    pub(super) seen: bool,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        !self.seen
            && self.leases.is_empty()
            && self.keys.is_empty()
            && self.told.is_empty()
            && self.adopted.is_empty()
            && self.entries.is_empty()
    }

    /// Whether an entry is among these.
    pub(super) fn holds(&self, seq: i64) -> bool {
        self.entries.first().is_some_and(|first| first.seq <= seq)
    }

    /// The entries tell all of this operation.
    pub(super) fn tell(&mut self, operation: &OperationId) {
        if self.last_operation.as_ref().is_none_or(|last| last.as_str() < operation.as_str()) {
            self.last_operation = Some(operation.clone());
        }
    }

    pub(super) fn adopt(&mut self, operation: &OperationId) {
        self.adopted.push(operation.clone());
    }

    pub(super) fn told(&mut self, operation: &OperationId, told: Told) {
        self.told.push(vec![Cell::text(operation.as_str()), Cell::Number(told.number())]);
    }

    /// Writes everything, in an order that holds within one batch: an operation may begin and end in it.
    pub(super) async fn write(
        self,
        connection: &mut AnyConnection,
        statements: &mut Statements,
        board: &mut Board,
    ) -> Result<(), sqlx::Error> {
        let before = board.head.seq.saturating_sub(self.entries.len().try_into().unwrap_or(i64::MAX));
        let instance = board.instance.as_str();
        let owner = |id: &OperationId| vec![Cell::text(id.as_str()), Cell::text(instance)];
        let mut page = Page::of(&self.entries, &board.head.hash);
        let (begun_here, settled): (Vec<_>, Vec<_>) = self.ended.iter().partition(|one| self.holds(one.intent_seq));
        // Of what began here, that which has not ended.
        let begun = board.running.values().filter(|one| self.holds(one.seq)).map(|one| begun(one, instance)).collect();
        let (set_leases, free_leases) = leases(self.leases, instance);
        let (set_keys, forget_keys) = keys(self.keys);
        for (bulk, rows) in [
            (BEGIN, begun),
            (END, begun_here.into_iter().map(Ended::whole).collect()),
            (ADOPT, self.adopted.iter().map(owner).collect()),
            (TOLD, self.told),
            (SETTLE, settled.into_iter().map(Ended::change).collect()),
            (APPEND, page.iter_mut().map(|page| ledger_row(page, self.last_operation.as_ref())).collect()),
            (TRACE, page.iter().flat_map(traces).collect()),
            (SET_KEYS, set_keys),
            (FORGET_KEYS, forget_keys),
            (SET_LEASES, set_leases),
            (FREE_LEASES, free_leases),
        ] {
            statements.run(connection, bulk, rows).await?;
        }
        let now = Cell::Number(board.now);
        if self.seen {
            let cells = arguments([Cell::text(instance), now.clone()])?;
            sqlx::query_with(SEEN, cells).execute(&mut *connection).await?;
        }
        let head = &mut board.head;
        if let Some(page) = page {
            head.hash = page.hash();
        }
        if let Some(last) = &self.last_operation {
            last.as_str().clone_into(&mut head.last_operation);
        }
        let (seq, hash, fence) = (Cell::Number(head.seq), Cell::text(&head.hash), Cell::Number(head.fence));
        let cells = arguments([seq, hash, fence, now, Cell::text(&head.last_operation), Cell::Number(before)])?;
        let moved = sqlx::query_with(HEAD, cells).execute(&mut *connection).await?.rows_affected();
        if moved == 1 { Ok(()) } else { Err(sqlx::Error::Protocol("the ledger does not end where it ended".into())) }
    }
}

type Rows = Vec<Vec<Cell>>;

fn ledger_row(page: &mut Page<'_>, last_operation: Option<&OperationId>) -> Vec<Cell> {
    vec![
        Cell::Number(page.first),
        Cell::Number(page.at),
        Cell::text(&page.prev),
        // JSON text holds no NUL, and a page is long.
        Cell::Text(std::mem::take(&mut page.lines)),
        Cell::maybe(last_operation.map(OperationId::as_str)),
    ]
}

fn traces(page: &Page<'_>) -> impl Iterator<Item = Vec<Cell>> {
    let trace = |(system, record): (&str, &str)| vec![Cell::text(system), Cell::text(record), Cell::Number(page.first)];
    page.records().map(trace)
}

fn leases(changed: HashMap<Target, Option<LeaseRow>>, owner: &str) -> (Rows, Rows) {
    let (mut set, mut free) = (Vec::new(), Vec::new());
    for ((system, record), row) in changed {
        let mut cells = vec![Cell::text(&*system), Cell::text(&*record)];
        match row {
            Some(row) => {
                cells.extend([Cell::text(owner), Cell::Number(row.fence), Cell::Number(row.expires)]);
                set.push(cells);
            }
            None => free.push(cells),
        }
    }
    (set, free)
}

fn keys(changed: HashMap<KeyName, Option<KeyRow>>) -> (Rows, Rows) {
    let (mut set, mut forget) = (Vec::new(), Vec::new());
    for ((caller, key), row) in changed {
        let mut cells = vec![Cell::text(caller), Cell::text(key)];
        match row {
            Some(row) => {
                cells.extend([
                    Cell::Bytes(row.fingerprint),
                    Cell::text(row.operation.as_str()),
                    Cell::maybe(row.verdict),
                    Cell::maybe(row.interim),
                    Cell::Number(row.expires),
                ]);
                set.push(cells);
            }
            None => forget.push(cells),
        }
    }
    (set, forget)
}
