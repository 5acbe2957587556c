//! The straight line of a request, from what a caller asked to what the vendor did.
//!
//! What a vendor lacks is completed here, once, from its [`Profile`](crate::vendors::Profile): tags for the unversioned,
//! merging over replace-only updates, guarded writes, telling a conflict from another error by reading again, following a
//! queued write, settling an unknown outcome.
//!
//! Follow a PATCH: [`Gateway::write`] → `pipeline` (key, verdict, who is told what) → `update` (precondition, patch, plan) →
//! `begin` (lease, journal) → the one vendor call in `pipeline` → `reconcile` (what became of it) → `record_outcome` (outcome, ledger,
//! verdict). What outlives its caller goes to the `reconciler`.

mod begin;
mod command;
mod concurrent_writes;
mod create;
mod delete;
mod drain;
mod handoff_guard;
mod in_flight_keys;
mod in_flight_write;
mod intent;
mod outcome;
mod pipeline;
mod read;
mod reconcile;
mod reconciler;
mod record_outcome;
mod state_cache;
mod system;
mod update;
mod vendor_session;
mod verify_applied;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;
use tokio::time::{Instant, timeout_at};

pub use command::{IdempotencyKey, OpContext, Prefer, RecordPage, WriteCommand, WriteOp, WriteResponse};
pub use outcome::{Guarantee, RecordView, SuccessBody, WriteOutcome, WriteSuccess};
pub use reconciler::ReconcileQueue;
pub use system::{System, SystemPolicy, tenant_fingerprint};
pub use update::patch_error_to_problem;

use self::concurrent_writes::InFlightCreates;
use self::drain::DrainTracker;
use self::in_flight_keys::InFlightKeys;
use self::in_flight_write::{InFlightWrite, ResponseState};
use self::reconciler::ReconcilerHandle;
use self::state_cache::RecentStates;
use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemKind};
use crate::record::{OperationId, OperationState};
use crate::store::{Outcome, Store};

/// How long beyond its deadline a write that was sent may keep its caller waiting before the caller is told that nobody knows.
const SENT_GRACE: Duration = Duration::from_millis(500);

/// The same for one that was not sent.
const UNSENT_GRACE: Duration = Duration::from_millis(50);

/// The operation whose call is being sent, or was.
type InFlightOp = RefCell<Option<OperationId>>;

/// What a write's line tells by its deadline; `None` = nothing. Whoever has met the deadline on the way needs a moment to say how;
/// what was sent, to be told as what it is. A call that has not been sent by its deadline never is.
async fn wait_with_grace<T>(
    mut told: oneshot::Receiver<T>,
    deadline: Instant,
    sending: &InFlightOp,
) -> Option<Result<T, RecvError>> {
    if let Ok(told) = timeout_at(deadline, &mut told).await {
        return Some(told);
    }
    let is_sent = sending.borrow().is_some();
    timeout_at(deadline + if is_sent { SENT_GRACE } else { UNSENT_GRACE }, told).await.ok()
}

/// The gateway: every configured system, and the store.
pub struct Gateway {
    /// Every system that is configured, or was since the start: what is unsettled finds its own here.
    systems: RwLock<Vec<Arc<System>>>,
    store: Store,
    metrics: Arc<Metrics>,
    reconciler: ReconcilerHandle,
    drain_tracker: DrainTracker,
    in_flight_creates: InFlightCreates,
    in_flight_keys: InFlightKeys,
    recent_states: RecentStates,
}

impl Gateway {
    /// A gateway in front of these systems. [`Gateway::reconcile`] must be awaited with the second part.
    #[must_use]
    pub fn new(systems: Vec<Arc<System>>, store: Store, meter: Arc<Metrics>) -> (Arc<Self>, ReconcileQueue) {
        let (settler, unsettled) = ReconcilerHandle::new();
        (
            Arc::new(Self {
                systems: RwLock::new(systems),
                store,
                metrics: meter,
                reconciler: settler,
                drain_tracker: DrainTracker::default(),
                in_flight_creates: InFlightCreates::default(),
                in_flight_keys: InFlightKeys::default(),
                recent_states: RecentStates::default(),
            }),
            unsettled,
        )
    }

    /// The system of a name, as it was last configured.
    #[must_use]
    pub fn system(&self, name: &str) -> Option<Arc<System>> {
        let systems = self.systems.read().unwrap_or_else(PoisonError::into_inner);
        systems.iter().find(|system| system.name.as_str() == name).cloned()
    }

    /// Takes over systems that are configured anew. One that is not among them keeps its place, so that its writes end.
    pub fn replace_systems(&self, configured: &[Arc<System>]) {
        let mut systems = self.systems.write().unwrap_or_else(PoisonError::into_inner);
        systems.retain(|system| configured.iter().all(|one| one.name != system.name));
        systems.extend_from_slice(configured);
    }

    /// What remembers operations, keys and the ledger.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// POST, PATCH, DELETE. The write runs to its end even if the returned future is dropped.
    ///
    /// # Errors
    /// Problems that came before the write's intent are errors as well as those after.
    pub async fn write(
        self: &Arc<Self>,
        system: &Arc<System>,
        write: WriteCommand,
        ask: &OpContext,
    ) -> Result<WriteResponse, Problem> {
        let Some(running) = self.drain_tracker.begin() else {
            let detail = "the gateway is shutting down; nothing was sent";
            return Err(ProblemKind::Overloaded.with_detail(detail).retry_after(Duration::from_secs(1)));
        };
        let (teller, told) = oneshot::channel();
        let (gateway, system, ask) = (Arc::clone(self), Arc::clone(system), ask.clone());
        let (deadline, name) = (ask.deadline, system.name.clone());
        let sending = Rc::new(RefCell::new(None));
        let seen = Rc::clone(&sending);
        // Boxed before it is spawned: the runtime moves what it is given several times.
        actix_web::rt::spawn(Box::pin(async move {
            pipeline::run(&gateway, &system, &write, &ask, teller, &seen).await;
            drop(running);
        }));
        let told = tokio::select! {
            told = wait_with_grace(told, deadline, &sending) => told,
            () = self.drain_aborted(&sending) => None,
        };
        let unknown = |why: &str| {
            let problem =
                ProblemKind::OutcomeUnknown.with_detail(format!("{why}; the operation tells what became of the write"));
            sending.take().map(|operation| problem.system(name.as_str()).operation(&operation))
        };
        match told {
            Some(Ok(told)) => told,
            Some(Err(_)) => Err(unknown("the gateway failed while writing").unwrap_or_else(|| {
                ProblemKind::InternalError.with_detail("the gateway failed before it wrote; nothing was sent")
            })),
            None => Err(unknown("the gateway could not come to an end in time").unwrap_or_else(|| {
                let problem =
                    ProblemKind::Overloaded.with_detail("the gateway could not begin in time; nothing was sent");
                problem.retry_after(Duration::from_secs(1))
            })),
        }
    }

    /// Comes when a stop no longer waits for a write that was sent. Of one that was not, nobody can say that it never will be.
    async fn drain_aborted(&self, sending: &InFlightOp) {
        self.drain_tracker.aborted().await;
        if sending.borrow().is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Refuses new writes and waits for those that run, at most so long. Whether none is left.
    pub async fn drain(&self, within: Duration) -> bool {
        self.drain_tracker.drain(within).await
    }

    /// Whether new writes are refused because the process stops.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain_tracker.is_draining()
    }

    /// The verdict, with the operation's document where it is the body.
    async fn build_response(&self, verdict: WriteOutcome, replayed: bool) -> WriteResponse {
        let mut operation = None;
        match &verdict {
            WriteOutcome::Success(WriteSuccess { body: SuccessBody::Accepted, operation: Some(id), .. }) => {
                operation = self.store.operation(id).await.ok().flatten();
            }
            WriteOutcome::Success(WriteSuccess {
                body: SuccessBody::Record(record) | SuccessBody::Created(record),
                ..
            }) => {
                self.recent_states.insert(record).await;
            }
            _ => {}
        }
        WriteResponse { outcome: verdict, replayed, operation }
    }

    /// Hands a write over, counted as unknown unless its caller knows that it is queued.
    fn enqueue_reconcile(&self, mut pending: InFlightWrite) {
        if pending.response != ResponseState::Accepted {
            pending.response = ResponseState::Unknown;
            if let Some(system) = self.system(&pending.system) {
                self.metrics.writes_unknown(system.index, 1);
            }
        }
        self.in_flight_creates.insert_if_create(&pending);
        self.reconciler.enqueue(pending);
    }

    /// Ends an operation that nothing can settle any more. `in_flight_write` is what is left of it.
    async fn abandon(&self, operation: &OperationId, pending: Option<&InFlightWrite>, why: &str) {
        let problem = ProblemKind::OutcomeUnknown
            .with_detail("the gateway restarted without the means to settle this write")
            .with_cause(why)
            .operation(operation);
        reconciler::log_failure(&problem, operation, pending, &[]);
        self.in_flight_creates.remove(operation);
        let outcome = Outcome {
            operation: operation.clone(),
            state: OperationState::Unknown,
            record: None,
            etag: None,
            warnings: Vec::new(),
            problem_name: Some(problem.name.as_str().to_owned()),
            problem: Some(problem.to_stored_json(
                pending.map(|pending| pending.path()).as_deref(),
                pending.and_then(|pending| pending.request_id()),
            )),
            observed: None,
            calls: Vec::new(),
            losses: Vec::new(),
            replay_json: serde_json::to_string(&WriteOutcome::Problem(Box::new(problem))).ok(),
            lease: None,
        };
        if let Err(error) = self.store.finish(outcome).await {
            tracing::error!(%operation, %error, "an operation could not be ended");
        }
    }
}
