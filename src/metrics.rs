//! Every metric of the gateway (contract 6), in one table.
//!
//! Labels are closed sets: the configured systems, `none` for requests that reached no system, and the words of enums. A
//! record's id, a path or a caller's text cannot become a label because no function here takes one.
//!
//! Each gateway has its own registry, so several can live in one process. The children of the hot path are kept at hand:
//! looking one up by its labels costs more than counting.

mod labels;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

pub use self::labels::{
    CallOutcome, DetectedBy, RefreshOutcome, ReloadTarget, RequestAction, RequestOutcome, RetryReason,
};
use crate::problem::ProblemKind;
use crate::record::{SystemName, VendorCallKind};

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One metric family.
struct Family {
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
}

macro_rules! families {
    ($($constant:ident $name:literal $labels:expr, $help:literal;)*) => {
        $(const $constant: Family = Family { name: $name, labels: &$labels, help: $help };)*
        #[cfg(test)]
        const FAMILIES: &[&Family] = &[$(&$constant,)*];
    };
}

families! {
    REQUESTS "gateway_requests_total" ["system", "action", "outcome"],
        "Requests answered, by outcome: ok or the name of the problem.";
    REQUEST_SECONDS "gateway_request_duration_seconds" ["system", "action"],
        "Time from a request's head to its answer, in seconds.";
    IN_FLIGHT "gateway_in_flight" ["system"],
        "Requests being worked on now.";
    VENDOR_REQUESTS "vendor_requests_total" ["system", "call", "outcome"],
        "Calls sent to the vendor, by the class of its answer or by what went wrong instead.";
    VENDOR_SECONDS "vendor_request_duration_seconds" ["system", "call"],
        "Time from sending a call to the last byte of the vendor's answer, in seconds.";
    RETRIES "vendor_retries_total" ["system", "reason"],
        "Vendor calls sent again, by why the one before failed.";
    CIRCUIT "vendor_circuit_state" ["system"],
        "State of the circuit to the vendor: 0 closed, 1 half-open, 2 open.";
    QUEUE "vendor_queue_depth" ["system"],
        "Vendor calls that wait for their turn now.";
    REFRESHES "token_refreshes_total" ["system", "outcome"],
        "Sign-ins at the vendor: ok, refused (the credentials) or failed (anything else).";
    TOKEN_EXPIRES "token_expires_timestamp_seconds" ["system"],
        "When the vendor's present token expires, in seconds since 1970; absent for keys that do not expire.";
    PRECONDITIONS "precondition_failures_total" ["system", "detected_by"],
        "Writes refused because the record had changed, by who saw it: the gateway or the vendor.";
    WRITES_UNKNOWN "writes_unknown" ["system"],
        "Writes whose outcome is not known now.";
    OPERATIONS "operations_running" ["system"],
        "Operations that are running now.";
    REPLAYS "idempotent_replays_total" [],
        "Stored answers given again for an Idempotency-Key.";
    LOSSES "losses_accepted_total" ["system", "loss"],
        "Writes made although they destroy something else, by what.";
    LEDGER_ENTRIES "ledger_entries_total" [],
        "Entries written to the ledger since the start.";
    LEDGER_SECONDS "ledger_commit_duration_seconds" [],
        "Time to commit to the ledger, in seconds.";
    RELOADS "config_reloads_total" ["what", "outcome"],
        "Changed files taken over while running, by what they hold and by outcome: ok or refused (the former ones stay).";
    BUILD "build_info" ["version", "revision"],
        "Always 1; the labels tell what is running.";
}

/// 1 ms to the longest deadline: a vendor's call and a request alike.
const CALL_BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// A write-ahead log on a fast disk takes tenths of a millisecond, a busy one a second.
const COMMIT_BUCKETS: [f64; 11] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0];

/// As many systems as one process can have had, those that a changed configuration removed included.
const MAX_SYSTEMS: usize = 1024;

/// Which configured system; only [`Metrics::index`] and [`Metrics::add`] make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemIndex(usize);

/// Children found once and kept. Those that are rare are made when first counted, so that a scrape is not a thousand zeros.
struct ChildCache<C>(Vec<OnceLock<C>>);

impl<C> ChildCache<C> {
    fn new(length: usize) -> Self {
        Self((0..length).map(|_| OnceLock::new()).collect())
    }

    fn with(&self, position: usize, make: impl FnOnce() -> C, act: impl FnOnce(&C)) {
        if let Some(cell) = self.0.get(position) {
            act(cell.get_or_init(make));
        }
    }
}

/// The families with the children that are kept.
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
    /// Rows are filled from the front and never emptied: what holds an index reads without a lock.
    systems: Vec<OnceLock<Box<SystemMetrics>>>,
    add_lock: Mutex<()>,
    unrouted: RequestSeries,
    in_flight: IntGaugeVec,
    per_vendor: VendorFamilies,
}

/// What is kept of one system.
struct SystemMetrics {
    request: RequestSeries,
    vendor: VendorSeries,
}

/// What is kept of one system (or of `none`) towards callers.
struct RequestSeries {
    system: String,
    requests: ChildCache<IntCounter>,
    seconds: ChildCache<Histogram>,
    in_flight: IntGauge,
}

/// What is kept of one system towards its vendor.
struct VendorSeries {
    requests: ChildCache<IntCounter>,
    seconds: ChildCache<Histogram>,
    retries: Vec<IntCounter>,
    refreshes: Vec<IntCounter>,
    preconditions: Vec<IntCounter>,
    circuit: IntGauge,
    queue: IntGauge,
    writes_unknown: IntGauge,
    operations: IntGauge,
}

const OUTCOME_COUNT: usize = 1 + ProblemKind::ALL.len();

impl Metrics {
    /// Registers every family and gives the configured systems their rows.
    ///
    /// # Errors
    /// A family that the registry refuses: a fault of the table above.
    pub fn new(systems: &[SystemName]) -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let maker = Registrar(&registry);
        let in_flight = maker.register_gauges(&IN_FLIGHT)?;
        let per_vendor = VendorFamilies {
            retries: maker.register_counters(&RETRIES)?,
            refreshes: maker.register_counters(&REFRESHES)?,
            preconditions: maker.register_counters(&PRECONDITIONS)?,
            circuit: maker.register_gauges(&CIRCUIT)?,
            queue: maker.register_gauges(&QUEUE)?,
            writes_unknown: maker.register_gauges(&WRITES_UNKNOWN)?,
            operations: maker.register_gauges(&OPERATIONS)?,
        };
        let revision = option_env!("GIT_REVISION").unwrap_or("unknown");
        maker.register_gauges(&BUILD)?.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;

        let metrics = Self {
            requests: maker.register_counters(&REQUESTS)?,
            request_seconds: maker.register_histograms(&REQUEST_SECONDS, &CALL_BUCKETS)?,
            vendor_requests: maker.register_counters(&VENDOR_REQUESTS)?,
            vendor_seconds: maker.register_histograms(&VENDOR_SECONDS, &CALL_BUCKETS)?,
            token_expires: maker.register_gauges(&TOKEN_EXPIRES)?,
            losses: maker.register_counters(&LOSSES)?,
            replays: maker.register_counters(&REPLAYS)?.with_label_values(&[] as &[&str]),
            ledger_entries: maker.register_counters(&LEDGER_ENTRIES)?.with_label_values(&[] as &[&str]),
            ledger_seconds: maker
                .register_histograms(&LEDGER_SECONDS, &COMMIT_BUCKETS)?
                .with_label_values(&[] as &[&str]),
            reloads: maker.register_counters(&RELOADS)?,
            systems: (0..MAX_SYSTEMS).map(|_| OnceLock::new()).collect(),
            add_lock: Mutex::new(()),
            unrouted: RequestSeries::new("none", &in_flight),
            in_flight,
            per_vendor,
            registry,
        };
        for name in systems {
            metrics.add(name).ok_or_else(|| prometheus::Error::Msg(format!("no room for the system {name}")))?;
        }
        metrics.requests.with_label_values(&["none", RequestAction::Other.as_str(), "ok"]);
        for what in ReloadTarget::ALL {
            for outcome in ["ok", "refused"] {
                metrics.reloads.with_label_values(&[what.as_str(), outcome]);
            }
        }
        Ok(Arc::new(metrics))
    }

    /// The row of a system, which is given one if it has none yet; `None` if there are too many.
    #[must_use]
    pub fn add(&self, system: &SystemName) -> Option<SystemIndex> {
        let _turn = self.add_lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = self.index(system) {
            return Some(index);
        }
        let free = self.systems.iter().position(|row| row.get().is_none())?;
        let name = system.as_str();
        let row = SystemMetrics {
            request: RequestSeries::new(name, &self.in_flight),
            vendor: self.per_vendor.series_for(name),
        };
        self.init_series(name);
        let _ = self.systems.get(free)?.set(Box::new(row));
        Some(SystemIndex(free))
    }

    /// The series that a dashboard asks for before the first request; the rest begin when they are first counted.
    fn init_series(&self, system: &str) {
        use RequestAction::{Create, Delete, List, Read, Update};
        for action in [Read, List, Create, Update, Delete] {
            self.requests.with_label_values(&[system, action.as_str(), "ok"]);
            self.request_seconds.with_label_values(&[system, action.as_str()]);
        }
        for call in VendorCallKind::ALL {
            self.vendor_requests.with_label_values(&[system, call.as_str(), "2xx"]);
            self.vendor_seconds.with_label_values(&[system, call.as_str()]);
        }
    }

    /// The losses that writes of a system can have.
    pub fn register_losses(&self, system: SystemIndex, losses: impl IntoIterator<Item = &'static str>) {
        for loss in losses {
            self.loss_counter(system, loss);
        }
    }

    /// The row of a system.
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

    /// Counts files that were read again while running, and whether they were good.
    pub fn reload(&self, what: ReloadTarget, is_good: bool) {
        self.reloads.with_label_values(&[what.as_str(), if is_good { "ok" } else { "refused" }]).inc();
    }

    /// Counts a request that was answered, and how long that took in seconds.
    pub fn request(&self, system: Option<SystemIndex>, action: RequestAction, outcome: RequestOutcome, seconds: f64) {
        let side = self.request_series(system);
        let name = side.system.as_str();
        side.requests.with(
            action as usize * OUTCOME_COUNT + outcome.index(),
            || self.requests.with_label_values(&[name, action.as_str(), outcome.as_str()]),
            IntCounter::inc,
        );
        side.seconds.with(
            action as usize,
            || self.request_seconds.with_label_values(&[name, action.as_str()]),
            |histogram| histogram.observe(seconds),
        );
    }

    /// Adds to (or takes from) the requests that are being worked on.
    pub fn in_flight(&self, system: Option<SystemIndex>, by: i64) {
        self.request_series(system).in_flight.add(by);
    }

    /// Counts one call to the vendor and how long it took in seconds.
    pub fn vendor_request(&self, system: SystemIndex, call: VendorCallKind, outcome: CallOutcome, seconds: f64) {
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

    /// Shows the circuit's state: 0 closed, 1 half-open, 2 open.
    pub fn circuit_state(&self, system: SystemIndex, state: u8) {
        self.with_vendor_series(system, |vendor| vendor.circuit.set(state.into()));
    }

    /// Adds to (or takes from) the number of calls that wait for their turn.
    pub fn queue_depth(&self, system: SystemIndex, by: i64) {
        self.with_vendor_series(system, |vendor| vendor.queue.add(by));
    }

    /// Counts a sign-in.
    pub fn token_refresh(&self, system: SystemIndex, outcome: RefreshOutcome) {
        self.with_vendor_series(system, |vendor| increment(&vendor.refreshes, outcome as usize));
    }

    /// Shows when the present token expires, in seconds since 1970.
    pub fn token_expires(&self, system: SystemIndex, timestamp: i64) {
        let name = self.request_series(Some(system)).system.as_str();
        self.token_expires.with_label_values(&[name]).set(timestamp);
    }

    /// Counts a write that was refused because the record had changed.
    pub fn precondition_failure(&self, system: SystemIndex, detected_by: DetectedBy) {
        self.with_vendor_series(system, |vendor| increment(&vendor.preconditions, detected_by as usize));
    }

    /// Adds to (or takes from) the writes that have no known outcome.
    pub fn writes_unknown(&self, system: SystemIndex, by: i64) {
        self.with_vendor_series(system, |vendor| vendor.writes_unknown.add(by));
    }

    /// Shows how many operations are running: what the store found at the start.
    pub fn set_operations_running(&self, system: SystemIndex, number: i64) {
        self.with_vendor_series(system, |vendor| vendor.operations.set(number));
    }

    /// Adds to (or takes from) the operations that are running.
    pub fn operations_running(&self, system: SystemIndex, by: i64) {
        self.with_vendor_series(system, |vendor| vendor.operations.add(by));
    }

    /// Counts a stored answer that was given again.
    pub fn idempotent_replay(&self) {
        self.replays.inc();
    }

    /// Counts a write made although it destroys something else; `loss` is the adapter's name for it.
    pub fn loss_accepted(&self, system: SystemIndex, loss: &'static str) {
        self.loss_counter(system, loss).inc();
    }

    fn loss_counter(&self, system: SystemIndex, loss: &'static str) -> IntCounter {
        let name = self.request_series(Some(system)).system.as_str();
        self.losses.with_label_values(&[name, loss])
    }

    /// Counts entries written to the ledger.
    pub fn ledger_entries(&self, number: u64) {
        self.ledger_entries.inc_by(number);
    }

    /// Measures a commit to the ledger.
    pub fn ledger_commit(&self, took: Duration) {
        self.ledger_seconds.observe(took.as_secs_f64());
    }

    /// All of it in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// A family that cannot be written down: a fault of the table above.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(32 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn increment(counters: &[IntCounter], position: usize) {
    if let Some(counter) = counters.get(position) {
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

struct VendorFamilies {
    retries: IntCounterVec,
    refreshes: IntCounterVec,
    preconditions: IntCounterVec,
    circuit: IntGaugeVec,
    queue: IntGaugeVec,
    writes_unknown: IntGaugeVec,
    operations: IntGaugeVec,
}

impl VendorFamilies {
    fn series_for(&self, system: &str) -> VendorSeries {
        let each = |family: &IntCounterVec, words: Vec<&'static str>| {
            words.into_iter().map(|word| family.with_label_values(&[system, word])).collect()
        };
        VendorSeries {
            requests: ChildCache::new(VendorCallKind::ALL.len() * CallOutcome::ALL.len()),
            seconds: ChildCache::new(VendorCallKind::ALL.len()),
            retries: each(&self.retries, RetryReason::ALL.iter().map(|word| word.as_str()).collect()),
            refreshes: each(&self.refreshes, RefreshOutcome::ALL.iter().map(|word| word.as_str()).collect()),
            preconditions: each(&self.preconditions, DetectedBy::ALL.iter().map(|word| word.as_str()).collect()),
            circuit: self.circuit.with_label_values(&[system]),
            queue: self.queue.with_label_values(&[system]),
            writes_unknown: self.writes_unknown.with_label_values(&[system]),
            operations: self.operations.with_label_values(&[system]),
        }
    }
}

/// Makes families from rows of the table and registers them.
struct Registrar<'r>(&'r Registry);

impl Registrar<'_> {
    fn register_counters(&self, family: &Family) -> Result<IntCounterVec, prometheus::Error> {
        let made = IntCounterVec::new(Opts::new(family.name, family.help), family.labels)?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn register_gauges(&self, family: &Family) -> Result<IntGaugeVec, prometheus::Error> {
        let made = IntGaugeVec::new(Opts::new(family.name, family.help), family.labels)?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn register_histograms(&self, family: &Family, buckets: &[f64]) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(family.name, family.help).buckets(buckets.to_vec());
        let made = HistogramVec::new(options, family.labels)?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }
}
