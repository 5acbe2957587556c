//! Removes what is no longer promised, in small bites. The ledger is never cut.

use sqlx::AnyConnection;

use super::preload::DEAD_AFTER_MS;
use super::sql::{SqlValue, bind_all};

/// How many rows of a kind at once.
const DELETE_BATCH: i64 = 1000;
/// Leases and instances are kept a while after they mean nothing, for people who look.
const GRACE_MS: i64 = 24 * 60 * 60 * 1000;

const OPERATIONS: &str = "DELETE FROM operation WHERE id IN
    (SELECT id FROM operation WHERE id < $1 AND state <> 'running' AND finished < $2 ORDER BY id LIMIT $3)";
const KEYS: &str = "DELETE FROM idempotency WHERE expires <= $1 AND (caller, key) IN
    (SELECT caller, key FROM idempotency WHERE expires <= $2 LIMIT $3)";
const LEASES: &str = "DELETE FROM lease WHERE expires <= $1";
/// Whoever holds a lease and has not sent anything yet has stored no intent either: what was sent is held by its operation.
const ORPHANED_LEASES: &str = "DELETE FROM lease WHERE owner <> $1
    AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.id = lease.owner AND i.seen > $2)";
const INSTANCES: &str = "DELETE FROM instance WHERE seen <= $1";

/// One bite of each kind.
pub(super) async fn delete_expired_batch(
    connection: &mut AnyConnection,
    now: i64,
    retention_ms: i64,
) -> Result<(), sqlx::Error> {
    let settled_before = now.saturating_sub(retention_ms).max(0);
    // Ids begin with their time (RFC 9562 §5.7), so the primary key finds the old ones.
    let time = format!("{settled_before:012x}");
    let (high, low) = time.split_at_checked(8).unwrap_or((&time, ""));
    let cells =
        [SqlValue::text(format!("{high}-{low}")), SqlValue::Number(settled_before), SqlValue::Number(DELETE_BATCH)];
    sqlx::query_with(OPERATIONS, bind_all(cells)?).execute(&mut *connection).await?;
    let cells = [SqlValue::Number(now), SqlValue::Number(now), SqlValue::Number(DELETE_BATCH)];
    sqlx::query_with(KEYS, bind_all(cells)?).execute(&mut *connection).await?;
    for statement in [LEASES, INSTANCES] {
        let cells = bind_all([SqlValue::Number(now.saturating_sub(GRACE_MS))])?;
        sqlx::query_with(statement, cells).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Frees what replicas hold that have not been seen for a while. One that was only slow finds its number gone and begins anew.
pub(super) async fn free_leases(connection: &mut AnyConnection, now: i64, instance: &str) -> Result<(), sqlx::Error> {
    let cells = bind_all([SqlValue::text(instance), SqlValue::Number(now.saturating_sub(DEAD_AFTER_MS))])?;
    sqlx::query_with(ORPHANED_LEASES, cells).execute(connection).await.map(|_| ())
}
