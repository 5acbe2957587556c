//! Databases of tests, and what tests do to a journal that callers cannot.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_postgres::NoTls;

use crate::journal::command::Command;
use crate::journal::handle::to_millis;
use crate::journal::{Durability, Journal, JournalError, JournalMetrics, JournalSettings, VerifyReport, verify};
use crate::metrics::ChangeType;

/// Counts ledger entries and commits.
#[derive(Default)]
pub(super) struct CountingMetrics {
    pub(super) entries: AtomicUsize,
    pub(super) commits: AtomicUsize,
}

impl JournalMetrics for CountingMetrics {
    fn on_ledger_entry(&self) {
        self.entries.fetch_add(1, Ordering::SeqCst);
    }
    fn on_commit(&self, _seconds: f64) {
        self.commits.fetch_add(1, Ordering::SeqCst);
    }
    fn on_change(&self, _system: &str, _change: ChangeType) {}
}

/// An empty database; a SQLite file is removed at the end.
pub(super) struct TestDatabase {
    pub(super) url: String,
    /// Whether it is PostgreSQL, which replicas share.
    pub(super) is_shared: bool,
    folder: Option<PathBuf>,
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

pub(super) fn sqlite_database() -> TestDatabase {
    let folder = std::env::temp_dir().join(format!("journal-test {}", uuid::Uuid::now_v7()));
    std::fs::create_dir_all(&folder).expect("a folder");
    TestDatabase { url: format!("sqlite:{}", folder.join("s t.db").display()), is_shared: false, folder: Some(folder) }
}

/// One empty database of each kind that is available.
pub(super) async fn test_databases() -> Vec<TestDatabase> {
    let mut databases = vec![sqlite_database()];
    if let Ok(server) = std::env::var("TEST_POSTGRES_URL") {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        connect(&server).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let (base, _) = server.rsplit_once('/').expect("a database in the URL");
        databases.push(TestDatabase { url: format!("{base}/{name}"), is_shared: true, folder: None });
    }
    databases
}

/// A connection of the test's own.
pub(super) async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a server");
    tokio::spawn(connection);
    client
}

impl TestDatabase {
    /// The file of a SQLite database.
    pub(super) fn path(&self) -> PathBuf {
        self.url.trim_start_matches("sqlite:").into()
    }

    pub(super) fn settings(&self, durability: Durability) -> JournalSettings {
        JournalSettings {
            url: self.url.clone(),
            durability,
            idempotency_ttl: Duration::from_hours(24),
            retention: Duration::from_hours(24 * 90),
            remember_shown: Duration::ZERO,
        }
    }

    pub(super) async fn open(&self) -> Journal {
        Journal::open(self.settings(Durability::Commit), Arc::new(())).await.expect("a store")
    }

    /// Executes statements behind the journal's back.
    pub(super) async fn execute(&self, statements: &str) {
        if self.is_shared {
            connect(&self.url).await.batch_execute(statements).await.expect("statements");
        } else {
            let connection = rusqlite::Connection::open(self.path()).expect("a connection");
            connection.execute_batch(statements).expect("statements");
        }
    }

    /// The text of a query's only value.
    pub(super) async fn query(&self, statement: &str) -> String {
        if self.is_shared {
            let statement = format!("SELECT CAST(({statement}) AS TEXT)");
            connect(&self.url).await.query_one(&statement, &[]).await.expect("a row").get(0)
        } else {
            let connection = rusqlite::Connection::open(self.path()).expect("a connection");
            let statement = format!("SELECT CAST(({statement}) AS TEXT)");
            connection.query_row(&statement, [], |row| row.get(0)).expect("a row")
        }
    }

    /// One commit that changes a table stalls, longer than two attempts may take.
    pub(super) async fn stall_one_commit(&self, table: &str, end: &str) {
        self.execute("CREATE SEQUENCE stalls").await;
        let stall =
            format!("BEGIN IF nextval('stalls') = 1 THEN PERFORM pg_sleep(16); {end}; END IF; RETURN NULL; END");
        self.execute(&format!("CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $${stall}$$")).await;
        let trigger = format!(
            "CREATE CONSTRAINT TRIGGER stall AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION stall()"
        );
        self.execute(&trigger).await;
    }

    /// Keeps every writer out until the lock is dropped.
    pub(super) async fn lock(&self) -> DatabaseLock {
        if self.is_shared {
            let client = connect(&self.url).await;
            let lock = "BEGIN; SELECT pg_advisory_xact_lock(32199625090950259)";
            client.batch_execute(lock).await.expect("locked");
            DatabaseLock { _client: Some(client), _connection: None }
        } else {
            let connection = rusqlite::Connection::open(self.path()).expect("a connection");
            connection.execute_batch("BEGIN IMMEDIATE").expect("locked");
            DatabaseLock { _client: None, _connection: Some(connection) }
        }
    }
}

/// A transaction that ends when it is dropped.
pub(super) struct DatabaseLock {
    _client: Option<tokio_postgres::Client>,
    _connection: Option<rusqlite::Connection>,
}

impl Journal {
    /// Ends the store as a crash does: nothing that waits is written.
    pub(super) async fn kill(&self) {
        self.stop().await;
    }

    /// Lets time pass.
    pub(super) fn advance_clock(&self, time: Duration) {
        self.inner.shared.skew_ms.fetch_add(to_millis(time), Ordering::SeqCst);
    }

    /// Sets the clock back.
    pub(super) fn set_back_clock(&self, time: Duration) {
        self.inner.shared.skew_ms.fetch_sub(to_millis(time), Ordering::SeqCst);
    }

    /// Runs a heartbeat: this instance is alive, and expired rows are deleted.
    pub(super) async fn run_heartbeat(&self) {
        self.submit(Command::Heartbeat).await.expect("a heartbeat");
        // The next command is served after the first expired rows are deleted.
        self.ping().await.expect("written");
    }

    /// Whether the last attempt to write succeeded. On PostgreSQL the writer writes at least every
    /// second; with SQLite [`ping`](Self::ping) makes it write.
    pub(super) fn is_healthy(&self) -> bool {
        self.inner.shared.healthy.load(Ordering::Acquire) && !*self.inner.ended.borrow()
    }

    /// Verifies the ledger from its beginning to its end.
    pub(super) async fn verify(&self, head: Option<&str>) -> Result<VerifyReport, JournalError> {
        Ok(verify::run(&self.inner.reader, head).await?)
    }

    /// Waits until a write has failed.
    pub(super) async fn wait_until_unhealthy(&self) {
        while self.is_healthy() {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the store can be written again.
    pub(super) async fn wait_until_healthy(&self) {
        while self.ping().await.is_err()
            || self.inner.shared.unpersisted.load(Ordering::SeqCst) > 0
            || !self.is_healthy()
        {
            tokio::task::yield_now().await;
        }
    }
}
