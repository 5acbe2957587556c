//! Rows as values of this crate. Each function names the columns that it expects.

use std::sync::Arc;

use super::entry_json::StoredEntry;
use super::error::DbError;
use super::model::{Intent, InterimResponse, OrphanedOperation};
use super::sql::Row;
use super::writer_rows::{
    EndedOperation, IdempotencyKeyId, IdempotencyRow, KeyProgress, RunningOperation, StoredOperation, VerdictTarget,
};
use crate::record::{Action, OperationState};

/// Selects what [`stored_operation`] expects.
pub(super) const SELECT_RUNNING: &str = "SELECT r.seq, r.operation, r.owner, r.system, r.record, r.action, r.caller,
     r.is_async, r.key, r.interim, r.first_adopted, r.recovery, l.entry, l.at
     FROM running r LEFT JOIN ledger l ON l.seq = r.seq";

/// Selects what [`idempotency_row`] expects.
pub(super) const SELECT_KEYS: &str = "SELECT i.caller, i.key, i.fingerprint, i.operation, i.replay_json, i.interim,
     i.expires FROM idempotency i";

/// Selects what [`verdict_target`] expects of operation `?1`.
pub(super) const SELECT_VERDICT_TARGET: &str = "SELECT i.seq, i.at, i.entry, r.key, NULL, NULL, NULL, NULL
     FROM running r JOIN ledger i ON i.seq = r.seq WHERE r.operation = ?1
     UNION ALL SELECT i.seq, i.at, i.entry, d.key, o.entry, d.state, d.verdict, d.warnings
     FROM ledger o JOIN ledger i ON i.seq = o.intent LEFT JOIN operation_detail d ON d.seq = o.intent
     WHERE o.operation = ?1 AND o.intent > 0";

pub(super) fn parse_action(text: &str) -> Result<Action, DbError> {
    [Action::Read, Action::Create, Action::Update, Action::Delete]
        .into_iter()
        .find(|action| action.as_str() == text)
        .ok_or_else(|| DbError::Corrupt("an operation's action is unknown".into()))
}

/// The state in the JSON of an outcome.
pub(super) fn outcome_state(entry: &str) -> Result<OperationState, DbError> {
    let corrupt = || DbError::Corrupt("the state in a ledger entry cannot be read".into());
    let entry: serde_json::Value = serde_json::from_str(entry).map_err(|_| corrupt())?;
    entry.get("state").and_then(|state| OperationState::parse(state.as_str()?)).ok_or_else(corrupt)
}

/// A row of [`SELECT_KEYS`].
pub(super) fn idempotency_row(row: &mut Row) -> Result<(IdempotencyKeyId, IdempotencyRow), DbError> {
    let key: IdempotencyKeyId = (row.text(0)?.into(), row.text(1)?.into());
    let progress =
        KeyProgress { replay_json: row.opt_text(4)?, interim: row.opt_text(5)?, expires_ms: row.opt_int(6)? };
    let fingerprint = row.opt_bytes(2)?.unwrap_or_default();
    Ok((key, IdempotencyRow { fingerprint, operation: row.operation(3)?, progress }))
}

/// A row of [`SELECT_RUNNING`].
pub(super) fn stored_operation(row: &mut Row) -> Result<StoredOperation, DbError> {
    let (seq, operation) = (row.int(0)?, row.operation(1)?);
    let response = row.opt_int(9)?.and_then(InterimResponse::from_code);
    let first_adopted_ms = row.opt_int(10)?.unwrap_or_default();
    let recovery = row.opt_bytes(11)?.and_then(|bytes| String::from_utf8(bytes).ok());
    // If the ledger has been tampered with, the operation is still reconciled.
    let entry = row.opt_text(12)?.and_then(|json| StoredEntry::parse(&json));
    let entry = entry.filter(|entry| entry.operation.as_ref() == Some(&operation));
    let intent = Intent {
        caller: row.text(6)?.into(),
        system: row.text(3)?.into(),
        record: row.opt_text(4)?.map(Into::into),
        is_async: row.int(7)? != 0,
        recovery: recovery.as_deref().map(Into::into),
        ..entry.unwrap_or_default().into_intent(operation.clone(), parse_action(&row.text(5)?)?)
    };
    let is_unresolved = response == Some(InterimResponse::Unknown) || first_adopted_ms != 0;
    let running =
        RunningOperation { intent: Arc::new(intent), seq, key: row.opt_text(8)?.map(Into::into), is_unresolved };
    let orphan = OrphanedOperation { operation, response, recovery, stored_ms: row.opt_int(13)?, first_adopted_ms };
    Ok(StoredOperation { owner: row.text(2)?, running, orphan })
}

/// A row of [`SELECT_VERDICT_TARGET`]; `None` = the outcome of the operation is not kept any more.
pub(super) fn verdict_target(row: &mut Row) -> Result<Option<VerdictTarget>, DbError> {
    let corrupt = || DbError::Corrupt("an operation's ledger entry cannot be read".into());
    let mut entry = StoredEntry::parse(&row.text(2)?).ok_or_else(corrupt)?;
    let operation = entry.operation.take().ok_or_else(corrupt)?;
    let action = entry.action.ok_or_else(corrupt)?;
    let intent = entry.into_intent(operation, action);
    let (seq, key) = (row.int(0)?, row.opt_text(3)?.map(Into::into));
    let running = RunningOperation { intent: Arc::new(intent), seq, key, is_unresolved: true };
    let ended = match (row.opt_text(4)?, row.opt_text(5)?) {
        (None, _) => None,
        (Some(_), Some(state)) => {
            let state = OperationState::parse(&state).ok_or_else(corrupt)?;
            Some(EndedOperation { state, has_verdict: row.opt_int(6)?.is_some(), warnings: row.opt_text(7)? })
        }
        (Some(outcome), None) => match outcome_state(&outcome)? {
            OperationState::Unknown => return Ok(None),
            state => Some(EndedOperation { state, has_verdict: false, warnings: None }),
        },
    };
    Ok(Some(VerdictTarget { running, started_ms: row.int(1)?, ended }))
}
