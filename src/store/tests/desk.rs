use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use super::place::{applied, everything, file, intent, keyed};
use crate::record::{Action, OperationState};

async fn relaxed() -> (super::place::Place, Store) {
    let place = file();
    let store = Store::open(place.settings(Durability::Relaxed), Arc::new(())).await.expect("a store");
    (place, store)
}

/// From now on, and for a second, the board lies on the desk.
async fn laid_out(store: &Store) {
    assert_eq!(store.begin(intent("A:0")).await, Ok(Begun::Started));
    while store.handle.shared.begin_here(&Arc::new(intent("A:0"))).is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_comes_while_a_batch_waits_for_company_is_served_at_once() {
    let (_place, store) = relaxed().await;
    laid_out(&store).await;
    let write = intent("A:1");
    let id = write.operation.clone();
    let begun = futures_util::poll!(std::pin::pin!(store.begin(write)));
    assert_eq!(begun, std::task::Poll::Ready(Ok(Begun::Started)));
    let finished = futures_util::poll!(std::pin::pin!(store.finish(applied(&id))));
    assert_eq!(finished, std::task::Poll::Ready(Ok(true)));
    assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
    assert!(store.verify(None).await.expect("verified").is_sound());
}

#[tokio::test]
async fn the_same_rules_hold_at_the_desk() {
    let (_place, store) = relaxed().await;
    laid_out(&store).await;
    let queued = Intent { queued: true, ..intent("A:1") };
    let id = queued.operation.clone();
    assert_eq!(store.begin(queued).await, Ok(Begun::Started));
    assert_eq!(store.pending("crm", "A:1").await, Ok(Some(id.clone())));
    assert_eq!(store.begin(intent("A:1")).await, Ok(Begun::Running(id.clone())));
    assert_eq!(store.finish(applied(&id)).await, Ok(true));
    assert_eq!(store.finish(applied(&id)).await, Ok(false), "the first outcome stands");
    assert_eq!(store.pending("crm", "A:1").await, Ok(None));
    assert_eq!(store.begin(intent("A:1")).await, Ok(Begun::Started));

    let Ok(Acquired::Lease(lease)) = store.acquire("crm", "A:2", Duration::from_secs(30)).await else {
        panic!("a lease")
    };
    laid_out(&store).await;
    assert_eq!(store.begin(intent("A:2")).await, Ok(Begun::Held));
    let guarded = Intent { lease: Some(lease.clone()), action: Action::Delete, ..intent("A:2") };
    let id = guarded.operation.clone();
    assert_eq!(store.begin(guarded).await, Ok(Begun::Started));
    assert_eq!(store.finish(Outcome { lease: Some(lease.clone()), ..applied(&id) }).await, Ok(true));
    assert_eq!(store.begin(intent("A:2")).await, Ok(Begun::Started), "the lease was given back");
    let late = Intent { lease: Some(lease), ..intent("A:2") };
    assert_eq!(store.begin(late).await, Ok(Begun::LeaseLost));

    laid_out(&store).await;
    let first = keyed("A:3", "k");
    let id = first.operation.clone();
    assert_eq!(store.begin(first).await, Ok(Begun::Started));
    laid_out(&store).await;
    assert_eq!(store.begin(keyed("A:3", "k")).await, Ok(Begun::Key(KeyState::Running(id.clone()))));
    assert_eq!(store.finish(applied(&id)).await, Ok(true));
    let verdict = Begun::Key(KeyState::Verdict("{\"done\":true}".into()));
    assert_eq!(store.begin(keyed("A:3", "k")).await, Ok(verdict));
    assert!(store.verify(None).await.expect("verified").is_sound());
}

#[tokio::test]
async fn what_many_threads_do_at_the_desk_is_all_written_and_makes_one_chain() {
    let (place, store) = relaxed().await;
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
                        assert_eq!(store.begin(write).await, Ok(Begun::Started));
                        assert_eq!(store.finish(applied(&id)).await, Ok(true));
                    }
                });
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("a worker");
    }
    assert!(store.close(Duration::from_mins(1)).await);
    let store = place.open().await;
    let verified = store.verify(None).await.expect("verified");
    assert_eq!((verified.entries, verified.is_sound()), (2 * threads * writes, true));
    assert_eq!(store.unfinished().await, Ok(0));
    let mut query = OperationQuery { systems: vec!["crm".into()], limit: 1000, ..OperationQuery::default() };
    let mut listed = Vec::new();
    loop {
        let page = store.operations(query.clone()).await.expect("a page");
        listed.extend(page.items.into_iter().map(|one| one.id));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(i64::try_from(listed.len()), Ok(threads * writes));
    assert!(listed.is_sorted_by(|one, other| one.as_str() < other.as_str()), "each once, oldest first");
}

/// Two writes were promised, and the first of them finished.
async fn one_is_done_and_one_runs(store: &Store, ids: &[OperationId; 2]) {
    let state = async |id: &OperationId| store.operation(id).await.expect("read").expect("there").state;
    assert_eq!((state(&ids[0]).await, state(&ids[1]).await), (OperationState::Applied, OperationState::Running));
    let mut seen = store.ledger(everything()).await.expect("read").items;
    seen.retain(|entry| ids.contains(&entry.operation));
    assert_eq!(seen.len(), 3, "each entry once");
    assert!(store.verify(None).await.expect("verified").is_sound());
}

#[tokio::test]
async fn what_was_promised_at_the_desk_is_kept_when_the_batch_cannot_be_written() {
    let (place, store) = relaxed().await;
    laid_out(&store).await;
    place.execute("ALTER TABLE ledger RENAME TO gone").await;
    let (done, open) = (intent("A:1"), intent("A:2"));
    let ids = [done.operation.clone(), open.operation.clone()];
    assert_eq!(store.begin(done).await, Ok(Begun::Started));
    assert_eq!(store.begin(open).await, Ok(Begun::Started));
    assert_eq!(store.finish(applied(&ids[0])).await, Ok(true));
    store.broken().await;
    assert_eq!(store.begin(intent("A:3")).await, Err(StoreError::Unavailable));
    place.execute("ALTER TABLE gone RENAME TO ledger").await;
    store.healed().await;
    one_is_done_and_one_runs(&store, &ids).await;
}

/// The database is there, and takes everything but the ledger's pages.
#[tokio::test]
async fn an_outcome_waits_for_its_intent_that_cannot_be_written() {
    let (place, store) = relaxed().await;
    laid_out(&store).await;
    place
        .execute(
            "CREATE TRIGGER refused BEFORE INSERT ON ledger WHEN NEW.lines LIKE '%\"A:1\"%'
             BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .await;
    let (before, write) = (intent("A:2"), intent("A:1"));
    let ids = [write.operation.clone(), before.operation.clone()];
    assert_eq!(store.begin(write).await, Ok(Begun::Started));
    assert_eq!(store.begin(before).await, Ok(Begun::Started));
    assert_eq!(store.finish(applied(&ids[0])).await, Ok(true));
    store.broken().await;
    place.execute("DROP TRIGGER refused").await;
    store.healed().await;
    one_is_done_and_one_runs(&store, &ids).await;
    assert_eq!(store.finish(applied(&ids[1])).await, Ok(true));
}

#[tokio::test]
async fn nothing_is_promised_at_the_desk_of_a_store_that_has_ended() {
    let (_place, store) = relaxed().await;
    laid_out(&store).await;
    store.kill().await;
    assert_eq!(store.begin(intent("A:1")).await, Err(StoreError::Unavailable));
}
