//! Reads of operations and idempotency keys.

use sqlx::{AnyConnection, AnyPool};
use sqlx::{AssertSqlSafe, Row as _};

use super::decode::{OPERATION_COLUMNS, idempotency_from_row, operation_from_row, parse_operation_id};
use super::ledger_only_operations;
use super::model::{IdempotencyClaim, IdempotencyState, OperationQuery, Page};
use super::sql::{SqlValue, bind_all};
use super::where_clause::{MAX_SCANNED_ROWS, WhereClause};
use crate::record::{Operation, OperationId, OperationState};

pub(super) async fn ping(pool: &AnyPool) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT seq FROM head WHERE id = 1").fetch_one(pool).await.map(|_| ())
}

pub(super) async fn lookup_idempotency_key(
    pool: &AnyPool,
    claim: &IdempotencyClaim,
    now_ms: i64,
) -> Result<Option<IdempotencyState>, sqlx::Error> {
    let values = bind_all([SqlValue::text(&claim.caller), SqlValue::text(&claim.key)])?;
    let statement = "SELECT caller, key, fingerprint, operation, verdict, interim, expires FROM idempotency
                     WHERE caller = $1 AND key = $2";
    let Some(row) = sqlx::query_with(statement, values).fetch_optional(pool).await? else { return Ok(None) };
    let (_, key) = idempotency_from_row(&row)?;
    Ok(key.state(claim, now_ms))
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

/// The queued writes that run in a system, with their records.
pub(super) async fn async_writes_of_system(
    pool: &AnyPool,
    system: String,
) -> Result<Vec<(String, OperationId)>, sqlx::Error> {
    let statement = "SELECT record, id FROM operation
                     WHERE state = 'running' AND queued = 1 AND system = $1 AND record IS NOT NULL";
    let rows = sqlx::query_with(statement, bind_all([SqlValue::text(system)])?).fetch_all(pool).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, parse_operation_id(row.try_get(1)?)?))).collect()
}

/// One operation. `since_ms` is the retention cutoff for ledger-only operations.
pub(super) async fn operation(
    pool: &AnyPool,
    id: &OperationId,
    since_ms: i64,
) -> Result<Option<Operation>, sqlx::Error> {
    let statement = format!("SELECT {OPERATION_COLUMNS} FROM operation WHERE id = $1");
    let values = bind_all([SqlValue::text(id.as_str())])?;
    let mut connection = pool.acquire().await?;
    match sqlx::query_with(AssertSqlSafe(statement), values).fetch_optional(&mut *connection).await? {
        Some(row) => operation_from_row(&row).map(Some),
        None => ledger_only_operations::operation(&mut connection, id, since_ms).await,
    }
}

/// A page of operations, from rows and from the ledger. `since_ms` as in [`operation`].
pub(super) async fn operations(
    pool: &AnyPool,
    query: &OperationQuery,
    since_ms: i64,
) -> Result<Page<Operation, OperationId>, sqlx::Error> {
    if query.systems.is_empty() || query.limit == 0 {
        return Ok(Page { items: Vec::new(), next: None });
    }
    let after = query.after.as_ref().map_or("", OperationId::as_str);
    let indexed = query.record.is_some() || query.state == Some(OperationState::Running);
    // One snapshot of rows and ledger: an operation written between two reads would be in neither.
    let mut snapshot = pool.begin().await?;
    let bound = if indexed { None } else { scan_boundary(&mut snapshot, after).await? };
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
        // A literal, because the partial index has this condition.
        Some(OperationState::Running) => filter.text.push_str(" AND state = 'running'"),
        Some(state) => filter.and("state =", SqlValue::text(state.as_str())),
        None => {}
    }
    let limit = filter.bind(SqlValue::Number(limit_plus_one(query.limit)));
    let statement =
        format!("SELECT {OPERATION_COLUMNS} FROM operation WHERE {} ORDER BY id LIMIT {limit}", filter.text);
    let rows = sqlx::query_with(AssertSqlSafe(statement), bind_all(filter.values)?).fetch_all(&mut *snapshot).await?;
    let mut items = rows.iter().map(operation_from_row).collect::<Result<Vec<_>, _>>()?;
    // How far the rows have been read.
    let bound = match items.last().filter(|_| items.len() > query.limit) {
        Some(last) => Some(last.id.clone()),
        None => bound.map(|bound| parse_operation_id(&bound)).transpose()?,
    };
    let ledger_only = ledger_only_operations::operations(&mut snapshot, query, since_ms).await?;
    items.extend(ledger_only.items);
    // The sort is stable: of an operation in both, the row comes first, and it holds more.
    items.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    items.dedup_by(|later, first| later.id == first.id);
    let read_until = bound.into_iter().chain(ledger_only.next).min_by(|one, other| one.as_str().cmp(other.as_str()));
    if let Some(until) = &read_until {
        items.retain(|operation| operation.id.as_str() <= until.as_str());
    }
    let next = if items.len() > query.limit {
        items.truncate(query.limit);
        items.last().map(|last| last.id.clone())
    } else {
        read_until
    };
    Ok(Page { items, next })
}

/// The id at which a scan of the operations ends; `None` = there are fewer than the limit.
async fn scan_boundary(connection: &mut AnyConnection, after: &str) -> Result<Option<String>, sqlx::Error> {
    let values = bind_all([SqlValue::text(after), SqlValue::Number(MAX_SCANNED_ROWS)])?;
    let statement = "SELECT id FROM operation WHERE id > $1 ORDER BY id LIMIT 1 OFFSET $2";
    let row = sqlx::query_with(statement, values).fetch_optional(connection).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// How many operations run; `owner` limits the count to one instance unless it is empty.
pub(super) async fn count_running(pool: &AnyPool, owner: String) -> Result<i64, sqlx::Error> {
    let statement = "SELECT count(*) FROM operation WHERE state = 'running' AND ($1 = '' OR owner = $2)";
    let values = bind_all([SqlValue::text(&owner), SqlValue::text(&owner)])?;
    sqlx::query_with(statement, values).fetch_one(pool).await?.try_get(0)
}

fn limit_plus_one(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}
