//! What requests, running writes and the reconciler share.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{Notify, OnceCell, mpsc};
use tokio::time::{Instant, timeout};

use super::active_probes::ActiveProbes;
use super::idempotency::InFlightKeys;
use super::in_flight_write::InFlightWrite;
use super::problems::write_not_begun;
use super::record_queues::RecordQueues;
use crate::journal::{InterimResponse, Journal};
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::reads;
use crate::record::{OperationId, PlanKey};
use crate::system::{RecentStates, RecordView, System};
use crate::transport::SendPermission;

/// The minimum age of an operation that a person may resolve. Before that its own process is likely
/// to find the outcome.
pub(super) const MIN_AGE_TO_RESOLVE: Duration = Duration::from_mins(1);

/// How far the store's clock, which measures that age, may be ahead of this process's. A wider
/// margin costs a few queries.
const CLOCK_MARGIN: Duration = Duration::from_secs(10);

/// The age from which on the store is asked whether a person has ended an operation.
pub(super) const MIN_AGE_TO_CHECK: Duration = MIN_AGE_TO_RESOLVE.saturating_sub(CLOCK_MARGIN);

/// How long the store may take to answer that. Meanwhile the write is one of the vendor's requests
/// in flight.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// The writes that are handed over to the reconciler.
pub struct ReconcileQueue(pub(super) mpsc::UnboundedReceiver<InFlightWrite>);

/// The systems, the store, the metrics, and what this process remembers of its writes.
pub(crate) struct WriteServices {
    /// Every system that is or was configured since the start: an unresolved write needs its own.
    systems: RwLock<Vec<Arc<System>>>,
    pub journal: Journal,
    pub metrics: Arc<Metrics>,
    pub(super) in_flight_keys: InFlightKeys,
    pub(super) record_queues: RecordQueues,
    pub(super) active_probes: ActiveProbes,
    pub recent_states: RecentStates,
    plan_key: OnceCell<PlanKey>,
    reconcile_sender: mpsc::UnboundedSender<InFlightWrite>,
    /// Whether the store's writes with an unknown outcome may have changed.
    pub(super) unknown_writes_changed: Arc<Notify>,
}

impl WriteServices {
    pub(crate) fn new(
        systems: Vec<Arc<System>>,
        journal: Journal,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, ReconcileQueue) {
        let (reconcile_sender, receiver) = mpsc::unbounded_channel();
        let services = Self {
            systems: RwLock::new(systems),
            journal,
            metrics,
            in_flight_keys: InFlightKeys::default(),
            record_queues: RecordQueues::default(),
            active_probes: ActiveProbes::default(),
            recent_states: RecentStates::default(),
            plan_key: OnceCell::new(),
            reconcile_sender,
            unknown_writes_changed: Arc::default(),
        };
        (Arc::new(services), ReconcileQueue(receiver))
    }

    /// The key that authenticates the tags of plans.
    pub(super) async fn plan_key(&self) -> Result<&PlanKey, Problem> {
        self.plan_key.get_or_try_init(|| self.journal.plan_key()).await.map_err(|error| write_not_begun(&error))
    }

    /// The permission of a write whose intent is about to be stored. Nobody can end it by hand
    /// before it has some age.
    pub(super) fn permission_to_send(&self, operation: &OperationId) -> SendPermission {
        self.permission(operation, MIN_AGE_TO_CHECK)
    }

    /// The permission of a write that may have been sent before.
    pub(super) fn permission_to_resend(&self, operation: &OperationId) -> SendPermission {
        self.permission(operation, Duration::ZERO)
    }

    /// The permission to send a write. It is denied if another replica may have adopted the write
    /// since this call. After `check_after` it is also denied unless the store has the write as a
    /// running one of this process.
    fn permission(&self, operation: &OperationId, check_after: Duration) -> SendPermission {
        let is_owned = Arc::new(self.journal.ownership_check());
        let (journal, operation, since) = (self.journal.clone(), operation.clone(), Instant::now());
        SendPermission::new(move || {
            let (journal, operation, is_owned) = (journal.clone(), operation.clone(), is_owned.clone());
            async move {
                let may_run_here = since.elapsed() < check_after
                    || matches!(timeout(CHECK_TIMEOUT, journal.owns_operation(&operation)).await, Ok(Ok(true)));
                may_run_here && is_owned()
            }
        })
    }

    /// Remembers a record that a caller gets.
    pub(super) async fn remember(&self, record: &RecordView) {
        reads::remember(&self.journal, &self.recent_states, record).await;
    }

    /// `fields` in the state of an ETag, if this process knows it, or another one has kept it.
    pub(super) async fn known_state(&self, etag: &str) -> Option<Map<String, Value>> {
        let known = self.recent_states.state(etag).await;
        if known.is_some() || !self.journal.remembers_shown() {
            return known;
        }
        let fields = self.journal.shown_state(etag).await.ok().flatten()?;
        self.recent_states.insert_shown(etag, fields).await;
        self.recent_states.state(etag).await
    }

    /// The system of this name, as it was last configured.
    pub(crate) fn system(&self, name: &str) -> Option<Arc<System>> {
        let systems = self.systems.read().unwrap_or_else(PoisonError::into_inner);
        systems.iter().find(|system| system.name.as_str() == name).cloned()
    }

    /// Replaces the systems that `configured` names. The others stay, so that their writes can be
    /// resolved.
    pub(crate) fn replace_systems(&self, configured: &[Arc<System>]) {
        let mut systems = self.systems.write().unwrap_or_else(PoisonError::into_inner);
        systems.retain(|system| configured.iter().all(|new| new.name != system.name));
        systems.extend_from_slice(configured);
    }

    /// Every system that is or was configured since the start.
    pub(super) fn systems(&self) -> Vec<Arc<System>> {
        self.systems.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Hands a write over to the reconciler. It counts as unknown unless its caller has a 202.
    pub(super) fn enqueue_reconcile(&self, mut write: InFlightWrite) {
        if write.response != Some(InterimResponse::Accepted) {
            write.response = Some(InterimResponse::Unknown);
            if let Some(system) = self.system(&write.system) {
                self.metrics.unknown_writes_reconciling(system.index, 1);
                self.unknown_writes_changed.notify_one();
            }
        }
        self.requeue(write);
    }

    /// A write that was counted runs no longer. One that ended `unknown` counts until somebody
    /// resolves it.
    pub(super) fn count_finished(&self, system: &System, write: &InFlightWrite, ended_unknown: bool) {
        self.metrics.operations_running(system.index, -1);
        if ended_unknown {
            self.metrics.unknown_writes_ended(system.index, 1);
        }
        if write.response == Some(InterimResponse::Unknown) {
            self.metrics.unknown_writes_reconciling(system.index, -1);
        }
    }

    /// Hands a write over that is already counted.
    pub(super) fn requeue(&self, write: InFlightWrite) {
        // Without a reconciler the process is ending, and the store still has the operation.
        let _ = self.reconcile_sender.send(write);
    }
}
