//! The settler goes on with writes whose callers have been answered, and with those that a crash left behind.
//!
//! It runs on a thread of its own choosing (the one that [`Settler::run`] is awaited on), so that a worker that stops takes
//! no write with it.
//!
//! What ends badly here was told to nobody as what it is (its caller had 202 or `outcome-unknown`), so it is logged here, once;
//! the operation tells the caller. A write whose caller was told that nobody knows gets a line when it is known after all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::intended::{Intended, Wanted};
use super::pending::{CallerTold, Pending};
use super::read::{look, look_for_effect};
use super::session::Session;
use super::settle::{Seen, Settled, shows_it_done};
use super::{Gateway, Record, System, Verdict};
use crate::problem::{Failure, Problem};
use crate::record::{CallMade, Observed, OperationId, holds};
use crate::store::{self, Told};
use crate::transport::trace::TraceContext;

/// How often the store is asked for operations whose owner has died.
const ADOPT_EVERY: Duration = Duration::from_secs(5);
/// How many operations are taken over at a time; the rest follows with the next time.
const ADOPT_AT_ONCE: usize = 256;
/// The pause before a write whose settling failed by a fault of the gateway is settled anew.
const ANEW_AFTER: Duration = Duration::from_secs(1);
/// A look made because time is up still gets this long.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// Where a write is handed over.
#[derive(Clone)]
pub(super) struct Settler {
    sender: mpsc::UnboundedSender<Pending>,
    /// Whether the store was away when it was last asked for operations of dead owners.
    away: Arc<AtomicBool>,
}

/// The other end: what is to be settled.
pub struct Unsettled {
    receiver: mpsc::UnboundedReceiver<Pending>,
}

impl Settler {
    pub(super) fn new() -> (Self, Unsettled) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, away: Arc::default() }, Unsettled { receiver })
    }

    /// Takes a write over. If nobody settles any more (the process ends), the store still has it.
    pub(super) fn take(&self, pending: Pending) {
        let _ = self.sender.send(pending);
    }
}

impl Gateway {
    /// Settles what is handed over and adopts what dead owners have left, until the gateway is dropped. Await this on the
    /// main thread, inside a `LocalSet` or an actix system.
    pub async fn settle(self: &Arc<Self>, unsettled: Unsettled) {
        let weak = Arc::downgrade(self);
        let mut receiver = unsettled.receiver;
        let mut adopt = tokio::time::interval(ADOPT_EVERY);
        let mut adopting: Option<JoinHandle<()>> = None;
        loop {
            tokio::select! {
                taken = receiver.recv() => match (taken, weak.upgrade()) {
                    (Some(pending), Some(gateway)) => { actix_web::rt::spawn(settle_or_hand_back(gateway, pending)); }
                    _ => return,
                },
                _ = adopt.tick() => match weak.upgrade() {
                    // Not waited for: a slow store must not keep what is handed over waiting.
                    Some(gateway) if adopting.as_ref().is_none_or(JoinHandle::is_finished) => {
                        adopting = Some(actix_web::rt::spawn(async move { gateway.adopt().await }));
                    }
                    Some(_) => {}
                    None => return,
                },
            }
        }
    }

    /// Takes over the operations of dead owners. That the store is away is logged when it begins, not each time.
    async fn adopt(self: Arc<Self>) {
        let found = match self.store.adopt(ADOPT_AT_ONCE).await {
            Ok(found) => found,
            Err(error) => {
                if !self.settler.away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "operations of dead owners cannot be taken over yet");
                }
                return;
            }
        };
        self.settler.away.store(false, Ordering::Relaxed);
        for one in found {
            let (gateway, operation) = (Arc::clone(&self), one.operation.clone());
            // In a task of its own: a fault of the gateway must not keep the others from being settled.
            let taken = actix_web::rt::spawn(async move { gateway.take_over(one).await }).await;
            if taken.is_err_and(|failure| failure.is_panic()) {
                self.give_up(&operation, None, "taking it over failed by a fault of the gateway").await;
            }
        }
    }

    async fn take_over(&self, one: store::Unsettled) {
        let saved = one.material.as_deref().and_then(|text| serde_json::from_str::<Intended>(text).ok());
        let Some(intended) = saved else {
            self.give_up(&one.operation, None, "what it needs to be settled cannot be read").await;
            return;
        };
        tracing::info!(operation = %one.operation, system = %intended.system, "settling an operation of a former process");
        if let Some(system) = self.system(&intended.system) {
            self.meter.operations_running(system.index, 1);
        }
        let told = match one.told {
            Some(Told::Accepted) => CallerTold::Accepted,
            // Whoever waited for a write that runs on by itself has most likely been told that it does.
            None if intended.queued => CallerTold::Accepted,
            Some(Told::Unknown) | None => CallerTold::Unknown,
        };
        self.hand_to_settler(Pending { told, taken_over: Some(Instant::now()), ..intended.into() });
    }
}

/// Settles a write. One whose settling panics is settled anew, and ends `unknown` when its time is over: nothing runs for ever.
async fn settle_or_hand_back(gateway: Arc<Gateway>, mut pending: Pending) {
    let settling = actix_web::rt::spawn(settle_one(Arc::clone(&gateway), pending.clone()));
    // One that was cancelled ends with the process, and the next start settles it.
    if !settling.await.is_err_and(|failure| failure.is_panic()) {
        return;
    }
    tracing::error!(operation = %pending.operation, system = %pending.system, "settling failed by a fault of the gateway");
    match gateway.system(&pending.system) {
        Some(system) if pending.time_left(system.policy.completion_timeout).is_zero() => {
            gateway.conclude(&system, &mut pending, Settled::Unknown(None), None).await;
        }
        _ => {
            tokio::time::sleep(ANEW_AFTER).await;
            gateway.settler.take(pending);
        }
    }
}

async fn settle_one(gateway: Arc<Gateway>, mut pending: Pending) {
    let Some(system) = gateway.system(&pending.system) else {
        gateway.give_up(&pending.operation, Some(&pending), "the system is not configured any more").await;
        return;
    };
    let settled = if pending.installation.is_empty() || pending.installation == system.installation {
        settle(&gateway, &system, &mut pending).await
    } else {
        // What was sent to one server is not looked for, and never sent again, at another.
        tracing::warn!(operation = %pending.operation, system = %system.name,
            "the system is another installation now than the one that the write was sent to");
        Settled::Unknown(None)
    };
    let state = settled.word();
    let shown = show_created(&system, &pending, &settled).await;
    let calls = pending.calls.clone();
    match gateway.conclude(&system, &mut pending, settled, shown).await {
        Verdict::Problem(problem) if problem.name.concerns_the_operator() => {
            log_failure(&problem, &pending.operation, Some(&pending), &calls);
        }
        _ if pending.told == CallerTold::Unknown => {
            tracing::info!(operation = %pending.operation, system = %system.name, state, "settled");
        }
        _ => {}
    }
}

/// The one line of a write that ended badly without its caller.
pub(super) fn log_failure(problem: &Problem, operation: &OperationId, pending: Option<&Pending>, calls: &[CallMade]) {
    let request_id = pending.and_then(|pending| pending.asked_by());
    let failure = Failure {
        what: "operation failed",
        request_id: request_id.unwrap_or("-"),
        system: pending.map(|pending| &*pending.system),
        action: pending.map_or("other", |pending| pending.action.as_str()),
        problem,
        operation: Some(operation),
        trace_id: None,
        took: pending.map(|pending| pending.age()).unwrap_or_default(),
        vendor: Duration::from_millis(calls.iter().map(|call| call.ms).sum()),
    };
    failure.log();
}

/// Follows a write until its time is over, and then looks once more to say what is there.
async fn settle(gateway: &Gateway, system: &System, pending: &mut Pending) -> Settled {
    let trace = TraceContext::alone();
    let until = Instant::now() + pending.time_left(system.policy.completion_timeout);
    let session = Session::new(&*system.stack, &trace, until);
    let settled = match gateway.follow(system, &session, pending, until, LAST_LOOK).await {
        Some(settled) => settled,
        None => last_look(gateway, system, &session, pending, Instant::now() + LAST_LOOK).await,
    };
    pending.calls.extend(session.take_calls());
    settled
}

/// The record that a create was found to have made: what its key replays.
async fn show_created(system: &System, pending: &Pending, settled: &Settled) -> Option<Record> {
    let Settled::Applied(Seen { made: Some(id), .. }) = settled else { return None };
    let trace = TraceContext::alone();
    let session = Session::new(&*system.stack, &trace, Instant::now());
    let stored = look(system, &session, id, Instant::now() + LAST_LOOK).await.ok().flatten();
    Some(stored.map_or_else(|| system.as_sent(id, pending), |stored| system.show(id, &stored, None)))
}

/// What is there when the time is up: the last read may show what no look before it could, that the write was done.
pub(super) async fn last_look(
    gateway: &Gateway,
    system: &System,
    session: &Session<'_>,
    pending: &Pending,
    until: Instant,
) -> Settled {
    let Some(id) = pending.id() else { return Settled::Unknown(None) };
    let Ok(stored) = look_for_effect(system, session, id, until).await else {
        return Settled::Unknown(None);
    };
    let now = stored.as_ref().map(|stored| system.tag(id, &stored.version()).text());
    let shown = stored.as_ref().is_some_and(|stored| holds(&pending.differences(), &stored.fields.to_map()));
    let observed = if now == pending.before {
        Observed::Unchanged
    } else if shown && matches!(pending.wanted, Wanted::Values(_) | Wanted::Members(_)) {
        Observed::Wanted
    } else {
        Observed::Other
    };
    let found = match (&pending.refused, &pending.resend) {
        (Some(fault), _) => gateway.refused(system, pending, fault, stored).await,
        (None, Some(_)) => gateway.compare(system, pending, stored).await,
        (None, None) => shows_it_done(pending, stored),
    };
    found.unwrap_or(Settled::Unknown(Some(observed)))
}
