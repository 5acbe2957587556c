//! The rows of asynchronous batches (contract 4.10): one for the batch itself and one for each
//! item. The one that runs the batch gives the texts their meaning.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::DbError;
use super::model::IdempotencyClaim;
use super::readers::Reader;
use super::sql::{Row, SqlValue};
use crate::record::OperationId;

/// One row of an asynchronous batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRow {
    /// The batch.
    pub id: Arc<str>,
    /// The item's position; [`BatchRow::HEAD`] in the row of the batch itself.
    pub position: i64,
    /// In the row of the batch: [`BatchRow::OPEN`] until nothing is left to do, then 0. In the row
    /// of an item: how it ended, 0 before.
    pub status: i64,
    /// The request.
    pub request: String,
    /// Its outcome.
    pub response: Option<String>,
}

/// The idempotency key of an asynchronous batch. A batch's id has the form of an operation id.
#[derive(Clone, Debug)]
pub(super) struct BatchKey {
    pub(super) claim: IdempotencyClaim,
    pub(super) batch_id: OperationId,
    /// The id of the batch that is over and that this one repeats: the key passes from it to this
    /// one.
    pub(super) repeats: Option<OperationId>,
}

impl BatchRow {
    /// The position of the row that cancels a batch. It is a row of its own, so that it
    /// never replaces what the one that runs the batch saves.
    pub const CANCEL: i64 = -2;
    /// The position of the row of a batch itself.
    pub const HEAD: i64 = -1;
    /// The status of a batch that is not over.
    pub const OPEN: i64 = 1;

    /// Whether it is the last row of its position.
    pub(super) fn has_ended(&self) -> bool {
        self.status != if self.position == Self::HEAD { Self::OPEN } else { 0 }
    }
}

/// Inserts a row, or replaces one of a batch or of an item that has not ended; for SQLite.
pub(super) const SAVE: &str = "INSERT INTO batch_row (id, item, status, at, request, response)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (id, item) DO UPDATE SET status = excluded.status, at = excluded.at,
        request = excluded.request, response = excluded.response
    WHERE batch_row.status = CASE batch_row.item WHEN -1 THEN 1 ELSE 0 END";
/// Deletes batches that are over since before a time, on both databases.
pub(super) const DELETE_EXPIRED: &str = "DELETE FROM batch_row WHERE id IN
    (SELECT id FROM batch_row WHERE item = -1 AND status = 0 AND at < $1 LIMIT $2)";

/// How many batches are deleted at once.
pub(super) const DELETED_AT_ONCE: i64 = 10;

/// At most `limit` rows of a batch from a position on.
pub(super) async fn rows(reader: &Reader, id: Arc<str>, from: i64, limit: i64) -> Result<Vec<BatchRow>, DbError> {
    let statement = "SELECT item, status, request, response FROM batch_row
        WHERE id = ?1 AND item >= ?2 ORDER BY item LIMIT ?3";
    let params = [SqlValue::Text(id.to_string()), SqlValue::Int(from), SqlValue::Int(limit)];
    let row = |mut row: Row| {
        Ok(BatchRow {
            id: Arc::clone(&id),
            position: row.int(0)?,
            status: row.int(1)?,
            request: row.text(2)?,
            response: row.opt_text(3)?,
        })
    };
    reader.select(statement, &params).await?.into_iter().map(row).collect()
}

/// How many items of a batch have each status.
pub(super) async fn counts(reader: &Reader, id: &str) -> Result<Vec<(i64, i64)>, DbError> {
    let statement = "SELECT status, count(*) FROM batch_row WHERE id = ?1 AND item >= 0 GROUP BY status";
    let rows = reader.select(statement, &[SqlValue::Text(id.to_owned())]).await?;
    rows.into_iter().map(|mut row| Ok((row.int(0)?, row.int(1)?))).collect()
}

/// The batches that are not over, oldest first.
pub(super) async fn open(reader: &Reader, limit: i64) -> Result<Vec<String>, DbError> {
    let statement = "SELECT id FROM batch_row WHERE item = -1 AND status = 1 ORDER BY id LIMIT ?1";
    let rows = reader.select(statement, &[SqlValue::Int(limit)]).await?;
    rows.into_iter().map(|mut row| row.text(0)).collect()
}

/// How many bytes of requests a batch has, about.
pub(super) async fn size(reader: &Reader, id: &str) -> Result<i64, DbError> {
    let statement = "SELECT CAST(coalesce(sum(length(request)), 0) AS BIGINT) FROM batch_row WHERE id = ?1";
    let mut rows = reader.select(statement, &[SqlValue::Text(id.to_owned())]).await?;
    rows.first_mut().map_or(Ok(0), |row| row.int(0))
}

/// A key that has not expired at the time `?3`.
const SELECT_KEY: &str = "SELECT key, operation FROM idempotency
    WHERE caller = ?1 AND key = ?2 AND (expires IS NULL OR expires > ?3)";

/// The keys of a caller that begin with a prefix, each with its operation. It reads all keys of the
/// caller.
pub(super) async fn claimed_keys_with_prefix(
    reader: &Reader,
    caller: &str,
    prefix: &str,
    now_ms: i64,
) -> Result<HashMap<String, OperationId>, DbError> {
    let params = [SqlValue::Text(caller.to_owned()), SqlValue::Text(prefix.to_owned()), SqlValue::Int(now_ms)];
    let statement = "SELECT key, operation FROM idempotency
        WHERE caller = ?1 AND substr(key, 1, length(?2)) = ?2 AND (expires IS NULL OR expires > ?3)";
    let rows = reader.select(statement, &params).await?;
    rows.into_iter().map(|mut row| Ok((row.text(0)?, row.operation(1)?))).collect()
}

/// Those of these keys of a caller that are claimed, each with its operation. One prepared
/// statement finds one key: no statement has to be made for a number of keys.
pub(super) async fn claimed_keys(
    reader: &Reader,
    caller: &str,
    keys: &[String],
    now_ms: i64,
) -> Result<HashMap<String, OperationId>, DbError> {
    let params = keys.iter().map(|key| key_params(caller, key, now_ms).to_vec()).collect();
    let rows = reader.select_each(SELECT_KEY, params).await?;
    rows.into_iter().map(|mut row| Ok((row.text(0)?, row.operation(1)?))).collect()
}

/// The operation that has claimed a key of a caller.
pub(super) async fn claiming_operation(
    reader: &Reader,
    caller: &str,
    key: &str,
    now_ms: i64,
) -> Result<Option<OperationId>, DbError> {
    let mut rows = reader.select(SELECT_KEY, &key_params(caller, key, now_ms)).await?;
    rows.first_mut().map(|row| row.operation(1)).transpose()
}

fn key_params(caller: &str, key: &str, now_ms: i64) -> [SqlValue; 3] {
    [SqlValue::Text(caller.to_owned()), SqlValue::Text(key.to_owned()), SqlValue::Int(now_ms)]
}
