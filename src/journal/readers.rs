//! Connections for reads, beside the writer's one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use rusqlite::{Connection, params_from_iter};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::error::DbError;
use super::postgres::PostgresServer;
use super::shared::Shared;
use super::sql::{Row, SqlValue};
use super::sqlite::SqliteFile;

/// The longest a read of PostgreSQL may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How many connections reads of PostgreSQL use.
const POSTGRES_CONNECTIONS: usize = 4;

/// A connection to PostgreSQL, once one is needed.
type OpenReader = tokio::sync::Mutex<Option<Arc<Reader>>>;

/// One connection. The statements of reads are the same on both databases.
pub(super) enum Reader {
    Sqlite(Mutex<Connection>),
    Postgres(Client),
}

impl Reader {
    /// Executes a query whose parameters are `?1`, `?2` and so on. PostgreSQL plans it again each
    /// time, in the one round trip that it takes.
    pub(super) async fn select(&self, statement: &str, params: &[SqlValue]) -> Result<Vec<Row>, DbError> {
        match self {
            Self::Sqlite(connection) => {
                let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                let mut statement = connection.prepare_cached(statement)?;
                let columns = statement.column_count();
                let mut rows = statement.query(params_from_iter(params))?;
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    found.push(Row::from_sqlite(row, columns)?);
                }
                Ok(found)
            }
            Self::Postgres(client) => {
                let params: Vec<(&(dyn ToSql + Sync), Type)> =
                    params.iter().map(|value| (value as &(dyn ToSql + Sync), value.postgres_type())).collect();
                let rows = client.query_typed(&statement.replace('?', "$"), &params).await?;
                rows.iter().map(Row::from_postgres).collect()
            }
        }
    }

    /// Whether the server is gone. A new connection may find it.
    fn is_closed(&self) -> bool {
        matches!(self, Self::Postgres(client) if client.is_closed())
    }
}

/// The idle connections to a file. A reader in use shares the file's lock.
pub(super) struct SqlitePool {
    file: Arc<SqliteFile>,
    idle: Vec<Arc<Reader>>,
}

/// All of them.
pub(super) enum Readers {
    /// Reads block a thread each; `None` = no more reads.
    Sqlite { shared: Arc<Shared>, pool: Mutex<Option<SqlitePool>> },
    /// Reads are spread over the connections: a long one delays a part of the others only.
    Postgres { server: Arc<PostgresServer>, turn: AtomicUsize, connections: [OpenReader; POSTGRES_CONNECTIONS] },
}

impl Readers {
    /// One connection is opened now: on a full disk none could be opened later.
    pub(super) fn sqlite(file: Arc<SqliteFile>, shared: Arc<Shared>) -> Result<Self, DbError> {
        let idle = vec![Arc::new(Reader::Sqlite(Mutex::new(file.connect_reader()?)))];
        Ok(Self::Sqlite { shared, pool: Mutex::new(Some(SqlitePool { file, idle })) })
    }

    pub(super) fn postgres(server: Arc<PostgresServer>) -> Self {
        Self::Postgres { server, turn: AtomicUsize::new(0), connections: Default::default() }
    }

    /// Runs a query on the journal's runtime.
    pub(super) async fn run<T, Q, F>(self: &Arc<Self>, runtime: &Handle, query: Q) -> Result<T, DbError>
    where
        T: Send + 'static,
        Q: Fn(Arc<Reader>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, DbError>> + Send + 'static,
    {
        let readers = Arc::clone(self);
        let ended = || DbError::Other("the journal has ended".into());
        let task = match &**self {
            Self::Sqlite { .. } => runtime.spawn_blocking(move || readers.run_blocking(&query)),
            Self::Postgres { .. } => runtime.spawn(async move { readers.run_async(&query).await }),
        };
        task.await.map_err(|_| ended())?
    }

    fn run_blocking<T, Q, F>(&self, query: &Q) -> Result<T, DbError>
    where
        Q: Fn(Arc<Reader>) -> F,
        F: Future<Output = Result<T, DbError>>,
    {
        let ended = || DbError::Other("the journal has ended".into());
        let Self::Sqlite { shared, pool } = self else { return Err(ended()) };
        let lock = || pool.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, kept) = {
            let mut pool = lock();
            let pool = pool.as_mut().ok_or_else(ended)?;
            (Arc::clone(&pool.file), pool.idle.pop())
        };
        // SQLite writes no file while a connection is open that found the file read-only, so one
        // that was opened while the writer fails is not kept.
        let keep = kept.is_some() || shared.healthy.load(Ordering::Acquire);
        let reader = match kept {
            Some(reader) => reader,
            None => Arc::new(Reader::Sqlite(Mutex::new(file.connect_reader()?))),
        };
        // A read of SQLite never waits for a wake-up.
        let result = query(Arc::clone(&reader)).now_or_never().unwrap_or_else(|| Err(ended()));
        if keep && let Some(pool) = &mut *lock() {
            pool.idle.push(reader);
        }
        result
    }

    /// Runs a query on PostgreSQL; again if the connection was lost.
    pub(super) async fn run_async<T, Q, F>(&self, query: &Q) -> Result<T, DbError>
    where
        Q: Fn(Arc<Reader>) -> F,
        F: Future<Output = Result<T, DbError>>,
    {
        let attempt = async || {
            let reader = self.current().await?;
            let result = query(Arc::clone(&reader)).await;
            Ok::<_, DbError>((result, reader.is_closed()))
        };
        let timed = async {
            let mut attempts = 0;
            loop {
                attempts += 1;
                match attempt().await? {
                    // All of them may be from before the server restarted.
                    (Err(_), true) if attempts <= POSTGRES_CONNECTIONS => {}
                    (result, _) => return result,
                }
            }
        };
        timeout(READ_TIMEOUT, timed).await.unwrap_or_else(|_| Err(DbError::Io(std::io::ErrorKind::TimedOut.into())))
    }

    async fn current(&self) -> Result<Arc<Reader>, DbError> {
        let not_a_server = || DbError::Other("not a server".into());
        let Self::Postgres { server, turn, connections } = self else { return Err(not_a_server()) };
        let turn = turn.fetch_add(1, Ordering::Relaxed) % POSTGRES_CONNECTIONS;
        let current = connections.get(turn).ok_or_else(not_a_server)?;
        let mut current = current.lock().await;
        if let Some(reader) = current.as_ref().filter(|reader| !reader.is_closed()) {
            return Ok(Arc::clone(reader));
        }
        let reader = Arc::new(Reader::Postgres(server.connect_reader().await?));
        *current = Some(Arc::clone(&reader));
        Ok(reader)
    }

    /// Closes what is idle and refuses later reads.
    pub(super) fn close(&self) {
        if let Self::Sqlite { pool, .. } = self {
            pool.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}
