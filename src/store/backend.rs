//! Everything in which SQLite and PostgreSQL differ. The rest of the store is one code path.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use super::error::StoreError;
use super::model::Durability;
use super::sql::Placeholders;

/// Connections for reads, beside the writer's one.
const MAX_READERS: u32 = 4;
/// How long a read waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which database, and where.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    /// One file, used by one process.
    Sqlite {
        path: PathBuf,
        /// Whether the file is removed when the store ends.
        temporary: bool,
    },
    /// A server that several replicas share.
    Postgres {
        /// The whole URL, which may hold a password; never printed.
        url: Arc<str>,
    },
}

impl Backend {
    /// Parses `sqlite:PATH`, `sqlite::memory:` (a temporary file, because several connections share
    /// it) and `postgres://…`.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            if path == ":memory:" {
                let path = std::env::temp_dir().join(format!("records-gateway-{}.db", uuid::Uuid::now_v7()));
                return Ok(Self::Sqlite { path, temporary: true });
            }
            // `sqlite:///absolute/path` is the usual spelling elsewhere.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains(['?', '#']) {
                return Err(StoreError::Open("the store's url must be `sqlite:PATH`, without parameters".into()));
            }
            return Ok(Self::Sqlite { path: path.into(), temporary: false });
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres { url: url.into() });
        }
        Err(StoreError::Open("the store's url must begin with `sqlite:` or `postgres://`".into()))
    }

    /// Whether other processes may write too. If not, memory knows everything that runs.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// How bulk statements write their parameters.
    pub(super) fn placeholders(&self) -> Placeholders {
        match self {
            Self::Sqlite { .. } => Placeholders::Positional,
            Self::Postgres { .. } => Placeholders::Numbered,
        }
    }

    /// Begins a writer's transaction.
    pub(super) fn begin_statement(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "BEGIN IMMEDIATE",
            // Whatever the server's default: each statement must see what was committed before this
            // writer got the lock on the head row.
            Self::Postgres { .. } => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// Reads the head row (on PostgreSQL with a lock) and the time for leases and the ledger, which
    /// is the server's where replicas share it.
    pub(super) fn head_statement(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "SELECT seq, hash, fence, at, last_operation, at FROM head WHERE id = 1",
            Self::Postgres { .. } => {
                "SELECT seq, hash, fence, at, last_operation, CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)
                 FROM head WHERE id = 1 FOR UPDATE"
            }
        }
    }

    /// Connects the writer. `create` only at the start: a file that is removed later must not be
    /// replaced by an empty one.
    pub(super) async fn connect_writer(
        &self,
        durability: Durability,
        create: bool,
    ) -> Result<AnyConnection, sqlx::Error> {
        let mut connection = self.options(if create { "rwc" } else { "rw" })?.connect().await?;
        match self {
            Self::Sqlite { .. } => {
                let synchronous = match durability {
                    Durability::Commit => "FULL",
                    Durability::Relaxed => "NORMAL",
                };
                let pragmas = format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}");
                connection.execute(sqlx::raw_sql(AssertSqlSafe(pragmas))).await?;
            }
            Self::Postgres { .. } => {
                let synchronous = match durability {
                    Durability::Commit => "on",
                    Durability::Relaxed => "off",
                };
                // A replica that hangs must not hold the lock on the head row.
                let settings = format!(
                    "SET synchronous_commit = {synchronous}; SET lock_timeout = '4s';
                     SET idle_in_transaction_session_timeout = '10s'; SET application_name = 'records-gateway'"
                );
                connection.execute(sqlx::raw_sql(AssertSqlSafe(settings))).await?;
            }
        }
        Ok(connection)
    }

    /// The connections for reads, opened on demand. A released one stays open while `keep` returns
    /// true: SQLite writes no file while a connection is open that found the file read-only.
    pub(super) fn build_reader_pool(
        &self,
        keep: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<AnyPool, sqlx::Error> {
        let read_only = match self {
            Self::Sqlite { .. } => "PRAGMA query_only = ON",
            Self::Postgres { .. } => "SET default_transaction_read_only = on; SET statement_timeout = '60s'",
        };
        let options = self.options("rw")?;
        let pool = AnyPoolOptions::new()
            .max_connections(MAX_READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                Box::pin(async move { connection.execute(sqlx::raw_sql(read_only)).await.map(|_| ()) })
            })
            .after_release(move |_, _| Box::pin(std::future::ready(Ok(keep()))));
        Ok(pool.connect_lazy_with(options))
    }

    fn options(&self, mode: &str) -> Result<AnyConnectOptions, sqlx::Error> {
        sqlx::any::install_default_drivers();
        let options: AnyConnectOptions = match self {
            Self::Sqlite { path, .. } => {
                let path = utf8_percent_encode(&path.to_string_lossy(), NON_ALPHANUMERIC).to_string();
                format!("sqlite:{path}?mode={mode}").parse()?
            }
            Self::Postgres { url } => url.parse()?,
        };
        Ok(options.disable_statement_logging())
    }

    /// Device and inode of the file that is at the path now; `None` for a server.
    ///
    /// # Errors
    /// No file is there.
    pub(super) fn file_identity(&self) -> Result<Option<(u64, u64)>, sqlx::Error> {
        let Self::Sqlite { path, .. } = self else { return Ok(None) };
        let metadata = std::fs::metadata(path)?;
        Ok(Some((metadata.dev(), metadata.ino())))
    }

    /// Locks the file against a second process: each of two writers would miss what the other
    /// commits. The lock ends with the process, however that ends.
    pub(super) fn lock(&self) -> Result<Option<std::fs::File>, StoreError> {
        let Self::Sqlite { path, .. } = self else { return Ok(None) };
        let lock_path = sidecar_path(path, ".lock");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|error| StoreError::Open(format!("{}: {error}", lock_path.display())))?;
        file.try_lock().map_err(|_| {
            StoreError::Open(format!(
                "{} is in use by another process; several replicas need a PostgreSQL store",
                path.display()
            ))
        })?;
        Ok(Some(file))
    }

    /// Removes a temporary file and its sidecar files.
    pub(super) fn remove_temp_files(&self) {
        let Self::Sqlite { path, temporary: true } = self else { return };
        for suffix in ["", "-wal", "-shm", ".lock"] {
            // The file may be gone already.
            let _ = std::fs::remove_file(sidecar_path(path, suffix));
        }
    }
}

fn sidecar_path(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
