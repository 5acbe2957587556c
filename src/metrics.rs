//! Every metric of the gateway (contract 6). The table of families is `families.rs`.
//!
//! Labels are closed sets: the configured systems, `none` for requests that reached no system, and
//! the values of enums. A record's id, a path or a caller's text cannot become a label because no
//! function here accepts one.
//!
//! Each gateway has its own registry, so several can live in one process. The child metrics of the
//! hot path are cached: finding one by its labels costs more than counting.

mod caller_series;
mod child_cache;
mod families;
mod labels;
#[cfg(test)]
mod tests;
mod unknown_writes;
mod vendor_series;
mod writes;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::{
    Encoder as _, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

pub use self::caller_series::CallerSeries;
use self::child_cache::ChildCache;
use self::families::{
    BATCH_BUCKETS, BATCH_ITEMS, BATCH_SIZE, BATCHES_RUNNING, BUILD, CALL_BUCKETS, CHANGES, CHANGES_STREAMS,
    COMMIT_BUCKETS, IN_FLIGHT, LEDGER_ENTRIES, LEDGER_SECONDS, LOSSES, RELOADS, REPLAYS, REQUEST_SECONDS, REQUESTS,
    RESOLVED, Registrar, TOKEN_EXPIRES, UNMAPPED, VENDOR_KEY_EXPIRES, VENDOR_REQUESTS, VENDOR_SECONDS,
};

pub use self::labels::{
    CallOutcome, ChangeType, DetectedBy, Lane, PlanOutcome, QuotaPolicy, RebaseOutcome, RefreshOutcome, ReloadTarget,
    RequestAction, RequestOutcome, RetryReason,
};
pub use self::unknown_writes::UnknownWriteCounts;
use self::vendor_series::{VendorFamilies, VendorSeries};
use crate::problem::ProblemKind;
use crate::record::{OperationState, SystemName, VendorRequestKind};

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The revision of the source that this build was made from.
pub const BUILD_REVISION: &str = match option_env!("GIT_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// The number of systems that one process can have, including those that a reload removed.
const MAX_SYSTEMS: usize = 1024;

/// Where the events of the feed come from: only the gateway's own writes so far.
const CHANGE_ORIGIN: &str = "gateway";

/// A configured system; only [`Metrics::index`] and [`Metrics::add`] create one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemIndex(usize);

/// The metric families with their cached children.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    vendor_requests: IntCounterVec,
    vendor_seconds: HistogramVec,
    token_expires: IntGaugeVec,
    losses: IntCounterVec,
    replays: IntCounter,
    ledger_entries: IntCounter,
    ledger_seconds: Histogram,
    reloads: IntCounterVec,
    callers: CallerSeries,
    resolved: IntCounterVec,
    changes: IntCounterVec,
    changes_streams: IntGauge,
    vendor_key_expires: IntGaugeVec,
    batch_items: IntCounterVec,
    batch_size: Histogram,
    batches_running: IntGauge,
    unmapped: IntCounterVec,
    /// Filled from the front and never emptied, so that an index can be read without a lock.
    systems: Vec<OnceLock<Box<SystemMetrics>>>,
    add_lock: Mutex<()>,
    unrouted: RequestSeries,
    in_flight: IntGaugeVec,
    per_vendor: VendorFamilies,
}

/// The cached metrics of one system.
struct SystemMetrics {
    request: RequestSeries,
    vendor: VendorSeries,
    changes: ChildCache<IntCounter>,
}

/// The cached metrics of requests to one system, or to `none`.
struct RequestSeries {
    system: String,
    requests: ChildCache<IntCounter>,
    seconds: ChildCache<Histogram>,
    in_flight: IntGauge,
}

const OUTCOME_COUNT: usize = 2 + ProblemKind::ALL.len();

impl Metrics {
    /// Registers every family and adds the configured systems.
    ///
    /// # Errors
    /// A family that the registry rejects: an error of the table of families.
    pub fn new(systems: &[SystemName]) -> Result<Arc<Self>, prometheus::Error> {
        Self::with_caller_label(systems, false)
    }

    /// The same; `caller_label` adds the names of callers with keys to the metrics of callers.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_caller_label(systems: &[SystemName], caller_label: bool) -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let registrar = Registrar(&registry);
        let in_flight = registrar.register_gauges(&IN_FLIGHT)?;
        registrar.register_gauges(&BUILD)?.with_label_values(&[env!("CARGO_PKG_VERSION"), BUILD_REVISION]).set(1);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;

        let metrics = Self {
            requests: registrar.register_counters(&REQUESTS)?,
            request_seconds: registrar.register_histograms(&REQUEST_SECONDS, &CALL_BUCKETS)?,
            vendor_requests: registrar.register_counters(&VENDOR_REQUESTS)?,
            vendor_seconds: registrar.register_histograms(&VENDOR_SECONDS, &CALL_BUCKETS)?,
            token_expires: registrar.register_gauges(&TOKEN_EXPIRES)?,
            losses: registrar.register_counters(&LOSSES)?,
            replays: registrar.register_counters(&REPLAYS)?.with_label_values(&[] as &[&str]),
            ledger_entries: registrar.register_counters(&LEDGER_ENTRIES)?.with_label_values(&[] as &[&str]),
            ledger_seconds: registrar
                .register_histograms(&LEDGER_SECONDS, &COMMIT_BUCKETS)?
                .with_label_values(&[] as &[&str]),
            reloads: registrar.register_counters(&RELOADS)?,
            callers: CallerSeries::new(&registrar, caller_label)?,
            resolved: registrar.register_counters(&RESOLVED)?,
            changes: registrar.register_counters(&CHANGES)?,
            changes_streams: registrar.register_gauges(&CHANGES_STREAMS)?.with_label_values(&[] as &[&str]),
            vendor_key_expires: registrar.register_gauges(&VENDOR_KEY_EXPIRES)?,
            batch_items: registrar.register_counters(&BATCH_ITEMS)?,
            batch_size: registrar.register_histograms(&BATCH_SIZE, &BATCH_BUCKETS)?.with_label_values(&[] as &[&str]),
            batches_running: registrar.register_gauges(&BATCHES_RUNNING)?.with_label_values(&[] as &[&str]),
            unmapped: registrar.register_counters(&UNMAPPED)?,
            systems: (0..MAX_SYSTEMS).map(|_| OnceLock::new()).collect(),
            add_lock: Mutex::new(()),
            unrouted: RequestSeries::new("none", &in_flight),
            in_flight,
            per_vendor: VendorFamilies::new(&registrar)?,
            registry,
        };
        for name in systems {
            metrics.add(name).ok_or_else(|| prometheus::Error::Msg(format!("too many systems: {name}")))?;
        }
        metrics.requests.with_label_values(&["none", RequestAction::Other.as_str(), "ok"]);
        for target in ReloadTarget::ALL {
            for outcome in ["ok", "refused"] {
                metrics.reloads.with_label_values(&[target.as_str(), outcome]);
            }
        }
        Ok(Arc::new(metrics))
    }

    /// The index of a system, which is added if it is new; `None` if there are too many systems.
    #[must_use]
    pub fn add(&self, system: &SystemName) -> Option<SystemIndex> {
        let _guard = self.add_lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = self.index(system) {
            return Some(index);
        }
        let free = self.systems.iter().position(|row| row.get().is_none())?;
        let name = system.as_str();
        let row = SystemMetrics {
            request: RequestSeries::new(name, &self.in_flight),
            vendor: self.per_vendor.series_for(name),
            changes: ChildCache::new(ChangeType::ALL.len()),
        };
        self.init_series(name);
        let _ = self.systems.get(free)?.set(Box::new(row));
        Some(SystemIndex(free))
    }

    /// Creates the series that a dashboard shows before the first request; the others start when
    /// they are first counted.
    fn init_series(&self, system: &str) {
        use RequestAction::{Create, Delete, List, Read, Update};
        for action in [Read, List, Create, Update, Delete] {
            self.requests.with_label_values(&[system, action.as_str(), "ok"]);
            self.request_seconds.with_label_values(&[system, action.as_str()]);
        }
        for state in [OperationState::Applied, OperationState::NotApplied] {
            self.resolved.with_label_values(&[system, state.as_str()]);
        }
        for change in ChangeType::ALL {
            self.changes.with_label_values(&[system, change.as_str(), CHANGE_ORIGIN]);
        }
        for call in VendorRequestKind::ALL {
            self.vendor_requests.with_label_values(&[system, call.as_str(), "2xx"]);
            self.vendor_seconds.with_label_values(&[system, call.as_str()]);
        }
    }

    /// Starts the counters of the losses that writes to a system can cause.
    pub fn register_losses(&self, system: SystemIndex, losses: impl IntoIterator<Item = &'static str>) {
        for loss in losses {
            self.loss_counter(system, loss);
        }
    }

    /// The index of a system.
    #[must_use]
    pub fn index(&self, system: &SystemName) -> Option<SystemIndex> {
        let rows = self.systems.iter().map_while(OnceLock::get);
        rows.enumerate().find(|(_, row)| row.request.system == system.as_str()).map(|(index, _)| SystemIndex(index))
    }

    fn system_metrics(&self, system: SystemIndex) -> Option<&SystemMetrics> {
        // Only a SystemIndex of another gateway's metrics could miss.
        self.systems.get(system.0).and_then(OnceLock::get).map(|row| &**row)
    }

    fn request_series(&self, system: Option<SystemIndex>) -> &RequestSeries {
        system.and_then(|index| self.system_metrics(index)).map_or(&self.unrouted, |row| &row.request)
    }

    fn with_vendor_series(&self, system: SystemIndex, act: impl FnOnce(&VendorSeries)) {
        if let Some(row) = self.system_metrics(system) {
            act(&row.vendor);
        }
    }

    /// The metrics of callers.
    #[must_use]
    pub fn callers(&self) -> &CallerSeries {
        &self.callers
    }

    /// Counts a reload of changed files, and whether they were valid.
    pub fn reload(&self, target: ReloadTarget, is_valid: bool) {
        self.reloads.with_label_values(&[target.as_str(), if is_valid { "ok" } else { "refused" }]).inc();
    }

    /// Counts values that the map of a configured model could not read.
    pub fn model_unmapped_values(&self, model: &str, count: usize) {
        if count > 0 {
            self.unmapped.with_label_values(&[model]).inc_by(count as u64);
        }
    }

    /// Counts a request with its response, and its duration in seconds.
    pub fn request(&self, system: Option<SystemIndex>, action: RequestAction, outcome: RequestOutcome, seconds: f64) {
        let series = self.request_series(system);
        let name = series.system.as_str();
        series.requests.with(
            action as usize * OUTCOME_COUNT + outcome.index(),
            || self.requests.with_label_values(&[name, action.as_str(), outcome.as_str()]),
            IntCounter::inc,
        );
        series.seconds.with(
            action as usize,
            || self.request_seconds.with_label_values(&[name, action.as_str()]),
            |histogram| histogram.observe(seconds),
        );
    }

    /// Counts an item of a batch.
    pub fn batch_item(&self, system: Option<SystemIndex>, action: RequestAction, outcome: RequestOutcome) {
        let name = self.request_series(system).system.as_str();
        self.batch_items.with_label_values(&[name, action.as_str(), outcome.as_str()]).inc();
    }

    /// Counts a batch of so many items that begins.
    pub fn batch_size(&self, items: usize) {
        self.batch_size.observe(u32::try_from(items).map_or(f64::MAX, f64::from));
    }

    /// Adds to the batches that run; `by` may be negative.
    pub fn batches_running(&self, by: i64) {
        self.batches_running.add(by);
    }

    /// Adds to the requests in progress; `by` may be negative.
    pub fn in_flight(&self, system: Option<SystemIndex>, by: i64) {
        self.request_series(system).in_flight.add(by);
    }

    /// Counts one call to the vendor, and its duration in seconds.
    pub fn vendor_request(&self, system: SystemIndex, call: VendorRequestKind, outcome: CallOutcome, seconds: f64) {
        let name = self.request_series(Some(system)).system.as_str();
        self.with_vendor_series(system, |vendor| {
            vendor.requests.with(
                call as usize * CallOutcome::ALL.len() + outcome as usize,
                || self.vendor_requests.with_label_values(&[name, call.as_str(), outcome.as_str()]),
                IntCounter::inc,
            );
            vendor.seconds.with(
                call as usize,
                || self.vendor_seconds.with_label_values(&[name, call.as_str()]),
                |histogram| histogram.observe(seconds),
            );
        });
    }

    /// Counts a vendor call that is about to be sent again.
    pub fn vendor_retry(&self, system: SystemIndex, reason: RetryReason) {
        self.with_vendor_series(system, |vendor| increment(&vendor.retries, reason as usize));
    }

    /// Sets the circuit's state: 0 closed, 1 half-open, 2 open.
    pub fn circuit_state(&self, system: SystemIndex, state: u8) {
        self.with_vendor_series(system, |vendor| vendor.circuit.set(state.into()));
    }

    /// Adds to the calls that wait in the queue; `by` may be negative.
    pub fn queue_depth(&self, system: SystemIndex, by: i64) {
        self.with_vendor_series(system, |vendor| vendor.queue.add(by));
    }

    /// Records how long a call waited in the queue.
    pub fn queue_wait(&self, system: SystemIndex, lane: Lane, waited: Duration) {
        self.with_vendor_series(system, |vendor| {
            if let Some(histogram) = vendor.queue_wait.get(lane as usize) {
                histogram.observe(waited.as_secs_f64());
            }
        });
    }

    /// The requests to a system in progress, and its vendor requests in the queue.
    #[must_use]
    pub fn load(&self, system: SystemIndex) -> (i64, i64) {
        let row = self.system_metrics(system);
        row.map_or((0, 0), |row| (row.request.in_flight.get(), row.vendor.queue.get()))
    }

    /// Counts a sign-in.
    pub fn token_refresh(&self, system: SystemIndex, outcome: RefreshOutcome) {
        self.with_vendor_series(system, |vendor| increment(&vendor.refreshes, outcome as usize));
    }

    /// Counts that the second secret of a system took over.
    pub fn credential_fallback(&self, system: SystemIndex) {
        self.with_vendor_series(system, |vendor| vendor.credential_fallbacks.inc());
    }

    /// Sets when the current token expires, in seconds since 1970.
    pub fn token_expires(&self, system: SystemIndex, timestamp: i64) {
        let name = self.request_series(Some(system)).system.as_str();
        self.token_expires.with_label_values(&[name]).set(timestamp);
    }

    /// All metrics in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// A family that cannot be encoded: an error of the table of families.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(32 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn increment(counters: &[IntCounter], index: usize) {
    if let Some(counter) = counters.get(index) {
        counter.inc();
    }
}

impl RequestSeries {
    fn new(system: &str, in_flight: &IntGaugeVec) -> Self {
        Self {
            system: system.to_owned(),
            requests: ChildCache::new(RequestAction::ALL.len() * OUTCOME_COUNT),
            seconds: ChildCache::new(RequestAction::ALL.len()),
            in_flight: in_flight.with_label_values(&[system]),
        }
    }
}
