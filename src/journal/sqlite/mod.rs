//! The journal in one SQLite file.

mod file;
mod session;

pub(super) use file::{SqliteFile, connect_reader};
pub(super) use session::SqliteSession;
