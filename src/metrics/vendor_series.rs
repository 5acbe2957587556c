//! The metrics of the requests to one vendor.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::child_cache::ChildCache;
use super::families::{
    CALL_BUCKETS, CIRCUIT, CONFLICT_RETRIES, CONTENDED, CREDENTIAL_FALLBACKS, OLDEST_UNKNOWN, OPERATIONS, PLANS,
    PRECONDITIONS, QUEUE, QUEUE_WAIT, REBASES, REFRESHES, RETRIES, Registrar, SCHEMA_REFUSALS, SCHEMA_UNAVAILABLE,
    WRITES_UNKNOWN,
};
use super::labels::{CallOutcome, DetectedBy, Lane, PlanOutcome, RebaseOutcome, RefreshOutcome, RetryReason};
use super::unknown_writes::UnknownWriteGauges;
use crate::record::{SchemaRule, VendorRequestKind};

/// The cached metrics of calls to one vendor.
pub(super) struct VendorSeries {
    pub(super) requests: ChildCache<IntCounter>,
    pub(super) seconds: ChildCache<Histogram>,
    pub(super) retries: Vec<IntCounter>,
    pub(super) refreshes: Vec<IntCounter>,
    pub(super) credential_fallbacks: IntCounter,
    pub(super) preconditions: Vec<IntCounter>,
    pub(super) conflict_retries: IntCounter,
    pub(super) contended: IntCounter,
    pub(super) rebases: Vec<IntCounter>,
    pub(super) plans: Vec<IntCounter>,
    pub(super) schema_refusals: Vec<IntCounter>,
    pub(super) schema_unavailable: IntCounter,
    pub(super) circuit: IntGauge,
    pub(super) queue: IntGauge,
    pub(super) queue_wait: Vec<Histogram>,
    pub(super) unknown_writes: UnknownWriteGauges,
    pub(super) operations: IntGauge,
}

/// The families of these metrics.
pub(super) struct VendorFamilies {
    pub(super) retries: IntCounterVec,
    pub(super) refreshes: IntCounterVec,
    pub(super) credential_fallbacks: IntCounterVec,
    pub(super) preconditions: IntCounterVec,
    pub(super) conflict_retries: IntCounterVec,
    pub(super) contended: IntCounterVec,
    pub(super) rebases: IntCounterVec,
    pub(super) plans: IntCounterVec,
    pub(super) schema_refusals: IntCounterVec,
    pub(super) schema_unavailable: IntCounterVec,
    pub(super) circuit: IntGaugeVec,
    pub(super) queue: IntGaugeVec,
    pub(super) queue_wait: HistogramVec,
    pub(super) writes_unknown: IntGaugeVec,
    pub(super) oldest_unknown: IntGaugeVec,
    pub(super) operations: IntGaugeVec,
}

impl VendorFamilies {
    /// Registers the families.
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            retries: registrar.register_counters(&RETRIES)?,
            refreshes: registrar.register_counters(&REFRESHES)?,
            credential_fallbacks: registrar.register_counters(&CREDENTIAL_FALLBACKS)?,
            preconditions: registrar.register_counters(&PRECONDITIONS)?,
            conflict_retries: registrar.register_counters(&CONFLICT_RETRIES)?,
            contended: registrar.register_counters(&CONTENDED)?,
            rebases: registrar.register_counters(&REBASES)?,
            plans: registrar.register_counters(&PLANS)?,
            schema_refusals: registrar.register_counters(&SCHEMA_REFUSALS)?,
            schema_unavailable: registrar.register_counters(&SCHEMA_UNAVAILABLE)?,
            circuit: registrar.register_gauges(&CIRCUIT)?,
            queue: registrar.register_gauges(&QUEUE)?,
            queue_wait: registrar.register_histograms(&QUEUE_WAIT, &CALL_BUCKETS)?,
            writes_unknown: registrar.register_gauges(&WRITES_UNKNOWN)?,
            oldest_unknown: registrar.register_gauges(&OLDEST_UNKNOWN)?,
            operations: registrar.register_gauges(&OPERATIONS)?,
        })
    }

    pub(super) fn series_for(&self, system: &str) -> VendorSeries {
        let each = |family: &IntCounterVec, values: Vec<&'static str>| {
            values.into_iter().map(|value| family.with_label_values(&[system, value])).collect()
        };
        VendorSeries {
            requests: ChildCache::new(VendorRequestKind::ALL.len() * CallOutcome::ALL.len()),
            seconds: ChildCache::new(VendorRequestKind::ALL.len()),
            retries: each(&self.retries, RetryReason::ALL.iter().map(|label| label.as_str()).collect()),
            refreshes: each(&self.refreshes, RefreshOutcome::ALL.iter().map(|label| label.as_str()).collect()),
            credential_fallbacks: self.credential_fallbacks.with_label_values(&[system]),
            preconditions: each(&self.preconditions, DetectedBy::ALL.iter().map(|label| label.as_str()).collect()),
            conflict_retries: self.conflict_retries.with_label_values(&[system]),
            contended: self.contended.with_label_values(&[system]),
            plans: each(&self.plans, PlanOutcome::ALL.iter().map(|label| label.as_str()).collect()),
            rebases: each(&self.rebases, RebaseOutcome::ALL.iter().map(|label| label.as_str()).collect()),
            schema_refusals: each(&self.schema_refusals, SchemaRule::ALL.iter().map(|rule| rule.as_str()).collect()),
            schema_unavailable: self.schema_unavailable.with_label_values(&[system]),
            circuit: self.circuit.with_label_values(&[system]),
            queue: self.queue.with_label_values(&[system]),
            queue_wait: Lane::ALL
                .iter()
                .map(|lane| self.queue_wait.with_label_values(&[system, lane.as_str()]))
                .collect(),
            unknown_writes: UnknownWriteGauges::new(&self.writes_unknown, &self.oldest_unknown, system),
            operations: self.operations.with_label_values(&[system]),
        }
    }
}
