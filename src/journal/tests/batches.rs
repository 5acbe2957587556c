//! The rows of asynchronous batches.

use std::collections::HashMap;

use super::fixtures::test_databases;
use super::samples::intent_with_key;
use crate::journal::{BatchRow, BeginResult};

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
        let claimed = async |caller: &str, prefix: &str, keys: &[&str]| {
            let keys = keys.iter().map(|&key| key.to_owned()).collect();
            store.claimed_keys(caller, prefix, keys).await.expect("keys")
        };
        assert!(claimed("billing", "batch k ", &["batch k a"]).await.is_empty());
        let intent = intent_with_key("A:1", "batch k a");
        let expected = HashMap::from([("batch k a".to_owned(), intent.operation.clone())]);
        assert_eq!(store.begin(intent).await, Ok(BeginResult::Started));
        assert_eq!(claimed("billing", "batch k ", &[]).await, expected);
        assert_eq!(claimed("billing", "batch x ", &["other", "batch k a"]).await, expected);
        assert!(claimed("billing", "batch x ", &["other"]).await.is_empty());
        assert!(claimed("other", "batch k ", &["batch k a"]).await.is_empty());
    }
}
