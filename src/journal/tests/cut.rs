//! The ledger as a file, and its cut.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::fixtures::{TestDatabase, sqlite_database, test_databases};
use super::samples::{all_entries_query, applied_outcome, intent, unknown_outcome, verdict};
use crate::journal::{
    BeginResult, Durability, Journal, LedgerEvent, LedgerFileError, LedgerQuery, OperationQuery, VerdictResult,
    cut_ledger, export_ledger, verify_ledger,
};
use crate::record::OperationState;

/// A file of an export that is removed at the end.
struct ExportPath(PathBuf);

impl ExportPath {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("export-{}.jsonl", uuid::Uuid::now_v7())))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).expect("a file")
    }
}

impl Drop for ExportPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn write(store: &Journal, record: &str) {
    let write = intent(record);
    let id = write.operation.clone();
    assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
    store.finish(applied_outcome(&id)).await.expect("finished");
}

async fn cut(database: &TestDatabase, until: Timestamp, file: &ExportPath) -> Result<Option<i64>, LedgerFileError> {
    let cut = cut_ledger(database.settings(Durability::Commit), until, &file.0).await?;
    Ok(cut.map(|(seq, _)| seq))
}

async fn seqs(store: &Journal) -> Vec<i64> {
    let query = LedgerQuery { includes_cuts: true, ..all_entries_query() };
    store.ledger(query).await.expect("read").items.iter().map(|entry| entry.seq).collect()
}

#[tokio::test]
async fn what_was_exported_is_cut_and_the_rest_still_verifies() {
    for database in test_databases().await {
        let (store, file) = (database.open().await, ExportPath::new());
        write(&store, "A:1").await;
        write(&store, "A:2").await;
        let head = export_ledger(&database.url, Timestamp::MAX, &file.0).await.expect("exported");
        assert_eq!((head.seq, file.text().lines().count()), (4, 5));
        write(&store, "A:3").await;
        store.close(Duration::from_secs(10)).await;
        assert_eq!(cut(&database, Timestamp::MAX, &file).await.expect("cut"), Some(4));
        let store = database.open().await;
        assert_eq!(seqs(&store).await, [5, 6, 7]);
        let entries =
            store.ledger(LedgerQuery { includes_cuts: true, ..all_entries_query() }).await.expect("read").items;
        assert_eq!((&entries[0].prev, entries[2].event), (&head.hash, LedgerEvent::Cut));
        let noted = entries[2].cut.as_ref().expect("a cut");
        assert_eq!((noted.seq, &noted.hash), (4, &head.hash));
        write(&store, "A:4").await;
        let verified = verify_ledger(&database.url, Some(&head.hash)).await.expect("verified");
        assert!(verified.is_sound() && verified.entries == 9, "{verified:?}");
        let range = store.verify_range(1, 2).await.expect("verified");
        assert_eq!((range.from, range.to, range.first_error), (5, 6, None));
        let beyond = store.verify_range(900, 100).await.expect("verified");
        assert_eq!((beyond.from, beyond.to, beyond.first_error), (900, 899, None));
        assert_eq!(beyond.head, verified.head);
        let rest = store.verify_range(7, 100).await.expect("verified");
        assert_eq!((rest.from, rest.to, rest.head), (7, 9, verified.head));
        let query = OperationQuery { systems: vec!["crm".into()], limit: 10, ..OperationQuery::default() };
        assert_eq!(store.operations(query).await.expect("read").items.len(), 2, "the operations of what is left");
    }
}

#[tokio::test]
async fn each_cut_continues_where_the_last_one_ended() {
    for database in test_databases().await {
        for round in 0..3 {
            let (store, file) = (database.open().await, ExportPath::new());
            write(&store, "A:1").await;
            store.close(Duration::from_secs(10)).await;
            let head = export_ledger(&database.url, Timestamp::MAX, &file.0).await.expect("exported");
            assert_eq!(cut(&database, Timestamp::MAX, &file).await.expect("cut"), Some(head.seq), "round {round}");
            assert!(verify_ledger(&database.url, None).await.expect("verified").is_sound());
            assert_eq!(cut(&database, Timestamp::MAX, &file).await.expect("nothing"), None, "nothing is left of it");
        }
        assert_eq!(database.query("SELECT count(*) FROM ledger").await, "1");
    }
}

#[tokio::test]
async fn a_cut_takes_nothing_that_is_later_or_still_needed() {
    for database in test_databases().await {
        let (store, file) = (database.open().await, ExportPath::new());
        write(&store, "A:1").await;
        store.advance_clock(Duration::from_mins(1));
        let until = store.ledger(all_entries_query()).await.expect("read").items[1].at.parse::<Timestamp>();
        let until = until.expect("a time") + Duration::from_secs(30);
        let running = intent("A:2");
        assert_eq!(store.begin(running.clone()).await, Ok(BeginResult::Started));
        write(&store, "A:3").await;
        store.close(Duration::from_secs(10)).await;
        export_ledger(&database.url, Timestamp::MAX, &file.0).await.expect("exported");
        assert_eq!(cut(&database, until, &file).await.expect("cut"), Some(2), "only what is before the time");
        assert_eq!(cut(&database, Timestamp::MAX, &file).await.expect("nothing"), None, "the next entry is needed");
        let store = database.open().await;
        assert!(store.operation(&running.operation).await.expect("read").is_some());
        let (begun, ended) = (store.ledger_head().await.expect("read").seq, seqs(&store).await);
        assert_eq!((begun, ended), (6, vec![3, 4, 5, 6]));
    }
}

#[tokio::test]
async fn a_cut_keeps_what_ended_unknown_until_its_outcome_is_known() {
    for database in test_databases().await {
        let (store, file) = (database.open().await, ExportPath::new());
        write(&store, "A:1").await;
        let lost = intent("A:2");
        assert_eq!(store.begin(lost.clone()).await, Ok(BeginResult::Started));
        store.finish(unknown_outcome(&lost.operation)).await.expect("finished");
        write(&store, "A:3").await;
        store.close(Duration::from_secs(10)).await;
        export_ledger(&database.url, Timestamp::MAX, &file.0).await.expect("exported");
        assert_eq!(cut(&database, Timestamp::MAX, &file).await.expect("cut"), Some(2));
        let store = database.open().await;
        assert!(store.recovery_of(&lost.operation).await.expect("read").is_some());
        let applied = verdict(&lost.operation, OperationState::Applied);
        assert_eq!(store.record_verdict(applied).await, Ok(VerdictResult::Recorded));
        store.close(Duration::from_secs(10)).await;
        assert_eq!(cut(&database, Timestamp::MAX, &file).await.expect("cut"), Some(6));
    }
}

#[tokio::test]
async fn a_file_that_is_not_an_export_of_this_ledger_cuts_nothing() {
    for database in test_databases().await {
        let (store, file) = (database.open().await, ExportPath::new());
        write(&store, "A:1").await;
        write(&store, "A:2").await;
        store.close(Duration::from_secs(10)).await;
        export_ledger(&database.url, Timestamp::MAX, &file.0).await.expect("exported");
        assert!(matches!(
            export_ledger(&database.url, Timestamp::MAX, &file.0).await,
            Err(LedgerFileError::File(error)) if error.kind() == std::io::ErrorKind::AlreadyExists
        ));
        let text = file.text();
        let lines: Vec<&str> = text.lines().collect();
        for (wrong, line) in [
            (lines[..4].join("\n"), 5),
            (lines[1..].join("\n"), 1),
            (text.replacen("billing", "shopper", 1), 1),
            ([lines[0], lines[2], lines[3], lines[4]].join("\n"), 2),
            ([lines[0], lines[1], lines[4]].join("\n"), 3),
            ("{}".to_owned(), 1),
            (String::new(), 1),
        ] {
            std::fs::write(&file.0, wrong).expect("written");
            let refused = cut(&database, Timestamp::MAX, &file).await;
            assert!(
                matches!(refused, Err(LedgerFileError::Foreign { line: found, .. }) if found == line),
                "{refused:?}"
            );
        }
        assert_eq!(database.query("SELECT count(*) FROM ledger").await, "4");
        std::fs::write(&file.0, text).expect("written");
        database.execute("UPDATE ledger SET system = 'x' WHERE seq = 2").await;
        assert!(matches!(cut(&database, Timestamp::MAX, &file).await, Err(LedgerFileError::Broken { seq: 2, .. })));
    }
}

#[tokio::test]
async fn a_cut_without_its_entry_in_the_chain_is_detected() {
    for database in test_databases().await {
        let store = database.open().await;
        write(&store, "A:1").await;
        write(&store, "A:2").await;
        let cut = "INSERT INTO ledger_cut (seq, hash, marker) SELECT seq, hash, 4 FROM ledger WHERE seq = 2;
                   DELETE FROM ledger WHERE seq <= 2";
        database.execute(cut).await;
        let report = verify_ledger(&database.url, None).await.expect("verified");
        assert_eq!(report.first_error.map(|error| error.seq), Some(1));
        let range = store.verify_range(1, 10).await.expect("verified");
        assert_eq!(range.first_error.map(|error| error.seq), Some(1));
    }
}

#[tokio::test]
async fn a_sqlite_file_is_not_cut_while_a_gateway_uses_it() {
    let (database, file) = (sqlite_database(), ExportPath::new());
    let store = database.open().await;
    write(&store, "A:1").await;
    export_ledger(&database.url, Timestamp::MAX, &file.0).await.expect("exported beside it");
    assert!(matches!(cut(&database, Timestamp::MAX, &file).await, Err(LedgerFileError::InUse(_))));
    write(&store, "A:1").await;
    assert_eq!(seqs(&store).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn replicas_write_on_while_the_ledger_is_cut() {
    for database in test_databases().await.into_iter().filter(|database| database.is_shared) {
        let (store, file) = (database.open().await, ExportPath::new());
        for _ in 0..20 {
            write(&store, "A:1").await;
        }
        export_ledger(&database.url, Timestamp::MAX, &file.0).await.expect("exported");
        let writes = async {
            for _ in 0..30 {
                write(&store, "A:1").await;
            }
        };
        let ((), cut) = tokio::join!(writes, cut(&database, Timestamp::MAX, &file));
        assert_eq!(cut.expect("cut"), Some(40));
        let verified = verify_ledger(&database.url, None).await.expect("verified");
        assert!(verified.is_sound() && verified.entries == 101, "{verified:?}");
    }
}

#[tokio::test]
async fn a_cut_that_was_interrupted_is_finished_by_the_next_start() {
    for database in test_databases().await {
        let store = database.open().await;
        write(&store, "A:1").await;
        write(&store, "A:2").await;
        let hash = store.ledger(all_entries_query()).await.expect("read").items[1].hash.clone();
        let hash = crate::journal::verify::parse_hash(&hash).expect("a hash");
        store.submit(crate::journal::command::Command::Cut { seq: 2, hash }).await.expect("cut");
        store.kill().await;
        let store = database.open().await;
        store.run_heartbeat().await;
        while seqs(&store).await != [3, 4, 5] {
            store.run_heartbeat().await;
        }
        assert!(store.verify(None).await.expect("verified").is_sound());
    }
}
