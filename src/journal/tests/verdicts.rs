//! Operations that end by a verdict, and the verdict's event in the feed.

use std::sync::Arc;
use std::time::Duration;

use super::fixtures::test_databases;
use super::samples::{all_entries_query, applied_outcome, claim, intent, intent_with_key, unknown_outcome, verdict};
use crate::journal::{
    BeginResult, IdempotencyState, Intent, InterimResponse, Journal, LeaseResult, LedgerEvent, LedgerQuery,
    OperationQuery, Outcome, Verdict, VerdictResult,
};
use crate::record::{OperationId, OperationState, WarningCode};

async fn begin(store: &Journal, write: &Intent) {
    assert_eq!(store.begin(write.clone()).await, Ok(BeginResult::Started));
}

async fn state(store: &Journal, operation: &OperationId) -> OperationState {
    store.operation(operation).await.expect("read").expect("an operation").state
}

async fn events(store: &Journal, operation: &OperationId) -> Vec<(LedgerEvent, String, String)> {
    let query = LedgerQuery { operation: Some(operation.clone()), ..all_entries_query() };
    let entries = store.ledger(query).await.expect("read").items;
    entries.into_iter().map(|entry| (entry.event, entry.state, entry.caller)).collect()
}

#[tokio::test]
async fn a_person_ends_an_operation_that_is_unknown() {
    for database in test_databases().await {
        let store = database.open().await;
        for end_state in [OperationState::Applied, OperationState::NotApplied] {
            let write = intent_with_key("A:1", end_state.as_str());
            begin(&store, &write).await;
            store.finish(unknown_outcome(&write.operation)).await.expect("finished");
            assert_eq!(store.recovery_of(&write.operation).await, Ok(Some("{\"intent\":1}".to_owned())));
            assert_eq!(store.record_verdict(verdict(&write.operation, end_state)).await, Ok(VerdictResult::Recorded));
            let operation = store.operation(&write.operation).await.expect("read").expect("an operation");
            assert_eq!(
                (operation.state, operation.resolved_by.as_deref(), operation.note.as_deref()),
                (end_state, Some("anna"), Some("seen"))
            );
            assert!(store.recovery_of(&write.operation).await.expect("read").is_some(), "a person can be wrong");
            let billing = || "billing".to_owned();
            assert_eq!(
                events(&store, &write.operation).await,
                [
                    (LedgerEvent::Intent, "running".to_owned(), billing()),
                    (LedgerEvent::Outcome, "unknown".to_owned(), billing()),
                    (LedgerEvent::Resolved, end_state.as_str().to_owned(), "anna".to_owned()),
                ]
            );
            let key = store.lookup_idempotency_key(&claim(end_state.as_str())).await.expect("read");
            match end_state {
                OperationState::Applied => {
                    assert_eq!(key, Some(IdempotencyState::Completed("{\"by\":\"hand\"}".into())));
                }
                _ => assert_eq!(key, None, "a repeat runs"),
            }
            assert_eq!(store.record_verdict(verdict(&write.operation, end_state)).await, Ok(VerdictResult::Repeated));
            let other =
                if end_state == OperationState::Applied { OperationState::NotApplied } else { OperationState::Applied };
            assert_eq!(store.record_verdict(verdict(&write.operation, other)).await, Ok(VerdictResult::Ended));
            let query = OperationQuery {
                systems: vec!["crm".into()],
                state: Some(OperationState::Unknown),
                limit: 10,
                ..OperationQuery::default()
            };
            assert!(store.operations(query).await.expect("read").items.is_empty());
            let query = OperationQuery {
                systems: vec!["crm".into()],
                record: Some("A:1".into()),
                state: Some(end_state),
                limit: 10,
                ..OperationQuery::default()
            };
            assert_eq!(store.operations(query).await.expect("read").items.len(), 1);
        }
        let verified = store.verify(None).await.expect("verified");
        assert!(verified.is_sound() && verified.entries == 6, "{verified:?}");
        let note = store.ledger(all_entries_query()).await.expect("read").items[2].note_hash.clone();
        let expected = const_hex::encode(crate::record::sha256([&b"seen"[..]]));
        assert_eq!(note, Some(expected), "its hash, not its text");
    }
}

#[tokio::test]
async fn what_ended_unknown_counts_for_its_system_until_it_is_resolved() {
    for database in test_databases().await {
        let store = database.open().await;
        assert_eq!(store.unknown_writes().await, Ok(Vec::new()));
        let (first, second, running) = (intent("A:1"), intent("A:2"), intent("A:3"));
        for write in [&first, &second, &running] {
            begin(&store, write).await;
        }
        store.finish(unknown_outcome(&first.operation)).await.expect("finished");
        store.finish(unknown_outcome(&second.operation)).await.expect("finished");
        let counts = async || {
            let found = store.unknown_writes().await.expect("read");
            found
                .into_iter()
                .map(|writes| (writes.system, writes.reconciled_by_others, writes.ended))
                .collect::<Vec<_>>()
        };
        assert_eq!(counts().await, [("crm".to_owned(), 0, 2)]);
        let verdict_on = |write: &Intent| verdict(&write.operation, OperationState::Applied);
        assert_eq!(store.record_verdict(verdict_on(&first)).await, Ok(VerdictResult::Recorded));
        assert_eq!(counts().await, [("crm".to_owned(), 0, 1)]);
        // The own one is counted without the store; another replica sees it.
        store.save_interim_outcome(&running.operation, InterimResponse::Unknown, "{}".into()).await.expect("saved");
        assert_eq!(counts().await, [("crm".to_owned(), 0, 1)]);
        if database.is_shared {
            let other = database.open().await.unknown_writes().await.expect("read");
            assert_eq!((other[0].reconciled_by_others, other[0].ended), (1, 1));
        }
    }
}

#[tokio::test]
async fn a_person_ends_a_long_running_operation_and_frees_its_record() {
    for database in test_databases().await {
        let store = database.open().await;
        let Ok(LeaseResult::Lease(lease)) = store.acquire("crm", "A:1", Duration::from_hours(1)).await else {
            panic!("no lease")
        };
        let write = Intent { lease: Some(lease), ..intent_with_key("A:1", "key") };
        begin(&store, &write).await;
        store.save_interim_outcome(&write.operation, InterimResponse::Unknown, "{}".into()).await.expect("saved");
        let applied = || verdict(&write.operation, OperationState::Applied);
        assert_eq!(store.record_verdict(applied()).await, Ok(VerdictResult::TooEarly));
        assert_eq!(state(&store, &write.operation).await, OperationState::Running);
        assert_eq!(store.owns_operation(&write.operation).await, Ok(true));
        if database.is_shared {
            let other = database.open().await;
            assert_eq!(other.owns_operation(&write.operation).await, Ok(false), "it is another replica's");
            let began = "UPDATE ledger SET at = at - 61000 WHERE intent IS NULL";
            database.execute(began).await;
        } else {
            store.advance_clock(Duration::from_secs(61));
        }
        assert_eq!(store.record_verdict(applied()).await, Ok(VerdictResult::Recorded));
        assert_eq!(state(&store, &write.operation).await, OperationState::Applied);
        assert_eq!(store.is_running(&write.operation).await, Ok(false));
        assert_eq!(store.owns_operation(&write.operation).await, Ok(false));
        assert_eq!(store.blocking_write_on("crm", "A:1"), None);
        assert!(matches!(store.acquire("crm", "A:1", Duration::from_secs(1)).await, Ok(LeaseResult::Lease(_))));
        let found = store.finish(Outcome { replay_json: None, ..applied_outcome(&write.operation) }).await;
        assert_eq!(found, Ok(false), "the verdict stands");
        assert_eq!(
            store.lookup_idempotency_key(&claim("key")).await,
            Ok(Some(IdempotencyState::Completed("{\"by\":\"hand\"}".into())))
        );
    }
}

#[tokio::test]
async fn a_later_finding_that_differs_is_shown_and_changes_nothing() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = intent("A:1");
        begin(&store, &write).await;
        let resolution = Verdict { min_age: Duration::ZERO, ..verdict(&write.operation, OperationState::NotApplied) };
        assert_eq!(store.record_verdict(resolution).await, Ok(VerdictResult::Recorded));
        assert_eq!(store.finish(applied_outcome(&write.operation)).await, Ok(false));
        store.ping().await.expect("written");
        let operation = store.operation(&write.operation).await.expect("read").expect("an operation");
        assert_eq!(operation.state, OperationState::NotApplied);
        let codes: Vec<_> = operation.warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, [WarningCode::ResolvedOtherwise]);
        assert_eq!(events(&store, &write.operation).await.len(), 3);
    }
}

#[tokio::test]
async fn a_verdict_on_an_operation_of_another_replica_counts() {
    for database in test_databases().await.into_iter().filter(|database| database.is_shared) {
        let (one, two) = (database.open().await, database.open().await);
        let write = Intent { is_async: true, ..intent("A:1") };
        begin(&one, &write).await;
        let resolution = Verdict { min_age: Duration::ZERO, ..verdict(&write.operation, OperationState::NotApplied) };
        assert_eq!(two.record_verdict(resolution).await, Ok(VerdictResult::Recorded));
        assert_eq!(one.begin(intent("A:1")).await, Ok(BeginResult::Started), "the record is free");
        assert_eq!(one.finish(applied_outcome(&write.operation)).await, Ok(false));
        assert_eq!(state(&one, &write.operation).await, OperationState::NotApplied);
    }
}

#[tokio::test]
async fn an_outcome_that_is_known_takes_no_verdict() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = intent("A:1");
        begin(&store, &write).await;
        store.finish(applied_outcome(&write.operation)).await.expect("finished");
        for end_state in [OperationState::Applied, OperationState::NotApplied] {
            assert_eq!(store.record_verdict(verdict(&write.operation, end_state)).await, Ok(VerdictResult::Ended));
        }
        let unknown = OperationId::new();
        assert_eq!(store.record_verdict(verdict(&unknown, OperationState::Applied)).await, Ok(VerdictResult::NotFound));
        assert_eq!(events(&store, &write.operation).await.len(), 2);
    }
}

#[tokio::test]
async fn a_create_that_a_later_probe_finds_is_listed_with_its_record() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = Intent { record: None, action: crate::record::Action::Create, ..intent("-") };
        begin(&store, &write).await;
        store.finish(unknown_outcome(&write.operation)).await.expect("finished");
        let found = Verdict {
            is_by_hand: false,
            note: None,
            record: Some("A:7".into()),
            etag: Some("\"c9\"".into()),
            ..verdict(&write.operation, OperationState::Applied)
        };
        assert_eq!(store.record_verdict(found).await, Ok(VerdictResult::Recorded));
        let query = OperationQuery {
            systems: vec!["crm".into()],
            record: Some("A:7".into()),
            limit: 10,
            ..OperationQuery::default()
        };
        let listed = store.operations(query).await.expect("read").items;
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].record.as_deref(), listed[0].etag.as_deref()), (Some("A:7"), Some("\"c9\"")));
        assert_eq!(listed[0].resolved_by, None, "no person resolved it");
    }
}

#[tokio::test]
async fn a_verdict_while_the_process_is_killed_is_recorded_or_not() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = intent("A:1");
        begin(&store, &write).await;
        store.finish(unknown_outcome(&write.operation)).await.expect("finished");
        let resolution = Arc::new(verdict(&write.operation, OperationState::Applied));
        let killed = store.clone();
        let recording = {
            let resolution = Verdict::clone(&resolution);
            tokio::spawn(async move { killed.record_verdict(resolution).await })
        };
        tokio::task::yield_now().await;
        store.kill().await;
        let result = recording.await.expect("a result");
        let store = database.open().await;
        let state = state(&store, &write.operation).await;
        let entries = events(&store, &write.operation).await.len();
        match result {
            Ok(VerdictResult::Recorded) => assert_eq!((state, entries), (OperationState::Applied, 3)),
            _ => assert!(
                (state, entries) == (OperationState::Applied, 3) || (state, entries) == (OperationState::Unknown, 2),
                "{state:?} {entries}"
            ),
        }
        assert!(store.verify(None).await.expect("verified").is_sound());
    }
}
