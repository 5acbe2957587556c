//! Why a call failed, and what an error of the database means.

use rusqlite::{ErrorCode, ffi};
use tokio_postgres::error::{Severity, SqlState};

/// Why a call of the journal failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The store cannot be opened: a wrong URL, missing rights, a file in use by another process,
    /// or the form of another version. The text gives the reason. It never holds the URL, which may
    /// carry a password.
    #[error("the store cannot be opened: {0}")]
    Open(String),
    /// The database is full, read-only, slow, gone or closed, or too many commands wait. No write
    /// was begun. An outcome is kept in memory and written later.
    #[error("the store is not available")]
    Unavailable,
    /// The database did not confirm the commit of a `begin`, or of rows of a batch. Nothing may be
    /// sent to the vendor. When the database recovers, the operation is recorded as not applied. If
    /// this process ends before that, another one adopts the operation and reconciles it.
    #[error("the store did not confirm a write that it may have committed")]
    CommitUnknown,
    /// The database returned a row that this version did not write.
    #[error("the store holds a row that cannot be read: {0}")]
    Corrupt(String),
}

impl JournalError {
    #[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
    pub(super) fn cannot_open(error: DbError) -> Self {
        Self::Open(error.to_string())
    }
}

impl From<DbError> for JournalError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Corrupt(reason) => Self::Corrupt(reason),
            _ => Self::Unavailable,
        }
    }
}

/// An error of the database, or of its file.
#[derive(Debug, thiserror::Error)]
pub(super) enum DbError {
    #[error("{}", sqlite_text(.0))]
    Sqlite(#[from] rusqlite::Error),
    #[error("{}", postgres_text(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A row that this version did not write.
    #[error("{0}")]
    Corrupt(String),
    #[error("{0}")]
    Other(String),
}

/// The message without the statement.
fn sqlite_text(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => message.clone().unwrap_or_else(|| code.to_string()),
        other => other.to_string(),
    }
}

fn postgres_text(error: &tokio_postgres::Error) -> String {
    if let Some(database) = error.as_db_error() {
        return database.message().to_owned();
    }
    // The source says what the error itself only classifies.
    std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// The errors of SQLite that leave the outcome of a commit open: its frame is in the -wal file when
/// the disk does not confirm it, and when the index of that file cannot grow.
const IO_ERRORS_AFTER_COMMIT: [i32; 5] = [
    ffi::SQLITE_IOERR_FSYNC,
    ffi::SQLITE_IOERR_DIR_FSYNC,
    ffi::SQLITE_IOERR_SHMOPEN,
    ffi::SQLITE_IOERR_SHMSIZE,
    ffi::SQLITE_IOERR_SHMMAP,
];

impl DbError {
    /// Whether a failed `COMMIT` certainly changed nothing. That is open when the disk or the
    /// memory fails meanwhile, or the server goes away (PostgreSQL's error classes 08 and 57P, and
    /// every error that ends the session).
    pub(super) fn is_definite(&self) -> bool {
        match self {
            Self::Sqlite(rusqlite::Error::SqliteFailure(code, _)) => {
                code.code != ErrorCode::OutOfMemory && !IO_ERRORS_AFTER_COMMIT.contains(&code.extended_code)
            }
            Self::Postgres(error) => error.as_db_error().is_some_and(|database| {
                database.parsed_severity() == Some(Severity::Error)
                    && !is_connection_state(database.code())
                    && *database.code() != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
            }),
            _ => false,
        }
    }

    /// Whether the server may be there soon: it restarts, or the connection broke.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Postgres(error) => match error.code() {
                Some(code) => is_connection_state(code) || *code == SqlState::TOO_MANY_CONNECTIONS,
                None => error.is_closed() || source_is_io(error),
            },
            Self::Io(_) => true,
            _ => false,
        }
    }
}

fn is_connection_state(code: &SqlState) -> bool {
    code.code().starts_with("08") || code.code().starts_with("57P")
}

fn source_is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}
