//! What can go wrong with the store.

/// Why the store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened: address, rights, another process on the file, a schema of a newer version. The text says what.
    /// It never holds the address, which may carry a password.
    #[error("the store cannot be opened: {0}")]
    Open(String),
    /// It is full, read-only, slow, gone or closed, or too many commands wait. Nothing was begun; what was to be finished
    /// is kept and written later.
    #[error("the store is not available")]
    Unavailable,
    /// It did not confirm a `begin` that it may have done. Nothing may be sent, and the operation will be there, ended as never
    /// sent, as soon as the store can be written; but should this process end, or be cut off for long, before that, another one finds it running and settles it.
    #[error("the store did not confirm what it may have begun")]
    CommitUnknown,
    /// It answered something that this version did not write: a damaged row.
    #[error("the store holds something unreadable: {0}")]
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
