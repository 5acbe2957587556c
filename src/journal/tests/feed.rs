//! The feed of changes.

use std::sync::Arc;
use std::time::Duration;

use super::fixtures::test_databases;
use super::samples::{applied_outcome, intent};
use crate::journal::{
    BeginResult, ChangePage, ChangeQuery, ChangeRead, ChangeStart, Intent, Journal, Outcome, Verdict,
};
use crate::metrics::ChangeType;
use crate::record::{Action, OperationState};

const RETENTION: Duration = Duration::from_hours(24 * 7);

fn query() -> ChangeQuery {
    ChangeQuery { systems: vec!["crm".into(), "itsm".into()], collection: None, record: None, limit: 100 }
}

async fn read(store: &Journal, query: ChangeQuery, start: ChangeStart) -> ChangeRead {
    store.changes(&Arc::new(query), start, RETENTION).await.expect("read")
}

async fn page(store: &Journal, query: ChangeQuery, start: ChangeStart) -> ChangePage {
    match read(store, query, start).await {
        ChangeRead::Page(page) => page,
        ChangeRead::Expired(_) => panic!("expired"),
    }
}

fn summarize(page: &ChangePage) -> Vec<(i64, ChangeType, Option<&str>)> {
    page.items.iter().map(|change| (change.seq, change.kind, change.record.as_deref())).collect()
}

async fn write(store: &Journal, intent: Intent, outcome: impl FnOnce(Outcome) -> Outcome) {
    let operation = intent.operation.clone();
    assert_eq!(store.begin(intent).await, Ok(BeginResult::Started));
    store.finish(outcome(applied_outcome(&operation))).await.expect("finished");
}

#[tokio::test]
async fn what_was_applied_is_shown_once_and_in_order() {
    for database in test_databases().await {
        let store = database.open().await;
        let create = Intent { record: None, action: Action::Create, ..intent("-") };
        write(&store, create.clone(), |outcome| Outcome { record: Some("A:1".into()), ..outcome }).await;
        write(&store, intent("A:1"), |outcome| outcome).await;
        write(&store, intent("A:1"), |outcome| Outcome { state: OperationState::NotApplied, ..outcome }).await;
        let lost = Intent { record: None, action: Action::Create, ..intent("-") };
        write(&store, lost, |outcome| Outcome { state: OperationState::Unknown, ..outcome }).await;
        write(&store, Intent { action: Action::Delete, ..intent("A:1") }, |outcome| outcome).await;
        assert_eq!(store.begin(intent("B:1")).await, Ok(BeginResult::Started));
        let all = page(&store, query(), ChangeStart::First).await;
        let expected = [
            (2, ChangeType::Created, Some("A:1")),
            (4, ChangeType::Updated, Some("A:1")),
            (8, ChangeType::Gap, None),
            (10, ChangeType::Deleted, Some("A:1")),
        ];
        assert_eq!(summarize(&all), expected);
        assert_eq!((all.next, all.at_end), (11, true));
        assert_eq!(all.items[1].paths, ["/fields/Email"]);
        let mut start = ChangeStart::First;
        for expected in expected {
            let one = page(&store, ChangeQuery { limit: 1, ..query() }, start).await;
            assert_eq!(summarize(&one), [expected]);
            start = ChangeStart::After(one.next);
        }
        let rest = page(&store, ChangeQuery { limit: 1, ..query() }, start).await;
        assert_eq!((summarize(&rest), rest.next, rest.at_end), (vec![], 11, true));
        let now = page(&store, query(), ChangeStart::Now).await;
        assert_eq!((summarize(&now), now.next, now.at_end), (vec![], 11, true));
    }
}

#[tokio::test]
async fn the_feed_is_filtered_by_system_collection_and_record() {
    for database in test_databases().await {
        let store = database.open().await;
        for (system, record) in [("crm", "A:b:1"), ("crm", "A:b:2"), ("itsm", "A:b:1"), ("crm", "A:1")] {
            write(&store, Intent { system: system.into(), ..intent(record) }, |outcome| outcome).await;
        }
        let seqs = async |query: ChangeQuery| {
            let page = page(&store, query, ChangeStart::First).await;
            page.items.iter().map(|change| change.seq).collect::<Vec<_>>()
        };
        let crm = || ChangeQuery { systems: vec!["crm".into()], ..query() };
        assert_eq!(seqs(crm()).await, [2, 4, 8]);
        assert_eq!(seqs(ChangeQuery { collection: Some("A:b".into()), ..crm() }).await, [2, 4]);
        assert_eq!(seqs(ChangeQuery { collection: Some("A".into()), ..crm() }).await, [8]);
        assert_eq!(seqs(ChangeQuery { record: Some("A:b:1".into()), ..crm() }).await, [2]);
        assert_eq!(seqs(ChangeQuery { record: Some("A:b:1".into()), ..query() }).await, [2, 6]);
        assert_eq!(seqs(ChangeQuery { systems: Vec::new(), ..query() }).await, Vec::<i64>::new());
    }
}

#[tokio::test]
async fn a_cursor_older_than_the_retention_is_expired() {
    for database in test_databases().await {
        let store = database.open().await;
        write(&store, intent("A:1"), |outcome| outcome).await;
        let old = page(&store, query(), ChangeStart::First).await;
        assert_eq!(old.items.len(), 1);
        store.advance_clock(RETENTION + Duration::from_mins(1));
        assert!(page(&store, query(), ChangeStart::First).await.items.is_empty());
        assert_eq!(read(&store, query(), ChangeStart::After(0)).await, ChangeRead::Expired(2));
        assert!(page(&store, query(), ChangeStart::After(old.next)).await.at_end, "nothing was missed after it");
        write(&store, intent("A:2"), |outcome| outcome).await;
        assert_eq!(
            summarize(&page(&store, query(), ChangeStart::After(2)).await),
            [(4, ChangeType::Updated, Some("A:2"))]
        );
        assert_eq!(read(&store, query(), ChangeStart::After(1)).await, ChangeRead::Expired(4));
    }
}

#[tokio::test]
async fn events_that_were_cut_are_expired() {
    for database in test_databases().await {
        let store = database.open().await;
        write(&store, intent("A:1"), |outcome| outcome).await;
        write(&store, intent("A:2"), |outcome| outcome).await;
        assert_eq!(page(&store, query(), ChangeStart::First).await.items.len(), 2);
        store.cut(2, [0; 32]).await.expect("cut");
        assert_eq!(read(&store, query(), ChangeStart::After(1)).await, ChangeRead::Expired(5));
        assert_eq!(
            summarize(&page(&store, query(), ChangeStart::After(2)).await),
            [(4, ChangeType::Updated, Some("A:2"))]
        );
    }
}

#[tokio::test]
async fn a_verdict_is_shown_as_the_write_would_have_been() {
    for database in test_databases().await {
        let store = database.open().await;
        let lost = intent("A:1");
        write(&store, lost.clone(), |outcome| Outcome { state: OperationState::Unknown, etag: None, ..outcome }).await;
        let verdict = Verdict {
            operation: lost.operation,
            state: OperationState::Applied,
            caller: "anna".into(),
            request_id: "r".into(),
            is_by_hand: true,
            note: None,
            record: None,
            etag: None,
            warnings: Vec::new(),
            replay_json: None,
            min_age: Duration::ZERO,
        };
        store.record_verdict(verdict).await.expect("recorded");
        let all = page(&store, query(), ChangeStart::First).await;
        assert_eq!(summarize(&all), [(2, ChangeType::Gap, Some("A:1")), (3, ChangeType::Updated, Some("A:1"))]);
        assert_eq!(all.items[1].paths, ["/fields/Email"]);
    }
}

#[tokio::test]
async fn who_waits_learns_of_a_new_entry_also_of_another_replica() {
    for database in test_databases().await {
        let store = database.open().await;
        let writer = if database.is_shared { database.open().await } else { store.clone() };
        let head = page(&store, query(), ChangeStart::Now).await.next;
        let waiting = {
            let store = store.clone();
            tokio::spawn(async move { store.wait_for_entry_after(head).await })
        };
        write(&writer, intent("A:1"), |outcome| outcome).await;
        tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("woken").expect("no panic");
        let new = page(&store, query(), ChangeStart::After(head)).await;
        assert!(new.next > head);
    }
}
