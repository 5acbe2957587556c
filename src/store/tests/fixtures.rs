//! Where a test's store is, and what tests say to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

use super::super::*;
use crate::record::{Action, OperationState, VendorCallLog};

impl RecoveryPayload for &'static str {
    fn to_json(&self) -> Option<String> {
        Some((*self).to_owned())
    }
}

/// Counts what the store does.
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

/// An empty database of one engine, removed at the end.
pub(super) struct TestStore {
    pub(super) url: String,
    pub(super) shared: bool,
    folder: Option<PathBuf>,
}

impl Drop for TestStore {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

pub(super) fn sqlite_store() -> TestStore {
    let folder = std::env::temp_dir().join(format!("store-test {}", uuid::Uuid::now_v7()));
    std::fs::create_dir_all(&folder).expect("a folder");
    TestStore { url: format!("sqlite:{}", folder.join("s t.db").display()), shared: false, folder: Some(folder) }
}

/// One place per engine there is.
pub(super) async fn test_stores() -> Vec<TestStore> {
    let mut places = vec![sqlite_store()];
    if let Ok(server) = std::env::var("TEST_POSTGRES_URL") {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&server).await.expect("a server");
        let create = format!("CREATE DATABASE {name}");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.expect("a database");
        let (base, _) = server.rsplit_once('/').expect("a database in the address");
        places.push(TestStore { url: format!("{base}/{name}"), shared: true, folder: None });
    }
    places
}

impl TestStore {
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

    /// Something that happens behind the store's back.
    pub(super) async fn execute(&self, statement: &str) -> u64 {
        sqlx::any::install_default_drivers();
        let url = self.url.replace(' ', "%20");
        let mut connection = AnyConnection::connect(&url).await.expect("a connection");
        let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await;
        done.expect("a statement").rows_affected()
    }
}

impl Store {
    /// What a crash does: nothing that waits is written.
    pub(super) async fn kill(&self) {
        self.stop().await;
    }

    /// Time passes.
    pub(super) fn advance_clock(&self, time: Duration) {
        self.inner.shared.skew.fetch_add(to_millis(time), Ordering::SeqCst);
    }

    /// A turn of the writer's clock: this instance is seen, old things are swept.
    pub(super) async fn run_heartbeat(&self) {
        self.submit(StoreCommand::Heartbeat).await.expect("a turn");
    }

    /// A write has failed.
    pub(super) async fn wait_until_unhealthy(&self) {
        while self.is_healthy() {
            tokio::task::yield_now().await;
        }
    }

    /// The store takes writes again.
    pub(super) async fn wait_until_healthy(&self) {
        while self.ping().await.is_err()
            || self.inner.shared.unpersisted.load(Ordering::SeqCst) > 0
            || !self.is_healthy()
        {
            tokio::task::yield_now().await;
        }
    }
}

pub(in crate::store) fn intent(record: &str) -> Intent {
    Intent {
        operation: OperationId::new(),
        request_id: "request-1".into(),
        caller: "billing".into(),
        system: "crm".into(),
        record: Some(record.into()),
        action: Action::Update,
        precondition: Some("\"c1\"".into()),
        compared_etag: None,
        paths: Arc::new(vec!["/fields/Email".to_owned()]),
        losses: vec![],
        is_async: false,
        lease: None,
        idempotency: None,
        recovery: Some(Arc::new("{\"wanted\":1}")),
    }
}

pub(super) fn intent_with_key(record: &str, key: &str) -> Intent {
    Intent { idempotency: Some(claim(key)), ..intent(record) }
}

pub(super) fn claim(key: &str) -> IdempotencyClaim {
    IdempotencyClaim { caller: "billing".into(), key: key.into(), fingerprint: [7; 32] }
}

pub(in crate::store) fn applied_outcome(operation: &OperationId) -> Outcome {
    Outcome {
        operation: operation.clone(),
        state: OperationState::Applied,
        record: None,
        etag: Some("\"c2\"".into()),
        warnings: vec![],
        problem: None,
        problem_name: None,
        observed: None,
        calls: vec![VendorCallLog { call: "update".into(), status: Some(204), ms: 41 }],
        losses: vec![],
        replay_json: Some("{\"done\":true}".into()),
        lease: None,
    }
}

pub(super) fn all_entries_query() -> LedgerQuery {
    LedgerQuery { systems: vec!["crm".into(), "itsm".into()], limit: 1000, ..LedgerQuery::default() }
}
