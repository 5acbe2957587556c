//! Which conflicts lead to another attempt, and the pauses before it (contract 4.2).

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::outcome::WriteOutcome;
use super::write_services::WriteServices;
use super::write_task::WriteTask;
use crate::problem::{Problem, ProblemKind};
use crate::system::System;

/// How many attempts a write that meets conflicts has at least.
const MIN_ATTEMPTS: u32 = 3;
/// The pauses between attempts, before jitter.
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The attempts after a conflict (contract 4.2).
pub(super) struct ConflictRetries {
    /// Attempts may begin until then.
    pub until: Instant,
    attempts: u32,
    backoff: ExponentialBackoff,
}

impl ConflictRetries {
    pub(super) fn new(until: Instant) -> Self {
        let backoff =
            ExponentialBuilder::new().with_min_delay(MIN_BACKOFF).with_max_delay(MAX_BACKOFF).with_factor(2.0);
        Self { until, attempts: 1, backoff: backoff.without_max_times().build() }
    }

    /// Pauses before the next attempt; `false` if there is no time for one.
    pub(super) async fn pause(&mut self, services: &WriteServices, system: &System) -> bool {
        let pause = self.backoff.next().unwrap_or(MAX_BACKOFF).mul_f64(fastrand::f64());
        if self.attempts >= MIN_ATTEMPTS && Instant::now() + pause >= self.until {
            return false;
        }
        self.attempts += 1;
        services.metrics.conflict_retry(system.index);
        tokio::time::sleep(pause).await;
        true
    }
}

/// The conflict that another attempt may avoid. A caller that sent a tag gets its 412 at once
/// unless it prefers a rebase; a caller that has its 202 polls that operation, so no other one
/// may begin.
pub(super) fn retryable_conflict<'o>(task: &WriteTask<'_>, outcome: &'o WriteOutcome) -> Option<&'o Problem> {
    let WriteOutcome::Problem(problem) = outcome else { return None };
    let is_conflict = match problem.kind {
        // A create has no state that another attempt could read again.
        ProblemKind::PreconditionFailed => {
            task.command.op.record().is_some() && (task.is_if_match_any() || task.command.prefer.rebase)
        }
        name => name == ProblemKind::VendorBusy,
    };
    (is_conflict && !task.has_responded()).then_some(&**problem)
}
