//! Where the journal is kept.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::JournalError;

/// Which database, and where.
#[derive(Clone, Debug)]
pub(super) enum Location {
    /// One file, used by one process.
    Sqlite {
        path: PathBuf,
        /// Whether the file is removed when the journal ends.
        temporary: bool,
    },
    /// A server that several replicas share.
    Postgres {
        /// The whole URL, which may hold a password; never printed.
        url: Arc<str>,
    },
}

impl Location {
    /// Parses `sqlite:PATH`, `sqlite::memory:` (a temporary file, because several connections share
    /// it) and `postgres://…`.
    pub(super) fn parse(url: &str) -> Result<Self, JournalError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            if path == ":memory:" {
                let path = std::env::temp_dir().join(format!("records-gateway-{}.db", uuid::Uuid::now_v7()));
                return Ok(Self::Sqlite { path, temporary: true });
            }
            // `sqlite:///absolute/path` is the usual spelling elsewhere.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains(['?', '#']) {
                return Err(JournalError::Open("the store's url must be `sqlite:PATH`, without parameters".into()));
            }
            return Ok(Self::Sqlite { path: path.into(), temporary: false });
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres { url: url.into() });
        }
        Err(JournalError::Open("the store's url must begin with `sqlite:` or `postgres://`".into()))
    }

    /// Whether other processes may write too. If not, memory knows everything that runs.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }
}
