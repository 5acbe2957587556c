//! The rows of asynchronous batches.

use std::collections::HashMap;
use std::time::Duration;

use super::fixtures::test_databases;
use super::samples::{claim, intent_with_key};
use crate::journal::{BatchRow, BeginResult, IdempotencyClaim, IdempotencyState, Journal, JournalError, LeaseResult};
use crate::record::OperationId;

fn row(position: i64, status: i64, text: &str) -> BatchRow {
    BatchRow { id: "b".into(), position, status, request: text.to_owned(), response: Some(text.to_owned()) }
}

#[tokio::test]
async fn what_has_ended_of_a_batch_is_not_replaced() {
    for database in test_databases().await {
        let store = database.open().await;
        let open = vec![row(BatchRow::HEAD, BatchRow::OPEN, "open"), row(0, 0, "waits"), row(1, 0, "waits")];
        store.save_batch_rows(open).await.expect("saved");
        store.save_batch_rows(vec![row(0, 1, "ended")]).await.expect("saved");
        // Another process that had the batch before knows nothing of it.
        store.save_batch_rows(vec![row(0, 2, "late"), row(1, 2, "ended")]).await.expect("saved");
        store.save_batch_rows(vec![row(BatchRow::HEAD, 0, "over")]).await.expect("saved");
        store.save_batch_rows(vec![row(BatchRow::HEAD, BatchRow::OPEN, "late")]).await.expect("saved");
        store.save_batch_rows(vec![row(BatchRow::CANCEL, 0, "cancel")]).await.expect("saved");
        let rows = store.batch_rows("b", BatchRow::CANCEL, 10).await.expect("rows");
        let kept: Vec<_> = rows.iter().map(|row| (row.position, row.status, row.request.as_str())).collect();
        assert_eq!(kept, [(-2, 0, "cancel"), (-1, 0, "over"), (0, 1, "ended"), (1, 2, "ended")]);
        assert!(store.open_batches(10).await.expect("ids").is_empty());
        let mut counts = store.batch_counts("b").await.expect("counts");
        counts.sort_unstable();
        assert_eq!(counts, [(1, 1), (2, 1)]);
        assert_eq!((store.batch_size("b").await, store.batch_size("none").await), (Ok(20), Ok(0)));
    }
}

#[tokio::test]
async fn a_key_is_claimed_from_the_intent_on() {
    for database in test_databases().await {
        let store = database.open().await;
        let claimed = async |caller: &str, keys: &[&str]| {
            let keys = keys.iter().map(|&key| key.to_owned()).collect();
            store.claimed_keys(caller, keys).await.expect("keys")
        };
        let with_prefix = async |caller, prefix| store.claimed_keys_with_prefix(caller, prefix).await.expect("keys");
        assert!(claimed("billing", &["batch k a"]).await.is_empty());
        let intent = intent_with_key("A:1", "batch k a");
        let expected = HashMap::from([("batch k a".to_owned(), intent.operation.clone())]);
        assert_eq!(store.begin(intent).await, Ok(BeginResult::Started));
        assert_eq!(with_prefix("billing", "batch k ").await, expected);
        assert_eq!(claimed("billing", &["other", "batch k a"]).await, expected);
        assert!(claimed("billing", &["other"]).await.is_empty() && claimed("other", &["batch k a"]).await.is_empty());
        assert_eq!(store.store_replay(claim("replayed"), "{}".to_owned()).await, Ok(None));
        assert!(claimed("billing", &["replayed"]).await["replayed"].is_nil());
        store.advance_clock(Duration::from_hours(24 * 90));
        assert!(claimed("billing", &["replayed"]).await.is_empty(), "it has expired");
        assert!(
            with_prefix("billing", "batch x ").await.is_empty() && with_prefix("other", "batch k ").await.is_empty()
        );
    }
}

#[tokio::test]
async fn rows_of_a_lost_lease_are_not_saved() {
    for database in test_databases().await {
        let store = database.open().await;
        let acquire = async || match store.acquire("/batches", "b", Duration::from_secs(15)).await {
            Ok(LeaseResult::Lease(lease)) => lease,
            other => panic!("{other:?}"),
        };
        let text = async || store.batch_rows("b", 0, 1).await.expect("rows").remove(0).request;
        store
            .save_batch_rows(vec![row(BatchRow::HEAD, BatchRow::OPEN, "open"), row(0, 0, "waits")])
            .await
            .expect("saved");
        let first = acquire().await;
        assert_eq!(store.save_rows_of_running_batch(&first, vec![row(0, 0, "runs")]).await, Ok(true));
        assert_eq!(text().await, "runs");
        store.advance_clock(Duration::from_secs(16));
        let late = || vec![row(BatchRow::HEAD, 0, "late"), row(0, 1, "late")];
        assert_eq!(store.save_rows_of_running_batch(&first, late()).await, Ok(false), "it has expired");
        let second = acquire().await;
        assert_eq!(store.save_rows_of_running_batch(&first, late()).await, Ok(false), "another has it");
        assert_eq!(text().await, "runs");
        assert_eq!(store.save_rows_of_running_batch(&second, vec![row(0, 1, "ended")]).await, Ok(true));
        assert_eq!((text().await.as_str(), store.open_batches(10).await), ("ended", Ok(vec!["b".to_owned()])));
    }
}

#[tokio::test]
async fn rows_of_a_batch_whose_commit_stalls_may_be_there() {
    for database in test_databases().await.into_iter().filter(|database| database.is_shared) {
        let store = database.open().await;
        database.stall_one_commit("batch_row", "RETURN NULL").await;
        let row = |id: &str| BatchRow { id: id.into(), ..row(BatchRow::HEAD, BatchRow::OPEN, "open") };
        assert_eq!(store.save_batch_rows(vec![row("a")]).await, Err(JournalError::CommitUnknown));
        store.wait_until_healthy().await;
        database.execute("ALTER TABLE batch_row ADD CHECK (id <> 'refused')").await;
        assert_eq!(store.save_batch_rows(vec![row("refused")]).await, Err(JournalError::Unavailable), "certainly not");
        assert!(store.batch_rows("refused", BatchRow::HEAD, 1).await.expect("rows").is_empty());
    }
}

#[tokio::test]
async fn one_of_the_batches_with_a_key_is_stored() {
    for database in test_databases().await {
        let one = database.open().await;
        let two = if database.is_shared { database.open().await } else { one.clone() };
        check_one_batch_per_key(&one, &two).await;
    }
}

async fn check_one_batch_per_key(one: &Journal, two: &Journal) {
    let store_repeat = async |store: &Journal, id: &OperationId, claim: IdempotencyClaim, repeats| {
        let head = BatchRow { id: id.as_str().into(), ..row(BatchRow::HEAD, BatchRow::OPEN, "open") };
        store.store_batch(id, vec![head], Some(claim), repeats).await.expect("a result")
    };
    let store = async |store: &Journal, id: &OperationId, claim| store_repeat(store, id, claim, None).await;
    let ids: Vec<OperationId> = (0..20).map(|_| OperationId::new()).collect();
    let at_once =
        ids.iter().enumerate().map(|(index, id)| store(if index % 2 == 0 { one } else { two }, id, claim("b")));
    let results = futures_util::future::join_all(at_once).await;
    let stored = one.open_batches(100).await.expect("ids");
    assert_eq!(stored.len(), 1, "{stored:?}");
    let first = OperationId::parse(&stored[0]).expect("an id");
    for (id, result) in ids.iter().zip(results) {
        let expected = (*id != first).then(|| IdempotencyState::Running(first.clone()));
        assert_eq!(result, expected);
    }
    let other = IdempotencyClaim { fingerprint: [8; 32], ..claim("b") };
    assert_eq!(store(two, &OperationId::new(), other).await, Some(IdempotencyState::Mismatch));
    let (second, third) = (OperationId::new(), OperationId::new());
    let other = IdempotencyClaim { fingerprint: [8; 32], ..claim("b") };
    let mismatch = store_repeat(two, &second, other, Some(first.clone())).await;
    assert_eq!(mismatch, Some(IdempotencyState::Mismatch), "another body repeats nothing");
    assert_eq!(store_repeat(two, &second, claim("b"), Some(first.clone())).await, None, "the key passes on");
    let late = store_repeat(one, &third, claim("b"), Some(first)).await;
    assert_eq!(late, Some(IdempotencyState::Running(second.clone())), "only one batch repeats the first");
    assert_eq!(store(two, &OperationId::new(), claim("c")).await, None, "another key");
    let of_another = IdempotencyClaim { caller: "shop".into(), ..claim("b") };
    assert_eq!(store(two, &OperationId::new(), of_another).await, None, "another caller");
    one.advance_clock(Duration::from_hours(24 * 90));
    let late = store_repeat(one, &OperationId::new(), claim("b"), Some(second.clone())).await;
    assert_eq!(late, Some(IdempotencyState::Running(second)), "an expired key repeats nothing");
    assert_eq!(store(one, &OperationId::new(), claim("b")).await, None, "it is not kept any more");
}
