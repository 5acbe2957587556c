use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::{AnyConnection, Connection as _};

use super::super::*;
use super::fixtures::{
    TestStore, all_entries_query, applied_outcome, claim, intent, intent_with_key, sqlite_store, test_stores,
};
use crate::record::OperationState;

const BREAK: &str = "ALTER TABLE ledger RENAME TO gone";
const REPAIR: &str = "ALTER TABLE gone RENAME TO ledger";

#[tokio::test]
async fn an_unwritable_store_rejects_writes_keeps_outcomes_and_recovers() {
    for place in test_stores().await {
        for durability in [Durability::Commit, Durability::Relaxed] {
            let store = Store::open(place.settings(durability), Arc::new(())).await.expect("a store");
            let write = Intent { is_async: true, ..intent("A:1") };
            let id = write.operation.clone();
            assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
            store.ping().await.expect("written");
            place.execute(BREAK).await;
            // Relaxed, the first may be promised before the failure is seen.
            let first = intent("A:2");
            let promised = (first.operation.clone(), store.begin(first).await);
            let _ = store.finish(applied_outcome(&id)).await;
            store.wait_until_unhealthy().await;
            assert_eq!(store.begin(intent("A:3")).await, Err(StoreError::Unavailable));
            assert!(store.operation(&id).await.expect("reads go on").is_some());
            place.execute(REPAIR).await;
            store.wait_until_healthy().await;
            assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
            assert_eq!(store.async_write_on("crm", "A:1").await, Ok(None));
            if promised.1 == Ok(BeginResult::Started) {
                let kept = store.operation(&promised.0).await.expect("read").expect("a promise is kept");
                assert_eq!(kept.state, OperationState::Running, "and is its caller's to finish");
            }
            assert_eq!(store.begin(intent("A:3")).await, Ok(BeginResult::Started));
            assert!(store.verify(None).await.expect("verified").is_sound());
            assert!(store.close(Duration::from_mins(1)).await);
        }
    }
}

#[tokio::test]
async fn close_reports_unpersisted_work() {
    for place in test_stores().await {
        let store = place.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        place.execute(BREAK).await;
        assert_eq!(store.finish(applied_outcome(&id)).await, Err(StoreError::Unavailable));
        assert!(!store.close(Duration::ZERO).await);
        place.execute(REPAIR).await;
        let store = place.open().await;
        assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Running);
    }
}

#[tokio::test]
async fn a_begin_whose_caller_is_gone_is_cancelled() {
    for place in test_stores().await {
        let store = place.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        {
            let mut begun = std::pin::pin!(store.begin(write));
            assert!(futures_util::poll!(begun.as_mut()).is_pending());
        }
        store.ping().await.expect("written");
        store.ping().await.expect("given up");
        let operation = store.operation(&id).await.expect("read").expect("there");
        assert_eq!(operation.state, OperationState::NotApplied);
        let entries = store.ledger(all_entries_query()).await.expect("read").items;
        assert_eq!(entries.last().and_then(|entry| entry.problem.as_deref()), Some("overloaded"));
    }
}

#[tokio::test]
async fn a_full_queue_rejects_commands_but_accepts_outcomes() {
    let place = sqlite_store();
    let store = place.open().await;
    let write = intent("A:1");
    let id = write.operation.clone();
    store.begin(write).await.expect("begun");
    store.inner.shared.queued.store(MAX_QUEUED, Ordering::SeqCst);
    assert_eq!(store.begin(intent("A:2")).await, Err(StoreError::Unavailable));
    store.finish(applied_outcome(&id)).await.expect("finished");
}

#[tokio::test]
async fn a_newer_schema_and_a_wrong_url_are_rejected_with_a_reason() {
    for place in test_stores().await {
        place.open().await.kill().await;
        let newer = if place.shared { "'\\x00'" } else { "x'00'" };
        place
            .execute(&format!(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'later', TRUE, {newer}, 0)"
            ))
            .await;
        let refused = Store::open(place.settings(Durability::Commit), Arc::new(())).await.err();
        let Some(StoreError::Open(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("9999") && why.contains("newer"), "{why}");
    }
    for url in
        ["mysql://x", "sqlite:", "sqlite:a?mode=ro", "sqlite:/no/such/folder/a.db", "postgres://u:secret@127.0.0.1:1/x"]
    {
        let settings = StoreSettings { url: url.into(), ..sqlite_store().settings(Durability::Commit) };
        assert!(!format!("{settings:?}").contains("secret"));
        let refused = Store::open(settings, Arc::new(())).await.err();
        assert!(matches!(&refused, Some(StoreError::Open(why)) if !why.contains("secret")), "{url}: {refused:?}");
    }
}

#[tokio::test]
async fn a_file_has_one_process_and_a_memory_store_leaves_no_file() {
    let place = sqlite_store();
    let store = place.open().await;
    let second = Store::open(place.settings(Durability::Commit), Arc::new(())).await.err();
    assert!(matches!(second, Some(StoreError::Open(why)) if why.contains("in use")));
    drop(store);
    let settings = StoreSettings { url: "sqlite::memory:".into(), ..place.settings(Durability::Commit) };
    let scratch = Store::open(settings, Arc::new(())).await.expect("a store");
    let Backend::Sqlite { path, .. } = scratch.inner.shared.backend.clone() else { panic!("SQLite") };
    assert_eq!(scratch.begin(intent("A:1")).await, Ok(BeginResult::Started));
    assert!(path.exists());
    assert!(scratch.close(Duration::from_mins(1)).await);
    assert!(!path.exists());
}

#[tokio::test]
async fn dropped_connections_lose_no_write_and_no_outcome() {
    for place in test_stores().await.into_iter().filter(|place| place.shared) {
        let store = place.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        let drop_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
        place.execute(drop_all).await;
        assert_eq!(store.finish(applied_outcome(&id)).await, Ok(true));
        place.execute(drop_all).await;
        assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Started));
        let verified = store.verify(None).await.expect("verified");
        assert_eq!((verified.entries, verified.is_sound()), (3, true));
    }
}

#[tokio::test]
async fn a_missing_database_file_rejects_writes_until_it_is_back() {
    let place = sqlite_store();
    let path = std::path::PathBuf::from(place.url.trim_start_matches("sqlite:"));
    let store = place.open().await;
    let write = intent("A:1");
    let id = write.operation.clone();
    assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).expect("moved");
    assert_eq!(store.begin(intent("A:2")).await, Err(StoreError::Unavailable), "no restart would find it");
    assert_eq!(store.ping().await, Err(StoreError::Unavailable), "not ready");
    assert_eq!(store.finish(applied_outcome(&id)).await, Err(StoreError::Unavailable), "kept in memory");
    std::fs::rename(&aside, &path).expect("moved back");
    store.wait_until_healthy().await;
    assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
    assert!(store.verify(None).await.expect("verified").is_sound());
    assert!(store.close(Duration::from_mins(1)).await);
}

/// Refuses every write of whoever connects, as a full or read-only disk, or a server that became a stand-by, does.
fn read_only_statement(place: &TestStore, on: bool) -> &'static str {
    match (place.shared, on) {
        (false, true) => {
            "CREATE TRIGGER read_only BEFORE UPDATE ON head
             BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
        }
        (false, false) => "DROP TRIGGER read_only",
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
    for place in test_stores().await {
        let store = place.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
        place.execute(read_only_statement(&place, true)).await;
        assert_eq!(store.ping().await, Err(StoreError::Unavailable), "nobody has tried to write yet");
        assert_eq!(store.begin(intent("A:2")).await, Err(StoreError::Unavailable));
        assert_eq!(store.finish(applied_outcome(&id)).await, Err(StoreError::Unavailable), "kept in memory");
        let read = store.operation(&id).await.expect("reads go on").expect("there");
        assert_eq!(read.state, OperationState::Running);
        place.execute(read_only_statement(&place, false)).await;
        store.wait_until_healthy().await;
        assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
        assert_eq!(store.begin(intent("A:2")).await, Ok(BeginResult::Started));
        assert!(store.verify(None).await.expect("verified").is_sound());
    }
}

#[tokio::test]
async fn a_store_that_times_out_rejects_writes_and_recovers_by_itself() {
    let places = test_stores().await;
    futures_util::future::join_all(places.iter().map(check_recovery_after_head_lock)).await;
}

async fn check_recovery_after_head_lock(place: &TestStore) {
    let store = place.open().await;
    let write = intent("A:1");
    let id = write.operation.clone();
    assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
    let mut other = AnyConnection::connect(&place.url.replace(' ', "%20")).await.expect("a connection");
    let hold = "BEGIN; UPDATE head SET at = at";
    sqlx::raw_sql(hold).execute(&mut other).await.expect("held");
    assert_eq!(store.begin(intent("A:2")).await, Err(StoreError::Unavailable));
    assert_eq!(store.finish(applied_outcome(&id)).await, Err(StoreError::Unavailable), "kept in memory");
    assert!(store.operation(&id).await.expect("reads go on").is_some());
    assert!(!store.is_healthy());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("given free");
    store.wait_until_healthy().await;
    assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
    assert_eq!(store.begin(intent("A:2")).await, Ok(BeginResult::Started));
    assert!(store.verify(None).await.expect("verified").is_sound());
}

#[tokio::test]
async fn a_write_persisted_by_a_retry_is_started_and_its_outcome_stands() {
    let places = test_stores().await;
    futures_util::future::join_all(places.iter().map(check_retry_after_head_lock)).await;
}

async fn check_retry_after_head_lock(place: &TestStore) {
    for durability in [Durability::Commit, Durability::Relaxed] {
        let store = Store::open(place.settings(durability), Arc::new(())).await.expect("a store");
        let mut other = AnyConnection::connect(&place.url.replace(' ', "%20")).await.expect("a connection");
        sqlx::raw_sql("BEGIN; UPDATE head SET at = at").execute(&mut other).await.expect("held");
        let (first, second) = (intent_with_key("A:1", "k"), intent("A:2"));
        let (one, two) = (first.operation.clone(), second.operation.clone());
        let give_free = async {
            // Longer than a try may take, shorter than two.
            tokio::time::sleep(Duration::from_millis(6500)).await;
            sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("given free");
        };
        let (begun, (), told) =
            futures_util::future::join3(store.begin(first), give_free, begin_and_drop(&store, second)).await;
        assert_eq!(begun, Ok(BeginResult::Started));
        store.wait_until_healthy().await;
        store.ping().await.expect("written");
        let state = async |id: &OperationId| store.operation(id).await.expect("read").map(|found| found.state);
        assert_eq!(state(&one).await, Some(OperationState::Running), "its caller was told that it runs");
        let is_running = state(&two).await == Some(OperationState::Running);
        assert!(told || !is_running, "nobody was told of this one");
        assert_eq!(store.finish(applied_outcome(&one)).await, Ok(true));
        assert_eq!(state(&one).await, Some(OperationState::Applied));
        let verdict = store.lookup_idempotency_key(&claim("k")).await.expect("read");
        assert!(matches!(verdict, Some(IdempotencyState::Completed(_))), "{verdict:?}");
        assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Started));
        assert!(store.verify(None).await.expect("verified").is_sound());
        assert!(store.close(Duration::from_mins(1)).await);
        place.execute("DELETE FROM idempotency").await;
    }
}

/// Whether the commit is done in the end or not, its caller is told of an operation, and the operation tells that nothing was sent.
#[tokio::test]
async fn an_unconfirmed_begin_returns_commit_unknown_and_ends_not_applied() {
    let places = test_stores().await;
    let servers: Vec<_> = places.iter().filter(|place| place.url.starts_with("postgres")).collect();
    for end in ["RETURN NULL", "RAISE EXCEPTION 'not done'"] {
        futures_util::future::join_all(servers.iter().map(|place| check_slow_commit(place, end))).await;
    }
}

async fn check_slow_commit(place: &TestStore, end: &str) {
    let store = place.open().await;
    // Longer than two tries may take, once.
    place.execute("CREATE SEQUENCE stalls").await;
    let stall = format!("BEGIN IF nextval('stalls') = 1 THEN PERFORM pg_sleep(16); {end}; END IF; RETURN NULL; END");
    place.execute(&format!("CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $${stall}$$")).await;
    let at_the_end = "CREATE CONSTRAINT TRIGGER stall AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED \
                      FOR EACH ROW EXECUTE FUNCTION stall()";
    place.execute(at_the_end).await;
    let write = intent_with_key("A:1", "k");
    let id = write.operation.clone();
    assert_eq!(store.begin(write).await, Err(StoreError::CommitUnknown));
    store.wait_until_healthy().await;
    store.ping().await.expect("written");
    let operation = store.operation(&id).await.expect("read").expect("its caller was told of it");
    assert_eq!(operation.state, OperationState::NotApplied);
    assert_eq!(store.lookup_idempotency_key(&claim("k")).await, Ok(None), "a repeat runs");
    assert_eq!(store.begin(intent_with_key("A:1", "k")).await, Ok(BeginResult::Started));
    assert!(store.verify(None).await.expect("verified").is_sound());
    for statement in ["DROP TRIGGER stall ON ledger", "DROP FUNCTION stall()", "DROP SEQUENCE stalls"] {
        place.execute(statement).await;
    }
    assert!(store.close(Duration::from_mins(1)).await);
    place.execute("DELETE FROM idempotency").await;
}

/// A caller who is not there any more when its answer comes, unless it comes at once. Whether it did.
async fn begin_and_drop(store: &Store, intent: Intent) -> bool {
    let mut begun = std::pin::pin!(store.begin(intent));
    futures_util::poll!(begun.as_mut()).is_ready()
}

/// As a commit does that was given up and ends well all the same.
#[tokio::test]
async fn a_concurrent_write_to_the_chain_is_never_overwritten() {
    let place = sqlite_store();
    let store = place.open().await;
    assert_eq!(store.begin(intent("A:1")).await, Ok(BeginResult::Started));
    let path = std::path::PathBuf::from(place.url.trim_start_matches("sqlite:"));
    // Another name, and so another lock, for the same database.
    let alias = path.with_extension("alias");
    std::os::unix::fs::symlink(&path, &alias).expect("an alias");
    let settings = StoreSettings { url: format!("sqlite:{}", alias.display()), ..place.settings(Durability::Commit) };
    let other = Store::open(settings, Arc::new(())).await.expect("a store");
    assert_eq!(other.begin(intent("A:2")).await, Ok(BeginResult::Started));
    // Each look writes that this instance lives, and the chain's end with it.
    while store.ping().await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.begin(intent("A:3")).await, Ok(BeginResult::Started));
    let verified = store.verify(None).await.expect("verified");
    assert_eq!((verified.entries, verified.is_sound()), (3, true));
}
