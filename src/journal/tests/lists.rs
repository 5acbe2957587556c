//! Lists of operations and of entries: filters, orders, pages and times.

use std::time::Duration;

use jiff::Timestamp;

use super::fixtures::{TestDatabase, test_databases};
use super::samples::{all_entries_query, applied_outcome, intent, unknown_outcome, verdict};
use crate::journal::{Intent, Journal, LedgerQuery, OperationQuery, Outcome, SortOrder, Verdict};
use crate::record::{Action, OperationId, OperationState};

fn all_operations() -> OperationQuery {
    OperationQuery { systems: vec!["crm".into(), "itsm".into()], limit: 100, ..OperationQuery::default() }
}

/// All operations of a query, read in pages of `step`.
async fn in_pages(journal: &Journal, query: &OperationQuery, step: usize) -> Vec<OperationId> {
    let mut query = OperationQuery { limit: step, ..query.clone() };
    let mut listed = Vec::new();
    loop {
        let page = journal.operations(query.clone()).await.expect("a page");
        assert!(page.items.len() <= step);
        listed.extend(page.items.into_iter().map(|operation| operation.id));
        query.after = page.next;
        if query.after.is_none() {
            return listed;
        }
    }
}

async fn begin(journal: &Journal, intent: Intent) -> OperationId {
    let id = intent.operation.clone();
    journal.begin(intent).await.expect("begun");
    id
}

async fn finish(journal: &Journal, operation: &OperationId, state: OperationState) {
    journal.finish(Outcome { state, ..applied_outcome(operation) }).await.expect("finished");
}

#[tokio::test]
async fn operations_are_filtered_and_paged_in_both_orders() {
    for database in test_databases().await {
        let journal = database.open().await;
        let mut ids = Vec::new();
        for index in 0..7 {
            let write = Intent {
                system: if index == 3 { "itsm".into() } else { "crm".into() },
                caller: if index == 2 { "shop".into() } else { "billing".into() },
                action: if index == 4 { Action::Delete } else { Action::Update },
                ..intent(if index < 5 { "A:1" } else { "A:2" })
            };
            ids.push(begin(&journal, write).await);
        }
        finish(&journal, &ids[0], OperationState::Applied).await;
        finish(&journal, &ids[1], OperationState::NotApplied).await;
        finish(&journal, &ids[4], OperationState::Unknown).await;
        let all = all_operations();
        let record = |record: &str| OperationQuery { record: Some(record.into()), ..all.clone() };
        let state = |state| OperationQuery { state: Some(state), ..all.clone() };
        for (query, expected) in [
            (all.clone(), &[0, 1, 2, 3, 4, 5, 6][..]),
            (OperationQuery { systems: vec!["crm".into()], ..all.clone() }, &[0, 1, 2, 4, 5, 6]),
            (OperationQuery { systems: vec![], ..all.clone() }, &[]),
            (record("A:1"), &[0, 1, 2, 3, 4]),
            (record("A:2"), &[5, 6]),
            (record("A:3"), &[]),
            (state(OperationState::Applied), &[0]),
            (state(OperationState::NotApplied), &[1]),
            (state(OperationState::Unknown), &[4]),
            (state(OperationState::Running), &[2, 3, 5, 6]),
            (OperationQuery { state: Some(OperationState::Running), ..record("A:1") }, &[2, 3]),
            (OperationQuery { caller: Some("shop".into()), ..all.clone() }, &[2]),
            (OperationQuery { action: Some(Action::Delete), ..all.clone() }, &[4]),
        ] {
            let mut expected: Vec<_> = expected.iter().map(|index: &usize| ids[*index].clone()).collect();
            for order in [SortOrder::Ascending, SortOrder::Descending] {
                for step in [1, 3, 100] {
                    let query = OperationQuery { order, ..query.clone() };
                    assert_eq!(in_pages(&journal, &query, step).await, expected, "{query:?}");
                }
                expected.reverse();
            }
        }
    }
}

#[tokio::test]
async fn a_create_is_listed_under_the_record_that_it_made() {
    for database in test_databases().await {
        let journal = database.open().await;
        let create = || Intent { record: None, action: Action::Create, ..intent("") };
        let (made, lost) = (begin(&journal, create()).await, begin(&journal, create()).await);
        journal.finish(Outcome { record: Some("A:1".into()), ..applied_outcome(&made) }).await.expect("finished");
        finish(&journal, &lost, OperationState::Unknown).await;
        let update = begin(&journal, intent("A:1")).await;
        let of_record = OperationQuery { record: Some("A:1".into()), ..all_operations() };
        assert_eq!(in_pages(&journal, &of_record, 1).await, [made.clone(), update.clone()]);
        assert_eq!(in_pages(&journal, &all_operations(), 1).await, [made, lost, update]);
    }
}

#[tokio::test]
async fn a_search_without_matches_is_short_pages_in_both_orders() {
    for database in test_databases().await {
        let journal = database.open().await;
        let mut ids = Vec::new();
        for _ in 0..130 {
            ids.push(begin(&journal, intent("A:1")).await);
        }
        for order in [SortOrder::Ascending, SortOrder::Descending] {
            let query = OperationQuery { caller: Some("nobody".into()), order, ..all_operations() };
            let page = journal.operations(query.clone()).await.expect("a page");
            assert!(page.items.is_empty() && page.next.is_some());
            assert_eq!(in_pages(&journal, &query, 10).await, []);
        }
        let newest = OperationQuery { order: SortOrder::Descending, limit: 2, ..all_operations() };
        let page = journal.operations(newest).await.expect("a page");
        assert_eq!(page.items.into_iter().map(|one| one.id).collect::<Vec<_>>(), [ids[129].clone(), ids[128].clone()]);
    }
}

#[tokio::test]
async fn entries_are_filtered_by_operation_problem_and_record() {
    for database in test_databases().await {
        let journal = database.open().await;
        let (one, two) = (begin(&journal, intent("A:1")).await, begin(&journal, intent("A:2")).await);
        let refused = Outcome { problem_name: Some("rejected".into()), ..applied_outcome(&one) };
        journal.finish(refused).await.expect("finished");
        let list = async |query: LedgerQuery| {
            let entries = journal.ledger(query).await.expect("a page").items;
            entries.into_iter().map(|entry| entry.seq).collect::<Vec<_>>()
        };
        let all = all_entries_query;
        assert_eq!(list(LedgerQuery { operation: Some(one.clone()), ..all() }).await, [1, 3]);
        assert_eq!(list(LedgerQuery { operation: Some(two), ..all() }).await, [2]);
        assert_eq!(list(LedgerQuery { operation: Some(OperationId::new()), ..all() }).await, [] as [i64; 0]);
        assert_eq!(list(LedgerQuery { problem: Some("rejected".into()), ..all() }).await, [3]);
        let newest = LedgerQuery { order: SortOrder::Descending, operation: Some(one), ..all() };
        assert_eq!(list(newest).await, [3, 1]);
        let of_record = LedgerQuery { order: SortOrder::Descending, record: Some("A:1".into()), ..all() };
        assert_eq!(list(of_record).await, [3, 1]);
    }
}

/// Entries whose times go up, back by an hour, and up again.
async fn with_a_clock_step(database: &TestDatabase) -> (Journal, Vec<Timestamp>) {
    let journal = database.open().await;
    for _ in 0..40 {
        begin(&journal, intent("A:1")).await;
        journal.advance_clock(Duration::from_mins(1));
    }
    journal.set_back_clock(Duration::from_mins(20));
    for _ in 0..40 {
        begin(&journal, intent("A:1")).await;
        journal.advance_clock(Duration::from_mins(1));
    }
    let entries = journal.ledger(all_entries_query()).await.expect("a page").items;
    (journal, entries.iter().map(|entry| entry.at.parse().expect("a time")).collect())
}

#[tokio::test]
async fn times_are_found_exactly_although_the_clock_went_back() {
    for database in test_databases().await {
        let (journal, times) = with_a_clock_step(&database).await;
        assert_eq!(times.len(), 80);
        assert!(times[40] < times[39], "the time is as the clock shows it");
        let bounds = [
            None,
            Some(times[0]),
            Some(times[19]),
            Some(times[30]),
            Some(times[39]),
            Some(times[79]),
            Some(Timestamp::MAX),
        ];
        for since in bounds {
            for until in bounds {
                let is_within = |time: &Timestamp| {
                    since.is_none_or(|since| *time >= since) && until.is_none_or(|until| *time < until)
                };
                let expected: Vec<_> = times.iter().copied().filter(is_within).collect();
                let found = journal.ledger(LedgerQuery { since, until, ..all_entries_query() }).await.expect("a page");
                let found: Vec<Timestamp> = found.items.iter().map(|entry| entry.at.parse().expect("a time")).collect();
                assert_eq!(found, expected, "{since:?} {until:?}");
                let query = OperationQuery { since, until, ..all_operations() };
                assert_eq!(in_pages(&journal, &query, 7).await.len(), expected.len(), "{since:?} {until:?}");
                let query = OperationQuery { record: Some("A:1".into()), ..query };
                assert_eq!(in_pages(&journal, &query, 100).await.len(), expected.len(), "{since:?} {until:?}");
            }
        }
        assert!(journal.verify(None).await.expect("verified").is_sound());
    }
}

#[tokio::test]
async fn creates_are_listed_that_may_have_made_an_unnamed_record() {
    for database in test_databases().await {
        let journal = database.open().await;
        let create = || Intent { record: None, action: Action::Create, ..intent("") };
        let old = begin(&journal, create()).await;
        journal.finish(unknown_outcome(&old)).await.expect("finished");
        journal.advance_clock(Duration::from_mins(1));
        let since = Timestamp::now().as_millisecond() + 50_000;
        let [running, unknown, by_hand, refused, found] =
            futures_util::future::join_all((0..5).map(|_| begin(&journal, create()))).await.try_into().expect("five");
        begin(&journal, Intent { system: "itsm".into(), ..create() }).await;
        begin(&journal, intent("A:1")).await;
        for id in [&unknown, &by_hand, &refused, &found] {
            journal.finish(unknown_outcome(id)).await.expect("finished");
        }
        journal.record_verdict(verdict(&by_hand, OperationState::Applied)).await.expect("resolved");
        journal.record_verdict(verdict(&refused, OperationState::NotApplied)).await.expect("resolved");
        let probed = Verdict { record: Some("A:9".into()), ..verdict(&found, OperationState::Applied) };
        journal.record_verdict(probed).await.expect("resolved");
        let named = Outcome { record: Some("A:8".into()), ..applied_outcome(&begin(&journal, create()).await) };
        journal.finish(named).await.expect("finished");
        let mut listed = journal.unresolved_creates("crm", since, 10).await.expect("a list");
        let by_id = |one: &(OperationId, Option<String>), other: &(OperationId, Option<String>)| {
            one.0.as_str().cmp(other.0.as_str())
        };
        listed.sort_by(by_id);
        let payload = Some("{\"intent\":1}".to_owned());
        let mut expected = [(running, payload.clone()), (unknown, payload.clone()), (by_hand, payload)];
        expected.sort_by(by_id);
        assert_eq!(listed, expected);
        assert_eq!(journal.unresolved_creates("crm", since, 2).await.expect("a list").len(), 2);
        assert_eq!(journal.unresolved_creates("crm", 0, 10).await.expect("a list").len(), 4);
    }
}
