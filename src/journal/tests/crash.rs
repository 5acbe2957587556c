//! A crash at any moment: acknowledged writes hold, and the ledger verifies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::fixtures::{TestDatabase, test_databases};
use super::samples::{all_entries_query, applied_outcome, claim, intent};
use crate::journal::command::Command;
use crate::journal::{
    BeginResult, Durability, IdempotencyState, Intent, InterimResponse, Journal, JournalError, LeaseResult,
    LedgerEvent, Outcome,
};
use crate::record::{Action, OperationId, OperationState};

/// One call of the store; numbers choose among the records, keys and operations that exist.
#[derive(Clone, Debug)]
enum Step {
    Begin { record: u8, key: Option<u8>, is_async: bool, action: u8 },
    GuardedDelete(u8),
    Finish(u8),
    SaveInterim(u8),
    Heartbeat,
}

fn step() -> impl Strategy<Value = Step> {
    let begin = (any::<u8>(), prop::option::of(0..4_u8), prop::bool::weighted(0.2), any::<u8>());
    prop_oneof![
        6 => begin.prop_map(|(record, key, is_async, action)| Step::Begin { record, key, is_async, action }),
        1 => any::<u8>().prop_map(Step::GuardedDelete),
        5 => any::<u8>().prop_map(Step::Finish),
        1 => any::<u8>().prop_map(Step::SaveInterim),
        1 => Just(Step::Heartbeat),
    ]
}

/// What the callers of one operation know.
#[derive(Clone, Debug, Default)]
struct CallerView {
    /// `None` = no response.
    begin_result: Option<Result<BeginResult, JournalError>>,
    /// Whether `finish` was called, and whether it returned a success.
    finish_requested: bool,
    finish_acknowledged: bool,
    key: Option<String>,
    interim_acknowledged: bool,
}

/// The operations so far, in the order of their first calls.
#[derive(Clone, Default)]
struct CallLog(Arc<Mutex<Vec<(OperationId, CallerView)>>>);

impl CallLog {
    fn add(&self, id: &OperationId, key: Option<String>) {
        self.0.lock().expect("a lock").push((id.clone(), CallerView { key, ..CallerView::default() }));
    }

    fn update(&self, id: &OperationId, change: impl FnOnce(&mut CallerView)) {
        let mut all = self.0.lock().expect("a lock");
        change(&mut all.iter_mut().find(|(other, _)| other == id).expect("an operation").1);
    }

    fn choose(&self, number: u8) -> Option<OperationId> {
        let all = self.0.lock().expect("a lock");
        (!all.is_empty()).then(|| all[usize::from(number) % all.len()].0.clone())
    }

    fn all(&self) -> Vec<(OperationId, CallerView)> {
        self.0.lock().expect("a lock").clone()
    }
}

async fn begin_and_log(store: Journal, log: CallLog, write: Intent) {
    let id = write.operation.clone();
    let result = store.begin(write).await;
    log.update(&id, |view| view.begin_result = Some(result));
}

/// Makes one call; the log gets its response.
async fn run_step(store: Journal, log: CallLog, step: Step) {
    match step {
        Step::Begin { record, key, is_async, action } => {
            let create = action % 4 == 0;
            let key = key.map(|number| format!("k{number}"));
            let write = Intent {
                record: (!create).then(|| format!("A:{}", record % 5).into()),
                action: if create { Action::Create } else { Action::Update },
                is_async,
                idempotency: key.as_deref().map(claim),
                ..intent("")
            };
            log.add(&write.operation, key);
            begin_and_log(store, log, write).await;
        }
        Step::GuardedDelete(record) => {
            let record = format!("A:{}", record % 5);
            let acquired = store.acquire("crm", &record, Duration::from_secs(30)).await;
            if let Ok(LeaseResult::Lease(lease)) = acquired {
                let write = Intent { action: Action::Delete, lease: Some(lease), ..intent(&record) };
                log.add(&write.operation, None);
                begin_and_log(store, log, write).await;
            }
        }
        Step::Finish(number) => {
            let Some(id) = log.choose(number) else { return };
            log.update(&id, |view| view.finish_requested = true);
            let finished = store.finish(applied_outcome(&id)).await;
            log.update(&id, |view| view.finish_acknowledged |= finished.is_ok());
        }
        Step::SaveInterim(number) => {
            let Some(id) = log.choose(number) else { return };
            let saved = store.save_interim_outcome(&id, InterimResponse::Unknown, "{\"interim\":true}".into()).await;
            log.update(&id, |view| view.interim_acknowledged |= saved.is_ok());
        }
        Step::Heartbeat => drop(store.submit(Command::Heartbeat).await),
    }
}

/// Awaits each of the first steps, spawns the rest, and kills the store while these run.
async fn run_until_crash(
    database: &TestDatabase,
    steps: &[Step],
    awaited: usize,
    yields: usize,
    durability: Durability,
) -> CallLog {
    let store = Journal::open(database.settings(durability), Arc::new(())).await.expect("a store");
    let log = CallLog::default();
    let mut tasks = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let task = run_step(store.clone(), log.clone(), step.clone());
        if index < awaited {
            task.await;
        } else {
            tasks.push(tokio::spawn(task));
            // Its command is in the queue before the next one.
            tokio::task::yield_now().await;
        }
    }
    for _ in 0..yields {
        tokio::task::yield_now().await;
    }
    store.kill().await;
    for task in tasks {
        task.await.expect("a response");
    }
    log
}

/// The event and the state of each operation's ledger entries, in order.
async fn entries_by_operation(store: &Journal) -> HashMap<OperationId, Vec<(LedgerEvent, String)>> {
    let mut entries: HashMap<_, Vec<_>> = HashMap::new();
    for entry in store.ledger(all_entries_query()).await.expect("read").items {
        entries.entry(entry.operation.expect("no cut")).or_default().push((entry.event, entry.state));
    }
    entries
}

/// Acknowledged calls hold, rejected ones left nothing, and every operation has its entries.
async fn assert_consistent(store: &Journal, log: &CallLog) {
    let entries = entries_by_operation(store).await;
    for (id, view) in log.all() {
        let state = store.operation(&id).await.expect("read").map(|operation| operation.state);
        let is_consistent = match (&view.begin_result, state) {
            // A process that ends loses nothing in relaxed mode either.
            (Some(Ok(BeginResult::Started)), None) => false,
            (Some(Ok(BeginResult::Started)), Some(OperationState::Running)) => !view.finish_acknowledged,
            (Some(Ok(BeginResult::Started)), Some(OperationState::Applied)) => view.finish_requested,
            (Some(Ok(_)), found) => found.is_none(),
            // No caller received `Started`: the operation was not begun, or it is or will be
            // cancelled.
            (Some(Err(_)) | None, found) => view.finish_requested || found != Some(OperationState::Applied),
        };
        assert!(is_consistent, "{state:?} after {view:?}");
        let entries: Vec<_> =
            entries.get(&id).into_iter().flatten().map(|(event, state)| (*event, state.as_str())).collect();
        match state {
            None => assert_eq!(entries, []),
            Some(OperationState::Running) => assert_eq!(entries, [(LedgerEvent::Intent, "running")]),
            Some(state) => {
                assert_eq!(entries, [(LedgerEvent::Intent, "running"), (LedgerEvent::Outcome, state.as_str())]);
            }
        }
        let interim_holds = view.interim_acknowledged && state == Some(OperationState::Running);
        if let Some(key) = view.key.filter(|_| interim_holds) {
            let key_state = store.lookup_idempotency_key(&claim(&key)).await.expect("read");
            assert_eq!(
                key_state,
                Some(IdempotencyState::Interim("{\"interim\":true}".into())),
                "the interim response of its caller"
            );
        }
    }
}

async fn crash_and_verify(
    database: &TestDatabase,
    steps: &[Step],
    awaited: usize,
    yields: usize,
    durability: Durability,
) {
    let log = run_until_crash(database, steps, awaited, yields, durability).await;
    let store = database.open().await;
    assert!(store.verify(None).await.expect("verified").is_sound());
    assert_consistent(&store, &log).await;
    // The dead instance has had no heartbeat for a while.
    store.advance_clock(Duration::from_mins(1));
    let orphans = store.adopt(1000).await.expect("adopted");
    for orphan in &orphans {
        let outcome = Outcome { state: OperationState::Unknown, ..applied_outcome(&orphan.operation) };
        store.finish(outcome).await.expect("finished");
    }
    assert_eq!(store.count_running().await, Ok(0), "nothing runs for ever");
    let verified = store.verify(None).await.expect("verified");
    assert!(verified.is_sound() && verified.entries % 2 == 0, "an outcome for every intent: {verified:?}");
    assert!(store.close(Duration::from_mins(1)).await);
}

fn proptest_config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn run_on_backends(
    steps: &[Step],
    awaited: usize,
    yields: usize,
    relaxed: bool,
    filter: impl Fn(&TestDatabase) -> bool,
) {
    let durability = if relaxed { Durability::Relaxed } else { Durability::Commit };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for database in test_databases().await.into_iter().filter(filter) {
            crash_and_verify(&database, steps, awaited, yields, durability).await;
        }
    });
}

proptest! {
    #![proptest_config(proptest_config(40))]

    #[test]
    fn after_any_crash_the_ledger_verifies_and_acknowledged_writes_hold(
        steps in prop::collection::vec(step(), 1..50),
        awaited in 0_usize..40,
        yields in 0_usize..60,
        relaxed in prop::bool::weighted(0.3),
    ) {
        run_on_backends(&steps, awaited, yields, relaxed, |database| !database.is_shared);
    }
}

proptest! {
    #![proptest_config(proptest_config(8))]

    #[test]
    fn after_any_crash_a_shared_store_keeps_acknowledged_writes(
        steps in prop::collection::vec(step(), 1..40),
        awaited in 0_usize..30,
        yields in 0_usize..200,
    ) {
        run_on_backends(&steps, awaited, yields, false, |database| database.is_shared);
    }
}
