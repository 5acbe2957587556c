//! The journal in one SQLite file.

mod file;
mod session;

pub(super) use file::{SqliteFile, check_file, connect_reader};
pub(super) use session::SqliteSession;
