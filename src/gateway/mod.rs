//! Reads and writes of records, in front of every vendor alike.
//!
//! The gateway completes what a vendor lacks (see [`Capabilities`](crate::vendors::Capabilities)):
//! ETags without versions, merging for replace-only updates, guarded writes, conflicts behind
//! ambiguous errors, queued writes, and unknown outcomes.
//!
//! # One PATCH
//!
//! 1. [`Gateway::write`] calls `submit`, which spawns a task, so that a caller that disconnects
//!    does not stop its write, and waits for the response until the caller's deadline.
//! 2. `pipeline` checks the `Idempotency-Key` (`begin`): a repetition gets the stored outcome.
//! 3. `update` takes a lease on the record, unless the vendor compares versions (`lease`), and
//!    plans the vendor request. If `If-Match` names a version that the vendor compares, no read is
//!    needed. Otherwise it reads the record, checks the preconditions (`preconditions`) and applies
//!    the patch. A patch that changes nothing ends here.
//! 4. `begin` stores the intent (`intent`) in the journal. From here on the write is guarded by
//!    `reconcile_on_drop`: whatever happens to the task, the write is resolved.
//! 5. `send` sends the one vendor request. A clear response resolves the write at once. After a
//!    lost response or an ambiguous fault `reconcile` polls the vendor, and `resolve` decides what
//!    the record's state proves, with the help of the ledger (`concurrent_writes`).
//! 6. `verify_applied` reads the record again where the response needs it.
//! 7. `record_outcome` stores the outcome, which also ends the lease and completes the key, and the
//!    caller gets it. If the outcome is still unknown at the deadline, the caller gets 202 or
//!    `outcome-unknown`, and the `reconciler` goes on.
//!
//! # One crash
//!
//! A process dies after step 5 has sent the request. Its operation stays `running` in the journal,
//! with its intent. Another process, or the next start, finds that the owner is dead
//! (`reconciler`), adopts the operation and polls as step 5 does: it sends a version-bound request
//! again, because the vendor applies at most one of them, and only probes for any other write.
//! After `completion_timeout` it records `unknown`. No change is applied twice, and the operation
//! reports how the write ended.

// What moves through the pipeline.
mod command;
mod in_flight_write;
mod intent;
mod outcome;
mod stored_request;

// What the steps share.
mod concurrent_writes;
mod drain;
mod in_flight_keys;
mod recent_states;
mod state;
mod system;
mod vendor_session;
mod write_problems;

// The steps, from the last to the first.
mod begin;
mod create;
mod delete;
mod lease;
mod pipeline;
mod preconditions;
mod reads;
mod reconcile;
mod reconcile_on_drop;
mod reconciler;
mod record_outcome;
mod resolve;
mod send;
mod submit;
mod update;
mod verify_applied;
mod write_task;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use command::{IdempotencyKey, OpContext, Prefer, WriteCommand, WriteOp};
pub use outcome::{Guarantee, RecordPage, RecordView, SuccessBody, WriteOutcome, WriteResponse, WriteSuccess};
pub use system::{System, SystemPolicy, tenant_fingerprint};
pub use update::patch_error_to_problem;

use self::drain::DrainTracker;
use self::in_flight_write::InFlightWrite;
use self::state::GatewayState;
use crate::metrics::{DetectedBy, Metrics};
use crate::problem::Problem;
use crate::record::RecordId;
use crate::store::Store;

/// Every configured system, and the store.
pub struct Gateway {
    state: Arc<GatewayState>,
    drain_tracker: DrainTracker,
}

/// The writes that are handed over to the reconciler.
pub struct ReconcileQueue {
    receiver: mpsc::UnboundedReceiver<InFlightWrite>,
}

impl Gateway {
    /// A gateway in front of these systems. [`Gateway::run_reconciler`] must be awaited with the
    /// queue.
    #[must_use]
    pub fn new(systems: Vec<Arc<System>>, store: Store, metrics: Arc<Metrics>) -> (Arc<Self>, ReconcileQueue) {
        let (state, receiver) = GatewayState::new(systems, store, metrics);
        (Arc::new(Self { state, drain_tracker: DrainTracker::default() }), ReconcileQueue { receiver })
    }

    /// The system of this name, as it was last configured.
    #[must_use]
    pub fn system(&self, name: &str) -> Option<Arc<System>> {
        self.state.system(name)
    }

    /// Replaces the systems that `configured` names. The others stay, so that their writes can be
    /// resolved.
    pub fn replace_systems(&self, configured: &[Arc<System>]) {
        self.state.replace_systems(configured);
    }

    /// The store of operations, keys and the ledger.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.state.store
    }

    /// GET of one record.
    pub async fn read(&self, system: &System, id: &RecordId, context: &OpContext) -> Result<RecordView, Problem> {
        reads::read(&self.state, system, id, context).await
    }

    /// GET of a page of records. `limit` is 1 to 1000.
    pub async fn list(
        &self,
        system: &System,
        collection: &str,
        limit: usize,
        cursor: Option<&str>,
        context: &OpContext,
    ) -> Result<RecordPage, Problem> {
        reads::list(&self.state, system, collection, limit, cursor, context).await
    }

    /// POST, PATCH or DELETE. The write runs to its end even if the returned future is dropped.
    ///
    /// # Errors
    /// The problem of a write that was not begun. That of a write that was begun is in the outcome.
    pub async fn write(
        &self,
        system: &Arc<System>,
        command: WriteCommand,
        context: &OpContext,
    ) -> Result<WriteResponse, Problem> {
        submit::submit(&self.state, &self.drain_tracker, system, command, context).await
    }

    /// `precondition-failed`, counted.
    pub fn precondition_failed(&self, system: &System, detected_by: DetectedBy) -> Problem {
        write_problems::precondition_failed(&self.state, system, detected_by)
    }

    /// Resolves the writes that outlive their callers or their process, until the gateway is
    /// dropped. Await this on the main thread, inside a `LocalSet` or an actix system.
    pub async fn run_reconciler(&self, queue: ReconcileQueue) {
        reconciler::run_reconciler(&self.state, queue.receiver).await;
    }

    /// Rejects new writes and waits for the running ones; `false` if some still run after
    /// `timeout`.
    pub async fn drain(&self, timeout: Duration) -> bool {
        self.drain_tracker.drain(timeout).await
    }

    /// Whether new writes are rejected because the process is stopping.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain_tracker.is_draining()
    }
}
