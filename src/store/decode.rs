//! Database rows as values of this crate. Each function names the columns that it expects.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::block_reader::BlockReader;
use super::ledger::rfc3339;
use super::model::{Intent, InterimResponse, OrphanedOperation};
use super::rows::{IdempotencyKeyId, IdempotencyRow, RecordKey, RunningOperation};
use crate::record::{Action, ObservedState, Operation, OperationId, OperationState};

/// The columns of [`operation_from_row`].
pub(super) const OPERATION_COLUMNS: &str =
    "id, state, action, system, record, caller, started, finished, etag, warnings, problem, observed";

pub(super) fn parse_operation_id(text: &str) -> Result<OperationId, sqlx::Error> {
    OperationId::parse(text).ok_or_else(|| sqlx::Error::Decode("an operation's id is not a UUID".into()))
}

pub(super) fn parse_action(text: &str) -> Result<Action, sqlx::Error> {
    [Action::Read, Action::Create, Action::Update, Action::Delete]
        .into_iter()
        .find(|action| action.as_str() == text)
        .ok_or_else(|| sqlx::Error::Decode("an operation's action is unknown".into()))
}

/// A row that begins with the columns system, record.
pub(super) fn record_key_from_row(row: &AnyRow) -> Result<RecordKey, sqlx::Error> {
    let (system, record): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    Ok((system.into(), record.into()))
}

/// A row with the columns caller, key, fingerprint, operation, verdict, interim, expires.
pub(super) fn idempotency_from_row(row: &AnyRow) -> Result<(IdempotencyKeyId, IdempotencyRow), sqlx::Error> {
    let key = IdempotencyRow {
        fingerprint: row.try_get(2)?,
        operation: parse_operation_id(row.try_get(3)?)?,
        replay_json: row.try_get(4)?,
        interim: row.try_get(5)?,
        expires_ms: row.try_get(6)?,
    };
    Ok(((row.try_get(0)?, row.try_get(1)?), key))
}

/// A row with the columns [`OPERATION_COLUMNS`].
pub(super) fn operation_from_row(row: &AnyRow) -> Result<Operation, sqlx::Error> {
    let corrupt = |what: &str| sqlx::Error::Decode(format!("an operation's {what} cannot be read").into());
    let (started_ms, finished_ms): (i64, Option<i64>) = (row.try_get(6)?, row.try_get(7)?);
    let (warnings, problem): (Option<String>, Option<String>) = (row.try_get(9)?, row.try_get(10)?);
    let observed: Option<String> = row.try_get(11)?;
    Ok(Operation {
        id: parse_operation_id(row.try_get(0)?)?,
        state: OperationState::parse(row.try_get(1)?).ok_or_else(|| corrupt("state"))?,
        action: parse_action(row.try_get(2)?)?,
        system: row.try_get(3)?,
        record: row.try_get(4)?,
        caller: row.try_get(5)?,
        started_at: rfc3339(started_ms),
        finished_at: finished_ms.map(rfc3339),
        etag: row.try_get(8)?,
        warnings: match warnings {
            Some(text) => serde_json::from_str(&text).map_err(|_| corrupt("warnings"))?,
            None => Vec::new(),
        },
        problem: problem.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| corrupt("problem"))?,
        observed: observed
            .map(|text| ObservedState::parse(&text).ok_or_else(|| corrupt("observed state")))
            .transpose()?,
    })
}

/// A row with the columns id, action, system, record, caller, queued, key, material, told,
/// intent_seq, started, and the first_seq and lines of the block that holds the intent.
pub(super) fn orphan_from_row(row: &AnyRow) -> Result<(OrphanedOperation, RunningOperation), sqlx::Error> {
    let operation = parse_operation_id(row.try_get(0)?)?;
    let (is_async, response): (i64, i64) = (row.try_get(5)?, row.try_get(8)?);
    let key: Option<String> = row.try_get(6)?;
    let (intent_seq, started_ms, first_seq, lines): (i64, i64, Option<i64>, Option<String>) =
        (row.try_get(9)?, row.try_get(10)?, row.try_get(11)?, row.try_get(12)?);
    let block = first_seq.zip(lines.as_deref());
    let entry = block.and_then(|(first_seq, lines)| BlockReader::new(first_seq, String::new(), lines).find(intent_seq));
    // If the ledger has been tampered with, the operation is still reconciled.
    let entry = entry.filter(|entry| entry.operation == operation);
    let (request_id, precondition, compared_etag, paths, losses) = entry
        .map(|entry| (entry.request_id, entry.precondition, entry.compared_etag, entry.paths, entry.losses))
        .unwrap_or_default();
    let intent = Intent {
        operation: operation.clone(),
        request_id: request_id.into(),
        caller: optional_text(row, 4)?.unwrap_or_default(),
        system: optional_text(row, 2)?.unwrap_or_default(),
        record: optional_text(row, 3)?,
        action: parse_action(row.try_get(1)?)?,
        precondition,
        compared_etag,
        paths: Arc::new(paths),
        losses,
        is_async: is_async != 0,
        lease: None,
        idempotency: None,
        recovery: None,
    };
    let orphan =
        OrphanedOperation { operation, response: InterimResponse::from_code(response), recovery: row.try_get(7)? };
    Ok((orphan, RunningOperation { intent: Arc::new(intent), intent_seq, started_ms, key }))
}

fn optional_text(row: &AnyRow, column: usize) -> Result<Option<Arc<str>>, sqlx::Error> {
    Ok(row.try_get::<Option<&str>, _>(column)?.map(Into::into))
}
