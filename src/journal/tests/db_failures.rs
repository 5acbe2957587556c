//! A database that fails, hangs, is replaced or rejects writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::fixtures::{TestDatabase, sqlite_database, test_databases};
use super::samples::{all_entries_query, applied_outcome, claim, intent, intent_with_key};
use crate::journal::handle::MAX_QUEUED;
use crate::journal::store_url::Location;
use crate::journal::{BeginResult, Durability, IdempotencyState, Intent, Journal, JournalError, JournalSettings};
use crate::record::{OperationId, OperationState};

/// Makes the database refuse new entries.
fn break_ledger(database: &TestDatabase) -> &'static str {
    if database.is_shared {
        "ALTER TABLE ledger ADD CONSTRAINT broken CHECK (seq < 0) NOT VALID"
    } else {
        "CREATE TRIGGER broken BEFORE INSERT ON ledger BEGIN SELECT RAISE(ABORT, 'no'); END"
    }
}

fn repair_ledger(database: &TestDatabase) -> &'static str {
    if database.is_shared { "ALTER TABLE ledger DROP CONSTRAINT broken" } else { "DROP TRIGGER broken" }
}

#[tokio::test]
async fn an_unwritable_store_rejects_writes_keeps_outcomes_and_recovers() {
    for durability in [Durability::Commit, Durability::Relaxed] {
        for database in test_databases().await {
            let store = Journal::open(database.settings(durability), Arc::new(())).await.expect("a store");
            let write = Intent { is_async: true, ..intent("A:1") };
            let id = write.operation.clone();
            assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
            store.ping().await.expect("written");
            database.execute(break_ledger(&database)).await;
            assert_eq!(store.begin(intent("A:2")).await, Err(JournalError::Unavailable));
            let _ = store.finish(applied_outcome(&id)).await;
            store.wait_until_unhealthy().await;
            assert_eq!(store.begin(intent("A:3")).await, Err(JournalError::Unavailable));
            assert!(store.operation(&id).await.expect("reads continue").is_some());
            database.execute(repair_ledger(&database)).await;
            store.wait_until_healthy().await;
            assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
            assert_eq!(store.blocking_write_on("crm", "A:1"), None);
            assert_eq!(store.begin(intent("A:3")).await, Ok(BeginResult::Started));
            assert!(store.verify(None).await.expect("verified").is_sound());
            assert!(store.close(Duration::from_mins(1)).await);
        }
    }
}

#[tokio::test]
async fn close_reports_unpersisted_work() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        database.execute(break_ledger(&database)).await;
        assert_eq!(store.finish(applied_outcome(&id)).await, Err(JournalError::Unavailable));
        assert!(!store.close(Duration::ZERO).await);
        database.execute(repair_ledger(&database)).await;
        let store = database.open().await;
        assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Running);
    }
}

#[tokio::test]
async fn a_begin_whose_caller_is_gone_is_cancelled() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        {
            let mut begun = std::pin::pin!(store.begin(write));
            assert!(futures_util::poll!(begun.as_mut()).is_pending());
        }
        store.ping().await.expect("written");
        store.ping().await.expect("cancelled");
        let operation = store.operation(&id).await.expect("read").expect("there");
        assert_eq!(operation.state, OperationState::NotApplied);
        let entries = store.ledger(all_entries_query()).await.expect("read").items;
        assert_eq!(entries.last().and_then(|entry| entry.problem.as_deref()), Some("overloaded"));
    }
}

#[tokio::test]
async fn a_full_queue_rejects_commands_but_accepts_outcomes() {
    let database = sqlite_database();
    let store = database.open().await;
    let write = intent("A:1");
    let id = write.operation.clone();
    store.begin(write).await.expect("begun");
    store.inner.shared.queued.store(MAX_QUEUED, Ordering::SeqCst);
    assert_eq!(store.begin(intent("A:2")).await, Err(JournalError::Unavailable));
    store.finish(applied_outcome(&id)).await.expect("finished");
}

#[tokio::test]
async fn a_newer_schema_and_a_wrong_url_are_rejected_with_a_reason() {
    for database in test_databases().await {
        database.open().await.kill().await;
        database.execute("UPDATE schema_version SET version = 9999").await;
        let refused = Journal::open(database.settings(Durability::Commit), Arc::new(())).await.err();
        let Some(JournalError::Open(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("9999") && why.contains("newer"), "{why}");
    }
    for url in
        ["mysql://x", "sqlite:", "sqlite:a?mode=ro", "sqlite:/no/such/folder/a.db", "postgres://u:secret@127.0.0.1:1/x"]
    {
        let settings = JournalSettings { url: url.into(), ..sqlite_database().settings(Durability::Commit) };
        assert!(!format!("{settings:?}").contains("secret"));
        let refused = Journal::open(settings, Arc::new(())).await.err();
        assert!(matches!(&refused, Some(JournalError::Open(why)) if !why.contains("secret")), "{url}: {refused:?}");
    }
}

#[tokio::test]
async fn a_file_has_one_process_and_a_memory_store_leaves_no_file() {
    let database = sqlite_database();
    let store = database.open().await;
    let second = Journal::open(database.settings(Durability::Commit), Arc::new(())).await.err();
    assert!(matches!(second, Some(JournalError::Open(why)) if why.contains("in use")));
    drop(store);
    let settings = JournalSettings { url: "sqlite::memory:".into(), ..database.settings(Durability::Commit) };
    let temporary = Journal::open(settings, Arc::new(())).await.expect("a store");
    let Location::Sqlite { path, .. } = temporary.inner.location.clone() else { panic!("SQLite") };
    assert_eq!(temporary.begin(intent("A:1")).await, Ok(BeginResult::Started));
    assert!(path.exists());
    assert!(temporary.close(Duration::from_mins(1)).await);
    assert!(!path.exists());
}

#[tokio::test]
async fn dropped_connections_lose_no_write_and_no_outcome() {
    for database in test_databases().await.into_iter().filter(|database| database.is_shared) {
        let store = database.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        let drop_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
        database.execute(drop_all).await;
        assert_eq!(store.finish(applied_outcome(&id)).await, Ok(true));
        database.execute(drop_all).await;
        assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Started));
        let verified = store.verify(None).await.expect("verified");
        assert_eq!((verified.entries, verified.is_sound()), (3, true));
    }
}

#[tokio::test]
async fn a_missing_database_file_rejects_writes_until_it_is_back() {
    let database = sqlite_database();
    let path = std::path::PathBuf::from(database.url.trim_start_matches("sqlite:"));
    let store = database.open().await;
    let write = intent("A:1");
    let id = write.operation.clone();
    assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).expect("moved");
    assert_eq!(store.begin(intent("A:2")).await, Err(JournalError::Unavailable), "no restart would find it");
    assert_eq!(store.ping().await, Err(JournalError::Unavailable), "not ready");
    assert_eq!(store.finish(applied_outcome(&id)).await, Err(JournalError::Unavailable), "kept in memory");
    std::fs::rename(&aside, &path).expect("moved back");
    store.wait_until_healthy().await;
    assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
    assert!(store.verify(None).await.expect("verified").is_sound());
    assert!(store.close(Duration::from_mins(1)).await);
}

/// Makes the database reject every write, as a full or read-only disk or a standby server does.
fn read_only_statement(database: &TestDatabase, enable: bool) -> &'static str {
    match (database.is_shared, enable) {
        (false, true) => {
            "CREATE TRIGGER read_only BEFORE INSERT ON instance
             BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END;
             CREATE TRIGGER read_only_ledger BEFORE INSERT ON ledger
             BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
        }
        (false, false) => "DROP TRIGGER read_only; DROP TRIGGER read_only_ledger",
        (true, true) => {
            "DO $$ BEGIN
               EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
             END $$;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()"
        }
        (true, false) => {
            "BEGIN READ WRITE;
             DO $$ BEGIN
               EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database());
             END $$;
             COMMIT"
        }
    }
}

#[tokio::test]
async fn a_read_only_store_is_not_ready_and_recovers_by_itself() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
        database.execute(read_only_statement(&database, true)).await;
        assert_eq!(store.ping().await, Err(JournalError::Unavailable), "no write has been tried yet");
        assert_eq!(store.begin(intent("A:2")).await, Err(JournalError::Unavailable));
        assert_eq!(store.finish(applied_outcome(&id)).await, Err(JournalError::Unavailable), "kept in memory");
        let read = store.operation(&id).await.expect("reads continue").expect("there");
        assert_eq!(read.state, OperationState::Running);
        database.execute(read_only_statement(&database, false)).await;
        store.wait_until_healthy().await;
        assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
        assert_eq!(store.begin(intent("A:2")).await, Ok(BeginResult::Started));
        assert!(store.verify(None).await.expect("verified").is_sound());
    }
}

#[tokio::test]
async fn a_store_that_times_out_rejects_writes_and_recovers_by_itself() {
    let databases = test_databases().await;
    futures_util::future::join_all(databases.iter().map(check_recovery_after_lock)).await;
}

async fn check_recovery_after_lock(database: &TestDatabase) {
    let store = database.open().await;
    let write = intent("A:1");
    let id = write.operation.clone();
    assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
    let lock = database.lock().await;
    assert_eq!(store.begin(intent("A:2")).await, Err(JournalError::Unavailable));
    assert_eq!(store.finish(applied_outcome(&id)).await, Err(JournalError::Unavailable), "kept in memory");
    assert!(store.operation(&id).await.expect("reads continue").is_some());
    assert!(!store.is_healthy());
    drop(lock);
    store.wait_until_healthy().await;
    assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
    assert_eq!(store.begin(intent("A:2")).await, Ok(BeginResult::Started));
    assert!(store.verify(None).await.expect("verified").is_sound());
}

#[tokio::test]
async fn a_write_persisted_by_a_retry_is_started_and_its_outcome_stands() {
    for durability in [Durability::Commit, Durability::Relaxed] {
        let databases = test_databases().await;
        futures_util::future::join_all(databases.iter().map(|database| check_retry_after_lock(database, durability)))
            .await;
    }
}

async fn check_retry_after_lock(database: &TestDatabase, durability: Durability) {
    let store = Journal::open(database.settings(durability), Arc::new(())).await.expect("a store");
    let lock = database.lock().await;
    let (first, second) = (intent_with_key("A:1", "k"), intent("A:2"));
    let (one, two) = (first.operation.clone(), second.operation.clone());
    let unlock = async {
        // Longer than one attempt may take, shorter than two.
        tokio::time::sleep(Duration::from_millis(6500)).await;
        drop(lock);
    };
    let (begun, (), received) =
        futures_util::future::join3(store.begin(first), unlock, begin_and_drop(&store, second)).await;
    assert_eq!(begun, Ok(BeginResult::Started));
    store.wait_until_healthy().await;
    store.ping().await.expect("written");
    let state = async |id: &OperationId| store.operation(id).await.expect("read").map(|found| found.state);
    assert_eq!(state(&one).await, Some(OperationState::Running), "its caller received `Started`");
    let is_running = state(&two).await == Some(OperationState::Running);
    assert!(received || !is_running, "its caller received nothing");
    assert_eq!(store.finish(applied_outcome(&one)).await, Ok(true));
    assert_eq!(state(&one).await, Some(OperationState::Applied));
    let key_state = store.lookup_idempotency_key(&claim("k")).await.expect("read");
    assert!(matches!(key_state, Some(IdempotencyState::Completed(_))), "{key_state:?}");
    assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Started));
    assert!(store.verify(None).await.expect("verified").is_sound());
    assert!(store.close(Duration::from_mins(1)).await);
}

/// Whether the commit succeeds in the end or not: the caller's response names an operation, which
/// exists and is not applied.
#[tokio::test]
async fn an_unconfirmed_begin_returns_commit_unknown_and_ends_not_applied() {
    let databases = test_databases().await;
    let shared: Vec<_> = databases.iter().filter(|database| database.is_shared).collect();
    for end in ["RETURN NULL", "RAISE EXCEPTION 'not done'"] {
        futures_util::future::join_all(shared.iter().map(|database| check_slow_commit(database, end))).await;
    }
}

async fn check_slow_commit(database: &TestDatabase, end: &str) {
    let store = database.open().await;
    database.stall_one_commit("ledger", end).await;
    let write = intent_with_key("A:1", "k");
    let id = write.operation.clone();
    assert_eq!(store.begin(write).await, Err(JournalError::CommitUnknown));
    store.wait_until_healthy().await;
    store.ping().await.expect("written");
    let operation = store.operation(&id).await.expect("read").expect("an operation for the caller");
    assert_eq!(operation.state, OperationState::NotApplied);
    assert_eq!(store.lookup_idempotency_key(&claim("k")).await, Ok(None), "a repeat runs");
    assert_eq!(store.begin(intent_with_key("A:1", "k")).await, Ok(BeginResult::Started));
    assert!(store.verify(None).await.expect("verified").is_sound());
    for statement in ["DROP TRIGGER stall ON ledger", "DROP FUNCTION stall()", "DROP SEQUENCE stalls"] {
        database.execute(statement).await;
    }
    assert!(store.close(Duration::from_mins(1)).await);
    database.execute("DELETE FROM idempotency").await;
}

/// Calls `begin`, drops the future after one poll, and returns whether a response came by then.
async fn begin_and_drop(store: &Journal, intent: Intent) -> bool {
    let mut begun = std::pin::pin!(store.begin(intent));
    futures_util::poll!(begun.as_mut()).is_ready()
}

#[tokio::test]
async fn a_file_is_refused_by_any_other_path_that_leads_to_it() {
    let database = sqlite_database();
    let _journal = database.open().await;
    let (path, [link, alias]) = (database.path(), ["link", "alias"].map(|name| database.path().with_extension(name)));
    std::fs::hard_link(&path, &link).expect("a link");
    std::os::unix::fs::symlink(&path, &alias).expect("an alias");
    for other in [link, alias] {
        let settings =
            JournalSettings { url: format!("sqlite:{}", other.display()), ..database.settings(Durability::Commit) };
        let refused = Journal::open(settings, Arc::new(())).await.err();
        assert!(matches!(refused, Some(JournalError::Open(why)) if why.contains("in use")));
    }
}

#[tokio::test]
async fn a_store_of_the_old_form_is_refused_and_left_as_it_is() {
    for database in test_databases().await {
        database.execute("CREATE TABLE head (id BIGINT); CREATE TABLE operation (id TEXT)").await;
        let before = (!database.is_shared).then(|| std::fs::read(database.path()).expect("a file"));
        let refused = Journal::open(database.settings(Durability::Commit), Arc::new(())).await.err();
        assert!(matches!(refused, Some(JournalError::Open(why)) if why.contains("keep the old one")));
        if let Some(before) = before {
            assert_eq!(std::fs::read(database.path()).expect("a file"), before);
        }
    }
}

/// What was deleted is neither in the file nor beside it, and nobody else may read either.
#[tokio::test]
async fn a_closed_file_keeps_nothing_of_a_payload_that_was_deleted() {
    let database = sqlite_database();
    let journal = database.open().await;
    for _ in 0..20 {
        let write = Intent { recovery: Some("{\"secret\":\"4711-payload\"}".into()), ..intent("A:1") };
        let id = write.operation.clone();
        journal.begin(write).await.expect("begun");
        journal.finish(applied_outcome(&id)).await.expect("finished");
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(database.path()).expect("a file"));
    assert_eq!(mode & 0o777, 0o600);
    assert!(journal.close(Duration::from_mins(1)).await);
    for file in std::fs::read_dir(database.path().parent().expect("a folder")).expect("files") {
        let content = std::fs::read(file.expect("a file").path()).expect("content");
        assert!(!content.windows(12).any(|bytes| bytes == b"4711-payload"));
    }
}

/// The database works, but it rejects the entries of one record.
#[tokio::test]
async fn an_outcome_that_the_database_refuses_is_kept_until_it_is_taken() {
    let database = sqlite_database();
    let journal = database.open().await;
    let (refused, other) = (intent("A:1"), intent("A:2"));
    let ids = [refused.operation.clone(), other.operation.clone()];
    assert_eq!(journal.begin(refused).await, Ok(BeginResult::Started));
    assert_eq!(journal.begin(other).await, Ok(BeginResult::Started));
    let trigger = "CREATE TRIGGER reject BEFORE INSERT ON ledger WHEN NEW.record = 'A:1'
                   BEGIN SELECT RAISE(ABORT, 'no'); END";
    database.execute(trigger).await;
    let finished = futures_util::future::join_all(ids.iter().map(|id| journal.finish(applied_outcome(id)))).await;
    assert_eq!(finished[0], Err(JournalError::Unavailable));
    database.execute("DROP TRIGGER reject").await;
    journal.wait_until_healthy().await;
    for id in &ids {
        assert_eq!(journal.operation(id).await.expect("read").expect("there").state, OperationState::Applied);
    }
    assert!(journal.verify(None).await.expect("verified").is_sound());
}
