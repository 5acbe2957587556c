//! The outcomes of writes, and what the store reports of them.

use std::sync::OnceLock;

use prometheus::IntCounter;

use super::labels::{ChangeType, DetectedBy, PlanOutcome, RebaseOutcome};
use super::unknown_writes::UnknownWriteCounts;
use super::{CHANGE_ORIGIN, Metrics, SystemIndex, increment};
use crate::record::{OperationState, SchemaRule};

impl Metrics {
    /// Counts a write that was rejected because the record had changed.
    pub fn precondition_failure(&self, system: SystemIndex, detected_by: DetectedBy) {
        self.with_vendor_series(system, |vendor| increment(&vendor.preconditions, detected_by as usize));
    }

    /// Counts a write that reads and tries again after a conflict.
    pub fn conflict_retry(&self, system: SystemIndex) {
        self.with_vendor_series(system, |vendor| vendor.conflict_retries.inc());
    }

    /// Counts a write that met a conflict at every try.
    pub fn contended(&self, system: SystemIndex) {
        self.with_vendor_series(system, |vendor| vendor.contended.inc());
    }

    /// Counts how a rebase ended.
    pub fn rebase(&self, system: SystemIndex, outcome: RebaseOutcome) {
        self.with_vendor_series(system, |vendor| increment(&vendor.rebases, outcome as usize));
    }

    /// Counts a plan by its outcome.
    pub fn plan(&self, system: SystemIndex, outcome: PlanOutcome) {
        self.with_vendor_series(system, |vendor| increment(&vendor.plans, outcome as usize));
    }

    /// Counts a value that breaks the vendor's schema.
    pub fn schema_refusal(&self, system: SystemIndex, rule: SchemaRule) {
        self.with_vendor_series(system, |vendor| increment(&vendor.schema_refusals, rule as usize));
    }

    /// Counts a write that was not checked because there was no schema.
    pub fn schema_unavailable(&self, system: SystemIndex) {
        self.with_vendor_series(system, |vendor| vendor.schema_unavailable.inc());
    }

    /// Adds to the writes with an unknown outcome that this process reconciles; `by` may be
    /// negative.
    pub fn unknown_writes_reconciling(&self, system: SystemIndex, by: i64) {
        self.with_vendor_series(system, |vendor| vendor.unknown_writes.add_own(by));
    }

    /// Adds to the writes that ended `unknown` and that nobody has resolved; `by` may be negative.
    /// The store's number replaces this one.
    pub fn unknown_writes_ended(&self, system: SystemIndex, by: i64) {
        self.with_vendor_series(system, |vendor| vendor.unknown_writes.add_ended(by));
    }

    /// Sets what the store has of these writes; the default if it has none.
    pub fn unknown_writes_stored(&self, system: SystemIndex, stored: UnknownWriteCounts) {
        self.with_vendor_series(system, |vendor| vendor.unknown_writes.set_stored(stored));
    }

    /// The writes to a system whose outcome is not known.
    #[must_use]
    pub fn unknown_writes(&self, system: SystemIndex) -> UnknownWriteCounts {
        self.system_metrics(system).map_or_else(UnknownWriteCounts::default, |row| row.vendor.unknown_writes.counts())
    }

    /// Adds to the running operations; `by` may be negative.
    pub fn operations_running(&self, system: SystemIndex, by: i64) {
        self.with_vendor_series(system, |vendor| vendor.operations.add(by));
    }

    /// Counts an operation that a person has ended.
    pub fn operation_resolved(&self, system: SystemIndex, state: OperationState) {
        let name = self.request_series(Some(system)).system.as_str();
        self.resolved.with_label_values(&[name, state.as_str()]).inc();
    }

    /// Counts an event of the feed of changes. A system that is not configured any more has none.
    pub fn change(&self, system: &str, change: ChangeType) {
        let rows = self.systems.iter().map_while(OnceLock::get);
        if let Some(row) = rows.into_iter().find(|row| row.request.system == system) {
            let child = || self.changes.with_label_values(&[system, change.as_str(), CHANGE_ORIGIN]);
            row.changes.with(change as usize, child, IntCounter::inc);
        }
    }

    /// When the keys of these systems expire, in seconds since 1970; those of others do not.
    pub fn vendor_keys_expire<'s>(&self, systems: impl Iterator<Item = (&'s str, i64)>) {
        self.vendor_key_expires.reset();
        for (system, seconds) in systems {
            self.vendor_key_expires.with_label_values(&[system]).set(seconds);
        }
    }

    /// Adds to the open streams of changes; `by` may be negative.
    pub fn changes_streams(&self, by: i64) {
        self.changes_streams.add(by);
    }

    /// Counts a stored response that was returned again.
    pub fn idempotent_replay(&self) {
        self.replays.inc();
    }

    /// Counts a write made although it destroys other data; `loss` is the adapter's name for it.
    pub fn loss_accepted(&self, system: SystemIndex, loss: &'static str) {
        self.loss_counter(system, loss).inc();
    }

    pub(super) fn loss_counter(&self, system: SystemIndex, loss: &'static str) -> IntCounter {
        let name = self.request_series(Some(system)).system.as_str();
        self.losses.with_label_values(&[name, loss])
    }

    /// Counts an entry of the ledger.
    pub fn ledger_entry(&self) {
        self.ledger_entries.inc();
    }

    /// Records how long a commit to the ledger took.
    pub fn ledger_commit(&self, seconds: f64) {
        self.ledger_seconds.observe(seconds);
    }
}
