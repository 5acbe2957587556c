//! Deletes expired operations, keys, leases and instances in small batches. The ledger stays whole.

use sqlx::AnyConnection;

use super::preload::DEAD_AFTER_MS;
use super::sql::{SqlValue, bind_all};

/// The most operations or keys in one batch.
const DELETE_BATCH: i64 = 1000;
/// How long dead leases and instances are kept, for operators who investigate.
const GRACE_MS: i64 = 24 * 60 * 60 * 1000;

const OPERATIONS: &str = "DELETE FROM operation WHERE id IN
    (SELECT id FROM operation WHERE id < $1 AND state <> 'running' AND finished < $2 ORDER BY id LIMIT $3)";
const KEYS: &str = "DELETE FROM idempotency WHERE expires <= $1 AND (caller, key) IN
    (SELECT caller, key FROM idempotency WHERE expires <= $2 LIMIT $3)";
const LEASES: &str = "DELETE FROM lease WHERE expires <= $1";
/// A lease without an operation has sent nothing; one with an operation is protected by that.
const ORPHANED_LEASES: &str = "DELETE FROM lease WHERE owner <> $1
    AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.id = lease.owner AND i.seen > $2)";
const INSTANCES: &str = "DELETE FROM instance WHERE seen <= $1";

/// Deletes one batch of each kind.
pub(super) async fn delete_expired_batch(
    connection: &mut AnyConnection,
    now_ms: i64,
    retention_ms: i64,
) -> Result<(), sqlx::Error> {
    let cutoff_ms = now_ms.saturating_sub(retention_ms).max(0);
    // Ids begin with their time (RFC 9562 section 5.7), so the primary key finds the old ones.
    let time = format!("{cutoff_ms:012x}");
    let (high, low) = time.split_at_checked(8).unwrap_or((&time, ""));
    let values = [SqlValue::text(format!("{high}-{low}")), SqlValue::Number(cutoff_ms), SqlValue::Number(DELETE_BATCH)];
    sqlx::query_with(OPERATIONS, bind_all(values)?).execute(&mut *connection).await?;
    let values = [SqlValue::Number(now_ms), SqlValue::Number(now_ms), SqlValue::Number(DELETE_BATCH)];
    sqlx::query_with(KEYS, bind_all(values)?).execute(&mut *connection).await?;
    for statement in [LEASES, INSTANCES] {
        let values = bind_all([SqlValue::Number(now_ms.saturating_sub(GRACE_MS))])?;
        sqlx::query_with(statement, values).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Frees the leases of dead replicas. A replica that was only slow finds its lease lost and
/// retries.
pub(super) async fn free_orphaned_leases(
    connection: &mut AnyConnection,
    now_ms: i64,
    instance: &str,
) -> Result<(), sqlx::Error> {
    let values = bind_all([SqlValue::text(instance), SqlValue::Number(now_ms.saturating_sub(DEAD_AFTER_MS))])?;
    sqlx::query_with(ORPHANED_LEASES, values).execute(connection).await.map(|_| ())
}
