//! Operations from begin to finish: reads, lists, adoption, retention, group commit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::fixtures::{CountingMetrics, test_databases};
use super::samples::{all_entries_query, applied_outcome, claim, intent};
use crate::journal::{
    BeginResult, Durability, IdempotencyState, Intent, InterimResponse, Journal, JournalError, JournalMetrics,
    LeaseResult, Outcome,
};
use crate::record::{ObservedState, OperationId, OperationState, Warning, WarningCode};

#[tokio::test]
async fn an_operation_reads_as_documented_from_begin_to_finish() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = Intent { record: None, ..intent("") };
        let id = write.operation.clone();
        assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
        let running = store.operation(&id).await.expect("read").expect("there");
        assert_eq!((running.state, running.record, running.finished_at), (OperationState::Running, None, None));
        assert!(running.started_at.ends_with('Z') && running.started_at.len() == 24, "{}", running.started_at);
        let warning = Warning::new(WarningCode::Loss, "/fields/x", "\0");
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
        assert_eq!(store.blocking_write_on("crm", "A:1"), None);
        store.begin(write).await.expect("begun");
        assert_eq!(store.blocking_write_on("crm", "A:1"), Some(id.clone()));
        assert_eq!(store.blocking_write_on("itsm", "A:1"), None);
        assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Running(id.clone())));
        assert_eq!(store.acquire("crm", "A:1", Duration::from_secs(1)).await, Ok(LeaseResult::Running(id.clone())));
        store.finish(applied_outcome(&id)).await.expect("finished");
        assert_eq!(store.blocking_write_on("crm", "A:1"), None);
        assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Started));
    }
}

#[tokio::test]
async fn an_unresolved_write_blocks_its_record_as_a_queued_one_does() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        assert_eq!(store.blocking_write_on("crm", "A:1"), None);
        store.save_interim_outcome(&id, InterimResponse::Unknown, "{}".into()).await.expect("saved");
        assert_eq!(store.blocking_write_on("crm", "A:1"), Some(id.clone()));
        assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Running(id.clone())));
        assert_eq!(store.acquire("crm", "A:1", Duration::from_secs(1)).await, Ok(LeaseResult::Running(id.clone())));
        if database.is_shared {
            let other = database.open().await;
            assert_eq!(other.blocking_write_on("crm", "A:1"), Some(id.clone()));
            assert_eq!(other.begin(intent("A:1")).await, Ok(BeginResult::Running(id.clone())));
        }
        store.finish(applied_outcome(&id)).await.expect("finished");
        assert_eq!(store.blocking_write_on("crm", "A:1"), None);
        assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Started));
    }
}

#[tokio::test]
async fn reads_see_the_queued_writes_of_other_replicas_soon() {
    for database in test_databases().await.into_iter().filter(|database| database.is_shared) {
        let (one, two) = (database.open().await, database.open().await);
        let write = Intent { is_async: true, ..intent("A:1") };
        let id = write.operation.clone();
        one.begin(write).await.expect("begun");
        while two.blocking_write_on("crm", "A:1") != Some(id.clone()) {
            tokio::task::yield_now().await;
        }
        one.finish(applied_outcome(&id)).await.expect("finished");
        while two.blocking_write_on("crm", "A:1").is_some() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn the_time_of_the_first_adoption_is_kept() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        store.kill().await;
        let mut times = Vec::new();
        for _ in 0..2 {
            let store = database.open().await;
            store.advance_clock(Duration::from_mins(times.len() as u64 + 1));
            store.run_heartbeat().await;
            let adopted = store.adopt(10).await.expect("adopted").pop().expect("an orphan");
            assert_eq!(adopted.operation, id);
            times.push(adopted.first_adopted_ms);
            store.kill().await;
        }
        assert_eq!(times[0], times[1]);
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
        assert_eq!(one.blocking_write_on("crm", "A:1"), Some(id.clone()));
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
        assert!(adopted.first_adopted_ms > 0);
        assert_eq!((adopted.operation, adopted.recovery.as_deref()), (id.clone(), Some("{\"intent\":1}")));
        assert_eq!(adopted.response, Some(InterimResponse::Unknown));
        one.finish(applied_outcome(&id)).await.expect("finished");
        let state = one.lookup_idempotency_key(&claim("k")).await;
        assert_eq!(state, Ok(Some(IdempotencyState::Completed("{\"done\":true}".into()))));
        assert_eq!(one.ledger(all_entries_query()).await.expect("read").items.len(), 2);
        assert_eq!(database.query("SELECT count(*) FROM running").await, "0");
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
        assert!(store.operation(&finished_id).await.expect("read").is_some());
        store.advance_clock(Duration::from_hours(25));
        store.run_heartbeat().await;
        assert!(store.operation(&finished_id).await.expect("read").is_none());
        assert!(store.operation(&running_id).await.expect("read").is_some());
        assert_eq!(store.verify(None).await.expect("verified").entries, 3);
    }
}

#[tokio::test]
async fn writes_that_wait_together_share_a_commit() {
    for durability in [Durability::Commit, Durability::Relaxed] {
        for database in test_databases().await {
            let counts = Arc::new(CountingMetrics::default());
            let metrics = Arc::clone(&counts) as Arc<dyn JournalMetrics>;
            let store = Journal::open(database.settings(durability), metrics).await.expect("a store");
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
        let store = Journal::open(database.settings(Durability::Relaxed), Arc::new(())).await.expect("a store");
        let write = intent("A:1");
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        assert!(store.operation(&id).await.expect("read").is_some());
        store.finish(applied_outcome(&id)).await.expect("finished");
        assert!(store.close(Duration::from_mins(1)).await);
        assert_eq!(store.begin(intent("A:1")).await, Err(JournalError::Unavailable), "closed");
        assert!(!store.is_healthy());
        let state = database.open().await.operation(&id).await.expect("read").expect("there").state;
        assert_eq!(state, OperationState::Applied);
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
