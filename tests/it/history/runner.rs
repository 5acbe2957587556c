//! One run: vendors, proxies, gateways, callers; then a quiet phase in which every write must end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;
use tempfile::TempDir;

use super::caller::{Caller, ObservedRead, Write, is_conclusive};
use super::client::Client;
use super::database_failures::{disturb_postgres, disturb_sqlite};
use super::etag_map::EtagMap;
use super::follower::Follower;
use super::register_model::FIRST_EXTERNAL_VALUE;
use super::vendors::{VENDORS, Vendors};
use crate::fault_proxy::FaultProxy;
use crate::support::{ProcessBuilder, TestConfig, TestProcess};

/// How long reconciliation may take once there are no faults; a dead replica's writes are adopted
/// only after a while.
const RECONCILE_TIMEOUT: Duration = Duration::from_mins(3);
/// How often a write without an outcome is sent again.
const MAX_RESEND_ROUNDS: usize = 5;

/// What happens in a run.
#[expect(clippy::struct_excessive_bools, reason = "independent choices")]
pub(crate) struct Plan {
    /// For the report.
    pub(crate) name: &'static str,
    /// The percentage of vendor writes that meet a fault; 0 = none, and `writes` counts all.
    pub(crate) fault_percent: u32,
    /// The run continues until so many writes have met a fault.
    pub(crate) writes: usize,
    /// How often a gateway is killed.
    pub(crate) kills: usize,
    /// Whether timeouts are long, so that no write is abandoned.
    pub(crate) long_timeouts: bool,
    /// `completion_timeout` of the native systems.
    pub(crate) completion_timeout: &'static str,
    /// That of the guarded one.
    pub(crate) guarded_completion_timeout: &'static str,
    /// Whether there are writes past the gateway.
    pub(crate) external_writer: bool,
    /// Whether writes rebase, while another field of the records is changed past the gateway.
    pub(crate) rebases: bool,
    /// Whether records are created and deleted, instead of the run's own ones changed.
    pub(crate) lifecycle: bool,
    /// Whether the database breaks connections, restarts and is locked.
    pub(crate) database_failures: bool,
    /// `durability` of `[store]`; with `relaxed` a kill may lose an operation.
    pub(crate) durability: &'static str,
    /// Replicas.
    pub(crate) replicas: usize,
    /// `url` of `[store]`; `None` = SQLite in the run's own folder.
    pub(crate) store: Option<String>,
}

/// A write past the gateway.
pub(crate) struct ExternalWrite {
    pub(crate) system: usize,
    pub(crate) record: usize,
    pub(crate) value: u32,
    pub(crate) started_at: i64,
    pub(crate) returned_at: i64,
}

/// A run and everything noted in it.
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) seed: u64,
    pub(crate) vendors: Vendors,
    pub(crate) proxies: Vec<FaultProxy>,
    pub(crate) replicas: Vec<TestProcess>,
    available: Vec<AtomicBool>,
    active_callers: AtomicUsize,
    clock: Instant,
    pub(crate) next_value: AtomicU32,
    /// Writes that lost their connection to the gateway.
    pub(crate) disconnected_writes: AtomicUsize,
    /// Requests that a starved process did not send in time.
    pub(crate) late_requests: AtomicUsize,
    pub(crate) etags: EtagMap,
    pub(crate) reads: Mutex<Vec<ObservedRead>>,
    pub(crate) writes: Mutex<Vec<Write>>,
    pub(crate) external_writes: Mutex<Vec<ExternalWrite>>,
    follower: Mutex<Follower>,
    folder: TempDir,
}

/// What the gateway reports at the end.
pub(crate) struct GatewayReport {
    pub(crate) operations: Vec<Value>,
    pub(crate) ledger: Vec<Value>,
    /// The events of the feed, as a consumer got them that followed it all the time.
    pub(crate) events: Vec<Value>,
}

/// A gateway that reaches the vendors through these proxies.
fn configure(config: TestConfig, proxies: &[FaultProxy], plan: &Plan) -> TestConfig {
    let (timeout, deadline) = match (plan.long_timeouts, &plan.store) {
        (true, _) => ("3s", "30s"),
        (false, None) => ("400ms", "2s"),
        // Not sent again: what was stored less than 2 s before the deadline, by another clock.
        (false, Some(_)) => ("400ms", "5s"),
    };
    let config = config.server("workers", 2).server("deadline", deadline).store("durability", plan.durability);
    let config = config.every_system("timeout", timeout).every_system("connect_timeout", "300ms");
    let config = config.every_system("retry_backoff", "5ms").every_system("completion_poll", "20ms");
    let config = config.every_system("circuit_failures", 10_000).every_system("circuit_open_for", "10ms");
    let config = VENDORS.iter().zip(proxies).fold(config, |config, (vendor, proxy)| {
        let fixture = vendor.fixture;
        let native = plan.completion_timeout;
        let completion_timeout = if fixture.native { native } else { plan.guarded_completion_timeout };
        let config = config.system(fixture.system, "base_url", proxy.base_url());
        let config = config.system(fixture.system, "collection", fixture.collection());
        let config = config.system(fixture.system, "settle_timeout", completion_timeout);
        config.system(fixture.system, "completion_timeout", completion_timeout)
    });
    match &plan.store {
        Some(url) => config.store("url", url.as_str()),
        None => config,
    }
}

impl Run {
    /// Starts everything.
    pub(crate) fn start(plan: Plan, seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let vendors = Vendors::start(if plan.writes > 1000 { 48 } else { 8 });
        let proxy = |system| {
            let seed = seed.wrapping_add(system as u64);
            FaultProxy::start(vendors.address(system), seed, plan.fault_percent)
        };
        let proxies: Vec<_> = (0..VENDORS.len()).map(proxy).collect();
        let replica = |number| {
            let builder = ProcessBuilder::new(vendors.sandbox.clone(), folder.path());
            builder.name(&format!("gateway-{number}")).configure(|config| configure(config, &proxies, &plan)).start()
        };
        let replicas: Vec<_> = (0..plan.replicas).map(replica).collect();
        Self {
            available: replicas.iter().map(|_| AtomicBool::new(true)).collect(),
            etags: EtagMap::new(!plan.rebases),
            plan,
            seed,
            vendors,
            proxies,
            replicas,
            active_callers: AtomicUsize::new(0),
            clock: Instant::now(),
            next_value: AtomicU32::new(1),
            disconnected_writes: AtomicUsize::new(0),
            late_requests: AtomicUsize::new(0),
            reads: Mutex::default(),
            writes: Mutex::default(),
            external_writes: Mutex::default(),
            follower: Mutex::default(),
            folder,
        }
    }

    /// Nanoseconds of the run's clock.
    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.clock.elapsed().as_nanos()).expect("a short run")
    }

    /// Records per system.
    pub(crate) fn record_count(&self) -> usize {
        self.vendors.records[0].len()
    }

    /// The address of an available replica.
    pub(crate) fn pick_address(&self, random: &mut Rng) -> String {
        let up: Vec<usize> =
            (0..self.available.len()).filter(|at| self.available[*at].load(Ordering::SeqCst)).collect();
        let chosen = if up.is_empty() { 0 } else { up[random.usize(0..up.len())] };
        self.replicas[chosen].address()
    }

    /// Sets whether callers may use a replica.
    pub(crate) fn set_available(&self, replica: usize, up: bool) {
        self.available[replica].store(up, Ordering::SeqCst);
    }

    fn progress(&self) -> usize {
        match self.plan.fault_percent {
            0 => self.writes.lock().unwrap().len(),
            _ => self.proxies.iter().map(FaultProxy::faulted_count).sum(),
        }
    }

    /// Whether the run has not done enough yet.
    pub(crate) fn should_continue(&self) -> bool {
        // A limit, however few writes meet a fault.
        self.progress() < self.plan.writes && (self.next_value.load(Ordering::SeqCst) as usize) < 40 * self.plan.writes
    }

    /// The loud phase: all callers at once.
    pub(crate) fn run_load(&self, callers: usize) {
        self.active_callers.store(callers, Ordering::SeqCst);
        std::thread::scope(|scope| {
            for number in 0..callers {
                let random = Rng::with_seed(self.seed.wrapping_mul(31).wrapping_add(number as u64));
                scope.spawn(move || {
                    let _done = ActiveCallerGuard(&self.active_callers);
                    Caller { run: self, random, client: Client::default() }.run_until_done();
                });
            }
            if self.plan.external_writer {
                scope.spawn(|| self.write_externally());
            }
            if self.plan.rebases {
                scope.spawn(|| self.touch_records());
            }
            scope.spawn(|| {
                let mut random = Rng::with_seed(self.seed.wrapping_add(55));
                let address = || self.pick_address(&mut random);
                self.follower.lock().unwrap().follow(address, || self.has_active_callers());
            });
            if self.plan.database_failures {
                scope.spawn(|| self.disturb_database());
            }
            self.kill_at_intervals();
        });
        self.proxies.iter().for_each(|proxy| proxy.set_fault_percent(0));
    }

    fn has_active_callers(&self) -> bool {
        self.active_callers.load(Ordering::SeqCst) > 0
    }

    fn disturb_database(&self) {
        let (seed, should_continue) = (self.seed.wrapping_add(33), || self.has_active_callers());
        let counts = match &self.plan.store {
            Some(url) => disturb_postgres(url, seed, should_continue),
            None => disturb_sqlite(&self.folder.path().join("store.db"), seed, should_continue),
        };
        eprintln!("{}: {counts:?}", self.plan.name);
    }

    fn write_externally(&self) {
        let mut random = Rng::with_seed(self.seed.wrapping_add(77));
        let mut value = FIRST_EXTERNAL_VALUE;
        while self.has_active_callers() {
            let (system, record) = (random.usize(0..VENDORS.len()), random.usize(0..self.record_count()));
            let call = self.now();
            self.vendors.external_write(system, record, value);
            let back = self.now();
            self.external_writes.lock().unwrap().push(ExternalWrite {
                system,
                record,
                value,
                started_at: call,
                returned_at: back,
            });
            value += 1;
            std::thread::sleep(Duration::from_millis(random.u64(2..25)));
        }
    }

    /// Makes tags stale: another field of the records changes.
    fn touch_records(&self) {
        let mut random = Rng::with_seed(self.seed.wrapping_add(66));
        for number in 1.. {
            if !self.has_active_callers() {
                return;
            }
            let (system, record) = (random.usize(0..VENDORS.len()), random.usize(0..self.record_count()));
            self.vendors.touch(system, record, number);
            std::thread::sleep(Duration::from_millis(random.u64(0..4)));
        }
    }

    /// Kills are spread over the run; the last killed replica of several stays dead until the
    /// others have adopted its writes.
    fn kill_at_intervals(&self) {
        let mut random = Rng::with_seed(self.seed.wrapping_add(99));
        for number in 1..=self.plan.kills {
            let from = number * self.plan.writes / (self.plan.kills + 1);
            while self.progress() < from && self.has_active_callers() {
                std::thread::sleep(Duration::from_millis(2));
            }
            let victim = random.usize(0..self.replicas.len());
            self.replicas[victim].kill();
            self.set_available(victim, false);
            if number < self.plan.kills || self.replicas.len() == 1 {
                self.replicas[victim].restart();
                self.set_available(victim, true);
            }
        }
    }

    /// The quiet phase: no operation stays running, every write gets its outcome, every record is
    /// read once more, every process stops cleanly and the ledger verifies.
    pub(crate) fn drain_and_collect(&self) -> GatewayReport {
        let mut caller = Caller { run: self, random: Rng::with_seed(self.seed), client: Client::default() };
        self.wait_until_ready(&mut caller);
        self.wait_until_nothing_runs(&mut caller);
        for (at, process) in self.replicas.iter().enumerate() {
            if !self.available[at].swap(true, Ordering::SeqCst) {
                process.restart();
            }
        }
        let mut writes = std::mem::take(&mut *self.writes.lock().unwrap());
        let until = Instant::now() + RECONCILE_TIMEOUT;
        for round in 0.. {
            self.wait_until_nothing_runs(&mut caller);
            let mut again = 0;
            for write in writes.iter_mut().filter(|write| !is_conclusive(write)) {
                caller.send(write);
                again += 1;
            }
            // The lease of a killed process makes writers wait until the others know that it is
            // dead.
            if again == 0 || (round >= MAX_RESEND_ROUNDS && Instant::now() > until) {
                break;
            }
        }
        for system in 0..VENDORS.len() {
            for record in 0..self.record_count() {
                caller.read(system, record).expect("a read in the quiet phase");
            }
        }
        *self.writes.lock().unwrap() = writes;
        let address = self.replicas[0].address();
        let operations = caller.client.get_all_pages(&address, "/operations");
        let ledger = caller.client.get_all_pages(&address, "/ledger");
        let mut follower = self.follower.lock().unwrap();
        while follower.read(&address) {}
        let events = std::mem::take(&mut follower.events);
        for process in &self.replicas {
            assert_eq!(process.terminate(), Some(0), "a stop with nothing left to do");
        }
        let verified = self.replicas[0].run(&["ledger", "verify"]);
        assert!(verified.status.success(), "ledger verify: {}", String::from_utf8_lossy(&verified.stderr));
        GatewayReport { operations, ledger, events }
    }

    /// A store that failed is found well only after a pause.
    fn wait_until_ready(&self, caller: &mut Caller<'_>) {
        let until = Instant::now() + RECONCILE_TIMEOUT;
        for (at, process) in self.replicas.iter().enumerate() {
            let is_ready = |client: &mut Client| {
                let response = client.get(&process.address(), "/readyz");
                response.is_ok_and(|response| response.status == 200)
            };
            while self.available[at].load(Ordering::SeqCst) && !is_ready(&mut caller.client) {
                assert!(Instant::now() < until, "not ready: {}", process.log());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    pub(crate) fn wait_until_nothing_runs(&self, caller: &mut Caller<'_>) {
        let until = Instant::now() + RECONCILE_TIMEOUT;
        loop {
            let address = self.pick_address(&mut caller.random);
            let running = caller.client.get(&address, "/operations?state=running&limit=5").expect("operations");
            assert_eq!(running.status, 200, "{}", running.text());
            let running = running.json();
            // A page may be empty and have a successor.
            let items = running["items"].as_array().expect("items");
            if items.is_empty() && running["next"].is_null() {
                return;
            }
            assert!(Instant::now() < until, "still running: {running}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Counts down when a caller ends, also by a panic.
struct ActiveCallerGuard<'c>(&'c AtomicUsize);

impl Drop for ActiveCallerGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            for (number, replica) in self.replicas.iter().enumerate() {
                let _ = std::fs::write(self.folder.path().join(format!("gateway-{number}.log")), replica.log());
            }
            eprintln!("{}: HISTORY_SEED={}, logs in {}", self.plan.name, self.seed, self.folder.path().display());
        }
    }
}
