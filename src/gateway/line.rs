//! The straight line every write goes: key, preconditions, intent, one vendor call, outcome; and what its caller is told
//! when patience ends before the outcome is known.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::carried::Carried;
use super::conclude::{accepted, outcome_unknown};
use super::intended::{Intended, Wanted};
use super::intent::{Stop, repeat_of_a_running};
use super::pending::{CallerTold, Pending};
use super::session::Session;
use super::settle::{Seen, Settled};
use super::settler::last_look;
use super::{Ask, Gateway, Guarantee, System, Told, Verdict, Write, WriteKind};
use crate::adapters::{Completion, Loss, Planned};
use crate::metrics::DetectedBy;
use crate::problem::{Failure, Problem, ProblemName};
use crate::record::{Action, Effect, Fault, FaultKind, OperationId, Precondition, RecordId};
use crate::store::{self, Lease};
use crate::transport::{Reply, Transport as _};

/// How often a write begins anew because its lease was lost before it was sent.
pub(super) const LOST_TURNS: usize = 2;
/// What a caller is told to wait when the vendor is busy with the record.
pub(super) const BUSY_AFTER: Duration = Duration::from_secs(1);

/// A last look in the caller's time may take this long beyond its patience.
const LEAST_LOOK: Duration = Duration::from_millis(300);

/// How a write ended for its caller.
pub(super) enum Ended {
    /// Nothing had to be sent.
    Nothing(Verdict),
    /// The vendor was called.
    Verdict(Verdict),
}

/// One write on its way.
pub(super) struct Context<'c> {
    pub(super) gateway: &'c Arc<Gateway>,
    pub(super) system: &'c Arc<System>,
    pub(super) write: &'c Write,
    pub(super) ask: &'c Ask,
    pub(super) session: Session<'c>,
    /// The operation whose call may be under way.
    pub(super) sending: &'c RefCell<Option<OperationId>>,
    /// When the write was asked for: `Prefer: wait` counts from here.
    begun: Instant,
    /// Tells the caller 202 before the vendor has answered (`Prefer: respond-async`).
    teller: Cell<Option<oneshot::Sender<Result<Told, Problem>>>>,
    /// Whether the settler goes on with it, and will say how it ends.
    handed_over: bool,
}

/// Runs a write to its end and tells its caller, who may have gone.
pub(super) async fn run(
    gateway: &Arc<Gateway>,
    system: &Arc<System>,
    write: &Write,
    ask: &Ask,
    teller: oneshot::Sender<Result<Told, Problem>>,
    sending: &RefCell<Option<OperationId>>,
) {
    let session = Session::new(&*system.stack, &ask.trace, ask.deadline);
    let begun = Instant::now();
    let teller = Cell::new(Some(teller));
    let mut context = Context { gateway, system, write, ask, session, begun, sending, teller, handed_over: false };
    let told = context.told().await;
    let untold = match context.teller.take() {
        Some(teller) => teller.send(told).err(),
        None => Some(told),
    };
    // A caller that hung up, or has its 202, does not change what was done; but then nobody is answered with a failure.
    if let Some(untold) = untold.filter(|_| !context.handed_over) {
        context.log_failure(&untold);
    }
}

impl Context<'_> {
    async fn told(&mut self) -> Result<Told, Problem> {
        let key = self.write.idempotency.as_ref().map(|claimed| claimed.key.as_str());
        // Held to the end of the line, whatever becomes of the caller.
        let under_way = key.map(|key| self.gateway.keyed.enter(&self.ask.caller.0, key));
        let ended = match self.gateway.replayed(self.system, self.write, self.ask).await {
            Ok(()) if matches!(under_way, Some(None)) => Err(repeat_of_a_running(self.system).into()),
            Ok(()) => self.dispatch().await,
            Err(stop) => Err(stop),
        };
        let ended = match ended {
            // Its own operation tells more than its key could.
            Err(Stop::Refused(problem)) if problem.name == ProblemName::OutcomeUnknown => Err(Stop::Refused(problem)),
            // While this request looked around, the first one with its key may have been begun, and may be what this one
            // stumbled over: its tag is stale, or there is nothing left to change, because the write is being done.
            Ok(Ended::Nothing(_)) | Err(Stop::Refused(_)) => {
                self.gateway.replayed(self.system, self.write, self.ask).await.and(ended)
            }
            other => other,
        };
        let (verdict, replayed) = match ended {
            Ok(Ended::Nothing(verdict) | Ended::Verdict(verdict)) => (verdict, false),
            Err(Stop::Replay(verdict)) => (*verdict, true),
            Err(Stop::Refused(problem)) => return Err(*problem),
            Err(Stop::Again) => {
                let detail = "the gateway lost its turn to write this record again and again; nothing was sent";
                return Err(ProblemName::Overloaded.with(detail).retry_after(BUSY_AFTER));
            }
        };
        Ok(self.gateway.tell(verdict, replayed).await)
    }

    fn log_failure(&self, untold: &Result<Told, Problem>) {
        let problem = match untold {
            Ok(Told { verdict: Verdict::Problem(problem), .. }) => problem,
            Err(problem) => problem,
            Ok(_) => return,
        };
        let failure = Failure {
            what: "operation failed",
            request_id: &self.ask.request_id.0,
            system: Some(self.system.name.as_str()),
            action: self.write.kind.action().as_str(),
            problem,
            operation: None,
            trace_id: Some(self.ask.trace.trace_id()),
            took: self.begun.elapsed(),
            vendor: self.ask.trace.vendor_time(),
        };
        failure.log();
    }

    async fn dispatch(&mut self) -> Result<Ended, Stop> {
        match &self.write.kind {
            WriteKind::Update { id, patch } => self.update(id, patch).await,
            // Boxed, as is all that a PATCH rarely comes to: a line is moved a few times before it begins.
            WriteKind::Delete { id } => Box::pin(self.delete(id)).await,
            WriteKind::Create { collection, fields } => Box::pin(self.create(collection, fields)).await,
        }
    }

    /// `guarantee-unavailable` where the vendor does not compare versions for this action.
    pub(super) fn refuse_if_native_is_required(&self) -> Result<(), Problem> {
        if !self.write.require_native {
            return Ok(());
        }
        let detail = format!(
            "{} does not compare versions on {}: the gateway compares under a lease (guarded), and a change made elsewhere \
             within that window is not excluded",
            self.system.name,
            self.write.kind.action().as_str()
        );
        Err(ProblemName::GuaranteeUnavailable.with(detail).system(self.system.name.as_str()))
    }

    /// The parts of what a write intends that are the same for every kind.
    pub(super) fn intended(
        &self,
        action: Action,
        id: Option<&RecordId>,
        guarantee: Guarantee,
        losses: &[Loss],
    ) -> Intended {
        Intended {
            operation: OperationId::new(),
            request_id: Arc::clone(&self.ask.request_id.0),
            system: self.system.name.text(),
            installation: Arc::clone(&self.system.installation),
            record: id.cloned(),
            action,
            guarantee,
            wanted: Wanted::Gone,
            before: None,
            after: None,
            resend: None,
            losses: losses.iter().map(|loss| loss.name.to_owned()).collect(),
            queued: self.write.prefer.respond_async,
            begun_ms: jiff::Timestamp::now().as_millisecond(),
            any_state: matches!(self.write.precondition, Some(Precondition::Exists) | None),
            keyed: self.write.idempotency.is_some(),
            prefer: self.write.prefer.clone(),
        }
    }

    /// Gives a lease back that was not used.
    pub(super) async fn release(&self, lease: Lease) {
        // An expired lease frees the record as well.
        let _ = self.gateway.store.release(&lease).await;
    }

    /// Sends the one vendor call of a stored intent, settles its outcome if that can be done in the caller's time, and
    /// hands it to the settler if not.
    pub(super) async fn carry(&mut self, planned: Planned, pending: Pending) -> Verdict {
        if Instant::now() < self.ask.deadline {
            self.sending.replace(Some(pending.operation.clone()));
        }
        let mut carried = Carried::new(self.gateway, pending);
        let pending = &mut carried.pending;
        if self.write.prefer.respond_async && self.write.prefer.wait.is_none() {
            Box::pin(self.tell_accepted(pending)).await;
        }
        self.session.patience(self.sending_deadline());
        let queued = planned.completion == Completion::Queued;
        let answer = {
            let sending = self.session.send(planned.call);
            match self.write.prefer.wait.filter(|_| self.write.prefer.respond_async) {
                Some(wait) => Box::pin(self.tell_at(self.begun + wait, sending, pending)).await,
                None => sending.await,
            }
        };
        // Only what the vendor has taken on is told as accepted.
        let taken_on = queued && answer.is_ok();
        let settled = match answer {
            Ok(reply) => self.answered(pending, &reply, queued).await,
            Err(fault) => Box::pin(self.failed(pending, fault)).await,
        };
        pending.calls.extend(self.session.take_calls());
        match settled {
            Some(settled) => self.conclude(pending, settled).await,
            None => Box::pin(self.hand_over(carried, taken_on)).await,
        }
    }

    /// Part of the deadline is kept for finding out what became of a write: a quarter of what is left, at most 5 s.
    fn sending_deadline(&self) -> Instant {
        let left = self.ask.deadline.saturating_duration_since(Instant::now());
        self.ask.deadline - (left / 4).min(Duration::from_secs(5))
    }

    /// How long the caller wants to wait for a write that goes on.
    fn patience(&self, queued: bool) -> Instant {
        match self.write.prefer.wait {
            Some(wait) => (self.begun + wait).min(self.ask.deadline),
            None if queued || self.write.prefer.respond_async => Instant::now(),
            None => self.ask.deadline,
        }
    }

    /// The vendor said yes.
    async fn answered(&mut self, pending: &mut Pending, reply: &Reply, queued: bool) -> Option<Settled> {
        if let Wanted::Made { collection, .. } = &pending.wanted {
            return match self.system.adapter.created(collection, reply) {
                Ok(created) => {
                    Some(Settled::Applied(Seen { stored: created.stored, made: Some(created.id), ..Seen::default() }))
                }
                Err(_) => Box::pin(self.follow(pending, self.ask.deadline)).await,
            };
        }
        if !queued {
            return Some(Settled::Applied(Seen::default()));
        }
        let until = self.patience(queued);
        if until <= Instant::now() { None } else { Box::pin(self.follow(pending, until)).await }
    }

    /// The vendor said no, or nothing.
    async fn failed(&mut self, pending: &mut Pending, fault: Fault) -> Option<Settled> {
        match (fault.kind, fault.effect) {
            (FaultKind::Conflict | FaultKind::Ambiguous, _) => {
                let told =
                    self.gateway.tell_apart(self.system, &self.session, pending, &fault, self.ask.deadline).await;
                if told.is_none() && fault.kind == FaultKind::Conflict {
                    let mut stale = self.gateway.failed_precondition(self.system, DetectedBy::Vendor);
                    stale.vendor = self.system.problem(&fault).vendor;
                    return Some(Settled::NotApplied(Box::new(stale)));
                }
                if told.is_none() {
                    pending.refused = Some(Box::new(fault));
                }
                told
            }
            (_, Effect::None) => Some(Settled::NotApplied(Box::new(match pending.id() {
                Some(id) => super::read::missing_or(self.system, id, &fault),
                None => self.system.problem(&fault),
            }))),
            (_, Effect::Unknown) => self.follow(pending, self.ask.deadline).await,
        }
    }

    /// Looks for the outcome as long as the caller waits. Where that is longer than writes are watched, the write ends here.
    async fn follow(&self, pending: &Pending, until: Instant) -> Option<Settled> {
        let watched = Instant::now() + pending.time_left(self.system.policy.completion_timeout);
        let (gateway, system, session) = (self.gateway, self.system, &self.session);
        let settled = gateway.follow(system, session, pending, until.min(watched), LEAST_LOOK).await;
        if settled.is_none() && watched < until {
            let until = self.ask.deadline.max(Instant::now() + LEAST_LOOK);
            return Some(last_look(gateway, system, session, pending, until).await);
        }
        settled
    }

    /// The end, in the caller's time: with the record where the caller asked for it or the vendor warns.
    async fn conclude(&mut self, pending: &mut Pending, settled: Settled) -> Verdict {
        let (settled, shown) = match settled {
            Settled::Applied(seen) => self.read_back(pending, seen).await,
            other => (other, None),
        };
        pending.calls.extend(self.session.take_calls());
        self.gateway.conclude(self.system, pending, settled, shown).await
    }

    /// The outcome is not known in the caller's time: the settler goes on, and the caller is told what is true now. A 202
    /// needs the vendor's word that it has taken the write on, or a caller who asked not to wait for it.
    async fn hand_over(&mut self, mut carried: Carried<'_>, taken_on: bool) -> Verdict {
        let pending = &mut carried.pending;
        let verdict = if taken_on || self.write.prefer.respond_async {
            pending.told = CallerTold::Accepted;
            Verdict::Written(accepted(pending))
        } else {
            let problem = outcome_unknown(self.system, pending, None);
            Verdict::Problem(Box::new(problem))
        };
        self.remember_for_the_key(pending, &verdict).await;
        self.handed_over = true;
        drop(carried);
        verdict
    }

    /// Whether the caller has its 202: it watches that one operation, and another try would be another operation.
    pub(super) fn caller_was_told(&self) -> bool {
        let teller = self.teller.take();
        let was_told = teller.is_none();
        self.teller.set(teller);
        was_told
    }

    /// Waits for the vendor's answer, and tells the caller 202 on the way when `wait` is over.
    async fn tell_at(
        &self,
        until: Instant,
        sending: impl Future<Output = Result<Reply, Fault>>,
        pending: &mut Pending,
    ) -> Result<Reply, Fault> {
        tokio::pin!(sending);
        if let Ok(answer) = tokio::time::timeout_at(until, &mut sending).await {
            return answer;
        }
        self.tell_accepted(pending).await;
        sending.await
    }

    /// 202 before the vendor has answered, because the caller asked for it.
    async fn tell_accepted(&self, pending: &mut Pending) {
        pending.told = CallerTold::Accepted;
        let verdict = Verdict::Written(accepted(pending));
        self.remember_for_the_key(pending, &verdict).await;
        let told = self.gateway.tell(verdict, false).await;
        if let Some(teller) = self.teller.take() {
            let _ = teller.send(Ok(told));
        }
    }

    async fn remember_for_the_key(&self, pending: &Pending, verdict: &Verdict) {
        if self.write.idempotency.is_none() {
            return;
        }
        let text = serde_json::to_string(verdict).unwrap_or_default();
        let told = if pending.told == CallerTold::Accepted { store::Told::Accepted } else { store::Told::Unknown };
        if let Err(error) = self.gateway.store.interim(&pending.operation, told, text).await {
            tracing::warn!(%error, operation = %pending.operation, "an interim answer could not be stored");
        }
    }
}
