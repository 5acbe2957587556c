//! Leases and fencing numbers.

use std::time::Duration;

use super::fixtures::{sqlite_database, test_databases};
use super::samples::{applied_outcome, intent};
use crate::journal::{BeginResult, Intent, Journal, Lease, LeaseResult, Outcome};
use crate::record::Action;

const TTL: Duration = Duration::from_secs(30);

async fn acquire_lease(store: &Journal, record: &str) -> Lease {
    match store.acquire("crm", record, TTL).await.expect("a result") {
        LeaseResult::Lease(lease) => lease,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_lease_excludes_others_until_its_end_and_its_fence_grows() {
    for database in test_databases().await {
        let store = database.open().await;
        let first = acquire_lease(&store, "A:1").await;
        assert_eq!(store.acquire("crm", "A:1", TTL).await, Ok(LeaseResult::Held));
        assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::LeaseHeld), "a native write waits too");
        assert_eq!(store.begin(intent("A:2")).await, Ok(BeginResult::Started), "other records are free");
        store.release(&first).await.expect("released");
        let second = acquire_lease(&store, "A:1").await;
        assert!(second.fence > first.fence);
        store.release(&first).await.expect("no error");
        assert_eq!(store.acquire("crm", "A:1", TTL).await, Ok(LeaseResult::Held), "a stale release frees nothing");
        store.advance_clock(TTL / 2);
        assert_eq!(store.renew(&second, TTL).await, Ok(true));
        store.advance_clock(Duration::from_secs(25));
        assert_eq!(store.acquire("crm", "A:1", TTL).await, Ok(LeaseResult::Held));
        store.advance_clock(Duration::from_secs(5));
        let third = acquire_lease(&store, "A:1").await;
        assert!(third.fence > second.fence);
        assert_eq!(store.renew(&second, TTL).await, Ok(false));
    }
}

#[tokio::test]
async fn a_guarded_write_needs_its_own_live_lease_and_releases_it() {
    for database in test_databases().await {
        let store = database.open().await;
        let old = acquire_lease(&store, "A:1").await;
        store.advance_clock(TTL);
        let guarded = |lease: &Lease| Intent { lease: Some(lease.clone()), ..intent("A:1") };
        assert_eq!(store.begin(guarded(&old)).await, Ok(BeginResult::LeaseLost), "expired");
        let new = acquire_lease(&store, "A:1").await;
        assert_eq!(store.begin(guarded(&old)).await, Ok(BeginResult::LeaseLost), "another writer holds it");
        let write = guarded(&new);
        let operation = write.operation.clone();
        assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
        store.advance_clock(TTL);
        let running = store.acquire("crm", "A:1", TTL).await;
        assert_eq!(running, Ok(LeaseResult::Running(operation.clone())), "the lease has expired, the write runs");
        store.finish(Outcome { lease: Some(new), ..applied_outcome(&operation) }).await.expect("finished");
        acquire_lease(&store, "A:1").await;
    }
}

#[tokio::test]
async fn a_restart_frees_the_leases_of_a_single_process_and_fences_grow() {
    let database = sqlite_database();
    let store = database.open().await;
    let before = acquire_lease(&store, "A:1").await;
    store.kill().await;
    let after = acquire_lease(&database.open().await, "A:1").await;
    assert!(after.fence > before.fence);
}

#[tokio::test]
async fn of_two_replicas_one_gets_the_lease() {
    for database in test_databases().await.into_iter().filter(|database| database.is_shared) {
        let (one, two) = (database.open().await, database.open().await);
        let results = futures_util::future::join_all((0..20).map(|index| {
            let store = if index % 2 == 0 { &one } else { &two };
            store.acquire("crm", "A:1", TTL)
        }));
        let acquired = results.await.into_iter().filter(|result| matches!(result, Ok(LeaseResult::Lease(_)))).count();
        assert_eq!(acquired, 1);
        assert_eq!(two.begin(intent("A:1")).await, Ok(BeginResult::LeaseHeld));
    }
}

#[tokio::test]
async fn the_lease_of_a_dead_replica_is_freed_before_it_expires() {
    for database in test_databases().await.into_iter().filter(|database| database.is_shared) {
        let (dead, living, other) = (database.open().await, database.open().await, database.open().await);
        let long = Duration::from_mins(10);
        assert!(matches!(dead.acquire("crm", "A:1", long).await, Ok(LeaseResult::Lease(_))));
        assert!(matches!(living.acquire("crm", "A:2", long).await, Ok(LeaseResult::Lease(_))));
        dead.kill().await;
        for store in [&living, &other] {
            store.advance_clock(Duration::from_secs(25));
        }
        living.run_heartbeat().await;
        other.run_heartbeat().await;
        assert!(matches!(other.acquire("crm", "A:1", long).await, Ok(LeaseResult::Lease(_))));
        assert_eq!(other.acquire("crm", "A:2", long).await, Ok(LeaseResult::Held));
    }
}

#[tokio::test]
async fn a_native_write_waits_for_a_delete_that_outlived_its_lease() {
    for database in test_databases().await {
        let store = database.open().await;
        let lease = acquire_lease(&store, "A:1").await;
        let delete = Intent { lease: Some(lease), action: Action::Delete, ..intent("A:1") };
        let operation = delete.operation.clone();
        assert_eq!(store.begin(delete).await, Ok(BeginResult::Started));
        store.advance_clock(TTL * 2);
        assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::LeaseHeld), "the vendor may still apply it");
        store.finish(applied_outcome(&operation)).await.expect("finished");
        assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Started));
    }
}

#[tokio::test]
async fn a_native_write_waits_until_another_replicas_delete_is_reconciled() {
    for database in test_databases().await.into_iter().filter(|database| database.is_shared) {
        let (one, two) = (database.open().await, database.open().await);
        let lease = acquire_lease(&one, "A:1").await;
        let delete = Intent { lease: Some(lease.clone()), action: Action::Delete, ..intent("A:1") };
        let operation = delete.operation.clone();
        assert_eq!(one.begin(delete).await, Ok(BeginResult::Started));
        one.release(&lease).await.expect("released");
        assert_eq!(two.begin(intent("A:1")).await, Ok(BeginResult::LeaseHeld), "even without its lease");
        assert_eq!(two.begin(intent("A:2")).await, Ok(BeginResult::Started), "other records are free");
        one.kill().await;
        two.advance_clock(TTL * 2);
        assert_eq!(
            two.begin(intent("A:1")).await,
            Ok(BeginResult::LeaseHeld),
            "the vendor may still receive the dead replica's request"
        );
        let adopted = two.adopt(10).await.expect("adopted");
        assert_eq!(adopted.iter().map(|orphan| &orphan.operation).collect::<Vec<_>>(), [&operation]);
        two.finish(applied_outcome(&operation)).await.expect("finished");
        assert_eq!(two.begin(intent("A:1")).await, Ok(BeginResult::Started));
    }
}

#[tokio::test]
async fn a_started_operation_counts_as_running_until_it_is_finished() {
    for database in test_databases().await {
        let store = database.open().await;
        assert_eq!(store.count_running().await, Ok(0));
        let write = intent("A:1");
        let operation = write.operation.clone();
        assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
        assert_eq!(store.count_running().await, Ok(1));
        store.finish(applied_outcome(&operation)).await.expect("finished");
        assert_eq!(store.count_running().await, Ok(0));
    }
}
