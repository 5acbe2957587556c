//! Operations from begin to finish: reads, lists, adoption, retention, group commit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::fixtures::{CountingMetrics, test_databases};
use super::samples::{all_entries_query, applied_outcome, claim, intent};
use crate::record::{ObservedState, Operation, OperationId, OperationState, Warning, WarningCode};
use crate::store::{
    BeginResult, Durability, IdempotencyState, Intent, InterimResponse, LeaseResult, OperationQuery, Outcome, Store,
    StoreError, StoreMetrics,
};

#[tokio::test]
async fn an_operation_reads_as_the_contract_says_from_begin_to_finish() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = Intent { record: None, ..intent("") };
        let id = write.operation.clone();
        assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
        let running = store.operation(&id).await.expect("read").expect("there");
        assert_eq!((running.state, running.record, running.finished_at), (OperationState::Running, None, None));
        assert!(running.started_at.ends_with('Z') && running.started_at.len() == 24, "{}", running.started_at);
        let warning = Warning { code: WarningCode::Loss, pointer: "/fields/x".into(), detail: "\0".into() };
        let problem = serde_json::json!({ "status": 504, "n": 1 });
        let outcome = Outcome {
            state: OperationState::Unknown,
            warnings: vec![warning.clone()],
            problem: Some(problem.clone()),
            problem_name: Some("outcome-unknown".into()),
            observed: Some(ObservedState::Other),
            record: Some("A:1".into()),
            ..applied_outcome(&id)
        };
        assert_eq!(store.finish(outcome).await, Ok(true));
        assert_eq!(store.finish(applied_outcome(&id)).await, Ok(false), "the first outcome stands");
        let finished = store.operation(&id).await.expect("read").expect("there");
        assert_eq!(finished.state, OperationState::Unknown);
        assert_eq!(
            (finished.warnings, finished.problem, finished.observed),
            (vec![warning], Some(problem), Some(ObservedState::Other))
        );
        assert!(finished.finished_at.is_some() && finished.etag.as_deref() == Some("\"c2\""));
        assert_eq!((finished.record.as_deref(), store.count_running().await), (Some("A:1"), Ok(0)));
        assert_eq!(store.operation(&OperationId::new()).await.expect("read").map(|operation| operation.id), None);
    }
}

#[tokio::test]
async fn an_async_write_blocks_others_and_is_visible_to_reads_until_it_ends() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = Intent { is_async: true, ..intent("A:1") };
        let id = write.operation.clone();
        assert_eq!(store.async_write_on("crm", "A:1").await, Ok(None));
        store.begin(write).await.expect("begun");
        assert_eq!(store.async_write_on("crm", "A:1").await, Ok(Some(id.clone())));
        assert_eq!(store.async_write_on("itsm", "A:1").await, Ok(None));
        assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Running(id.clone())));
        assert_eq!(store.acquire("crm", "A:1", Duration::from_secs(1)).await, Ok(LeaseResult::Running(id.clone())));
        store.finish(applied_outcome(&id)).await.expect("finished");
        assert_eq!(store.async_write_on("crm", "A:1").await, Ok(None));
        assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Started));
    }
}

#[tokio::test]
async fn an_operation_orphaned_by_a_crash_is_adopted_once_with_its_payload() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = Intent { is_async: true, idempotency: Some(claim("k")), ..intent("A:1") };
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        store.save_interim_outcome(&id, InterimResponse::Unknown, "{}".into()).await.expect("saved");
        assert_eq!(store.adopt(10).await, Ok(vec![]), "own operations are no orphans");
        store.kill().await;
        let (one, two) = (database.open().await, if database.is_shared { Some(database.open().await) } else { None });
        assert_eq!(one.async_write_on("crm", "A:1").await, Ok(Some(id.clone())));
        if let Some(two) = &two {
            assert_eq!(one.adopt(10).await, Ok(vec![]), "it may still be alive");
            for store in [&one, two] {
                store.advance_clock(Duration::from_secs(30));
                store.run_heartbeat().await;
            }
        }
        let mut adopted = one.adopt(10).await.expect("adopted");
        let other = two.as_ref().unwrap_or(&one);
        assert_eq!(other.adopt(10).await, Ok(vec![]), "one replica wins");
        let adopted = adopted.pop().expect("one");
        assert_eq!((adopted.operation, adopted.recovery.as_deref()), (id.clone(), Some("{\"wanted\":1}")));
        assert_eq!(adopted.response, Some(InterimResponse::Unknown));
        one.finish(applied_outcome(&id)).await.expect("finished");
        let state = one.lookup_idempotency_key(&claim("k")).await;
        assert_eq!(state, Ok(Some(IdempotencyState::Completed("{\"done\":true}".into()))));
        assert_eq!(one.ledger(all_entries_query()).await.expect("read").items.len(), 2);
        assert_eq!(database.execute("UPDATE operation SET queued = queued WHERE material IS NOT NULL").await, 0);
    }
}

#[tokio::test]
async fn lists_are_paged_oldest_first_and_hold_only_allowed_systems() {
    for database in test_databases().await {
        let store = database.open().await;
        let mut ids = Vec::new();
        for index in 0..7 {
            let system = if index == 3 { "itsm" } else { "crm" };
            let write = Intent { system: system.into(), ..intent(if index < 5 { "A:1" } else { "A:2" }) };
            ids.push(write.operation.clone());
            store.begin(write).await.expect("begun");
        }
        store.finish(applied_outcome(&ids[0])).await.expect("finished");
        let query = OperationQuery { systems: vec!["crm".into()], limit: 4, ..OperationQuery::default() };
        let list = async |query: OperationQuery| {
            let page = store.operations(query).await.expect("a page");
            (page.items.into_iter().map(|operation| operation.id).collect::<Vec<_>>(), page.next)
        };
        let ids_at = |indices: &[usize]| indices.iter().map(|index| ids[*index].clone()).collect::<Vec<_>>();
        assert_eq!(list(query.clone()).await, (ids_at(&[0, 1, 2, 4]), Some(ids[4].clone())));
        assert_eq!(
            list(OperationQuery { after: Some(ids[4].clone()), ..query.clone() }).await,
            (ids_at(&[5, 6]), None)
        );
        assert_eq!(list(OperationQuery { record: Some("A:2".into()), ..query.clone() }).await, (ids_at(&[5, 6]), None));
        let state = |state| OperationQuery { state: Some(state), limit: 2, ..query.clone() };
        assert_eq!(list(state(OperationState::Applied)).await, (ids_at(&[0]), None));
        assert_eq!(list(state(OperationState::Running)).await, (ids_at(&[1, 2]), Some(ids[2].clone())));
        assert_eq!(list(OperationQuery { systems: vec![], ..query }).await, (vec![], None));
    }
}

#[tokio::test]
async fn finished_operations_expire_after_the_retention_but_the_ledger_stays() {
    for database in test_databases().await {
        let store = database.open().await;
        let (finished, running) = (intent("A:1"), intent("A:2"));
        let (finished_id, running_id) = (finished.operation.clone(), running.operation.clone());
        store.begin(finished).await.expect("begun");
        store.begin(running).await.expect("begun");
        store.finish(applied_outcome(&finished_id)).await.expect("finished");
        store.advance_clock(Duration::from_hours(24 * 89));
        store.run_heartbeat().await;
        store.ping().await.expect("expired rows deleted");
        assert!(store.operation(&finished_id).await.expect("read").is_some());
        store.advance_clock(Duration::from_hours(25));
        store.run_heartbeat().await;
        store.ping().await.expect("expired rows deleted");
        assert!(store.operation(&finished_id).await.expect("read").is_none());
        assert!(store.operation(&running_id).await.expect("read").is_some());
        assert_eq!(store.verify(None).await.expect("verified").entries, 3);
    }
}

#[tokio::test]
async fn writes_that_wait_together_share_a_commit() {
    for database in test_databases().await {
        for durability in [Durability::Commit, Durability::Relaxed] {
            let counts = Arc::new(CountingMetrics::default());
            let metrics = Arc::clone(&counts) as Arc<dyn StoreMetrics>;
            let store = Store::open(database.settings(durability), metrics).await.expect("a store");
            let begun =
                futures_util::future::join_all((0..100).map(|index| store.begin(intent(&format!("A:{index}")))));
            assert!(begun.await.iter().all(|begun| *begun == Ok(BeginResult::Started)));
            store.ping().await.expect("written");
            assert_eq!(counts.entries.load(Ordering::SeqCst), 100);
            let commits = counts.commits.load(Ordering::SeqCst);
            assert!(commits <= 50, "{commits} commits");
            assert!(store.close(Duration::from_mins(1)).await);
        }
    }
}

#[tokio::test]
async fn an_acknowledged_write_is_visible_to_the_next_read_and_survives_close() {
    for database in test_databases().await {
        let store = Store::open(database.settings(Durability::Relaxed), Arc::new(())).await.expect("a store");
        let write = intent("A:1");
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        assert!(store.operation(&id).await.expect("read").is_some());
        store.finish(applied_outcome(&id)).await.expect("finished");
        assert!(store.close(Duration::from_mins(1)).await);
        assert_eq!(store.begin(intent("A:1")).await, Err(StoreError::Unavailable), "closed");
        assert!(!store.is_healthy());
        let state = database.open().await.operation(&id).await.expect("read").expect("there").state;
        assert_eq!(state, OperationState::Applied);
    }
}

#[tokio::test]
async fn an_operation_that_ends_in_its_first_batch_is_stored_as_finished() {
    for database in test_databases().await {
        let store = Store::open(database.settings(Durability::Relaxed), Arc::new(())).await.expect("a store");
        for created in [false, true] {
            let write = Intent { is_async: true, record: (!created).then(|| "A:1".into()), ..intent("") };
            let id = write.operation.clone();
            store.begin(write).await.expect("begun");
            store.save_interim_outcome(&id, InterimResponse::Accepted, String::new()).await.expect("saved");
            store
                .finish(Outcome { record: created.then(|| "A:2".to_owned()), ..applied_outcome(&id) })
                .await
                .expect("finished");
            let operation = store.operation(&id).await.expect("read").expect("there");
            assert_eq!(operation.state, OperationState::Applied);
            assert_eq!(operation.record.as_deref(), Some(if created { "A:2" } else { "A:1" }));
            assert!(operation.etag.as_deref() == Some("\"c2\"") && operation.finished_at.is_some());
        }
        let unfinished = "UPDATE operation SET queued = queued WHERE material IS NOT NULL OR state = 'running'";
        assert_eq!(database.execute(unfinished).await, 0);
        assert_eq!(store.verify(None).await.expect("verified").entries, 4);
    }
}

/// Begins and finishes writes in one batch.
async fn run_in_one_batch(store: &Store, writes: Vec<Intent>, outcome: impl Fn(&OperationId) -> Outcome) {
    for write in &writes {
        assert_eq!(store.begin(write.clone()).await, Ok(BeginResult::Started));
    }
    for write in writes {
        assert_eq!(store.finish(outcome(&write.operation)).await, Ok(true));
    }
    store.ping().await.expect("written");
}

/// Lists all operations in pages of `step`.
async fn list_in_pages(store: &Store, record: Option<&str>, step: usize) -> Vec<Operation> {
    let mut query = OperationQuery {
        systems: vec!["crm".into()],
        record: record.map(str::to_owned),
        limit: step,
        ..OperationQuery::default()
    };
    let mut listed = Vec::new();
    loop {
        let page = store.operations(query.clone()).await.expect("a page");
        assert!(page.items.len() <= step);
        listed.extend(page.items);
        query.after = page.next;
        if query.after.is_none() {
            return listed;
        }
    }
}

#[tokio::test]
async fn ledger_only_operations_are_listed_together_with_stored_rows() {
    for database in test_databases().await {
        let store = Store::open(database.settings(Durability::Relaxed), Arc::new(())).await.expect("a store");
        let (writes, late): (Vec<_>, _) = ((0..9).map(|n| intent(&format!("A:{}", n % 3))).collect(), intent("A:0"));
        let mut ids: Vec<_> = writes.iter().map(|write| write.operation.clone()).collect();
        ids.insert(6, late.operation.clone());
        ids.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        let warned = |id: &OperationId| {
            let warning = Warning { code: WarningCode::Loss, pointer: "/fields/x".into(), detail: "lost".into() };
            Outcome { warnings: vec![warning], ..applied_outcome(id) }
        };
        let mut writes = writes.into_iter();
        run_in_one_batch(&store, writes.by_ref().take(3).collect(), applied_outcome).await;
        run_in_one_batch(&store, writes.by_ref().take(2).collect(), warned).await;
        store.begin(late).await.expect("begun");
        store.ping().await.expect("written");
        run_in_one_batch(&store, writes.collect(), applied_outcome).await;
        // An operation that ends in a later batch has a row, and so has one whose id is smaller
        // than a ledger-only one's.
        let rows = if database.is_shared { 10 } else { 3 };
        assert_eq!(database.execute("UPDATE operation SET queued = queued").await, rows);
        for step in [1, 3, 4, 100] {
            let listed = list_in_pages(&store, None, step).await;
            assert_eq!(listed.iter().map(|operation| operation.id.clone()).collect::<Vec<_>>(), ids);
            let warned = listed.iter().filter(|one| !one.warnings.is_empty()).count();
            assert_eq!(warned, 2, "what only a row holds is not lost");
            let listed = list_in_pages(&store, Some("A:1"), step).await;
            assert_eq!(listed.len(), 3);
            assert!(listed.iter().all(|one| one.record.as_deref() == Some("A:1")));
        }
        let query = OperationQuery { systems: vec!["crm".into()], limit: 100, ..OperationQuery::default() };
        let count = async |query: OperationQuery| store.operations(query).await.expect("a page").items.len();
        assert_eq!(count(OperationQuery { state: Some(OperationState::Applied), ..query.clone() }).await, 9);
        assert_eq!(count(OperationQuery { state: Some(OperationState::Running), ..query.clone() }).await, 1);
        assert_eq!(count(OperationQuery { systems: vec!["itsm".into()], ..query.clone() }).await, 0);
        for id in &ids {
            let one = store.operation(id).await.expect("read").expect("there");
            assert_eq!((one.id.as_str(), one.caller.as_str(), one.system.as_str()), (id.as_str(), "billing", "crm"));
            assert!(one.state == OperationState::Running || one.finished_at >= Some(one.started_at));
        }
        store.advance_clock(Duration::from_hours(24 * 91));
        store.run_heartbeat().await;
        store.ping().await.expect("expired rows deleted");
        assert_eq!(count(query).await, 1, "finished operations expire");
        assert!(store.operation(&ids[0]).await.expect("read").is_none());
        assert!(store.close(Duration::from_mins(1)).await);
        let again = Store::open(database.settings(Durability::Relaxed), Arc::new(())).await.expect("a store");
        let next = intent("A:7");
        let id = next.operation.clone();
        run_in_one_batch(&again, vec![next], applied_outcome).await;
        assert!(again.operation(&id).await.expect("read").is_some());
    }
}

#[tokio::test]
async fn an_operation_older_than_the_ledger_only_ones_has_a_row() {
    for database in test_databases().await.into_iter().filter(|database| !database.is_shared) {
        let store = Store::open(database.settings(Durability::Relaxed), Arc::new(())).await.expect("a store");
        let (older, newer) = (intent("A:1"), intent("A:2"));
        let ids = [older.operation.clone(), newer.operation.clone()];
        run_in_one_batch(&store, vec![newer], applied_outcome).await;
        run_in_one_batch(&store, vec![older], applied_outcome).await;
        assert_eq!(database.execute("UPDATE operation SET queued = queued").await, 1);
        for limit in [1, 2] {
            let query = OperationQuery { systems: vec!["crm".into()], limit, ..OperationQuery::default() };
            let first = store.operations(query.clone()).await.expect("a page");
            let rest = store.operations(OperationQuery { after: first.next.clone(), ..query }).await.expect("a page");
            let all = first.items.iter().chain(rest.items.iter().filter(|_| first.next.is_some()));
            assert_eq!(all.map(|operation| operation.id.clone()).collect::<Vec<_>>(), ids, "each once");
        }
        assert!(store.operation(&ids[0]).await.expect("read").is_some());
    }
}

#[tokio::test]
async fn an_adoption_whose_caller_is_gone_is_returned_again() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        store.kill().await;
        let store = database.open().await;
        store.advance_clock(Duration::from_secs(30));
        store.run_heartbeat().await;
        {
            let mut adopted = std::pin::pin!(store.adopt(10));
            assert!(futures_util::poll!(adopted.as_mut()).is_pending());
        }
        store.ping().await.expect("written");
        let again = store.adopt(10).await.expect("adopted");
        assert_eq!(again.into_iter().map(|orphan| orphan.operation).collect::<Vec<_>>(), [id]);
        assert_eq!(store.adopt(10).await, Ok(vec![]), "received once");
    }
}

#[tokio::test]
async fn an_outcome_is_rejected_after_another_replica_adopts_the_write() {
    for database in test_databases().await.into_iter().filter(|database| database.is_shared) {
        let (paused, other) = (database.open().await, database.open().await);
        let write = intent("A:1");
        let id = write.operation.clone();
        paused.begin(write).await.expect("begun");
        other.advance_clock(Duration::from_secs(30));
        other.run_heartbeat().await;
        assert_eq!(other.adopt(10).await.expect("adopted").len(), 1);
        let refused = Outcome { state: OperationState::NotApplied, ..applied_outcome(&id) };
        assert_eq!(paused.finish(refused).await, Ok(false));
        assert_eq!(other.finish(applied_outcome(&id)).await, Ok(true));
        assert_eq!(other.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
    }
}
