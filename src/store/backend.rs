//! Everything in which the two engines differ. The rest of the room is one code path.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use super::sql::Placeholders;
use super::{Durability, StoreError};

/// Connections that answer reads, beside the writer's one.
const READERS: u32 = 4;
/// How long a read waits for one of them.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which database, and where.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    /// One file, one process. `scratch` files are removed when the store ends.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Whether it is a throw-away.
        temporary: bool,
    },
    /// A server that several replicas share.
    Postgres {
        /// The address with everything in it; never printed.
        url: Arc<str>,
    },
}

impl Backend {
    /// Understands `sqlite:PATH`, `sqlite::memory:` (a throw-away file: several connections share it) and `postgres://…`.
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

    /// Whether other processes may write too. If not, memory is as good as the database for what runs just now.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// How its statements name their parameters.
    pub(super) fn placeholders(&self) -> Placeholders {
        match self {
            Self::Sqlite { .. } => Placeholders::Positional,
            Self::Postgres { .. } => Placeholders::Numbered,
        }
    }

    /// What begins a writer's transaction.
    pub(super) fn begin_statement(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "BEGIN IMMEDIATE",
            // Each statement must see what was committed before the head row was given free, whatever the server's default.
            Self::Postgres { .. } => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// Takes the head row, and the time that counts for leases and the ledger: the database's own where replicas share it.
    pub(super) fn head_statement(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "SELECT seq, hash, fence, at, last_operation, at FROM head WHERE id = 1",
            Self::Postgres { .. } => {
                "SELECT seq, hash, fence, at, last_operation, CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)
                 FROM head WHERE id = 1 FOR UPDATE"
            }
        }
    }

    /// A connection for the writer. `create` only at the start: a file that vanished later must not be replaced by an empty one.
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
                // A replica that hangs must not keep the head row from the others.
                let settings = format!(
                    "SET synchronous_commit = {synchronous}; SET lock_timeout = '4s';
                     SET idle_in_transaction_session_timeout = '10s'; SET application_name = 'records-gateway'"
                );
                connection.execute(sqlx::raw_sql(AssertSqlSafe(settings))).await?;
            }
        }
        Ok(connection)
    }

    /// The connections that only read. They are made when they are needed, and kept while `keep` says so: SQLite writes no file
    /// as long as a connection is open that found it read-only.
    pub(super) fn build_reader_pool(
        &self,
        keep: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<AnyPool, sqlx::Error> {
        let only_read = match self {
            Self::Sqlite { .. } => "PRAGMA query_only = ON",
            Self::Postgres { .. } => "SET default_transaction_read_only = on; SET statement_timeout = '60s'",
        };
        let options = self.options("rw")?;
        let pool = AnyPoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                Box::pin(async move { connection.execute(sqlx::raw_sql(only_read)).await.map(|_| ()) })
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

    /// Which file is at the path just now (device and number), where the database is a file.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn file_identity(&self) -> Result<Option<(u64, u64)>, sqlx::Error> {
        let Self::Sqlite { path, .. } = self else { return Ok(None) };
        let file = std::fs::metadata(path)?;
        Ok(Some((file.dev(), file.ino())))
    }

    /// Keeps a second process off the file: two writers with their own memory would each miss what the other does.
    /// The lock ends with the process, however it ends.
    pub(super) fn lock(&self) -> Result<Option<std::fs::File>, StoreError> {
        let Self::Sqlite { path, .. } = self else { return Ok(None) };
        let beside = sidecar_path(path, ".lock");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&beside)
            .map_err(|error| StoreError::Open(format!("{}: {error}", beside.display())))?;
        file.try_lock().map_err(|_| {
            StoreError::Open(format!(
                "{} is in use by another process; several replicas need a PostgreSQL store",
                path.display()
            ))
        })?;
        Ok(Some(file))
    }

    /// Removes a throw-away file with its companions.
    pub(super) fn remove_temp_files(&self) {
        let Self::Sqlite { path, temporary: true } = self else { return };
        for suffix in ["", "-wal", "-shm", ".lock"] {
            // It may not be there, and there is nobody to tell.
            let _ = std::fs::remove_file(sidecar_path(path, suffix));
        }
    }
}

fn sidecar_path(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
