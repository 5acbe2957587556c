//! The ledger's lists and its hash chain.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AnyConnection, Connection as _, Row as _};

use super::fixtures::{TestDatabase, test_databases};
use super::samples::{all_entries_query, applied_outcome, intent};
use crate::store::ledger_block::{LedgerBlock, PendingEntry};
use crate::store::{BeginResult, Intent, LedgerQuery, Page, verify_ledger};

#[tokio::test]
async fn the_ledger_is_filtered_by_system_record_caller_and_time_in_pages() {
    for database in test_databases().await {
        let store = database.open().await;
        for index in 0..6 {
            let write = Intent {
                system: if index == 5 { "itsm".into() } else { "crm".into() },
                caller: if index == 2 { "shop".into() } else { "billing".into() },
                ..intent(if index < 3 { "A:1" } else { "A:2" })
            };
            store.begin(write).await.expect("begun");
            store.advance_clock(Duration::from_mins(1));
        }
        let list = async |query: LedgerQuery| {
            let page = store.ledger(query).await.expect("a page");
            (page.items.iter().map(|entry| entry.seq).collect::<Vec<_>>(), page.next)
        };
        assert_eq!(list(LedgerQuery { limit: 4, ..all_entries_query() }).await, (vec![1, 2, 3, 4], Some(4)));
        assert_eq!(list(LedgerQuery { after_seq: Some(4), ..all_entries_query() }).await, (vec![5, 6], None));
        assert_eq!(list(LedgerQuery { systems: vec!["itsm".into()], ..all_entries_query() }).await, (vec![6], None));
        assert_eq!(
            list(LedgerQuery { record: Some("A:1".into()), ..all_entries_query() }).await,
            (vec![1, 2, 3], None)
        );
        assert_eq!(list(LedgerQuery { caller: Some("shop".into()), ..all_entries_query() }).await, (vec![3], None));
        let entries = store.ledger(all_entries_query()).await.expect("read").items;
        let time = |seq: usize| entries[seq - 1].at.parse::<jiff::Timestamp>().ok();
        assert_eq!(
            list(LedgerQuery { since: time(3), until: time(5), ..all_entries_query() }).await,
            (vec![3, 4], None)
        );
        assert_eq!(
            list(LedgerQuery { since: Some(jiff::Timestamp::MAX), ..all_entries_query() }).await,
            (vec![], None)
        );
        assert_eq!(list(LedgerQuery { systems: vec![], ..all_entries_query() }).await, (vec![], None));
    }
}

#[tokio::test]
async fn a_search_without_matches_returns_short_pages_until_the_end() {
    for database in test_databases().await {
        let store = database.open().await;
        for _ in 0..130 {
            store.begin(intent("A:1")).await.expect("begun");
        }
        let mut query =
            LedgerQuery { record: Some("A:1".into()), caller: Some("nobody".into()), ..all_entries_query() };
        let short = store.ledger(query.clone()).await.expect("a page");
        assert!(short.items.is_empty() && short.next.is_some_and(|next| (100..130).contains(&next)), "{short:?}");
        query.after_seq = short.next;
        assert_eq!(store.ledger(query).await.expect("a page"), Page { items: vec![], next: None });
        let query = LedgerQuery { record: Some("A:1".into()), limit: 1000, ..all_entries_query() };
        let first = store.ledger(query.clone()).await.expect("a page");
        let rest = store.ledger(LedgerQuery { after_seq: first.next, ..query }).await.expect("a page");
        let all: Vec<_> = first.items.iter().chain(&rest.items).map(|entry| entry.seq).collect();
        assert_eq!((all, rest.next), ((1..=130).collect(), None), "each once");
    }
}

#[tokio::test]
async fn replicas_that_write_at_once_make_one_chain() {
    for database in test_databases().await.into_iter().filter(|database| database.is_shared) {
        let (one, two) = (database.open().await, database.open().await);
        let writes = (0..60).map(|index| {
            let store = if index % 2 == 0 { one.clone() } else { two.clone() };
            async move {
                let write = intent(&format!("A:{index}"));
                let id = write.operation.clone();
                assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
                store.finish(applied_outcome(&id)).await.expect("finished");
            }
        });
        futures_util::future::join_all(writes).await;
        let verified = one.verify(None).await.expect("verified");
        assert_eq!((verified.entries, verified.first_error), (120, None));
    }
}

#[tokio::test]
async fn an_earlier_head_is_found_and_a_truncated_or_foreign_one_is_not() {
    for database in test_databases().await {
        let store = database.open().await;
        store.begin(intent("A:1")).await.expect("begun");
        let earlier_head = store.verify(None).await.expect("verified").head;
        store.begin(intent("A:1")).await.expect("begun");
        let known = store.verify(Some(&earlier_head)).await.expect("verified");
        assert!(known.is_sound() && known.head_found == Some(true) && known.head != earlier_head);
        let foreign = store.verify(Some(&"f".repeat(64))).await.expect("verified");
        assert!(!foreign.is_sound() && foreign.first_error.is_none());
        assert_eq!(verify_ledger(&database.url, Some(&earlier_head)).await, Ok(known), "beside the running store");
        database.execute("DELETE FROM ledger WHERE first_seq = 2").await;
        let cut = store.verify(None).await.expect("verified");
        assert_eq!(cut.first_error.map(|error| error.seq), Some(2));
        database.execute(&format!("UPDATE head SET seq = 1, hash = '{earlier_head}'")).await;
        assert!(store.verify(None).await.expect("verified").is_sound(), "only an earlier head reveals such a cut");
    }
}

/// Changes every column of every block, one place at a time, and verifies each time.
async fn assert_each_column_change_is_detected(database: &TestDatabase) {
    sqlx::any::install_default_drivers();
    let url = database.url.replace(' ', "%20");
    let mut connection = AnyConnection::connect(&url).await.expect("a connection");
    let rows = sqlx::query("SELECT first_seq, lines, prev FROM ledger ORDER BY first_seq").fetch_all(&mut connection);
    for row in rows.await.expect("rows") {
        let first_seq: i64 = row.get(0);
        for (column, text) in [("lines", row.get::<String, _>(1)), ("prev", row.get::<String, _>(2))] {
            let step = (text.len() / 24).max(1);
            for at in (0..text.len()).step_by(step) {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
                let changed = String::from_utf8(bytes).expect("ASCII");
                let set = format!("UPDATE ledger SET {column} = $1 WHERE first_seq = $2");
                let update = || sqlx::query(sqlx::AssertSqlSafe(set.clone()));
                update().bind(changed).bind(first_seq).execute(&mut connection).await.expect("changed");
                let found = verify_ledger(&database.url, None).await.expect("verified").first_error;
                let line = i64::try_from(text[..at].matches('\n').count()).expect("few lines");
                assert_eq!(found.map(|error| error.seq), Some(first_seq + line), "{column} {at}");
                update().bind(text.as_str()).bind(first_seq).execute(&mut connection).await.expect("restored");
            }
        }
        let index_changes = [
            (format!("UPDATE ledger SET at = at + 1 WHERE first_seq = {first_seq}"), "UPDATE ledger SET at = at - 1"),
            (
                format!("UPDATE ledger_record SET record = record || 'x' WHERE first_seq = {first_seq}"),
                "UPDATE ledger_record SET record = substr(record, 1, length(record) - 1)",
            ),
        ];
        for (change, revert) in index_changes {
            if database.execute(&change).await == 0 {
                continue;
            }
            let found = verify_ledger(&database.url, None).await.expect("verified").first_error;
            assert_eq!(found.map(|error| error.seq), Some(first_seq), "{change}");
            database.execute(&format!("{revert} WHERE first_seq = {first_seq}")).await;
        }
    }
    assert!(verify_ledger(&database.url, None).await.expect("verified").is_sound());
}

#[tokio::test]
async fn a_foreign_entry_is_detected_even_if_its_hash_matches() {
    for database in test_databases().await {
        let store = database.open().await;
        store.begin(intent("A:1")).await.expect("begun");
        let first = store.ledger(all_entries_query()).await.expect("read").items.pop().expect("an entry");
        let at = first.at.parse::<jiff::Timestamp>().expect("a time").as_millisecond();
        let forged = PendingEntry { seq: 2, at, intent: Arc::new(intent("A:1")), outcome_ref: None };
        let lines = LedgerBlock::from_entries(&[forged], &first.hash).expect("a block").lines;
        database
            .execute(&format!(
                "INSERT INTO ledger (first_seq, at, prev, lines) SELECT 2, at, '{}', '{lines}' FROM ledger;
                 INSERT INTO ledger_record (system, record, first_seq) SELECT system, record, 2 FROM ledger_record",
                first.hash
            ))
            .await;
        let found = store.verify(None).await.expect("verified").first_error;
        assert_eq!(found.map(|error| error.seq), Some(2));
    }
}

#[tokio::test]
async fn a_changed_entry_is_detected_within_a_block_of_several() {
    for database in test_databases().await {
        let store = database.open().await;
        let writes: Vec<_> = (0..4).map(|index| intent(&format!("A:{index}"))).collect();
        let ids: Vec<_> = writes.iter().map(|write| write.operation.clone()).collect();
        let begun = futures_util::future::join_all(writes.into_iter().map(|write| store.begin(write))).await;
        assert!(begun.iter().all(|one| *one == Ok(BeginResult::Started)));
        futures_util::future::join_all(ids.iter().map(|id| store.finish(applied_outcome(id)))).await;
        let entries = store.ledger(all_entries_query()).await.expect("read").items;
        assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
        assert_each_column_change_is_detected(&database).await;
    }
}

#[tokio::test]
async fn a_changed_entry_is_detected_and_named() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        store.finish(applied_outcome(&id)).await.expect("finished");
        assert_each_column_change_is_detected(&database).await;
    }
}
