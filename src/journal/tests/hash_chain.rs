//! The ledger's lists and its hash chain.

use std::time::Duration;

use super::fixtures::{TestDatabase, test_databases};
use super::samples::{all_entries_query, applied_outcome, intent};
use crate::journal::{BeginResult, Intent, LedgerQuery, Page, verify_ledger};

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
        let verified = store.verify(None).await.expect("verified");
        let known = store.verify(Some(&earlier_head)).await.expect("verified");
        assert!(known.is_sound() && known.head_found == Some(true) && known.head != earlier_head);
        let foreign = store.verify(Some(&"f".repeat(64))).await.expect("verified");
        assert!(!foreign.is_sound() && foreign.first_error.is_none());
        assert_eq!(verify_ledger(&database.url, Some(&earlier_head)).await, Ok(known), "beside the running store");
        database.execute("DELETE FROM ledger WHERE seq = 2").await;
        assert!(journal_is_sound(&database).await, "only an earlier head reveals such a cut");
        let cut = verify_ledger(&database.url, Some(&verified.head)).await.expect("verified");
        assert_eq!((cut.head_found, cut.is_sound(), cut.entries), (Some(false), false, 1));
    }
}

async fn journal_is_sound(database: &TestDatabase) -> bool {
    verify_ledger(&database.url, None).await.expect("verified").is_sound()
}

/// Changes every column of every row, one place at a time, and verifies each time.
async fn assert_each_column_change_is_detected(database: &TestDatabase, entries: i64) {
    for seq in 1..=entries {
        let entry = database.query(&format!("SELECT entry FROM ledger WHERE seq = {seq}")).await;
        for at in (0..entry.len()).step_by((entry.len() / 24).max(1)) {
            let mut bytes = entry.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert_detected(database, seq, "entry", &format!("'{changed}'"), &format!("'{entry}'")).await;
        }
        let record = database.query(&format!("SELECT coalesce(record, '-') FROM ledger WHERE seq = {seq}")).await;
        let intent = database.query(&format!("SELECT coalesce(intent, 0) FROM ledger WHERE seq = {seq}")).await;
        let intent = if intent == "0" { "NULL".to_owned() } else { intent };
        assert_detected(database, seq, "at", "at + 1", "at - 1").await;
        assert_detected(database, seq, "record", "'x'", &format!("'{record}'")).await;
        assert_detected(database, seq, "record", "NULL", &format!("'{record}'")).await;
        assert_detected(database, seq, "system", "'x'", "'crm'").await;
        assert_detected(database, seq, "intent", "77", &intent).await;
        let zeros = if database.is_shared { "'\\x00'::bytea" } else { "x'00'" };
        database.execute(&format!("CREATE TABLE kept AS SELECT seq, hash FROM ledger WHERE seq = {seq}")).await;
        let kept = "(SELECT kept.hash FROM kept)";
        assert_detected(database, seq, "hash", zeros, kept).await;
        database.execute("DROP TABLE kept").await;
    }
    assert!(journal_is_sound(database).await);
}

async fn assert_detected(database: &TestDatabase, seq: i64, column: &str, changed: &str, original: &str) {
    let set = async |value: &str| {
        database.execute(&format!("UPDATE ledger SET {column} = {value} WHERE seq = {seq}")).await;
    };
    set(changed).await;
    let found = verify_ledger(&database.url, None).await.expect("verified").first_error;
    assert_eq!(found.map(|error| error.seq), Some(seq), "{column} = {changed}");
    set(original).await;
}

#[tokio::test]
async fn a_changed_entry_is_detected_and_named() {
    for database in test_databases().await {
        let journal = database.open().await;
        let writes: Vec<_> = (0..2).map(|index| intent(&format!("A:{index}"))).collect();
        for write in &writes {
            assert_eq!(journal.begin(write.clone()).await, Ok(BeginResult::Started));
        }
        journal.finish(applied_outcome(&writes[0].operation)).await.expect("finished");
        assert_each_column_change_is_detected(&database, 3).await;
    }
}
