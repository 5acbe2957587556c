//! The gateway as the API sees it: every configured system and the store, with reads and writes in
//! front of every vendor alike.
//!
//! It completes what a vendor lacks (see [`Capabilities`](crate::vendors::Capabilities)): ETags
//! without versions, merging for replace-only updates, guarded writes, conflicts behind ambiguous
//! errors, queued writes, and unknown outcomes. `docs/architecture.md` follows one write and one
//! crash through the code.

use std::sync::Arc;
use std::time::Duration;

use crate::journal::{Journal, JournalError, VerdictResult};
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::reads;
use crate::record::{ListCondition, Operation, OperationState, RecordId};
use crate::system::{CallerContext, RecordPage, RecordView, System};
use crate::writes::{
    self, DrainTracker, Operator, Preview, ProbeRequestResult, ReconcileQueue, WriteCommand, WriteResponse,
    WriteServices,
};

/// Every configured system, and the store.
pub struct Gateway {
    services: Arc<WriteServices>,
    drain_tracker: DrainTracker,
}

impl Gateway {
    /// A gateway in front of these systems. [`Gateway::run_reconciler`] must be awaited with the
    /// queue.
    #[must_use]
    pub fn new(systems: Vec<Arc<System>>, journal: Journal, metrics: Arc<Metrics>) -> (Arc<Self>, ReconcileQueue) {
        let (services, queue) = WriteServices::new(systems, journal, metrics);
        (Arc::new(Self { services, drain_tracker: DrainTracker::default() }), queue)
    }

    /// The system of this name, as it was last configured.
    #[must_use]
    pub fn system(&self, name: &str) -> Option<Arc<System>> {
        self.services.system(name)
    }

    /// Replaces the systems that `configured` names. The others stay, so that their writes can be
    /// resolved.
    pub fn replace_systems(&self, configured: &[Arc<System>]) {
        self.services.replace_systems(configured);
    }

    /// The journal: operations, keys and the ledger.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.services.journal
    }

    /// GET of one record.
    ///
    /// # Errors
    /// The problem that the caller gets.
    pub async fn read(&self, system: &System, id: &RecordId, context: &CallerContext) -> Result<RecordView, Problem> {
        reads::read((&self.services.journal, &self.services.recent_states), system, id, context).await
    }

    /// GET of a page of records that have these values. `limit` is 1 to 1000.
    ///
    /// # Errors
    /// The problem that the caller gets.
    pub async fn list(
        &self,
        system: &System,
        collection: &str,
        conditions: &[ListCondition],
        limit: usize,
        cursor: Option<&str>,
        context: &CallerContext,
    ) -> Result<RecordPage, Problem> {
        let shared = (&self.services.journal, &self.services.recent_states);
        reads::list(shared, system, collection, conditions, limit, cursor, context).await
    }

    /// POST, PATCH or DELETE. The write runs to its end even if the returned future is dropped.
    pub async fn write(&self, system: &Arc<System>, command: WriteCommand, context: &CallerContext) -> WriteResponse {
        writes::submit(&self.services, &self.drain_tracker, system, command, context).await
    }

    /// What a write would do. Nothing is written anywhere; `plan_ttl` is how long its plan is
    /// valid.
    ///
    /// # Errors
    /// The problem that the caller gets.
    pub async fn preview(
        &self,
        system: &System,
        command: &WriteCommand,
        context: &CallerContext,
        plan_ttl: Duration,
    ) -> Result<Preview, Problem> {
        writes::preview(&self.services, system, command, context, plan_ttl).await
    }

    /// Resolves the writes that outlive their callers or their process, until the gateway is
    /// dropped. Await this on the main thread, inside a `LocalSet` or an actix system.
    pub async fn run_reconciler(&self, queue: ReconcileQueue) {
        writes::run_reconciler(&self.services, queue).await;
    }

    /// Rejects new writes and waits for the running ones; `false` if some still run after
    /// `timeout`.
    pub async fn drain(&self, timeout: Duration) -> bool {
        self.drain_tracker.drain(timeout).await
    }

    /// Completes when the process begins to stop.
    pub async fn draining(&self) {
        self.drain_tracker.draining().await;
    }

    /// Probes the outcome of a write at once.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn probe_again(
        &self,
        operation: &Operation,
        operator: Operator,
    ) -> Result<ProbeRequestResult, JournalError> {
        writes::probe_again(&self.services, operation, operator).await
    }

    /// Ends an operation with the verdict of a person: `Applied` or `NotApplied`.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn record_verdict(
        &self,
        operation: &Operation,
        state: OperationState,
        note: String,
        operator: Operator,
    ) -> Result<VerdictResult, JournalError> {
        writes::record_verdict_by_hand(&self.services, operation, state, note, operator).await
    }

    /// Whether new writes are rejected because the process is stopping.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain_tracker.is_draining()
    }
}
