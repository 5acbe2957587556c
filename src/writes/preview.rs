//! A preview (contract 4.11): a write is worked out as the pipeline would, up to its intent, and
//! shown. Nothing is sent but reads, and nothing is stored.

mod calls;
mod document;
mod repetition;

use std::time::Duration;

pub use calls::PreviewCall;
pub use document::{ExpectedResponse, Preview, PreviewChange, PreviewCompletion, PreviewLoss};

use super::admit::check_guarantee;
use super::applied_rebase::AppliedRebase;
use super::command::{WriteCommand, WriteOp};
use super::idempotency::{find_repetition, key_not_claimed};
use super::plan::{Draft, PlanTagInput, build_draft, max_ttl_ms};
use super::schema_check::check_request;
use super::send_gate::SendGate;
use super::write_services::WriteServices;
use super::write_task::WriteTask;
use crate::bounded::format_duration;
use crate::metrics::PlanOutcome;
use crate::problem::{Problem, ProblemKind};
use crate::record::{Action, FieldChange, PlanTag, RawJson, RecordId};
use crate::system::{CallerContext, System};
use crate::vendors::{Completion, DataLoss, PlannedRequest};

/// The most changes that a preview shows.
const MAX_CHANGES: usize = 1000;

/// Works a write out and shows it. `plan_ttl` is how long its plan is valid. A repetition of a
/// write has no plan: it gets the response to the first request.
///
/// # Errors
/// What stops the write by its caller's fault, with the same problem.
pub(crate) async fn preview(
    services: &WriteServices,
    system: &System,
    command: &WriteCommand,
    context: &CallerContext,
    plan_ttl: Duration,
) -> Result<Preview, Problem> {
    let gate = SendGate::default();
    let task = WriteTask::new((services, system), command, context, &gate, None);
    let keys = (&services.journal, &services.in_flight_keys);
    if let Some(repetition) = find_repetition(keys, system, command, context).await? {
        return repetition::preview(&task, repetition);
    }
    if command.replays_only {
        return Err(key_not_claimed());
    }
    check_request(&task).await?;
    check_guarantee(system, command)?;
    let is_blocked = is_blocked(&task);
    let draft = build_draft(&task).await?;
    let ttl_ms = u64::try_from(plan_ttl.as_millis()).unwrap_or_default().min(max_ttl_ms(&task));
    let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    let expires_ms = now_ms.saturating_add(ttl_ms);
    let key = services.plan_key().await?;
    let Draft { based_on, planned, guarantee, .. } = &draft;
    let input = PlanTagInput { based_on: based_on.as_deref(), planned: planned.as_ref(), guarantee: *guarantee };
    let plan = PlanTag::issue(key, &input.digests(key, &task), expires_ms);
    services.metrics.plan(system.index, PlanOutcome::Made);
    Ok(build_preview(&task, draft, is_blocked, &plan, expires_ms))
}

/// Whether a queued or an unresolved write of the record runs, so that this one would be refused.
fn is_blocked(task: &WriteTask<'_>) -> bool {
    let running = |id: &RecordId| task.services.journal.blocking_write_on(task.system.name.as_str(), id.as_str());
    task.command.op.record().is_some_and(|id| running(id).is_some())
}

impl Draft {
    fn losses(&self) -> &[DataLoss] {
        self.planned.as_ref().map_or(&[], |planned| &planned.losses)
    }
}

fn build_preview(task: &WriteTask<'_>, draft: Draft, is_blocked: bool, plan: &PlanTag, expires_ms: u64) -> Preview {
    let (system, command) = (task.system, task.command);
    let expires = jiff::Timestamp::from_millisecond(expires_ms.try_into().unwrap_or(i64::MAX));
    let losses = draft.losses().iter().map(|loss| PreviewLoss {
        name: loss.name.to_owned(),
        detail: loss.detail.to_owned(),
        accepted: system.check_losses(std::slice::from_ref(loss), &command.accept_loss).is_ok(),
    });
    let is_queued = draft.planned.as_ref().is_some_and(|planned| planned.completion == Completion::Queued);
    Preview {
        plan: Some(plan.to_header()),
        expires_at: Some(expires.unwrap_or_default().to_string()),
        action: command.op.action(),
        system: system.name.as_str().to_owned(),
        record: command.op.record().map(|id| RecordId::as_str(id).to_owned()),
        guarantee: (command.op.action() != Action::Create).then_some(draft.guarantee),
        completion: if is_queued { PreviewCompletion::Queued } else { PreviewCompletion::Direct },
        changes_nothing: draft.planned.is_none(),
        losses: losses.collect(),
        calls: draft.planned.iter().map(|planned| PreviewCall::new(system, &planned.request)).collect(),
        then: describe_completion(task, &draft, is_queued),
        would: predict_response(task, &draft, is_queued, is_blocked),
        warnings: draft.rebased.iter().map(AppliedRebase::warning).chain(task.schema.warnings()).collect(),
        changes_cut: draft.changes.len() > MAX_CHANGES,
        changes: draft.changes.into_iter().take(MAX_CHANGES).map(PreviewChange::from).collect(),
        based_on: draft.based_on,
    }
}

impl From<FieldChange> for PreviewChange {
    fn from(change: FieldChange) -> Self {
        Self {
            from: change.old_value.as_ref().map(RawJson::from),
            to: change.new_value.as_ref().map(RawJson::from),
            pointer: change.pointer,
        }
    }
}

/// The response that the write would have.
fn predict_response(task: &WriteTask<'_>, draft: &Draft, is_queued: bool, is_blocked: bool) -> ExpectedResponse {
    let (system, command) = (task.system, task.command);
    if is_blocked {
        return ExpectedResponse::problem(ProblemKind::OperationInProgress);
    }
    if system.check_losses(draft.losses(), &command.accept_loss).is_err() {
        return ExpectedResponse::problem(ProblemKind::LossyWrite);
    }
    let status = match &command.op {
        _ if draft.planned.is_some() && is_accepted_first(task, is_queued) => 202,
        WriteOp::Create { .. } => 201,
        WriteOp::Update { .. } if has_body(task, draft) => 200,
        WriteOp::Update { .. } | WriteOp::Delete { .. } => 204,
    };
    ExpectedResponse::success(status)
}

/// Whether the caller does not wait for the outcome.
fn is_accepted_first(task: &WriteTask<'_>, is_queued: bool) -> bool {
    (is_queued || task.command.prefer.respond_async) && task.command.prefer.wait.is_none()
}

/// Whether the response to an update holds the record: its caller prefers that, or there
/// are warnings to show.
fn has_body(task: &WriteTask<'_>, draft: &Draft) -> bool {
    let has_warnings = !draft.losses().is_empty() || draft.rebased.is_some() || !task.schema.warnings().is_empty();
    task.command.prefer.return_representation || has_warnings
}

/// What follows the call, in words.
fn describe_completion(task: &WriteTask<'_>, draft: &Draft, is_queued: bool) -> String {
    let Some(PlannedRequest { .. }) = &draft.planned else { return "nothing is sent".to_owned() };
    if is_queued {
        let timeout = format_duration(task.system.policy.completion_timeout);
        return format!("read until the wanted state shows, at most {timeout}");
    }
    match &task.command.op {
        WriteOp::Create { .. } => "read the new record, unless the vendor's response holds it".to_owned(),
        WriteOp::Update { .. } if has_body(task, draft) => "read the record once, for the response".to_owned(),
        WriteOp::Update { .. } | WriteOp::Delete { .. } => "nothing: the vendor's response is the outcome".to_owned(),
    }
}
