//! The straight line of a request, from what a caller asked to what the vendor did.
//!
//! What a vendor lacks is completed here, once, from its [`Profile`](crate::adapters::Profile): tags for the unversioned,
//! merging over replace-only updates, guarded writes, telling a conflict from another error by reading again, following a
//! queued write, settling an unknown outcome.
//!
//! Follow a PATCH: [`Gateway::write`] → `line` (key, verdict, who is told what) → `update` (precondition, patch, plan) →
//! `intent` (lease, journal) → the one vendor call in `line` → `settle` (what became of it) → `conclude` (outcome, ledger,
//! verdict). What outlives its caller goes to the `settler`.

mod answer;
mod ask;
mod carried;
mod conclude;
mod create;
mod delete;
mod intended;
mod intent;
mod keyed;
mod line;
mod pending;
mod read;
mod read_back;
mod rivals;
mod session;
mod settle;
mod settler;
mod shown;
mod system;
mod tracker;
mod update;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;
use tokio::time::{Instant, timeout_at};

pub use answer::{Done, Guarantee, Record, Verdict, Written};
pub use ask::{Ask, IdempotencyKey, Prefer, RecordPage, Told, Write, WriteKind};
pub use settler::Unsettled;
pub use system::{Policy, System, installation};
pub use update::patch_problem;

use self::keyed::Keyed;
use self::pending::{CallerTold, Pending};
use self::rivals::Creates;
use self::settler::Settler;
use self::shown::Shown;
use self::tracker::Tracker;
use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemName};
use crate::record::{OperationId, OperationState};
use crate::store::{Outcome, Store};

/// How long beyond its deadline a write that was sent may keep its caller waiting before the caller is told that nobody knows.
const GRACE: Duration = Duration::from_millis(500);

/// The same for one that was not sent.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// The operation whose call is being sent, or was.
type Sending = RefCell<Option<OperationId>>;

/// What a write's line tells by its deadline; `None` = nothing. Whoever has met the deadline on the way needs a moment to say how;
/// what was sent, to be told as what it is. A call that has not been sent by its deadline never is.
async fn in_time<T>(
    mut told: oneshot::Receiver<T>,
    deadline: Instant,
    sending: &Sending,
) -> Option<Result<T, RecvError>> {
    if let Ok(told) = timeout_at(deadline, &mut told).await {
        return Some(told);
    }
    let is_sent = sending.borrow().is_some();
    timeout_at(deadline + if is_sent { GRACE } else { LAST_WORDS }, told).await.ok()
}

/// The gateway: every configured system, and the store.
pub struct Gateway {
    /// Every system that is configured, or was since the start: what is unsettled finds its own here.
    systems: RwLock<Vec<Arc<System>>>,
    store: Store,
    meter: Arc<Metrics>,
    settler: Settler,
    tracker: Tracker,
    creates: Creates,
    keyed: Keyed,
    shown: Shown,
}

impl Gateway {
    /// A gateway in front of these systems. [`Gateway::settle`] must be awaited with the second part.
    #[must_use]
    pub fn new(systems: Vec<Arc<System>>, store: Store, meter: Arc<Metrics>) -> (Arc<Self>, Unsettled) {
        let (settler, unsettled) = Settler::new();
        (
            Arc::new(Self {
                systems: RwLock::new(systems),
                store,
                meter,
                settler,
                tracker: Tracker::default(),
                creates: Creates::default(),
                keyed: Keyed::default(),
                shown: Shown::default(),
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
    pub fn adopt_systems(&self, configured: &[Arc<System>]) {
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
    pub async fn write(self: &Arc<Self>, system: &Arc<System>, write: Write, ask: &Ask) -> Result<Told, Problem> {
        let Some(running) = self.tracker.begin() else {
            let detail = "the gateway is shutting down; nothing was sent";
            return Err(ProblemName::Overloaded.with(detail).retry_after(Duration::from_secs(1)));
        };
        let (teller, told) = oneshot::channel();
        let (gateway, system, ask) = (Arc::clone(self), Arc::clone(system), ask.clone());
        let (deadline, name) = (ask.deadline, system.name.clone());
        let sending = Rc::new(RefCell::new(None));
        let seen = Rc::clone(&sending);
        // Boxed before it is spawned: the runtime moves what it is given several times.
        actix_web::rt::spawn(Box::pin(async move {
            line::run(&gateway, &system, &write, &ask, teller, &seen).await;
            drop(running);
        }));
        let told = tokio::select! {
            told = in_time(told, deadline, &sending) => told,
            () = self.given_up(&sending) => None,
        };
        let unknown = |why: &str| {
            let problem =
                ProblemName::OutcomeUnknown.with(format!("{why}; the operation tells what became of the write"));
            sending.take().map(|operation| problem.system(name.as_str()).operation(&operation))
        };
        match told {
            Some(Ok(told)) => told,
            Some(Err(_)) => Err(unknown("the gateway failed while writing").unwrap_or_else(|| {
                ProblemName::InternalError.with("the gateway failed before it wrote; nothing was sent")
            })),
            None => Err(unknown("the gateway could not come to an end in time").unwrap_or_else(|| {
                let problem = ProblemName::Overloaded.with("the gateway could not begin in time; nothing was sent");
                problem.retry_after(Duration::from_secs(1))
            })),
        }
    }

    /// Comes when a stop no longer waits for a write that was sent. Of one that was not, nobody can say that it never will be.
    async fn given_up(&self, sending: &Sending) {
        self.tracker.given_up().await;
        if sending.borrow().is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Refuses new writes and waits for those that run, at most so long. Whether none is left.
    pub async fn drain(&self, within: Duration) -> bool {
        self.tracker.drain(within).await
    }

    /// Whether new writes are refused because the process stops.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.tracker.is_draining()
    }

    /// The verdict, with the operation's document where it is the body.
    async fn tell(&self, verdict: Verdict, replayed: bool) -> Told {
        let mut operation = None;
        match &verdict {
            Verdict::Written(Written { done: Done::Accepted, operation: Some(id), .. }) => {
                operation = self.store.operation(id).await.ok().flatten();
            }
            Verdict::Written(Written { done: Done::Shown(record) | Done::Created(record), .. }) => {
                self.shown.note(record).await;
            }
            _ => {}
        }
        Told { verdict, replayed, operation }
    }

    /// Hands a write over, counted as unknown unless its caller knows that it is queued.
    fn hand_to_settler(&self, mut pending: Pending) {
        if pending.told != CallerTold::Accepted {
            pending.told = CallerTold::Unknown;
            if let Some(system) = self.system(&pending.system) {
                self.meter.writes_unknown(system.index, 1);
            }
        }
        self.creates.begun(&pending);
        self.settler.take(pending);
    }

    /// Ends an operation that nothing can settle any more. `pending` is what is left of it.
    async fn give_up(&self, operation: &OperationId, pending: Option<&Pending>, why: &str) {
        let problem = ProblemName::OutcomeUnknown
            .with("the gateway restarted without the means to settle this write")
            .because(why)
            .operation(operation);
        settler::log_failure(&problem, operation, pending, &[]);
        self.creates.ended(operation);
        let outcome = Outcome {
            operation: operation.clone(),
            state: OperationState::Unknown,
            record: None,
            etag: None,
            warnings: Vec::new(),
            problem_name: Some(problem.name.as_str().to_owned()),
            problem: Some(problem.remembered(
                pending.map(|pending| pending.path()).as_deref(),
                pending.and_then(|pending| pending.asked_by()),
            )),
            observed: None,
            calls: Vec::new(),
            losses: Vec::new(),
            verdict: serde_json::to_string(&Verdict::Problem(Box::new(problem))).ok(),
            lease: None,
        };
        if let Err(error) = self.store.finish(outcome).await {
            tracing::error!(%operation, %error, "an operation could not be ended");
        }
    }
}
