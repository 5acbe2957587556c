//! The inline path of relaxed mode.

use std::sync::Arc;
use std::time::Duration;

use super::fixtures::{TestDatabase, sqlite_database};
use super::samples::{all_entries_query, applied_outcome, intent, intent_with_key};
use crate::record::{Action, OperationId, OperationState};
use crate::store::{
    BeginResult, Durability, IdempotencyState, Intent, LeaseResult, OperationQuery, Outcome, Store, StoreError,
};

async fn open_relaxed() -> (TestDatabase, Store) {
    let database = sqlite_database();
    let store = Store::open(database.settings(Durability::Relaxed), Arc::new(())).await.expect("a store");
    (database, store)
}

/// Waits until a batch is open, which it then stays for a second.
async fn wait_for_open_batch(store: &Store) {
    assert_eq!(store.begin(intent("A:0")).await, Ok(BeginResult::Started));
    while store.inner.shared.try_begin_inline(&Arc::new(intent("A:0"))).is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_open_batch_serves_a_begin_and_a_finish_without_waiting() {
    let (_database, store) = open_relaxed().await;
    wait_for_open_batch(&store).await;
    let write = intent("A:1");
    let id = write.operation.clone();
    let begun = futures_util::poll!(std::pin::pin!(store.begin(write)));
    assert_eq!(begun, std::task::Poll::Ready(Ok(BeginResult::Started)));
    let finished = futures_util::poll!(std::pin::pin!(store.finish(applied_outcome(&id))));
    assert_eq!(finished, std::task::Poll::Ready(Ok(true)));
    assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
    assert!(store.verify(None).await.expect("verified").is_sound());
}

#[tokio::test]
async fn the_inline_path_enforces_the_same_rules_as_the_writer() {
    let (_database, store) = open_relaxed().await;
    wait_for_open_batch(&store).await;
    let queued = Intent { is_async: true, ..intent("A:1") };
    let id = queued.operation.clone();
    assert_eq!(store.begin(queued).await, Ok(BeginResult::Started));
    assert_eq!(store.async_write_on("crm", "A:1").await, Ok(Some(id.clone())));
    assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Running(id.clone())));
    assert_eq!(store.finish(applied_outcome(&id)).await, Ok(true));
    assert_eq!(store.finish(applied_outcome(&id)).await, Ok(false), "the first outcome stands");
    assert_eq!(store.async_write_on("crm", "A:1").await, Ok(None));
    assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Started));

    let Ok(LeaseResult::Lease(lease)) = store.acquire("crm", "A:2", Duration::from_secs(30)).await else {
        panic!("a lease")
    };
    wait_for_open_batch(&store).await;
    assert_eq!(store.begin(intent("A:2")).await, Ok(BeginResult::LeaseHeld));
    let guarded = Intent { lease: Some(lease.clone()), action: Action::Delete, ..intent("A:2") };
    let id = guarded.operation.clone();
    assert_eq!(store.begin(guarded).await, Ok(BeginResult::Started));
    assert_eq!(store.finish(Outcome { lease: Some(lease.clone()), ..applied_outcome(&id) }).await, Ok(true));
    assert_eq!(store.begin(intent("A:2")).await, Ok(BeginResult::Started), "the lease was released");
    let late = Intent { lease: Some(lease), ..intent("A:2") };
    assert_eq!(store.begin(late).await, Ok(BeginResult::LeaseLost));

    wait_for_open_batch(&store).await;
    let first = intent_with_key("A:3", "k");
    let id = first.operation.clone();
    assert_eq!(store.begin(first).await, Ok(BeginResult::Started));
    wait_for_open_batch(&store).await;
    assert_eq!(
        store.begin(intent_with_key("A:3", "k")).await,
        Ok(BeginResult::IdempotencyKey(IdempotencyState::Running(id.clone())))
    );
    assert_eq!(store.finish(applied_outcome(&id)).await, Ok(true));
    let completed = BeginResult::IdempotencyKey(IdempotencyState::Completed("{\"done\":true}".into()));
    assert_eq!(store.begin(intent_with_key("A:3", "k")).await, Ok(completed));
    assert!(store.verify(None).await.expect("verified").is_sound());
}

#[tokio::test]
async fn concurrent_inline_writes_are_all_persisted_in_one_chain() {
    let (database, store) = open_relaxed().await;
    let (threads, writes) = (4, 300);
    let workers: Vec<_> = (0..threads)
        .map(|thread| {
            let store = store.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                runtime.block_on(async {
                    for number in 0..writes {
                        let write = intent(&format!("A:{thread}-{}", number % 7));
                        let id = write.operation.clone();
                        assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
                        assert_eq!(store.finish(applied_outcome(&id)).await, Ok(true));
                    }
                });
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("a worker");
    }
    assert!(store.close(Duration::from_mins(1)).await);
    let store = database.open().await;
    let verified = store.verify(None).await.expect("verified");
    assert_eq!((verified.entries, verified.is_sound()), (2 * threads * writes, true));
    assert_eq!(store.count_running().await, Ok(0));
    let mut query = OperationQuery { systems: vec!["crm".into()], limit: 1000, ..OperationQuery::default() };
    let mut listed = Vec::new();
    loop {
        let page = store.operations(query.clone()).await.expect("a page");
        listed.extend(page.items.into_iter().map(|operation| operation.id));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(i64::try_from(listed.len()), Ok(threads * writes));
    assert!(listed.is_sorted_by(|one, other| one.as_str() < other.as_str()), "each once, oldest first");
}

/// Checks two acknowledged writes of which the first was finished.
async fn assert_one_applied_and_one_running(store: &Store, ids: &[OperationId; 2]) {
    let state = async |id: &OperationId| store.operation(id).await.expect("read").expect("there").state;
    assert_eq!((state(&ids[0]).await, state(&ids[1]).await), (OperationState::Applied, OperationState::Running));
    let mut entries = store.ledger(all_entries_query()).await.expect("read").items;
    entries.retain(|entry| ids.contains(&entry.operation));
    assert_eq!(entries.len(), 3, "each entry once");
    assert!(store.verify(None).await.expect("verified").is_sound());
}

#[tokio::test]
async fn acknowledged_inline_writes_survive_a_failed_batch() {
    let (database, store) = open_relaxed().await;
    wait_for_open_batch(&store).await;
    database.execute("ALTER TABLE ledger RENAME TO gone").await;
    let (done, open) = (intent("A:1"), intent("A:2"));
    let ids = [done.operation.clone(), open.operation.clone()];
    assert_eq!(store.begin(done).await, Ok(BeginResult::Started));
    assert_eq!(store.begin(open).await, Ok(BeginResult::Started));
    assert_eq!(store.finish(applied_outcome(&ids[0])).await, Ok(true));
    store.wait_until_unhealthy().await;
    assert_eq!(store.begin(intent("A:3")).await, Err(StoreError::Unavailable));
    database.execute("ALTER TABLE gone RENAME TO ledger").await;
    store.wait_until_healthy().await;
    assert_one_applied_and_one_running(&store, &ids).await;
}

/// The database works, but it rejects the ledger block of one record.
#[tokio::test]
async fn an_outcome_waits_until_its_intent_is_persisted() {
    let (database, store) = open_relaxed().await;
    wait_for_open_batch(&store).await;
    database
        .execute(
            "CREATE TRIGGER reject BEFORE INSERT ON ledger WHEN NEW.lines LIKE '%\"A:1\"%'
             BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .await;
    let (before, write) = (intent("A:2"), intent("A:1"));
    let ids = [write.operation.clone(), before.operation.clone()];
    assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
    assert_eq!(store.begin(before).await, Ok(BeginResult::Started));
    assert_eq!(store.finish(applied_outcome(&ids[0])).await, Ok(true));
    store.wait_until_unhealthy().await;
    database.execute("DROP TRIGGER reject").await;
    store.wait_until_healthy().await;
    assert_one_applied_and_one_running(&store, &ids).await;
    assert_eq!(store.finish(applied_outcome(&ids[1])).await, Ok(true));
}

#[tokio::test]
async fn a_stopped_store_acknowledges_nothing_inline() {
    let (_database, store) = open_relaxed().await;
    wait_for_open_batch(&store).await;
    store.kill().await;
    assert_eq!(store.begin(intent("A:1")).await, Err(StoreError::Unavailable));
}
