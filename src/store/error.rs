//! Why a store call failed, and what an error of the database means.

/// Why a store call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be opened: a wrong URL, missing rights, a file in use by another process,
    /// or a schema of a newer version. The text gives the reason. It never holds the URL, which may
    /// carry a password.
    #[error("the store cannot be opened: {0}")]
    Open(String),
    /// The database is full, read-only, slow, gone or closed, or too many commands wait. No write
    /// was begun. An outcome is kept in memory and written later.
    #[error("the store is not available")]
    Unavailable,
    /// The database did not confirm the commit of a `begin`. Nothing may be sent to the vendor.
    /// When the store recovers, it records the operation as not applied. If this process ends
    /// before that, another one adopts the operation and reconciles it.
    #[error("the store did not confirm a write that it may have committed")]
    CommitUnknown,
    /// The database returned a row that this version did not write.
    #[error("the store holds a row that cannot be read: {0}")]
    Corrupt(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Unavailable,
        }
    }
}

/// `SQLITE_IOERR_FSYNC` and `SQLITE_IOERR_DIR_FSYNC`: all is written, but the disk does not confirm
/// it.
const FSYNC_ERROR_CODES: [&str; 2] = ["1034", "1290"];

/// Whether a failed `COMMIT` certainly changed nothing. That is open when the disk does not confirm
/// it or the server goes away meanwhile (PostgreSQL's error classes 08 and 57P).
pub(super) fn is_definite_failure(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    let is_open = |code: &str| FSYNC_ERROR_CODES.contains(&code) || code.starts_with("08") || code.starts_with("57P");
    error.code().is_some_and(|code| !is_open(&code))
}

/// The error's message without statements and URLs.
pub(super) fn error_text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::Configuration(_) => "the store's URL cannot be parsed".to_owned(),
        other => other.to_string(),
    }
}
