//! Whatever was going on when the store died: what it had answered holds, and the ledger verifies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::fixtures::{TestStore, all_entries_query, applied_outcome, claim, intent, test_stores};
use crate::record::{Action, OperationState};

/// One thing that is asked of the store; numbers choose among the records, keys and operations there are.
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
        6 => begin.prop_map(|(record, key, queued, action)| Step::Begin { record, key, is_async: queued, action }),
        1 => any::<u8>().prop_map(Step::GuardedDelete),
        5 => any::<u8>().prop_map(Step::Finish),
        1 => any::<u8>().prop_map(Step::SaveInterim),
        1 => Just(Step::Heartbeat),
    ]
}

/// What was heard of one operation; `None` = nothing.
#[derive(Clone, Debug, Default)]
struct CallerView {
    begin_result: Option<Result<BeginResult, StoreError>>,
    /// Whether anybody asked to finish it, and whether that was answered.
    finish_requested: bool,
    finish_acknowledged: bool,
    key: Option<String>,
    interim_acknowledged: bool,
}

/// Everything asked so far, in the order in which it was asked.
#[derive(Clone, Default)]
struct CallLog(Arc<Mutex<Vec<(OperationId, CallerView)>>>);

impl CallLog {
    fn add(&self, id: &OperationId, key: Option<String>) {
        self.0.lock().expect("a lock").push((id.clone(), CallerView { key, ..CallerView::default() }));
    }

    fn update(&self, id: &OperationId, note: impl FnOnce(&mut CallerView)) {
        let mut all = self.0.lock().expect("a lock");
        note(&mut all.iter_mut().find(|(other, _)| other == id).expect("asked").1);
    }

    fn choose(&self, number: u8) -> Option<OperationId> {
        let all = self.0.lock().expect("a lock");
        (!all.is_empty()).then(|| all[usize::from(number) % all.len()].0.clone())
    }

    fn all(&self) -> Vec<(OperationId, CallerView)> {
        self.0.lock().expect("a lock").clone()
    }
}

async fn begin_and_log(store: Store, notes: CallLog, write: Intent) {
    let id = write.operation.clone();
    let begun = store.begin(write).await;
    notes.update(&id, |heard| heard.begin_result = Some(begun));
}

/// Asks for one step; what is answered goes to the notes.
async fn run_step(store: Store, notes: CallLog, step: Step) {
    match step {
        Step::Begin { record, key, is_async: queued, action } => {
            let create = action % 4 == 0;
            let key = key.map(|number| format!("k{number}"));
            let write = Intent {
                record: (!create).then(|| format!("A:{}", record % 5).into()),
                action: if create { Action::Create } else { Action::Update },
                is_async: queued,
                idempotency: key.as_deref().map(claim),
                ..intent("")
            };
            notes.add(&write.operation, key);
            begin_and_log(store, notes, write).await;
        }
        Step::GuardedDelete(record) => {
            let record = format!("A:{}", record % 5);
            let asked = store.acquire("crm", &record, Duration::from_secs(30)).await;
            if let Ok(LeaseResult::Lease(lease)) = asked {
                let write = Intent { action: Action::Delete, lease: Some(lease), ..intent(&record) };
                notes.add(&write.operation, None);
                begin_and_log(store, notes, write).await;
            }
        }
        Step::Finish(number) => {
            let Some(id) = notes.choose(number) else { return };
            notes.update(&id, |heard| heard.finish_requested = true);
            let finished = store.finish(applied_outcome(&id)).await;
            notes.update(&id, |heard| heard.finish_acknowledged |= finished.is_ok());
        }
        Step::SaveInterim(number) => {
            let Some(id) = notes.choose(number) else { return };
            let told = store.save_interim_outcome(&id, InterimResponse::Unknown, "{\"interim\":true}".into()).await;
            notes.update(&id, |heard| heard.interim_acknowledged |= told.is_ok());
        }
        Step::Heartbeat => drop(store.submit(StoreCommand::Heartbeat).await),
    }
}

/// Takes the first steps one after the other and the rest without waiting, and dies in the middle of these.
async fn run_until_crash(
    place: &TestStore,
    steps: &[Step],
    waited: usize,
    lived: usize,
    durability: Durability,
) -> CallLog {
    let store = Store::open(place.settings(durability), Arc::new(())).await.expect("a store");
    let notes = CallLog::default();
    let mut under_way = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let task = run_step(store.clone(), notes.clone(), step.clone());
        if index < waited {
            task.await;
        } else {
            under_way.push(tokio::spawn(task));
            // It is asked before the next one is.
            tokio::task::yield_now().await;
        }
    }
    for _ in 0..lived {
        tokio::task::yield_now().await;
    }
    store.kill().await;
    for task in under_way {
        task.await.expect("answered");
    }
    notes
}

/// What each operation's entries say, in their order.
async fn entries_by_operation(store: &Store) -> HashMap<OperationId, Vec<(LedgerEvent, String)>> {
    let mut entries: HashMap<_, Vec<_>> = HashMap::new();
    for entry in store.ledger(all_entries_query()).await.expect("read").items {
        entries.entry(entry.operation).or_default().push((entry.event, entry.state));
    }
    entries
}

/// What was answered holds, what was refused is not there, and everything has its entries.
async fn assert_consistent(store: &Store, notes: &CallLog, durability: Durability) {
    let entries = entries_by_operation(store).await;
    for (id, heard) in notes.all() {
        let state = store.operation(&id).await.expect("read").map(|operation| operation.state);
        let relaxed = durability == Durability::Relaxed;
        let fits = match (&heard.begin_result, state) {
            // Relaxed, the last moments may be lost.
            (Some(Ok(BeginResult::Started)), None) => relaxed,
            (Some(Ok(BeginResult::Started)), Some(OperationState::Running)) => !heard.finish_acknowledged || relaxed,
            (Some(Ok(BeginResult::Started)), Some(OperationState::Applied)) => heard.finish_requested,
            (Some(Ok(_)), found) => found.is_none(),
            // Nobody was told that it had begun: it has not, or is given up, or will be.
            (Some(Err(_)) | None, found) => heard.finish_requested || found != Some(OperationState::Applied),
        };
        assert!(fits, "{state:?} after {heard:?}");
        let words: Vec<_> =
            entries.get(&id).into_iter().flatten().map(|(event, state)| (*event, state.as_str())).collect();
        match state {
            None => assert_eq!(words, []),
            Some(OperationState::Running) => assert_eq!(words, [(LedgerEvent::Intent, "running")]),
            Some(settled) => {
                assert_eq!(words, [(LedgerEvent::Intent, "running"), (LedgerEvent::Outcome, settled.as_str())]);
            }
        }
        let told =
            heard.interim_acknowledged && state == Some(OperationState::Running) && durability == Durability::Commit;
        if let Some(key) = heard.key.filter(|_| told) {
            let known = store.lookup_idempotency_key(&claim(&key)).await.expect("read");
            assert_eq!(known, Some(IdempotencyState::Interim("{\"interim\":true}".into())), "what its caller was told");
        }
    }
}

async fn crash_and_verify(place: &TestStore, steps: &[Step], waited: usize, lived: usize, durability: Durability) {
    let notes = run_until_crash(place, steps, waited, lived, durability).await;
    let store = place.open().await;
    assert!(store.verify(None).await.expect("verified").is_sound());
    assert_consistent(&store, &notes, durability).await;
    // The dead instance has not been seen for a while.
    store.advance_clock(Duration::from_mins(1));
    let left = store.adopt(1000).await.expect("adopted");
    for unsettled in &left {
        let outcome = Outcome { state: OperationState::Unknown, ..applied_outcome(&unsettled.operation) };
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

fn run_on_backends(steps: &[Step], waited: usize, lived: usize, relaxed: bool, concerned: impl Fn(&TestStore) -> bool) {
    let durability = if relaxed { Durability::Relaxed } else { Durability::Commit };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for place in test_stores().await.into_iter().filter(concerned) {
            crash_and_verify(&place, steps, waited, lived, durability).await;
        }
    });
}

proptest! {
    #![proptest_config(proptest_config(40))]

    #[test]
    fn after_any_crash_the_ledger_verifies_and_acknowledged_writes_hold(
        steps in prop::collection::vec(step(), 1..50),
        waited in 0_usize..40,
        lived in 0_usize..60,
        relaxed in prop::bool::weighted(0.3),
    ) {
        run_on_backends(&steps, waited, lived, relaxed, |place| !place.shared);
    }
}

proptest! {
    #![proptest_config(proptest_config(8))]

    #[test]
    fn after_any_crash_a_shared_store_keeps_acknowledged_writes(
        steps in prop::collection::vec(step(), 1..40),
        waited in 0_usize..30,
        lived in 0_usize..200,
    ) {
        run_on_backends(&steps, waited, lived, false, |place| place.shared);
    }
}
