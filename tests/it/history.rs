//! Concurrent callers, every vendor, lost responses, killed gateways; then every response is
//! compared with what really happened at the vendors.
//!
//! `HISTORY_SEED` repeats the random choices of a run (the order of threads still differs),
//! `HISTORY_WRITES` sets how many writes meet a fault in each run. Seed and figures of a run go to
//! standard error.

mod caller;
mod client;
mod contradiction;
pub(crate) mod database_failures;
mod etag_map;
mod follower;
mod lifecycle;
mod register_model;
mod runner;
mod vendors;
mod verify;

use std::time::Duration;

use caller::{Caller, ResponseKind};
use client::Client;
use runner::{Plan, Run};
use vendors::GUARDED;
pub(crate) use vendors::{HistoryVendor, VENDORS};
use verify::HistoryVerifier;

const CALLER_COUNT: usize = 6;

fn env_number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn run_plan(plan: Plan) {
    let requested = env_number("HISTORY_WRITES").map(|writes| usize::try_from(writes).expect("a count"));
    // A write that can only be polled for takes long.
    let writes = requested.map_or(plan.writes, |writes| if plan.lifecycle { writes / 5 } else { writes });
    let kills = if plan.kills > 0 { plan.kills.max(writes / 250) } else { 0 };
    let seed = env_number("HISTORY_SEED").unwrap_or_else(|| fastrand::u64(0..1_000_000));
    let run = Run::start(Plan { writes, kills, ..plan }, seed);
    run.run_load(if writes > 1000 { 16 } else { CALLER_COUNT });
    let report = run.drain_and_collect();
    HistoryVerifier::new(&run, &report).verify();
}

const BASE_PLAN: Plan = Plan {
    name: "",
    fault_percent: 0,
    writes: 200,
    kills: 0,
    long_timeouts: false,
    completion_timeout: "1m",
    guarded_completion_timeout: "4s",
    external_writer: false,
    rebases: false,
    lifecycle: false,
    database_failures: false,
    durability: "commit",
    replicas: 1,
    store: None,
};

/// Records are created and deleted. A lost response leads to polling, so the time for it is short.
const LIFECYCLE_PLAN: Plan = Plan { lifecycle: true, writes: 60, completion_timeout: "4s", ..BASE_PLAN };

#[test]
fn concurrent_writes_are_linearizable_at_every_vendor() {
    run_plan(Plan { name: "concurrency", ..BASE_PLAN });
}

#[test]
fn lost_vendor_responses_are_never_misreported() {
    run_plan(Plan { name: "lost responses", fault_percent: 60, writes: 150, ..BASE_PLAN });
}

#[test]
fn external_writes_are_never_lost_under_a_native_guarantee() {
    run_plan(Plan { name: "second writer", fault_percent: 40, writes: 100, external_writer: true, ..BASE_PLAN });
}

#[test]
fn relaxed_durability_misreports_nothing_without_a_crash() {
    run_plan(Plan { name: "relaxed", fault_percent: 40, writes: 150, durability: "relaxed", ..BASE_PLAN });
}

#[test]
fn a_killed_gateway_reconciles_every_write_after_restart() {
    run_plan(Plan { name: "kill -9", fault_percent: 40, writes: 100, kills: 4, ..BASE_PLAN });
}

#[test]
fn a_live_replica_reconciles_the_writes_of_a_killed_one() {
    let Some(store) = create_postgres_database() else { return };
    run_plan(Plan {
        name: "two replicas",
        fault_percent: 40,
        writes: 100,
        kills: 2,
        replicas: 2,
        store: Some(store),
        ..BASE_PLAN
    });
}

#[test]
fn concurrent_rebases_lose_no_change_of_any_field() {
    run_plan(Plan { name: "rebases", rebases: true, ..BASE_PLAN });
}

#[test]
fn rebases_with_lost_responses_are_never_misreported() {
    run_plan(Plan { name: "rebases, lost responses", fault_percent: 50, writes: 120, rebases: true, ..BASE_PLAN });
}

#[test]
fn a_killed_gateway_reconciles_every_rebase_after_restart() {
    run_plan(Plan { name: "rebases, kill -9", fault_percent: 40, writes: 100, kills: 3, rebases: true, ..BASE_PLAN });
}

#[test]
fn concurrent_creates_and_deletes_take_effect_once() {
    run_plan(Plan { name: "lifecycle", writes: 120, ..LIFECYCLE_PLAN });
}

#[test]
fn creates_and_deletes_with_lost_responses_are_not_misreported() {
    run_plan(Plan { name: "lifecycle, lost responses", fault_percent: 50, ..LIFECYCLE_PLAN });
}

#[test]
fn a_killed_gateway_reconciles_creates_and_deletes_after_restart() {
    run_plan(Plan { name: "lifecycle, kill -9", fault_percent: 30, kills: 3, ..LIFECYCLE_PLAN });
}

#[test]
fn two_replicas_create_and_delete_consistently() {
    let Some(store) = create_postgres_database() else { return };
    let plan = Plan { name: "lifecycle, two replicas", fault_percent: 30, kills: 2, replicas: 2, ..LIFECYCLE_PLAN };
    run_plan(Plan { store: Some(store), ..plan });
}

#[test]
fn a_failing_database_leads_to_no_wrong_response() {
    let Some(store) = create_postgres_database() else { return };
    let plan = Plan { name: "failing database", fault_percent: 40, writes: 100, replicas: 2, ..BASE_PLAN };
    run_plan(Plan { store: Some(store), database_failures: true, ..plan });
}

#[test]
fn a_locked_database_file_leads_to_no_wrong_response() {
    let plan = Plan { name: "locked file", fault_percent: 40, writes: 100, ..BASE_PLAN };
    run_plan(Plan { database_failures: true, ..plan });
}

#[test]
fn in_flight_writes_of_a_killed_gateway_are_reconciled_on_restart() {
    let run = Run::start(Plan { name: "one kill", writes: 0, long_timeouts: true, ..BASE_PLAN }, 1);
    kill_during_writes(&run);
    run.replicas[0].restart();
    assert_all_applied(&run);
}

#[test]
fn in_flight_writes_of_a_killed_replica_are_reconciled_by_the_other() {
    let Some(store) = create_postgres_database() else { return };
    let run = Run::start(
        Plan { name: "one takeover", writes: 0, long_timeouts: true, replicas: 2, store: Some(store), ..BASE_PLAN },
        1,
    );
    run.set_available(1, false);
    kill_during_writes(&run);
    run.set_available(0, false);
    run.set_available(1, true);
    assert_all_applied(&run);
}

/// The gateway dies while each vendor holds one write; then the vendors apply them.
fn kill_during_writes(run: &Run) {
    std::thread::scope(|scope| {
        for system in 0..VENDORS.len() {
            run.vendors.hold_next_update(system);
            scope.spawn(move || {
                let mut caller = Caller { run, random: fastrand::Rng::with_seed(5), client: Client::default() };
                let mut write = caller.prepare(system, 0);
                caller.send(&mut write);
                run.writes.lock().unwrap().push(write);
            });
        }
        for system in 0..VENDORS.len() {
            run.vendors.wait_for_updates(system, 1);
        }
        run.replicas[0].kill();
        for system in 0..VENDORS.len() {
            run.vendors.release(system);
        }
    });
}

fn assert_all_applied(run: &Run) {
    let report = run.drain_and_collect();
    let states: Vec<_> = report.operations.iter().map(|one| one["state"].as_str().unwrap_or_default()).collect();
    assert_eq!(states, vec!["applied"; VENDORS.len()]);
    HistoryVerifier::new(run, &report).verify();
}

#[test]
fn a_queued_write_is_polled_until_its_full_timeout() {
    let plan =
        Plan { name: "full timeout", writes: 0, long_timeouts: true, guarded_completion_timeout: "9s", ..BASE_PLAN };
    let run = Run::start(plan, 1);
    let mut caller = Caller { run: &run, random: fastrand::Rng::with_seed(1), client: Client::default() };
    // The pauses double from 20 ms: there is a poll 5.1 s after the write, and the next one would
    // come after 10.2 s.
    run.vendors.set_queue_delay(Duration::from_secs(6));
    assert_eq!(caller.write_once(GUARDED, 1, "respond-async"), 202);
    assert_eq!(caller.write_once(GUARDED, 0, "wait=9"), 200);
    let report = run.drain_and_collect();
    assert!(report.operations.iter().all(|one| one["state"] == "applied"), "{:?}", report.operations);
    HistoryVerifier::new(&run, &report).verify();
}

#[test]
fn the_final_probe_finds_a_write_without_responses_applied() {
    let run = Run::start(Plan { name: "no responses", writes: 0, completion_timeout: "3s", ..BASE_PLAN }, 1);
    let mut caller = Caller { run: &run, random: fastrand::Rng::with_seed(1), client: Client::default() };
    for system in 0..VENDORS.len() {
        run.vendors.lose_update_responses(system);
        assert_eq!(caller.write_once(system, 0, "respond-async"), 202);
    }
    let report = run.drain_and_collect();
    assert!(report.operations.iter().all(|one| one["state"] == "applied"), "{:?}", report.operations);
    HistoryVerifier::new(&run, &report).verify();
}

#[test]
fn a_duplicate_of_a_running_write_is_409_and_not_stale() {
    // A list is compared by the gateway, which has to read for it.
    send_duplicate_during_first_read(|tag| format!("\"elsewhere\", {tag}"));
}

#[test]
fn a_duplicate_of_a_running_star_write_is_409_and_not_a_no_op() {
    send_duplicate_during_first_read(|_| "*".to_owned());
}

fn send_duplicate_during_first_read(if_match: impl Fn(&str) -> String) {
    let run = Run::start(Plan { name: "own first", writes: 0, long_timeouts: true, ..BASE_PLAN }, 1);
    let caller = || Caller { run: &run, random: fastrand::Rng::with_seed(1), client: Client::default() };
    let mut write = caller().prepare(0, 0);
    let (tag, value) = caller().read(0, 0).expect("a read");
    write.expected = Some(value);
    write.headers.retain(|(name, _)| name != "Prefer" && name != "If-Match");
    write.headers.push(("If-Match".to_owned(), if_match(&tag)));
    let (mut first, mut second) = (write.clone(), write);
    std::thread::scope(|scope| {
        let reads = run.vendors.read_count(0);
        run.vendors.hold_next_read(0);
        let sent = scope.spawn(|| caller().send(&mut first));
        run.vendors.wait_for_reads(0, reads + 1);
        // The first one is still reading the record.
        assert_eq!(caller().send(&mut second), 409);
        run.vendors.release(0);
        assert_eq!(sent.join().expect("a status"), 204);
    });
    assert_eq!(second.last_kind(), ResponseKind::InProgress);
    assert_eq!(caller().send(&mut second), 204);
    assert!(second.responses[1].replayed);
    run.writes.lock().unwrap().push(second);
    let report = run.drain_and_collect();
    HistoryVerifier::new(&run, &report).verify();
}

/// An empty database of the run's own, where there is a PostgreSQL server.
pub(crate) fn create_postgres_database() -> Option<String> {
    let Ok(server) = std::env::var("TEST_POSTGRES_URL") else {
        eprintln!("TEST_POSTGRES_URL is not set: two replicas are not tested");
        return None;
    };
    let name = format!("history{:016x}", fastrand::u64(..));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&server, tokio_postgres::NoTls).await.expect("a server");
        tokio::spawn(connection);
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
    });
    let (base, _) = server.rsplit_once('/').expect("a database in the address");
    Some(format!("{base}/{name}"))
}
