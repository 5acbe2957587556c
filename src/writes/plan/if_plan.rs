//! `If-Plan` (contract 4.11): the write is planned again and compared with its plan, which is
//! never trusted.

use super::preconditions::read_and_check_preconditions;
use crate::metrics::PlanOutcome;
use crate::problem::Problem;
use crate::record::{PlanDigests, PlanKey, PlanPart, RecordId};
use crate::system::Guarantee;
use crate::vendors::PlannedRequest;
use crate::writes::problems::plan_changed;
use crate::writes::write_task::WriteTask;

/// What a plan is made of.
pub(in crate::writes) struct PlanTagInput<'p> {
    /// The ETag of the state that the write is based on.
    pub based_on: Option<&'p str>,
    /// The request to the vendor, and what it destroys besides; `None` if nothing changes.
    pub planned: Option<&'p PlannedRequest>,
    pub guarantee: Guarantee,
}

impl PlanTagInput<'_> {
    /// The digests of the write that `task` makes.
    pub(in crate::writes) fn digests(&self, key: &PlanKey, task: &WriteTask<'_>) -> PlanDigests {
        let text = |text: &str| text.as_bytes().to_vec();
        PlanDigests::new(key, |part| match part {
            PlanPart::BasedOn => {
                let record = task.command.op.record().map_or("", RecordId::as_str);
                vec![text(task.system.name.as_str()), text(record), text(self.based_on.unwrap_or_default())]
            }
            PlanPart::Calls => self.call_values(task),
            PlanPart::Losses => {
                self.planned.iter().flat_map(|planned| &planned.losses).map(|loss| text(loss.name)).collect()
            }
            PlanPart::Guarantee => vec![text(self.guarantee.as_str())],
            PlanPart::Mapping => {
                let model = task.command.mapping.as_deref().unwrap_or_default();
                vec![text(task.system.adapter.capabilities().vendor), text(env!("CARGO_PKG_VERSION")), text(model)]
            }
            PlanPart::Caller => vec![text(&task.context.caller.0)],
            PlanPart::Expired => Vec::new(),
        })
    }

    fn call_values(&self, task: &WriteTask<'_>) -> Vec<Vec<u8>> {
        let mut values = vec![task.command.op.action().as_str().into()];
        if let Some(PlannedRequest { request, .. }) = self.planned {
            values.extend([request.method.as_str().into(), task.system.transport.url(&request.path).into()]);
            for (name, value) in &request.headers {
                values.extend([name.as_str().into(), value.as_bytes().to_vec()]);
            }
            values.push(request.body.as_deref().unwrap_or_default().to_vec());
        }
        values
    }
}

/// Compares the write with its plan, if the request names one. `was_read` says whether the
/// preconditions were compared with the record.
///
/// # Errors
/// `plan-changed`, or before it what a read finds wrong with the preconditions.
pub(super) async fn check_if_plan(
    task: &WriteTask<'_>,
    plan_tag_input: &PlanTagInput<'_>,
    was_read: bool,
) -> Result<(), Problem> {
    let Some(plan) = &task.command.if_plan else { return Ok(()) };
    let (services, system) = (task.services, task.system);
    let key = services.plan_key().await?;
    let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    let differs = plan.differences(key, &plan_tag_input.digests(key, task), now_ms, max_ttl_ms(task));
    if differs.is_empty() {
        return Ok(());
    }
    // 412 comes first (contract 4).
    if let Some(id) = task.command.op.record().filter(|_| !was_read) {
        read_and_check_preconditions(task, id).await?;
    }
    let outcome = if differs.contains(&PlanPart::Expired) { PlanOutcome::Expired } else { PlanOutcome::Changed };
    services.metrics.plan(system.index, outcome);
    Err(plan_changed(system, differs))
}

/// How long a plan may be valid from now on. The store remembers some plans as it does keys, and
/// none must outlive that, even if it was changed after the preview.
pub(in crate::writes) fn max_ttl_ms(task: &WriteTask<'_>) -> u64 {
    task.services.journal.idempotency_ttl().as_millis().try_into().unwrap_or(u64::MAX)
}
