//! What keeps an item of a stored batch from a response of its own.

use crate::journal::{Journal, JournalError};
use crate::record::{Operation, OperationId, OperationState};

/// What keeps an item from a response of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PendingCause {
    /// Its own write, which this operation is now.
    OwnWrite(OperationId),
    /// Something that ends before long: another request with its key, or a write that has just
    /// ended.
    Transient,
    /// Another writer of the record.
    OtherWriter,
}

/// What the operation `named` in the 409 of an item is to the item that the ledger calls `name`.
/// The item's own write can be another one by now: after a conflict it is tried again.
pub(super) async fn find_pending_cause(
    journal: &Journal,
    caller: &str,
    key: &str,
    name: &str,
    named: &OperationId,
) -> Result<PendingCause, JournalError> {
    let is_own = |operation: &Operation| operation.batch_item.as_deref() == Some(name);
    if let Some(claiming) = journal.claiming_operation(caller, key).await? {
        let is_own = journal.operation(&claiming).await?.is_some_and(|operation| is_own(&operation));
        return Ok(if is_own { PendingCause::OwnWrite(claiming) } else { PendingCause::Transient });
    }
    let is_passing = |operation: Operation| is_own(&operation) || operation.state != OperationState::Running;
    let is_passing = journal.operation(named).await?.is_none_or(is_passing);
    Ok(if is_passing { PendingCause::Transient } else { PendingCause::OtherWriter })
}
