//! What requests, running writes and the reconciler share.

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value};
use tokio::sync::{OnceCell, mpsc};

use super::active_probes::ActiveProbes;
use super::hand_verdicts::HandVerdicts;
use super::idempotency::InFlightKeys;
use super::in_flight_write::{InFlightWrite, ResponseState};
use super::problems::journal_unavailable;
use super::record_queues::RecordQueues;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::reads;
use crate::record::{OperationId, PlanKey};
use crate::system::{RecentStates, RecordView, System};
use crate::transport::Fence;

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
    pub(super) hand_verdicts: HandVerdicts,
    pub recent_states: RecentStates,
    plan_key: OnceCell<PlanKey>,
    reconcile_sender: mpsc::UnboundedSender<InFlightWrite>,
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
            hand_verdicts: HandVerdicts::default(),
            recent_states: RecentStates::default(),
            plan_key: OnceCell::new(),
            reconcile_sender,
        };
        (Arc::new(services), ReconcileQueue(receiver))
    }

    /// The key that authenticates the tags of plans.
    pub(super) async fn plan_key(&self) -> Result<&PlanKey, Problem> {
        self.plan_key.get_or_try_init(|| self.journal.plan_key()).await.map_err(|error| journal_unavailable(&error))
    }

    /// Closes when a write must not be sent any more: another replica may have taken it over since
    /// now, or a person has ended its operation.
    pub(super) fn fence(&self, operation: &OperationId) -> Fence {
        let is_owned = self.journal.is_shared().then(|| self.journal.ownership_check());
        let (verdicts, operation) = (self.hand_verdicts.clone(), operation.clone());
        Fence::new(move || is_owned.as_ref().is_none_or(|is_owned| is_owned()) && !verdicts.contains(&operation))
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

    /// Hands a write over to the reconciler. It counts as unknown unless its caller has a 202.
    pub(super) fn enqueue_reconcile(&self, mut write: InFlightWrite) {
        if write.response != ResponseState::Accepted {
            write.response = ResponseState::Unknown;
            if let Some(system) = self.system(&write.system) {
                self.metrics.writes_unknown(system.index, 1);
            }
        }
        self.requeue(write);
    }

    /// A write that was counted runs no longer.
    pub(super) fn count_finished(&self, system: &System, write: &InFlightWrite) {
        self.metrics.operations_running(system.index, -1);
        if write.response == ResponseState::Unknown {
            self.metrics.writes_unknown(system.index, -1);
        }
    }

    /// Hands a write over that is already counted.
    pub(super) fn requeue(&self, write: InFlightWrite) {
        // Without a reconciler the process is ending, and the store still has the operation.
        let _ = self.reconcile_sender.send(write);
    }
}
