//! DELETE: no vendor compares versions here, so the gateway reads and compares under a lease.

use super::Guarantee;
use super::begin::BeginError;
use super::in_flight_write::InFlightWrite;
use super::intent::{ExpectedState, WriteIntent};
use super::pipeline::{MAX_LEASE_RETRIES, PipelineResult, WritePipeline};
use crate::record::{Action, RecordId};
use crate::store::Lease;
use crate::vendors::Completion;

impl WritePipeline<'_> {
    /// The whole of a DELETE.
    pub(super) async fn delete(&mut self, id: &RecordId) -> Result<PipelineResult, BeginError> {
        self.check_guarantee()?;
        let mut lost_turns = 0;
        loop {
            self.gateway.ensure_no_async_write(self.system, id).await?;
            let lease = self.gateway.acquire_lease(self.system, id, self.op_context).await?;
            let ended = self.attempt_delete(id, lease.clone()).await;
            if ended.is_err() {
                self.release(lease).await;
            }
            match ended {
                Err(BeginError::Restart) if lost_turns < MAX_LEASE_RETRIES => lost_turns += 1,
                other => return other,
            }
        }
    }

    async fn attempt_delete(&mut self, id: &RecordId, lease: Lease) -> Result<PipelineResult, BeginError> {
        let (stored, tag) = self.read_and_check_preconditions(id).await?;
        let planned =
            self.system.adapter.plan_delete(id, &stored).map_err(|errors| self.system.rejected_problem(errors))?;
        self.system.check_losses(&planned.losses, &self.write.accept_loss)?;
        let intended = WriteIntent {
            expected: ExpectedState::Deleted,
            etag_before: Some(tag.to_header()),
            is_async: planned.completion == Completion::Queued || self.write.prefer.respond_async,
            ..self.new_intent(Action::Delete, Some(id), Guarantee::Guarded, &planned.losses)
        };
        let pending = InFlightWrite { lease: Some(lease), ..intended.into() };
        self.gateway.journal_intent(self.system, self.write, self.op_context, &pending).await?;
        Ok(PipelineResult::Sent(self.send_and_resolve(planned, pending).await))
    }
}
