//! Writes that are true: concurrent callers, three vendors, answers that get lost, gateways that are killed; and afterwards
//! everything that anybody was told is held against what really happened at the vendors.
//!
//! `HISTORY_SEED` repeats a run's draws (threads still take turns as they like), `HISTORY_WRITES` sets how many writes are to
//! be disturbed in each run. The seed and the figures of a run go to standard error.

mod caller;
mod check;
mod client;
mod lives;
mod model;
mod process;
mod run;
mod vendors;

use std::time::Duration;

use caller::{Caller, Said};
use check::Truth;
use client::Client;
use run::{Plan, Run};
use vendors::GUARDED;

const CALLERS: usize = 6;

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn play(plan: Plan) {
    let asked = number_of("HISTORY_WRITES").map(|writes| usize::try_from(writes).expect("a count"));
    // What is only looked for takes its time.
    let writes = asked.map_or(plan.writes, |writes| if plan.lives { writes / 5 } else { writes });
    let kills = if plan.kills > 0 { plan.kills.max(writes / 250) } else { 0 };
    let seed = number_of("HISTORY_SEED").unwrap_or_else(|| fastrand::u64(0..1_000_000));
    let run = Run::start(Plan { writes, kills, ..plan }, seed);
    run.storm(if writes > 1000 { 16 } else { CALLERS });
    let books = run.calm();
    Truth::of(&run, &books).check();
}

const CALM_WEATHER: Plan = Plan {
    name: "",
    disturbed_percent: 0,
    writes: 200,
    kills: 0,
    patient: false,
    completion: "1m",
    guarded_completion: "4s",
    second_writer: false,
    lives: false,
    durability: "commit",
    replicas: 1,
    store: None,
};

/// Records are made and deleted. What is lost on the way is only looked for, so the time for that is short.
const LIVES: Plan = Plan { lives: true, writes: 60, completion: "4s", ..CALM_WEATHER };

#[test]
fn concurrent_writers_see_one_order_at_every_vendor() {
    play(Plan { name: "concurrency", ..CALM_WEATHER });
}

#[test]
fn answers_cut_between_gateway_and_vendor_misreport_nothing() {
    play(Plan { name: "cut answers", disturbed_percent: 60, writes: 150, ..CALM_WEATHER });
}

#[test]
fn a_second_writer_at_the_vendor_loses_nothing_where_the_guarantee_is_native() {
    play(Plan { name: "second writer", disturbed_percent: 40, writes: 100, second_writer: true, ..CALM_WEATHER });
}

#[test]
fn a_relaxed_journal_misreports_nothing_as_long_as_its_gateway_lives() {
    play(Plan { name: "relaxed", disturbed_percent: 40, writes: 150, durability: "relaxed", ..CALM_WEATHER });
}

#[test]
fn a_killed_gateway_settles_every_write_when_it_is_back() {
    play(Plan { name: "kill -9", disturbed_percent: 40, writes: 100, kills: 4, ..CALM_WEATHER });
}

#[test]
fn two_replicas_act_as_one_and_the_living_settles_what_the_dead_began() {
    let Some(store) = postgres() else { return };
    play(Plan {
        name: "two replicas",
        disturbed_percent: 40,
        writes: 100,
        kills: 2,
        replicas: 2,
        store: Some(store),
        ..CALM_WEATHER
    });
}

#[test]
fn records_are_made_once_and_deleted_once_however_many_want_it() {
    play(Plan { name: "lives", writes: 120, ..LIVES });
}

#[test]
fn creates_and_deletes_whose_answers_are_cut_are_not_misreported() {
    play(Plan { name: "lives, cut answers", disturbed_percent: 50, ..LIVES });
}

#[test]
fn a_killed_gateway_settles_creates_and_deletes_when_it_is_back() {
    play(Plan { name: "lives, kill -9", disturbed_percent: 30, kills: 3, ..LIVES });
}

#[test]
fn two_replicas_make_and_delete_as_one() {
    let Some(store) = postgres() else { return };
    let plan = Plan { name: "lives, two replicas", disturbed_percent: 30, kills: 2, replicas: 2, ..LIVES };
    play(Plan { store: Some(store), ..plan });
}

#[test]
fn writes_in_flight_when_their_gateway_is_killed_are_settled_at_the_next_start() {
    let run = Run::start(Plan { name: "one kill", writes: 0, patient: true, ..CALM_WEATHER }, 1);
    kill_in_the_middle_of_writes(&run);
    run.replicas[0].restart();
    all_are_found_applied(&run);
}

#[test]
fn writes_in_flight_when_their_replica_is_killed_are_settled_by_the_other() {
    let Some(store) = postgres() else { return };
    let run = Run::start(
        Plan { name: "one takeover", writes: 0, patient: true, replicas: 2, store: Some(store), ..CALM_WEATHER },
        1,
    );
    run.is_up(1, false);
    kill_in_the_middle_of_writes(&run);
    run.is_up(0, false);
    run.is_up(1, true);
    all_are_found_applied(&run);
}

/// One write per system is with its vendor when the gateway dies; then the vendor does it.
fn kill_in_the_middle_of_writes(run: &Run) {
    std::thread::scope(|scope| {
        for system in 0..3 {
            run.vendors.hold_the_next_update(system);
            scope.spawn(move || {
                let mut caller = Caller { run, random: fastrand::Rng::with_seed(5), client: Client::default() };
                let mut write = caller.prepare(system, 0);
                caller.send(&mut write);
                run.writes.lock().unwrap().push(write);
            });
        }
        for system in 0..3 {
            run.vendors.wait_for_updates(system, 1);
        }
        run.replicas[0].kill();
        for system in 0..3 {
            run.vendors.release(system);
        }
    });
}

fn all_are_found_applied(run: &Run) {
    let books = run.calm();
    let states: Vec<_> = books.operations.iter().map(|one| one["state"].as_str().unwrap_or_default()).collect();
    assert_eq!(states, ["applied"; 3]);
    Truth::of(run, &books).check();
}

#[test]
fn a_queued_write_is_waited_for_and_watched_to_the_end_of_the_time_and_not_to_the_last_pause_before_it() {
    let plan = Plan { name: "patience", writes: 0, patient: true, guarded_completion: "9s", ..CALM_WEATHER };
    let run = Run::start(plan, 1);
    let mut caller = Caller { run: &run, random: fastrand::Rng::with_seed(1), client: Client::default() };
    // The pauses double from 20 ms: there is a look 5.1 s after the write, and the next one would come after 10.2 s.
    run.vendors.queue_for(Duration::from_secs(6));
    assert_eq!(caller.write_once(GUARDED, 1, "respond-async"), 202);
    assert_eq!(caller.write_once(GUARDED, 0, "wait=9"), 200);
    let books = run.calm();
    assert!(books.operations.iter().all(|one| one["state"] == "applied"), "{:?}", books.operations);
    Truth::of(&run, &books).check();
}

#[test]
fn a_write_none_of_whose_answers_arrives_is_found_applied_by_the_last_look() {
    let run = Run::start(Plan { name: "no answers", writes: 0, completion: "3s", ..CALM_WEATHER }, 1);
    let mut caller = Caller { run: &run, random: fastrand::Rng::with_seed(1), client: Client::default() };
    for system in 0..3 {
        run.vendors.lose_every_answer_to_an_update(system);
        assert_eq!(caller.write_once(system, 0, "respond-async"), 202);
    }
    let books = run.calm();
    assert!(books.operations.iter().all(|one| one["state"] == "applied"), "{:?}", books.operations);
    Truth::of(&run, &books).check();
}

#[test]
fn a_repeat_that_meets_its_own_first_sending_is_told_that_it_runs_and_not_that_its_tag_is_stale() {
    // A list is compared by the gateway, which has to read for it.
    meet_the_own_first_sending(|tag| format!("\"elsewhere\", {tag}"));
}

#[test]
fn a_repeat_that_meets_its_own_first_sending_is_told_that_it_runs_and_not_that_there_is_nothing_to_do() {
    meet_the_own_first_sending(|_| "*".to_owned());
}

fn meet_the_own_first_sending(if_match: impl Fn(&str) -> String) {
    let run = Run::start(Plan { name: "own first", writes: 0, patient: true, ..CALM_WEATHER }, 1);
    let caller = || Caller { run: &run, random: fastrand::Rng::with_seed(1), client: Client::default() };
    let mut write = caller().prepare(0, 0);
    let (tag, value) = caller().read(0, 0).expect("a read");
    write.expected = Some(value);
    write.headers.retain(|(name, _)| name != "Prefer" && name != "If-Match");
    write.headers.push(("If-Match".to_owned(), if_match(&tag)));
    let (mut first, mut second) = (write.clone(), write);
    std::thread::scope(|scope| {
        let reads = run.vendors.reads_of_crm();
        run.vendors.hold_the_next_read_of_crm();
        let sent = scope.spawn(|| caller().send(&mut first));
        run.vendors.wait_for_reads_of_crm(reads + 1);
        // The first one is still looking at the record.
        assert_eq!(caller().send(&mut second), 409);
        run.vendors.release(0);
        assert_eq!(sent.join().expect("told"), 204);
    });
    assert_eq!(second.last(), Said::InProgress);
    assert_eq!(caller().send(&mut second), 204);
    assert!(second.told[1].replayed);
    run.writes.lock().unwrap().push(second);
    let books = run.calm();
    Truth::of(&run, &books).check();
}

/// An empty database of the run's own, where there is a server.
fn postgres() -> Option<String> {
    use sqlx::Connection as _;
    let Ok(server) = std::env::var("TEST_POSTGRES_URL") else {
        eprintln!("TEST_POSTGRES_URL is not set: two replicas are not tried");
        return None;
    };
    let name = format!("history{:016x}", fastrand::u64(..));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&server).await.expect("a server");
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut connection).await.expect("a database");
    });
    let (base, _) = server.rsplit_once('/').expect("a database in the address");
    Some(format!("{base}/{name}"))
}
