use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::{AnyConnection, Connection as _};

use super::super::*;
use super::place::{Place, applied, claim, everything, file, intent, keyed, places};
use crate::record::OperationState;

const BREAK: &str = "ALTER TABLE ledger RENAME TO gone";
const REPAIR: &str = "ALTER TABLE gone RENAME TO ledger";

#[tokio::test]
async fn a_store_that_cannot_be_written_refuses_writes_keeps_outcomes_and_heals_by_itself() {
    for place in places().await {
        for durability in [Durability::Commit, Durability::Relaxed] {
            let store = Store::open(place.settings(durability), Arc::new(())).await.expect("a store");
            let write = Intent { queued: true, ..intent("A:1") };
            let id = write.operation.clone();
            assert_eq!(store.begin(write).await, Ok(Begun::Started));
            store.ping().await.expect("written");
            place.execute(BREAK).await;
            // Relaxed, the first may be promised before the failure is seen.
            let first = intent("A:2");
            let promised = (first.operation.clone(), store.begin(first).await);
            let _ = store.finish(applied(&id)).await;
            store.broken().await;
            assert_eq!(store.begin(intent("A:3")).await, Err(StoreError::Unavailable));
            assert!(store.operation(&id).await.expect("reads go on").is_some());
            place.execute(REPAIR).await;
            store.healed().await;
            assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
            assert_eq!(store.pending("crm", "A:1").await, Ok(None));
            if promised.1 == Ok(Begun::Started) {
                let kept = store.operation(&promised.0).await.expect("read").expect("a promise is kept");
                assert_eq!(kept.state, OperationState::Running, "and is its caller's to finish");
            }
            assert_eq!(store.begin(intent("A:3")).await, Ok(Begun::Started));
            assert!(store.verify(None).await.expect("verified").is_sound());
            assert!(store.close(Duration::from_mins(1)).await);
        }
    }
}

#[tokio::test]
async fn close_says_that_something_is_left_unwritten() {
    for place in places().await {
        let store = place.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        place.execute(BREAK).await;
        assert_eq!(store.finish(applied(&id)).await, Err(StoreError::Unavailable));
        assert!(!store.close(Duration::ZERO).await);
        place.execute(REPAIR).await;
        let store = place.open().await;
        assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Running);
    }
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_is_given_up_and_does_not_run_for_ever() {
    for place in places().await {
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
        let entries = store.ledger(everything()).await.expect("read").items;
        assert_eq!(entries.last().and_then(|entry| entry.problem.as_deref()), Some("overloaded"));
    }
}

#[tokio::test]
async fn beyond_the_queue_a_command_is_refused_at_once_and_an_outcome_is_not() {
    let place = file();
    let store = place.open().await;
    let write = intent("A:1");
    let id = write.operation.clone();
    store.begin(write).await.expect("begun");
    store.handle.shared.waiting.store(MOST_WAITING, Ordering::SeqCst);
    assert_eq!(store.begin(intent("A:2")).await, Err(StoreError::Unavailable));
    store.finish(applied(&id)).await.expect("finished");
}

#[tokio::test]
async fn a_schema_of_a_newer_version_and_a_wrong_address_are_refused_in_words() {
    for place in places().await {
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
        let settings = StoreSettings { url: url.into(), ..file().settings(Durability::Commit) };
        assert!(!format!("{settings:?}").contains("secret"));
        let refused = Store::open(settings, Arc::new(())).await.err();
        assert!(matches!(&refused, Some(StoreError::Open(why)) if !why.contains("secret")), "{url}: {refused:?}");
    }
}

#[tokio::test]
async fn one_file_has_one_process_and_a_throw_away_leaves_nothing() {
    let place = file();
    let store = place.open().await;
    let second = Store::open(place.settings(Durability::Commit), Arc::new(())).await.err();
    assert!(matches!(second, Some(StoreError::Open(why)) if why.contains("in use")));
    drop(store);
    let settings = StoreSettings { url: "sqlite::memory:".into(), ..place.settings(Durability::Commit) };
    let scratch = Store::open(settings, Arc::new(())).await.expect("a store");
    let Engine::Sqlite { path, .. } = scratch.handle.shared.engine.clone() else { panic!("SQLite") };
    assert_eq!(scratch.begin(intent("A:1")).await, Ok(Begun::Started));
    assert!(path.exists());
    assert!(scratch.close(Duration::from_mins(1)).await);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_server_that_drops_every_connection_costs_no_write_and_no_outcome() {
    for place in places().await.into_iter().filter(|place| place.shared) {
        let store = place.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        let drop_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
        place.execute(drop_all).await;
        assert_eq!(store.finish(applied(&id)).await, Ok(true));
        place.execute(drop_all).await;
        assert_eq!(store.begin(intent("A:1")).await, Ok(Begun::Started));
        let verified = store.verify(None).await.expect("verified");
        assert_eq!((verified.entries, verified.is_sound()), (3, true));
    }
}

#[tokio::test]
async fn a_file_that_vanished_or_was_replaced_takes_no_write_until_it_is_back() {
    let place = file();
    let path = std::path::PathBuf::from(place.url.trim_start_matches("sqlite:"));
    let store = place.open().await;
    let write = intent("A:1");
    let id = write.operation.clone();
    assert_eq!(store.begin(write).await, Ok(Begun::Started));
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).expect("moved");
    assert_eq!(store.begin(intent("A:2")).await, Err(StoreError::Unavailable), "no restart would find it");
    assert_eq!(store.ping().await, Err(StoreError::Unavailable), "not ready");
    assert_eq!(store.finish(applied(&id)).await, Err(StoreError::Unavailable), "kept in memory");
    std::fs::rename(&aside, &path).expect("moved back");
    store.healed().await;
    assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
    assert!(store.verify(None).await.expect("verified").is_sound());
    assert!(store.close(Duration::from_mins(1)).await);
}

/// Refuses every write of whoever connects, as a full or read-only disk, or a server that became a stand-by, does.
fn read_only(place: &Place, on: bool) -> &'static str {
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
async fn a_store_that_can_only_be_read_is_not_ready_at_the_next_look_and_heals_by_itself() {
    for place in places().await {
        let store = place.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        assert_eq!(store.begin(write).await, Ok(Begun::Started));
        place.execute(read_only(&place, true)).await;
        assert_eq!(store.ping().await, Err(StoreError::Unavailable), "nobody has tried to write yet");
        assert_eq!(store.begin(intent("A:2")).await, Err(StoreError::Unavailable));
        assert_eq!(store.finish(applied(&id)).await, Err(StoreError::Unavailable), "kept in memory");
        let read = store.operation(&id).await.expect("reads go on").expect("there");
        assert_eq!(read.state, OperationState::Running);
        place.execute(read_only(&place, false)).await;
        store.healed().await;
        assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
        assert_eq!(store.begin(intent("A:2")).await, Ok(Begun::Started));
        assert!(store.verify(None).await.expect("verified").is_sound());
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_in_time_refuses_writes_and_heals_by_itself() {
    let places = places().await;
    futures_util::future::join_all(places.iter().map(somebody_holds_the_head)).await;
}

async fn somebody_holds_the_head(place: &Place) {
    let store = place.open().await;
    let write = intent("A:1");
    let id = write.operation.clone();
    assert_eq!(store.begin(write).await, Ok(Begun::Started));
    let mut other = AnyConnection::connect(&place.url.replace(' ', "%20")).await.expect("a connection");
    let hold = "BEGIN; UPDATE head SET at = at";
    sqlx::raw_sql(hold).execute(&mut other).await.expect("held");
    assert_eq!(store.begin(intent("A:2")).await, Err(StoreError::Unavailable));
    assert_eq!(store.finish(applied(&id)).await, Err(StoreError::Unavailable), "kept in memory");
    assert!(store.operation(&id).await.expect("reads go on").is_some());
    assert!(!store.healthy());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("given free");
    store.healed().await;
    assert_eq!(store.operation(&id).await.expect("read").expect("there").state, OperationState::Applied);
    assert_eq!(store.begin(intent("A:2")).await, Ok(Begun::Started));
    assert!(store.verify(None).await.expect("verified").is_sound());
}

#[tokio::test]
async fn a_write_that_only_a_second_try_could_store_is_begun_and_its_outcome_stands() {
    let places = places().await;
    futures_util::future::join_all(places.iter().map(somebody_holds_the_head_a_little_too_long)).await;
}

async fn somebody_holds_the_head_a_little_too_long(place: &Place) {
    for durability in [Durability::Commit, Durability::Relaxed] {
        let store = Store::open(place.settings(durability), Arc::new(())).await.expect("a store");
        let mut other = AnyConnection::connect(&place.url.replace(' ', "%20")).await.expect("a connection");
        sqlx::raw_sql("BEGIN; UPDATE head SET at = at").execute(&mut other).await.expect("held");
        let (first, second) = (keyed("A:1", "k"), intent("A:2"));
        let (one, two) = (first.operation.clone(), second.operation.clone());
        let give_free = async {
            // Longer than a try may take, shorter than two.
            tokio::time::sleep(Duration::from_millis(6500)).await;
            sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("given free");
        };
        let (begun, (), told) =
            futures_util::future::join3(store.begin(first), give_free, begun_and_dropped(&store, second)).await;
        assert_eq!(begun, Ok(Begun::Started));
        store.healed().await;
        store.ping().await.expect("written");
        let state = async |id: &OperationId| store.operation(id).await.expect("read").map(|found| found.state);
        assert_eq!(state(&one).await, Some(OperationState::Running), "its caller was told that it runs");
        let is_running = state(&two).await == Some(OperationState::Running);
        assert!(told || !is_running, "nobody was told of this one");
        assert_eq!(store.finish(applied(&one)).await, Ok(true));
        assert_eq!(state(&one).await, Some(OperationState::Applied));
        let verdict = store.lookup(&claim("k")).await.expect("read");
        assert!(matches!(verdict, Some(KeyState::Verdict(_))), "{verdict:?}");
        assert_eq!(store.begin(intent("A:1")).await, Ok(Begun::Started));
        assert!(store.verify(None).await.expect("verified").is_sound());
        assert!(store.close(Duration::from_mins(1)).await);
        place.execute("DELETE FROM idempotency").await;
    }
}

/// Whether the commit is done in the end or not, its caller is told of an operation, and the operation tells that nothing was sent.
#[tokio::test]
async fn a_begin_that_was_not_confirmed_is_told_so_and_ends_as_never_sent() {
    let places = places().await;
    let servers: Vec<_> = places.iter().filter(|place| place.url.starts_with("postgres")).collect();
    for end in ["RETURN NULL", "RAISE EXCEPTION 'not done'"] {
        futures_util::future::join_all(servers.iter().map(|place| the_commit_takes_too_long(place, end))).await;
    }
}

async fn the_commit_takes_too_long(place: &Place, end: &str) {
    let store = place.open().await;
    // Longer than two tries may take, once.
    place.execute("CREATE SEQUENCE stalls").await;
    let stall = format!("BEGIN IF nextval('stalls') = 1 THEN PERFORM pg_sleep(16); {end}; END IF; RETURN NULL; END");
    place.execute(&format!("CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $${stall}$$")).await;
    let at_the_end = "CREATE CONSTRAINT TRIGGER stall AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED \
                      FOR EACH ROW EXECUTE FUNCTION stall()";
    place.execute(at_the_end).await;
    let write = keyed("A:1", "k");
    let id = write.operation.clone();
    assert_eq!(store.begin(write).await, Err(StoreError::InDoubt));
    store.healed().await;
    store.ping().await.expect("written");
    let operation = store.operation(&id).await.expect("read").expect("its caller was told of it");
    assert_eq!(operation.state, OperationState::NotApplied);
    assert_eq!(store.lookup(&claim("k")).await, Ok(None), "a repeat runs");
    assert_eq!(store.begin(keyed("A:1", "k")).await, Ok(Begun::Started));
    assert!(store.verify(None).await.expect("verified").is_sound());
    for statement in ["DROP TRIGGER stall ON ledger", "DROP FUNCTION stall()", "DROP SEQUENCE stalls"] {
        place.execute(statement).await;
    }
    assert!(store.close(Duration::from_mins(1)).await);
    place.execute("DELETE FROM idempotency").await;
}

/// A caller who is not there any more when its answer comes, unless it comes at once. Whether it did.
async fn begun_and_dropped(store: &Store, intent: Intent) -> bool {
    let mut begun = std::pin::pin!(store.begin(intent));
    futures_util::poll!(begun.as_mut()).is_ready()
}

/// As a commit does that was given up and ends well all the same.
#[tokio::test]
async fn what_was_written_behind_the_writers_back_is_never_written_over() {
    let place = file();
    let store = place.open().await;
    assert_eq!(store.begin(intent("A:1")).await, Ok(Begun::Started));
    let path = std::path::PathBuf::from(place.url.trim_start_matches("sqlite:"));
    // Another name, and so another lock, for the same database.
    let alias = path.with_extension("alias");
    std::os::unix::fs::symlink(&path, &alias).expect("an alias");
    let settings = StoreSettings { url: format!("sqlite:{}", alias.display()), ..place.settings(Durability::Commit) };
    let other = Store::open(settings, Arc::new(())).await.expect("a store");
    assert_eq!(other.begin(intent("A:2")).await, Ok(Begun::Started));
    // Each look writes that this instance lives, and the chain's end with it.
    while store.ping().await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.begin(intent("A:3")).await, Ok(Begun::Started));
    let verified = store.verify(None).await.expect("verified");
    assert_eq!((verified.entries, verified.is_sound()), (3, true));
}
