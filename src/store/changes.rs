//! What a batch writes, collected while it is decided and written with few statements.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::AnyConnection;

use super::board::{Head, KeyName, KeyRow, LeaseRow, Target};
use super::ledger::LedgerEntry;
use super::page::Page;
use super::sql::{Bulk, Cell, Statements, arguments};
use super::{Intent, Material, Outcome, Told};
use crate::record::{Action, OperationId, OperationState};

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
const APPEND: Bulk = Bulk { before: "INSERT INTO ledger (first_seq, at, prev, lines) VALUES", after: "" };
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
const HEAD: &str = "UPDATE head SET seq = $1, hash = $2, fence = $3, at = $4 WHERE id = 1 AND seq = $5";

/// An operation that has begun and not ended.
struct Begun {
    operation: OperationId,
    action: Action,
    system: String,
    record: Option<String>,
    caller: String,
    queued: bool,
    started: i64,
    intent_seq: i64,
    key: Option<String>,
    material: Option<Arc<dyn Material>>,
}

impl Begun {
    /// The row of `BEGIN`.
    fn row(self, owner: &str) -> Vec<Cell> {
        vec![
            Cell::text(self.operation.as_str()),
            Cell::text(owner),
            Cell::text(OperationState::Running.as_str()),
            Cell::text(self.action.as_str()),
            Cell::text(self.system),
            Cell::maybe(self.record),
            Cell::text(self.caller),
            Cell::Number(self.queued.into()),
            Cell::Number(self.started),
            Cell::Number(self.intent_seq),
            Cell::maybe(self.key),
            Cell::Material(self.material),
        ]
    }

    /// The columns of `END` that its end does not change.
    fn what_it_is(self) -> [Cell; 5] {
        [
            Cell::text(self.operation.as_str()),
            Cell::text(self.action.as_str()),
            Cell::text(self.system),
            Cell::text(self.caller),
            Cell::Number(self.started),
        ]
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Changes {
    begun: Vec<Begun>,
    ended: Vec<Vec<Cell>>,
    adopted: Vec<OperationId>,
    told: Vec<Vec<Cell>>,
    settled: Vec<Vec<Cell>>,
    ledger: Option<Page>,
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
            && [&self.ended, &self.told, &self.settled].iter().all(|rows| rows.is_empty())
            && self.begun.is_empty()
            && self.adopted.is_empty()
            && self.ledger.is_none()
    }

    /// How many entries the ledger gets.
    pub(super) fn entries(&self) -> usize {
        self.ledger.as_ref().map_or(0, |page| page.entries)
    }

    pub(super) fn begin(&mut self, intent: &Intent, now: i64, intent_seq: i64) {
        self.begun.push(Begun {
            operation: intent.operation.clone(),
            action: intent.action,
            system: intent.system.clone(),
            record: intent.record.clone(),
            caller: intent.caller.clone(),
            queued: intent.queued,
            started: now,
            intent_seq,
            key: intent.claim.as_ref().map(|claim| claim.key.clone()),
            material: intent.material.clone(),
        });
    }

    /// An operation that began in this very batch: it may as well be written as it ends.
    fn begun_here(&mut self, operation: &OperationId) -> Option<Begun> {
        let place = self.begun.iter().rposition(|one| one.operation == *operation)?;
        // Nothing of it is in the database yet that could be told about.
        let is_other = |row: &Vec<Cell>| !matches!(row.first(), Some(Cell::Text(id)) if id == operation.as_str());
        self.told.retain(is_other);
        Some(self.begun.swap_remove(place))
    }

    pub(super) fn adopt(&mut self, operation: &OperationId) {
        self.adopted.push(operation.clone());
    }

    pub(super) fn told(&mut self, operation: &OperationId, told: Told) {
        self.told.push(vec![Cell::text(operation.as_str()), Cell::Number(told.number())]);
    }

    pub(super) fn settle(&mut self, outcome: &Outcome, state: OperationState, record: Option<&str>, now: i64) {
        let warnings =
            (!outcome.warnings.is_empty()).then(|| serde_json::to_string(&outcome.warnings).unwrap_or_default());
        let end = [
            Cell::text(state.as_str()),
            Cell::maybe(record),
            Cell::Number(now),
            Cell::maybe(outcome.etag.as_ref()),
            Cell::maybe(warnings),
            Cell::maybe(outcome.problem.as_ref().map(ToString::to_string)),
            Cell::maybe(outcome.observed.map(super::Observed::as_str)),
        ];
        if let Some(begun) = self.begun_here(&outcome.operation) {
            self.ended.push(begun.what_it_is().into_iter().chain(end).collect());
        } else {
            self.settled.push([Cell::text(outcome.operation.as_str())].into_iter().chain(end).collect());
        }
    }

    /// Gives back the entry's hash. `intent` = the number of the intent that the entry is the outcome of.
    pub(super) fn append(&mut self, entry: &LedgerEntry, intent: Option<i64>, prev: &str, at: i64) -> String {
        self.ledger.get_or_insert_with(|| Page::begin(entry.seq, at, prev)).append(entry, intent, prev)
    }

    /// Writes everything, in an order that holds within one batch: an operation may begin and end in it.
    pub(super) async fn write(
        self,
        connection: &mut AnyConnection,
        statements: &mut Statements,
        instance: &str,
        head: &Head,
        now: i64,
    ) -> Result<(), sqlx::Error> {
        let before = head.seq.saturating_sub(self.entries().try_into().unwrap_or(i64::MAX));
        let owner = |id: &OperationId| vec![Cell::text(id.as_str()), Cell::text(instance)];
        let (set_leases, free_leases) = leases(self.leases, instance);
        let (set_keys, forget_keys) = keys(self.keys);
        let (page, traces) = self.ledger.map(page).unwrap_or_default();
        for (bulk, rows) in [
            (BEGIN, self.begun.into_iter().map(|begun| begun.row(instance)).collect()),
            (END, self.ended),
            (ADOPT, self.adopted.iter().map(owner).collect()),
            (TOLD, self.told),
            (SETTLE, self.settled),
            (APPEND, page),
            (TRACE, traces),
            (SET_KEYS, set_keys),
            (FORGET_KEYS, forget_keys),
            (SET_LEASES, set_leases),
            (FREE_LEASES, free_leases),
        ] {
            statements.run(connection, bulk, rows).await?;
        }
        if self.seen {
            let cells = arguments([Cell::text(instance), Cell::Number(now)])?;
            sqlx::query_with(SEEN, cells).execute(&mut *connection).await?;
        }
        let (seq, hash, fence) = (Cell::Number(head.seq), Cell::text(&head.hash), Cell::Number(head.fence));
        let cells = arguments([seq, hash, fence, Cell::Number(now), Cell::Number(before)])?;
        let moved = sqlx::query_with(HEAD, cells).execute(&mut *connection).await?.rows_affected();
        if moved == 1 { Ok(()) } else { Err(sqlx::Error::Protocol("the ledger does not end where it ended".into())) }
    }
}

type Rows = Vec<Vec<Cell>>;

fn page(page: Page) -> (Rows, Rows) {
    let trace = |(system, record)| vec![Cell::text(system), Cell::text(record), Cell::Number(page.first)];
    let traces = page.records().map(trace).collect();
    (vec![vec![Cell::Number(page.first), Cell::Number(page.at), Cell::text(page.prev), Cell::text(page.lines)]], traces)
}

fn leases(changed: HashMap<Target, Option<LeaseRow>>, owner: &str) -> (Rows, Rows) {
    let (mut set, mut free) = (Vec::new(), Vec::new());
    for ((system, record), row) in changed {
        let mut cells = vec![Cell::text(system), Cell::text(record)];
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
