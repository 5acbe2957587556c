//! What the store has of a write that has a response or has lost its vendor's response, and has not
//! ended: what its `Idempotency-Key` replays, and that it keeps other writers from the record.

use super::in_flight_write::InFlightWrite;
use super::outcome::WriteOutcome;
use crate::journal::{InterimResponse, Journal};

/// Stores what the `Idempotency-Key` replays until the write ends.
pub(super) async fn save_interim_outcome(
    journal: &Journal,
    write: &InFlightWrite,
    response: InterimResponse,
    outcome: &WriteOutcome,
) {
    let text = serde_json::to_string(outcome).unwrap_or_default();
    if let Err(error) = journal.save_interim_outcome(&write.operation, response, text).await {
        tracing::warn!(%error, operation = %write.operation, "interim outcome not stored");
    }
}

/// Keeps other writers from the record of a write whose response was lost (contract 4.4). An
/// asynchronous write does so from the start.
pub(super) async fn block_record(journal: &Journal, write: &mut InFlightWrite) {
    if write.is_async || write.blocks_record {
        return;
    }
    write.blocks_record = true;
    if let Err(error) = journal.block_record(&write.operation).await {
        tracing::warn!(%error, operation = %write.operation, "blocked record not stored");
    }
}
