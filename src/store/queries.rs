//! The reads.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AnyPool};
use sqlx::{AssertSqlSafe, Row as _};

use super::ledger::rfc3339;
use super::preload::{idempotency_from_row, parse_action, parse_operation_id};
use super::sql::{SqlValue, bind_all};
use super::writer_state::{IdempotencyKeyId, IdempotencyRow};
use super::{
    IdempotencyClaim, IdempotencyState, ObservedState, Operation, OperationId, OperationQuery, Page,
    ledger_only_operations,
};
use crate::record::OperationState;

/// The most rows, about, that one call looks at: a page may be short, but never slow. Tests have no time for so many.
pub(super) const MAX_SCANNED_ROWS: i64 = if cfg!(test) { 100 } else { 20_000 };

const COLUMNS: &str = "id, state, action, system, record, caller, started, finished, etag, warnings, problem, observed";

pub(super) async fn ping(pool: &AnyPool) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT seq FROM head WHERE id = 1").fetch_one(pool).await.map(|_| ())
}

pub(super) async fn lookup_idempotency_key(
    pool: &AnyPool,
    claim: &IdempotencyClaim,
    now: i64,
) -> Result<Option<IdempotencyState>, sqlx::Error> {
    let cells = bind_all([SqlValue::text(&claim.caller), SqlValue::text(&claim.key)])?;
    let statement = "SELECT caller, key, fingerprint, operation, verdict, interim, expires FROM idempotency
                     WHERE caller = $1 AND key = $2";
    let Some(row) = sqlx::query_with(statement, cells).fetch_optional(pool).await? else { return Ok(None) };
    let (_, key): (IdempotencyKeyId, IdempotencyRow) = idempotency_from_row(&row)?;
    Ok(key.state(claim, now))
}

pub(super) async fn async_write_on(
    pool: &AnyPool,
    system: String,
    record: String,
) -> Result<Option<OperationId>, sqlx::Error> {
    let statement = "SELECT id FROM operation
                     WHERE state = 'running' AND queued = 1 AND system = $1 AND record = $2 ORDER BY id LIMIT 1";
    let row =
        sqlx::query_with(statement, bind_all([SqlValue::text(system), SqlValue::text(record)])?).fetch_optional(pool);
    row.await?.map(|row| parse_operation_id(row.try_get(0)?)).transpose()
}

/// The queued writes that run in a system, by their records.
pub(super) async fn async_writes_of_system(
    pool: &AnyPool,
    system: String,
) -> Result<Vec<(String, OperationId)>, sqlx::Error> {
    let statement = "SELECT record, id FROM operation
                     WHERE state = 'running' AND queued = 1 AND system = $1 AND record IS NOT NULL";
    let rows = sqlx::query_with(statement, bind_all([SqlValue::text(system)])?).fetch_all(pool).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, parse_operation_id(row.try_get(1)?)?))).collect()
}

/// `since` = what was settled before (milliseconds since 1970) is not promised any more.
pub(super) async fn operation(pool: &AnyPool, id: &OperationId, since: i64) -> Result<Option<Operation>, sqlx::Error> {
    let statement = format!("SELECT {COLUMNS} FROM operation WHERE id = $1");
    let cells = bind_all([SqlValue::text(id.as_str())])?;
    let mut connection = pool.acquire().await?;
    match sqlx::query_with(AssertSqlSafe(statement), cells).fetch_optional(&mut *connection).await? {
        Some(row) => operation_from_row(&row).map(Some),
        None => ledger_only_operations::operation(&mut connection, id, since).await,
    }
}

/// Conditions with their values; texts in it are this room's own, values are bound.
pub(super) struct WhereClause {
    pub(super) text: String,
    pub(super) values: Vec<SqlValue>,
}

impl WhereClause {
    pub(super) fn new() -> Self {
        Self { text: "1 = 1".into(), values: Vec::new() }
    }

    pub(super) fn bind(&mut self, cell: SqlValue) -> String {
        self.values.push(cell);
        format!("${}", self.values.len())
    }

    pub(super) fn and(&mut self, condition: &str, cell: SqlValue) {
        let place = self.bind(cell);
        self.text.extend([" AND ", condition, " ", &place]);
    }

    pub(super) fn and_in(&mut self, column: &str, values: &[String]) {
        let places: Vec<_> = values.iter().map(|value| self.bind(SqlValue::text(value))).collect();
        self.text.extend([" AND ", column, " IN (", &places.join(", "), ")"]);
    }

    /// Of the ledger's pages only those that hold entries about a record.
    pub(super) fn in_blocks_for_record(&mut self, record: &str, systems: &[String]) {
        self.text.push_str(" AND first_seq IN (SELECT first_seq FROM ledger_record WHERE 1 = 1");
        self.and("record =", SqlValue::text(record));
        self.and_in("system", systems);
        self.text.push(')');
    }
}

pub(super) async fn operations(
    pool: &AnyPool,
    query: &OperationQuery,
    since: i64,
) -> Result<Page<Operation, OperationId>, sqlx::Error> {
    if query.systems.is_empty() || query.limit == 0 {
        return Ok(Page { items: Vec::new(), next: None });
    }
    let after = query.after.as_ref().map_or("", OperationId::as_str);
    let indexed = query.record.is_some() || query.state == Some(OperationState::Running);
    // One look at rows and pages: what is written between two would be in neither.
    let mut look = pool.begin().await?;
    let bound = if indexed { None } else { scan_boundary(&mut look, after).await? };
    let mut filter = WhereClause::new();
    filter.and("id >", SqlValue::text(after));
    if let Some(bound) = &bound {
        filter.and("id <=", SqlValue::text(bound));
    }
    filter.and_in("system", &query.systems);
    if let Some(record) = &query.record {
        filter.and("record =", SqlValue::text(record));
    }
    match query.state {
        // As a literal: the index of the running ones has this very condition.
        Some(OperationState::Running) => filter.text.push_str(" AND state = 'running'"),
        Some(state) => filter.and("state =", SqlValue::text(state.as_str())),
        None => {}
    }
    let limit = filter.bind(SqlValue::Number(limit_plus_one(query.limit)));
    let statement = format!("SELECT {COLUMNS} FROM operation WHERE {} ORDER BY id LIMIT {limit}", filter.text);
    let rows = sqlx::query_with(AssertSqlSafe(statement), bind_all(filter.values)?).fetch_all(&mut *look).await?;
    let mut items = rows.iter().map(operation_from_row).collect::<Result<Vec<_>, _>>()?;
    // As far as the rows have been seen.
    let bound = match items.last().filter(|_| items.len() > query.limit) {
        Some(last) => Some(last.id.clone()),
        None => bound.map(|bound| parse_operation_id(&bound)).transpose()?,
    };
    let untabled = ledger_only_operations::operations(&mut look, query, since).await?;
    items.extend(untabled.items);
    // Stable: where an operation has a row and is on a page, the row comes first, and it tells more.
    items.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    items.dedup_by(|later, first| later.id == first.id);
    let seen_until = bound.into_iter().chain(untabled.next).min_by(|one, other| one.as_str().cmp(other.as_str()));
    if let Some(until) = &seen_until {
        items.retain(|one| one.id.as_str() <= until.as_str());
    }
    let next = if items.len() > query.limit {
        items.truncate(query.limit);
        items.last().map(|last| last.id.clone())
    } else {
        seen_until
    };
    Ok(Page { items, next })
}

/// Where a look over the operations has to end; `None` = there are fewer.
async fn scan_boundary(connection: &mut AnyConnection, after: &str) -> Result<Option<String>, sqlx::Error> {
    let cells = bind_all([SqlValue::text(after), SqlValue::Number(MAX_SCANNED_ROWS)])?;
    let statement = "SELECT id FROM operation WHERE id > $1 ORDER BY id LIMIT 1 OFFSET $2";
    let row = sqlx::query_with(statement, cells).fetch_optional(connection).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// How many operations run; of an owner only, if one is named.
pub(super) async fn count_running(pool: &AnyPool, owner: String) -> Result<i64, sqlx::Error> {
    let statement = "SELECT count(*) FROM operation WHERE state = 'running' AND ($1 = '' OR owner = $2)";
    let cells = bind_all([SqlValue::text(&owner), SqlValue::text(&owner)])?;
    sqlx::query_with(statement, cells).fetch_one(pool).await?.try_get(0)
}

fn limit_plus_one(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

fn operation_from_row(row: &AnyRow) -> Result<Operation, sqlx::Error> {
    let damaged = |what: &str| sqlx::Error::Decode(format!("an operation's {what} cannot be read").into());
    let (started, finished): (i64, Option<i64>) = (row.try_get(6)?, row.try_get(7)?);
    let (warnings, problem): (Option<String>, Option<String>) = (row.try_get(9)?, row.try_get(10)?);
    let observed: Option<String> = row.try_get(11)?;
    Ok(Operation {
        id: parse_operation_id(row.try_get(0)?)?,
        state: OperationState::parse(row.try_get(1)?).ok_or_else(|| damaged("state"))?,
        action: parse_action(row.try_get(2)?)?,
        system: row.try_get(3)?,
        record: row.try_get(4)?,
        caller: row.try_get(5)?,
        started_at: rfc3339(started),
        finished_at: finished.map(rfc3339),
        etag: row.try_get(8)?,
        warnings: match warnings {
            Some(text) => serde_json::from_str(&text).map_err(|_| damaged("warnings"))?,
            None => Vec::new(),
        },
        problem: problem.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| damaged("problem"))?,
        observed: observed.map(|word| ObservedState::parse(&word).ok_or_else(|| damaged("observation"))).transpose()?,
    })
}
