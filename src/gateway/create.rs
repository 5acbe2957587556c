//! POST: a create that may have arrived is looked for, never sent again.

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::Guarantee;
use super::begin::BeginError;
use super::in_flight_write::InFlightWrite;
use super::intent::{ExpectedState, WriteIntent};
use super::pipeline::{PipelineResult, WritePipeline};
use crate::problem::Problem;
use crate::record::{Action, FieldError, VendorErrorKind};

impl WritePipeline<'_> {
    /// The whole of a POST.
    pub(super) async fn create(
        &mut self,
        collection: &str,
        fields: &Map<String, Value>,
    ) -> Result<PipelineResult, BeginError> {
        let adapter = &self.system.adapter;
        if self.write.require_native {
            self.check_guarantee()?;
        }
        let planned = adapter
            .plan_create(collection, fields)
            .map_err(|errors: Vec<FieldError>| self.system.rejected_problem(errors))?;
        self.system.check_losses(&planned.losses, &self.write.accept_loss)?;
        let known = self.find_preexisting_matches(collection, fields).await?;
        let intended = WriteIntent {
            expected: ExpectedState::Created {
                collection: collection.to_owned(),
                fields: fields.clone(),
                preexisting_ids: known,
            },
            ..self.new_intent(Action::Create, None, Guarantee::Guarded, &planned.losses)
        };
        let pending = InFlightWrite::from(intended);
        self.gateway.journal_intent(self.system, self.write, self.op_context, &pending).await?;
        Ok(PipelineResult::Sent(self.send_and_resolve(planned, pending).await))
    }

    /// The records that hold these values already, so that one of them is never taken for the one a lost answer was about.
    /// Where ids tell when a record was made nobody needs to look; where the look fails a lost answer stays unknown, and where the
    /// vendor knows no such collection or field nothing is sent.
    async fn find_preexisting_matches(
        &self,
        collection: &str,
        fields: &Map<String, Value>,
    ) -> Result<Option<Vec<String>>, Problem> {
        let adapter = &self.system.adapter;
        if adapter.capabilities().ids_are_timestamped {
            return Ok(None);
        }
        let left = self.op_context.deadline.saturating_duration_since(Instant::now());
        self.session.set_deadline(Instant::now() + (left / 4).min(self.system.policy.timeout));
        match adapter.find_matching(&self.session, collection, fields).await {
            Ok(matching) => Ok(matching.map(|all| all.iter().map(|id| id.as_str().to_owned()).collect())),
            Err(fault) if matches!(fault.kind, VendorErrorKind::NotFound | VendorErrorKind::Rejected) => {
                Err(self.system.fault_to_problem(&fault))
            }
            Err(_) => Ok(None),
        }
    }
}
