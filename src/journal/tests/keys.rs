//! Idempotency keys.

use std::sync::Arc;
use std::time::Duration;

use super::fixtures::test_databases;
use super::samples::{applied_outcome, claim, intent, intent_with_key};
use crate::journal::{
    BeginResult, Durability, IdempotencyClaim, IdempotencyState, Intent, InterimResponse, Journal, LeaseResult, Outcome,
};

#[tokio::test]
async fn fifty_repeats_at_once_start_one_write() {
    for durability in [Durability::Commit, Durability::Relaxed] {
        for database in test_databases().await {
            let one = Journal::open(database.settings(durability), Arc::new(())).await.expect("a store");
            let two = if database.is_shared { database.open().await } else { one.clone() };
            let key = format!("key {durability:?}");
            let begun = futures_util::future::join_all((0..50).map(|index| {
                let store = if index % 2 == 0 { &one } else { &two };
                store.begin(intent_with_key("A:1", &key))
            }));
            let begun = begun.await;
            assert_eq!(begun.iter().filter(|one| **one == Ok(BeginResult::Started)).count(), 1);
            assert_eq!(
                begun
                    .iter()
                    .filter(|one| matches!(one, Ok(BeginResult::IdempotencyKey(IdempotencyState::Running(_)))))
                    .count(),
                49,
                "{begun:?}"
            );
            assert!(one.close(Duration::from_mins(1)).await);
        }
    }
}

#[tokio::test]
async fn a_key_returns_running_interim_then_the_outcome_even_after_a_crash() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = intent_with_key("A:1", "k");
        let operation = write.operation.clone();
        assert_eq!(store.lookup_idempotency_key(&claim("k")).await, Ok(None));
        assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
        let again = || store.begin(intent_with_key("A:1", "k"));
        assert_eq!(again().await, Ok(BeginResult::IdempotencyKey(IdempotencyState::Running(operation.clone()))));
        store
            .save_interim_outcome(&operation, InterimResponse::Unknown, "{\"unknown\":1}".into())
            .await
            .expect("saved");
        assert_eq!(again().await, Ok(BeginResult::IdempotencyKey(IdempotencyState::Interim("{\"unknown\":1}".into()))));
        store.finish(applied_outcome(&operation)).await.expect("finished");
        let completed = IdempotencyState::Completed("{\"done\":true}".into());
        assert_eq!(again().await, Ok(BeginResult::IdempotencyKey(completed.clone())));
        store.kill().await;
        let store = database.open().await;
        assert_eq!(store.lookup_idempotency_key(&claim("k")).await, Ok(Some(completed.clone())));
        let lease = store.acquire("crm", "A:1", Duration::from_secs(9)).await;
        assert!(matches!(lease, Ok(LeaseResult::Lease(_))));
        assert_eq!(
            store.begin(intent_with_key("A:1", "k")).await,
            Ok(BeginResult::IdempotencyKey(completed)),
            "whatever else runs"
        );
    }
}

#[tokio::test]
async fn a_key_with_another_request_mismatches_and_keys_are_per_caller() {
    for database in test_databases().await {
        let store = database.open().await;
        assert_eq!(store.begin(intent_with_key("A:1", "k")).await, Ok(BeginResult::Started));
        let other = IdempotencyClaim { fingerprint: [8; 32], ..claim("k") };
        let reused = store.begin(Intent { idempotency: Some(other.clone()), ..intent("A:1") }).await;
        assert_eq!(reused, Ok(BeginResult::IdempotencyKey(IdempotencyState::Mismatch)));
        assert_eq!(store.lookup_idempotency_key(&other).await, Ok(Some(IdempotencyState::Mismatch)));
        let foreign = Intent { caller: "shop".into(), ..intent_with_key("A:1", "k") };
        assert_eq!(store.begin(foreign).await, Ok(BeginResult::Started));
    }
}

#[tokio::test]
async fn a_running_key_never_expires_and_a_dropped_or_expired_one_is_free() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = intent_with_key("A:1", "k");
        let operation = write.operation.clone();
        store.begin(write).await.expect("begun");
        store.advance_clock(Duration::from_hours(48));
        store.run_heartbeat().await;
        assert_eq!(
            store.lookup_idempotency_key(&claim("k")).await,
            Ok(Some(IdempotencyState::Running(operation.clone())))
        );
        store.finish(Outcome { replay_json: None, ..applied_outcome(&operation) }).await.expect("finished");
        let write = intent_with_key("A:1", "k");
        let operation = write.operation.clone();
        assert_eq!(store.begin(write).await, Ok(BeginResult::Started), "freed");
        store.finish(applied_outcome(&operation)).await.expect("finished");
        store.advance_clock(Duration::from_hours(23));
        assert!(matches!(store.lookup_idempotency_key(&claim("k")).await, Ok(Some(IdempotencyState::Completed(_)))));
        store.advance_clock(Duration::from_hours(1));
        assert_eq!(store.begin(intent_with_key("A:1", "k")).await, Ok(BeginResult::Started), "expired");
    }
}

#[tokio::test]
async fn names_with_hostile_characters_are_stored_and_matched() {
    for database in test_databases().await {
        let store = database.open().await;
        let hostile = || Intent { caller: "a\0'; DROP TABLE ledger; --é".into(), ..intent_with_key("A:1", "k") };
        assert_eq!(store.begin(hostile()).await, Ok(BeginResult::Started));
        assert!(matches!(store.begin(hostile()).await, Ok(BeginResult::IdempotencyKey(IdempotencyState::Running(_)))));
        assert!(store.verify(None).await.expect("verified").is_sound());
    }
}

#[tokio::test]
async fn a_saved_token_replaces_the_earlier_one_and_is_read_by_all() {
    for database in test_databases().await {
        let journal = database.open().await;
        assert_eq!(journal.token("crm").await, Ok(None));
        for sealed in [&b"first"[..], b"second"] {
            journal.save_token("crm", sealed).await.expect("saved");
        }
        let (one, other) = tokio::join!(journal.save_token("itsm", b"x"), journal.save_token("itsm", b"y"));
        assert!(one.is_ok() && other.is_ok(), "two in one batch");
        let reader = if journal.is_shared() { database.open().await } else { journal };
        assert_eq!(reader.token("crm").await, Ok(Some(b"second".to_vec())));
        assert!(reader.token("itsm").await.is_ok_and(|token| token.is_some()));
    }
}

#[tokio::test]
async fn a_key_of_a_stored_batch_lives_as_long_as_the_batch() {
    for database in test_databases().await {
        let store = database.open().await;
        let keyed = |key: &str, batch_item: Option<&str>, is_of_stored_batch: bool| {
            let claim = IdempotencyClaim { is_of_stored_batch, ..claim(key) };
            Intent { batch_item: batch_item.map(Into::into), idempotency: Some(claim), ..intent(key) }
        };
        let (direct, stored) = (keyed("direct", Some("r/a"), false), keyed("stored", Some("r/b"), true));
        let left = keyed("left", Some("r/c"), true);
        for write in [keyed("single", None, false), direct, stored] {
            let operation = write.operation.clone();
            assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
            assert_eq!(store.finish(applied_outcome(&operation)).await, Ok(true));
        }
        assert_eq!(store.begin(left.clone()).await, Ok(BeginResult::Started));
        store.kill().await;
        // The next process does not know what kind of batch the write is of.
        let store = database.open().await;
        store.advance_clock(Duration::from_secs(10));
        assert_eq!(store.adopt(10).await.expect("adopted").len(), 1);
        assert_eq!(store.finish(applied_outcome(&left.operation)).await, Ok(true));
        let is_there = async |key: &str| store.lookup_idempotency_key(&claim(key)).await.expect("read").is_some();
        let all = async || {
            [is_there("single").await, is_there("direct").await, is_there("stored").await, is_there("left").await]
        };
        assert_eq!(all().await, [true; 4]);
        store.advance_clock(Duration::from_hours(25));
        store.run_heartbeat().await;
        assert_eq!(all().await, [false, false, true, true]);
        let claimed = store.claimed_keys_with_prefix("billing", "s").await.expect("keys");
        assert_eq!(claimed.into_keys().collect::<Vec<_>>(), ["stored"], "the others are deleted");
        store.advance_clock(Duration::from_hours(24 * 90));
        assert_eq!(all().await, [false; 4]);
    }
}

#[tokio::test]
async fn a_key_replays_what_changed_nothing_without_an_operation() {
    for database in test_databases().await {
        let store = database.open().await;
        let replay = || store.store_replay(claim("k"), "\"nothing\"".to_owned());
        assert_eq!(replay().await, Ok(None));
        let found = Some(IdempotencyState::Completed("\"nothing\"".to_owned()));
        assert_eq!(replay().await, Ok(found.clone()), "the first one stays");
        let other = IdempotencyClaim { fingerprint: [9; 32], ..claim("k") };
        assert_eq!(store.lookup_idempotency_key(&other).await, Ok(Some(IdempotencyState::Mismatch)));
        store.kill().await;
        let store = database.open().await;
        assert_eq!(store.lookup_idempotency_key(&claim("k")).await, Ok(found));
    }
}
