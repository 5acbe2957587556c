//! DELETE: no vendor compares versions here, so the gateway reads and compares under a lease.

use super::Guarantee;
use super::intended::{Intended, Wanted};
use super::intent::Stop;
use super::line::{Context, Ended, LOST_TURNS};
use super::pending::Pending;
use crate::adapters::Completion;
use crate::record::{Action, RecordId};
use crate::store::Lease;

impl Context<'_> {
    /// The whole of a DELETE.
    pub(super) async fn delete(&mut self, id: &RecordId) -> Result<Ended, Stop> {
        self.refuse_if_native_is_required()?;
        let mut lost_turns = 0;
        loop {
            self.gateway.refuse_while_running(self.system, id).await?;
            let lease = self.gateway.lease(self.system, id, self.ask).await?;
            let ended = self.delete_once(id, lease.clone()).await;
            if ended.is_err() {
                self.release(lease).await;
            }
            match ended {
                Err(Stop::Again) if lost_turns < LOST_TURNS => lost_turns += 1,
                other => return other,
            }
        }
    }

    async fn delete_once(&mut self, id: &RecordId, lease: Lease) -> Result<Ended, Stop> {
        let (stored, tag) = self.read_and_check(id).await?;
        let planned = self.system.adapter.plan_delete(id, &stored).map_err(|errors| self.system.rejected(errors))?;
        self.system.consent(&planned.losses, &self.write.accept_loss)?;
        let intended = Intended {
            wanted: Wanted::Gone,
            before: Some(tag.text()),
            queued: planned.completion == Completion::Queued || self.write.prefer.respond_async,
            ..self.intended(Action::Delete, Some(id), Guarantee::Guarded, &planned.losses)
        };
        let pending = Pending { lease: Some(lease), ..intended.into() };
        self.gateway.begin(self.system, self.write, self.ask, &pending).await?;
        Ok(Ended::Verdict(self.carry(planned, pending).await))
    }
}
