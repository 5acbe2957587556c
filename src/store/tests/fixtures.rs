//! Databases of tests, and what tests do to a store that callers cannot.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

use crate::store::command::StoreCommand;
use crate::store::handle::to_millis;
use crate::store::{Durability, Store, StoreMetrics, StoreSettings};

/// Counts ledger entries and commits.
#[derive(Default)]
pub(super) struct CountingMetrics {
    pub(super) entries: AtomicUsize,
    pub(super) commits: AtomicUsize,
}

impl StoreMetrics for CountingMetrics {
    fn on_ledger_entry(&self) {
        self.entries.fetch_add(1, Ordering::SeqCst);
    }
    fn on_commit(&self, _seconds: f64) {
        self.commits.fetch_add(1, Ordering::SeqCst);
    }
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
    let folder = std::env::temp_dir().join(format!("store-test {}", uuid::Uuid::now_v7()));
    std::fs::create_dir_all(&folder).expect("a folder");
    TestDatabase { url: format!("sqlite:{}", folder.join("s t.db").display()), is_shared: false, folder: Some(folder) }
}

/// One empty database of each kind that is available.
pub(super) async fn test_databases() -> Vec<TestDatabase> {
    let mut databases = vec![sqlite_database()];
    if let Ok(server) = std::env::var("TEST_POSTGRES_URL") {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&server).await.expect("a server");
        let create = format!("CREATE DATABASE {name}");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.expect("a database");
        let (base, _) = server.rsplit_once('/').expect("a database in the URL");
        databases.push(TestDatabase { url: format!("{base}/{name}"), is_shared: true, folder: None });
    }
    databases
}

impl TestDatabase {
    pub(super) fn settings(&self, durability: Durability) -> StoreSettings {
        StoreSettings {
            url: self.url.clone(),
            durability,
            idempotency_ttl: Duration::from_hours(24),
            retention: Duration::from_hours(24 * 90),
        }
    }

    pub(super) async fn open(&self) -> Store {
        Store::open(self.settings(Durability::Commit), Arc::new(())).await.expect("a store")
    }

    /// Executes a statement behind the store's back and returns how many rows it changed.
    pub(super) async fn execute(&self, statement: &str) -> u64 {
        sqlx::any::install_default_drivers();
        let url = self.url.replace(' ', "%20");
        let mut connection = AnyConnection::connect(&url).await.expect("a connection");
        let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await;
        done.expect("a statement").rows_affected()
    }
}

impl Store {
    /// Ends the store as a crash does: nothing that waits is written.
    pub(super) async fn kill(&self) {
        self.stop().await;
    }

    /// Lets time pass.
    pub(super) fn advance_clock(&self, time: Duration) {
        self.inner.shared.skew_ms.fetch_add(to_millis(time), Ordering::SeqCst);
    }

    /// Runs a heartbeat: this instance is alive, and expired rows are deleted.
    pub(super) async fn run_heartbeat(&self) {
        self.submit(StoreCommand::Heartbeat).await.expect("a heartbeat");
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
