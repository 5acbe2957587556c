//! Reads of the database, beside the writer's connection.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use rusqlite::{Connection, params_from_iter};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::error::DbError;
use super::postgres::PostgresServer;
use super::shared::Shared;
use super::sql::{Row, SqlValue};
use super::sqlite::{SqliteFile, connect_reader};

/// The most reads at once, most of which wait for a connection.
const MAX_READS: usize = 512;
/// The longest a read of PostgreSQL may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections reads of PostgreSQL use.
const POSTGRES_CONNECTIONS: usize = 4;

/// What is read with. It is cheap to clone.
#[derive(Clone)]
pub(super) struct Reader {
    runtime: Handle,
    permits: Arc<Semaphore>,
    source: ReadSource,
}

/// The connections to the database.
#[derive(Clone)]
pub(super) enum ReadSource {
    Sqlite(Arc<SqliteReads>),
    Postgres(Arc<PostgresReads>),
}

impl Reader {
    /// Reads on the runtime of the caller.
    pub(super) fn new(source: ReadSource) -> Self {
        Self { runtime: Handle::current(), permits: Arc::new(Semaphore::new(MAX_READS)), source }
    }

    /// Executes a query whose parameters are `?1`, `?2` and so on.
    pub(super) async fn select(&self, statement: &str, params: &[SqlValue]) -> Result<Vec<Row>, DbError> {
        self.select_each(statement, vec![params.to_vec()]).await
    }

    /// Executes it once with each of these parameters, and returns all rows.
    pub(super) async fn select_each(&self, statement: &str, params: Vec<Vec<SqlValue>>) -> Result<Vec<Row>, DbError> {
        let Ok(_permit) = self.permits.try_acquire() else { return Err(DbError::Other("too many reads".into())) };
        let statement = statement.to_owned();
        let task = match &self.source {
            ReadSource::Sqlite(reads) => {
                let reads = Arc::clone(reads);
                self.runtime.spawn_blocking(move || reads.select_each(&statement, &params))
            }
            ReadSource::Postgres(reads) => {
                let reads = Arc::clone(reads);
                self.runtime.spawn(async move { reads.select_each(&statement, &params).await })
            }
        };
        task.await.map_err(|_| has_ended())?
    }

    /// Closes what is idle and refuses later reads.
    pub(super) fn close(&self) {
        if let ReadSource::Sqlite(reads) = &self.source {
            reads.lock().take();
        }
    }
}

fn has_ended() -> DbError {
    DbError::Other("the journal has ended".into())
}

impl ReadSource {
    /// One connection is opened now: on a full disk none could be opened later.
    pub(super) fn sqlite(file: Arc<SqliteFile>, shared: Arc<Shared>) -> Result<Self, DbError> {
        let (path, idle) = (file.path().to_owned(), vec![connect_reader(file.path())?]);
        let pool = SqlitePool { file: Some(file), idle };
        Ok(Self::Sqlite(Arc::new(SqliteReads { path, shared: Some(shared), pool: Mutex::new(Some(pool)) })))
    }

    /// A file that another process may have locked.
    pub(super) fn foreign_file(path: PathBuf) -> Result<Self, DbError> {
        let pool = SqlitePool { file: None, idle: vec![connect_reader(&path)?] };
        Ok(Self::Sqlite(Arc::new(SqliteReads { path, shared: None, pool: Mutex::new(Some(pool)) })))
    }

    pub(super) fn postgres(server: Arc<PostgresServer>) -> Self {
        let connections = Default::default();
        Self::Postgres(Arc::new(PostgresReads { server, turn: AtomicUsize::new(0), connections }))
    }
}

/// Reads of a file block a thread each.
pub(super) struct SqliteReads {
    path: PathBuf,
    /// The journal that writes the file.
    shared: Option<Arc<Shared>>,
    /// `None` = no more reads.
    pool: Mutex<Option<SqlitePool>>,
}

/// The idle connections to a file. A connection in use shares the file's lock.
struct SqlitePool {
    file: Option<Arc<SqliteFile>>,
    idle: Vec<Connection>,
}

impl SqliteReads {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<SqlitePool>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn select_each(&self, statement: &str, params: &[Vec<SqlValue>]) -> Result<Vec<Row>, DbError> {
        let (_file, kept) = {
            let mut pool = self.lock();
            let pool = pool.as_mut().ok_or_else(has_ended)?;
            (pool.file.clone(), pool.idle.pop())
        };
        // SQLite writes no file while a connection is open that found the file read-only, so one
        // that was opened while the writer fails is not kept.
        let is_writable = self.shared.as_ref().is_none_or(|shared| shared.healthy.load(Ordering::Acquire));
        let keep = kept.is_some() || is_writable;
        let connection = match kept {
            Some(connection) => connection,
            None => connect_reader(&self.path)?,
        };
        let result = select_each(&connection, statement, params);
        if keep && let Some(pool) = &mut *self.lock() {
            pool.idle.push(connection);
        }
        result
    }
}

fn select_each(connection: &Connection, statement: &str, params: &[Vec<SqlValue>]) -> Result<Vec<Row>, DbError> {
    let mut statement = connection.prepare_cached(statement)?;
    let columns = statement.column_count();
    let mut found = Vec::new();
    for params in params {
        let mut rows = statement.query(params_from_iter(params))?;
        while let Some(row) = rows.next()? {
            found.push(Row::from_sqlite(row, columns)?);
        }
    }
    Ok(found)
}

/// Reads of PostgreSQL are spread over the connections: a long one delays a part of the others
/// only.
pub(super) struct PostgresReads {
    server: Arc<PostgresServer>,
    turn: AtomicUsize,
    connections: [OpenConnection; POSTGRES_CONNECTIONS],
}

/// A connection to PostgreSQL, once one is needed.
type OpenConnection = tokio::sync::Mutex<Option<Arc<Client>>>;

impl PostgresReads {
    /// Again if the connection was lost.
    async fn select_each(&self, statement: &str, params: &[Vec<SqlValue>]) -> Result<Vec<Row>, DbError> {
        let statement = statement.replace('?', "$");
        let timed = async {
            let mut attempts = 0;
            loop {
                attempts += 1;
                let client = self.current().await?;
                // All are sent before the first response comes: they take one round trip.
                let selected = try_join_all(params.iter().map(|params| select(&client, &statement, params))).await;
                match selected {
                    // All connections may be from before the server restarted.
                    Err(_) if client.is_closed() && attempts <= POSTGRES_CONNECTIONS => {}
                    selected => return Ok(selected?.into_iter().flatten().collect()),
                }
            }
        };
        timeout(READ_TIMEOUT, timed).await.unwrap_or_else(|_| Err(DbError::Io(std::io::ErrorKind::TimedOut.into())))
    }

    async fn current(&self) -> Result<Arc<Client>, DbError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % POSTGRES_CONNECTIONS;
        let mut current = self.connections.get(turn).ok_or_else(has_ended)?.lock().await;
        if let Some(client) = current.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(self.server.connect_reader().await?);
        *current = Some(Arc::clone(&client));
        Ok(client)
    }
}

/// PostgreSQL plans the query again each time, in the one round trip that it takes.
async fn select(client: &Client, statement: &str, params: &[SqlValue]) -> Result<Vec<Row>, DbError> {
    let params: Vec<(&(dyn ToSql + Sync), Type)> =
        params.iter().map(|value| (value as &(dyn ToSql + Sync), value.postgres_type())).collect();
    let rows = client.query_typed(statement, &params).await?;
    rows.iter().map(Row::from_postgres).collect()
}
