use std::time::Duration;

use super::super::*;
use super::place::{applied, intent, places};
use crate::record::Action;

const TTL: Duration = Duration::from_secs(30);

async fn lease(store: &Store, record: &str) -> Lease {
    match store.acquire("crm", record, TTL).await.expect("an answer") {
        Acquired::Lease(lease) => lease,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_lease_excludes_others_until_it_is_released_or_expires_and_its_number_grows() {
    for place in places().await {
        let store = place.open().await;
        let first = lease(&store, "A:1").await;
        assert_eq!(store.acquire("crm", "A:1", TTL).await, Ok(Acquired::Held));
        assert_eq!(store.begin(intent("A:1")).await, Ok(Begun::Held), "a native write waits too");
        assert_eq!(store.begin(intent("A:2")).await, Ok(Begun::Started), "other records are free");
        store.release(&first).await.expect("released");
        let second = lease(&store, "A:1").await;
        assert!(second.fence > first.fence);
        store.release(&first).await.expect("nothing of ours");
        assert_eq!(store.acquire("crm", "A:1", TTL).await, Ok(Acquired::Held), "a stale release frees nothing");
        store.passes(TTL / 2);
        assert_eq!(store.renew(&second, TTL).await, Ok(true));
        store.passes(Duration::from_secs(25));
        assert_eq!(store.acquire("crm", "A:1", TTL).await, Ok(Acquired::Held));
        store.passes(Duration::from_secs(5));
        let third = lease(&store, "A:1").await;
        assert!(third.fence > second.fence);
        assert_eq!(store.renew(&second, TTL).await, Ok(false));
    }
}

#[tokio::test]
async fn a_guarded_write_begins_only_under_its_own_live_lease_and_gives_it_back_at_its_end() {
    for place in places().await {
        let store = place.open().await;
        let old = lease(&store, "A:1").await;
        store.passes(TTL);
        let guarded = |lease: &Lease| Intent { lease: Some(lease.clone()), ..intent("A:1") };
        assert_eq!(store.begin(guarded(&old)).await, Ok(Begun::LeaseLost), "expired");
        let new = lease(&store, "A:1").await;
        assert_eq!(store.begin(guarded(&old)).await, Ok(Begun::LeaseLost), "taken over");
        let write = guarded(&new);
        let operation = write.operation.clone();
        assert_eq!(store.begin(write).await, Ok(Begun::Started));
        store.passes(TTL);
        let running = store.acquire("crm", "A:1", TTL).await;
        assert_eq!(running, Ok(Acquired::Running(operation.clone())), "the lease is over, the write is not");
        store.finish(Outcome { lease: Some(new), ..applied(&operation) }).await.expect("finished");
        lease(&store, "A:1").await;
    }
}

#[tokio::test]
async fn a_restart_frees_the_leases_of_the_only_process_and_keeps_the_numbers_growing() {
    let place = super::place::file();
    let store = place.open().await;
    let before = lease(&store, "A:1").await;
    store.kill().await;
    let after = lease(&place.open().await, "A:1").await;
    assert!(after.fence > before.fence);
}

#[tokio::test]
async fn of_two_replicas_one_gets_the_lease() {
    for place in places().await.into_iter().filter(|place| place.shared) {
        let (one, two) = (place.open().await, place.open().await);
        let asked = futures_util::future::join_all((0..20).map(|index| {
            let store = if index % 2 == 0 { &one } else { &two };
            store.acquire("crm", "A:1", TTL)
        }));
        let got = asked.await.into_iter().filter(|answer| matches!(answer, Ok(Acquired::Lease(_)))).count();
        assert_eq!(got, 1);
        assert_eq!(two.begin(intent("A:1")).await, Ok(Begun::Held));
    }
}

#[tokio::test]
async fn the_lease_of_a_dead_replica_is_free_before_it_expires_and_that_of_a_living_one_is_not() {
    for place in places().await.into_iter().filter(|place| place.shared) {
        let (dead, living, other) = (place.open().await, place.open().await, place.open().await);
        let long = Duration::from_mins(10);
        assert!(matches!(dead.acquire("crm", "A:1", long).await, Ok(Acquired::Lease(_))));
        assert!(matches!(living.acquire("crm", "A:2", long).await, Ok(Acquired::Lease(_))));
        dead.kill().await;
        for store in [&living, &other] {
            store.passes(Duration::from_secs(25));
        }
        living.turn().await;
        other.turn().await;
        assert!(matches!(other.acquire("crm", "A:1", long).await, Ok(Acquired::Lease(_))));
        assert_eq!(other.acquire("crm", "A:2", long).await, Ok(Acquired::Held));
    }
}

#[tokio::test]
async fn a_native_write_waits_for_a_delete_that_outlived_its_lease() {
    for place in places().await {
        let store = place.open().await;
        let lease = lease(&store, "A:1").await;
        let delete = Intent { lease: Some(lease), action: Action::Delete, ..intent("A:1") };
        let operation = delete.operation.clone();
        assert_eq!(store.begin(delete).await, Ok(Begun::Started));
        store.passes(TTL * 2);
        assert_eq!(store.begin(intent("A:1")).await, Ok(Begun::Held), "the vendor may still do it");
        store.finish(applied(&operation)).await.expect("finished");
        assert_eq!(store.begin(intent("A:1")).await, Ok(Begun::Started));
    }
}

#[tokio::test]
async fn a_native_write_waits_for_the_delete_of_another_replica_until_somebody_has_settled_it() {
    for place in places().await.into_iter().filter(|place| place.shared) {
        let (one, two) = (place.open().await, place.open().await);
        let lease = lease(&one, "A:1").await;
        let delete = Intent { lease: Some(lease.clone()), action: Action::Delete, ..intent("A:1") };
        let operation = delete.operation.clone();
        assert_eq!(one.begin(delete).await, Ok(Begun::Started));
        one.release(&lease).await.expect("released");
        assert_eq!(two.begin(intent("A:1")).await, Ok(Begun::Held), "whatever became of its lease");
        assert_eq!(two.begin(intent("A:2")).await, Ok(Begun::Started), "other records are free");
        one.kill().await;
        two.passes(TTL * 2);
        assert_eq!(two.begin(intent("A:1")).await, Ok(Begun::Held), "the dead one's call may still arrive");
        let adopted = two.adopt(10).await.expect("adopted");
        assert_eq!(adopted.iter().map(|one| &one.operation).collect::<Vec<_>>(), [&operation]);
        two.finish(applied(&operation)).await.expect("finished");
        assert_eq!(two.begin(intent("A:1")).await, Ok(Begun::Started));
    }
}

#[tokio::test]
async fn only_what_ends_unsettled_with_this_process_counts_as_unfinished() {
    for place in places().await {
        let store = place.open().await;
        assert_eq!(store.unfinished().await, Ok(0));
        let write = intent("A:1");
        let operation = write.operation.clone();
        assert_eq!(store.begin(write).await, Ok(Begun::Started));
        assert_eq!(store.unfinished().await, Ok(1));
        store.finish(applied(&operation)).await.expect("finished");
        assert_eq!(store.unfinished().await, Ok(0));
    }
}
