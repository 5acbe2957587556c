//! Durable writes per second of the store with 1, 32 and 256 concurrent writers, tab-separated.
//!
//!     cargo bench --bench store -- sqlite:/some/folder/store.db [SECONDS]
//!
//! A write is an intent and then an outcome, each on disk before the store responds.
//! `tests/bench/durable` runs this on both databases and on a slow disk, and prints the table.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints its result, and stops at an unexpected one"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use records_gateway::journal::{
    BeginResult, Durability, Intent, Journal, JournalMetrics, JournalSettings, Outcome, verify_ledger,
};
use records_gateway::metrics::ChangeType;
use records_gateway::record::{Action, OperationId, OperationState, VendorRequestLog};

const WRITER_COUNTS: [usize; 3] = [1, 32, 256];
/// Each round measures every number of writers, so that other load on the machine affects all
/// alike.
const ROUNDS: u32 = 3;

/// Of the size that a PATCH of 1 KB has.
fn sample_recovery() -> String {
    format!("{{\"intent\":\"{}\"}}", "x".repeat(2500))
}

#[derive(Default)]
struct CommitCounter(AtomicU64);

impl JournalMetrics for CommitCounter {
    fn on_ledger_entry(&self) {}
    fn on_commit(&self, _seconds: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn on_change(&self, _system: &str, _change: ChangeType) {}
}

#[derive(Clone, Copy, Default)]
struct Tally {
    writes: u64,
    commits: u64,
    seconds: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let url = arguments.next().expect("the store's URL");
    let seconds: f64 = arguments.next().map_or(3.0, |text| text.parse().expect("seconds"));
    let settings = JournalSettings {
        url: url.clone(),
        durability: Durability::Commit,
        idempotency_ttl: Duration::from_hours(24),
        retention: Duration::from_hours(24 * 90),
        remember_shown: Duration::ZERO,
    };
    let commits = Arc::new(CommitCounter::default());
    let store = Journal::open(settings, Arc::clone(&commits) as Arc<dyn JournalMetrics>).await.expect("a store");
    let round = Duration::from_secs_f64(seconds) / ROUNDS;
    let mut tallies = [Tally::default(); WRITER_COUNTS.len()];
    for _ in 0..ROUNDS {
        for (writers, tally) in WRITER_COUNTS.into_iter().zip(&mut tallies) {
            // Warms up connections and prepared statements.
            measure(&store, &commits, writers, round / 10).await;
            let measured = measure(&store, &commits, writers, round).await;
            tally.writes += measured.writes;
            tally.commits += measured.commits;
            tally.seconds += measured.seconds;
        }
    }
    println!("writers\twrites/s\tcommits/s");
    for (writers, tally) in WRITER_COUNTS.into_iter().zip(tallies) {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let (writes, commits) = (tally.writes as f64 / tally.seconds, tally.commits as f64 / tally.seconds);
        println!("{writers}\t{writes:.1}\t{commits:.1}");
    }
    assert!(verify_ledger(&url, None).await.expect("verified").is_sound(), "the ledger is one chain");
    assert!(store.close(Duration::from_mins(1)).await, "everything is written");
}

async fn measure(store: &Journal, commits: &CommitCounter, writer_count: usize, duration: Duration) -> Tally {
    let (start, commits_before) = (Instant::now(), commits.0.load(Ordering::Relaxed));
    let tasks = (0..writer_count).map(async |number| {
        let record = format!("20240115:20240116:20240117:{number:030}");
        let mut count = 0;
        while start.elapsed() < duration {
            write(store, &record).await;
            count += 1;
        }
        count
    });
    let writes = futures_util::future::join_all(tasks).await.iter().sum();
    let seconds = start.elapsed().as_secs_f64();
    Tally { writes, commits: commits.0.load(Ordering::Relaxed) - commits_before, seconds }
}

async fn write(store: &Journal, record: &str) {
    let operation = OperationId::new();
    let intent = Intent {
        operation: operation.clone(),
        request_id: operation.as_str().into(),
        batch_item: None,
        model: None,
        caller: "benchmark".into(),
        system: "crm".into(),
        record: Some(record.into()),
        action: Action::Update,
        precondition: Some("\"c1\"".into()),
        compared_etag: None,
        rebased_onto: None,
        has_if_plan: false,
        paths: ["/fields/First Name".to_owned(), "/fields/Email".to_owned()].into(),
        losses: vec![],
        is_async: false,
        lease: None,
        idempotency: None,
        recovery: Some(sample_recovery().into()),
    };
    assert_eq!(store.begin(intent).await, Ok(BeginResult::Started));
    let outcome = Outcome {
        operation,
        state: OperationState::Applied,
        record: None,
        etag: Some("\"c2\"".into()),
        warnings: vec![],
        problem: None,
        problem_name: None,
        observed: None,
        calls: vec![VendorRequestLog { call: "update".into(), status: Some(204), ms: 41 }],
        losses: vec![],
        replay_json: None,
        lease: None,
    };
    store.finish(outcome).await.expect("finished");
}
