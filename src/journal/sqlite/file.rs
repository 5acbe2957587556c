//! The file: its lock, its identity and its connections.
//!
//! Two processes on one file would each miss what the other commits, so the file itself is locked
//! (`flock`), whatever path leads to it. SQLite's own locks belong to the process and end when any
//! descriptor of the file is closed. Therefore the locked descriptor stays open as long as any
//! connection, and a file that this process has open already is recognized without opening it.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::journal::error::{DbError, JournalError};
use crate::journal::model::Durability;
use crate::journal::schema::{SHOWN_STATE, SQLITE, SchemaState, first_rows};

/// How long a statement waits while another process has locked the file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(4);
/// The page size of a new file, half of SQLite's default: a commit writes every page that it
/// touches, and changes a row or two of each.
const PAGE_SIZE: &str = "PRAGMA page_size = 2048;";
/// The size of the -wal file, in pages, at which its content moves to the file; and the size in
/// bytes that it shrinks to then.
const WAL_LIMITS: &str = "PRAGMA wal_autocheckpoint = 2000; PRAGMA journal_size_limit = 8388608;";
/// A deleted value is overwritten: the file must not keep what a write was about.
const WRITER_SETTINGS: &str = "PRAGMA secure_delete = ON; PRAGMA cache_size = -16000; PRAGMA temp_store = MEMORY;";

/// Device and inode.
type Identity = (u64, u64);

/// The files that this process has open.
static OPEN_FILES: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

fn open_files() -> MutexGuard<'static, BTreeSet<Identity>> {
    OPEN_FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that no other journal uses, here or in another process.
#[derive(Debug)]
pub(in crate::journal) struct SqliteFile {
    path: PathBuf,
    temporary: bool,
    identity: Identity,
    /// Holds the lock. The lock ends with the process, however that ends.
    _locked: File,
}

impl SqliteFile {
    /// Creates the file unless it is there, and locks it.
    ///
    /// # Errors
    /// `Open`: the file cannot be created or opened, or is in use.
    pub(in crate::journal) fn lock(path: &Path, temporary: bool) -> Result<Self, JournalError> {
        let failed = |error: std::io::Error| JournalError::Open(format!("{}: {error}", path.display()));
        let in_use = || {
            let path = path.display();
            JournalError::Open(format!("{path} is in use by another process; several replicas need a PostgreSQL store"))
        };
        // Nobody but the gateway's user may read what callers write.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let identity = identity_of(path).map_err(failed)?;
        if !open_files().insert(identity) {
            return Err(in_use());
        }
        let locked = File::open(path).map_err(failed).and_then(|file| match file.try_lock() {
            Ok(()) => Ok(file),
            Err(_) => Err(in_use()),
        });
        match locked {
            Ok(locked) => Ok(Self { path: path.to_owned(), temporary, identity, _locked: locked }),
            Err(error) => {
                open_files().remove(&identity);
                Err(error)
            }
        }
    }

    /// A file that was removed or replaced would take every write, and no restart would find one.
    pub(super) fn check_identity(&self) -> Result<(), DbError> {
        if identity_of(&self.path)? == self.identity {
            Ok(())
        } else {
            Err(DbError::Other("the store's file was replaced".into()))
        }
    }

    /// Creates the tables in an empty file.
    ///
    /// # Errors
    /// The file has another form and was not touched, or it cannot be written.
    pub(in crate::journal) fn prepare(&self, durability: Durability) -> Result<(), DbError> {
        if !detect_schema(&self.path)?.needs_tables()? {
            return self.add_shown_state(durability);
        }
        let connection = self.connect_writer(durability)?;
        let rows = first_rows(|hex| format!("x'{hex}'"))?;
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {SQLITE} {SHOWN_STATE} {rows} COMMIT"))?;
        Ok(())
    }

    /// Adds the table that is younger than the version.
    fn add_shown_state(&self, durability: Durability) -> Result<(), DbError> {
        let find = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'shown_state'";
        let found: i64 = connect_reader(&self.path)?.query_row(find, [], |row| row.get(0))?;
        if found == 0 {
            self.connect_writer(durability)?.execute_batch(SHOWN_STATE)?;
        }
        Ok(())
    }

    pub(super) fn connect_writer(&self, durability: Durability) -> Result<Connection, DbError> {
        let connection = connect(&self.path)?;
        let synchronous = match durability {
            Durability::Commit => "FULL",
            Durability::Relaxed => "NORMAL",
        };
        connection.execute_batch(&format!(
            "{PAGE_SIZE} PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; {WRITER_SETTINGS} {WAL_LIMITS}"
        ))?;
        Ok(connection)
    }

    pub(in crate::journal) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes a temporary file and what SQLite puts beside it.
    pub(in crate::journal) fn remove_if_temporary(&self) {
        for suffix in ["", "-wal", "-shm"].iter().filter(|_| self.temporary) {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            // The file may be gone already.
            let _ = std::fs::remove_file(name);
        }
    }
}

impl Drop for SqliteFile {
    fn drop(&mut self) {
        open_files().remove(&self.identity);
    }
}

/// Whether the file can be the store of this build, if there is one. It may be in use, and stays as
/// it is.
///
/// # Errors
/// `Open`: the file has another form, or cannot be read.
pub(in crate::journal) fn check_file(path: &Path) -> Result<(), JournalError> {
    if !path.exists() {
        return Ok(());
    }
    detect_schema(path).and_then(SchemaState::needs_tables).map_err(JournalError::cannot_open)?;
    Ok(())
}

fn detect_schema(path: &Path) -> Result<SchemaState, DbError> {
    if std::fs::metadata(path)?.len() == 0 {
        return Ok(SchemaState::Nothing);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let count = |condition: &str| {
        let statement = format!("SELECT count(*) FROM sqlite_schema WHERE type = 'table' {condition}");
        connection.query_row(&statement, [], |row| row.get::<_, i64>(0))
    };
    if count("")? == 0 {
        return Ok(SchemaState::Nothing);
    }
    if count("AND name = 'schema_version'")? == 0 {
        return Ok(SchemaState::OtherTables);
    }
    let version = connection.query_row("SELECT max(version) FROM schema_version", [], |row| row.get(0))?;
    Ok(SchemaState::Version(version))
}

/// A connection for reads to a file that another process may have open.
pub(in crate::journal) fn connect_reader(path: &Path) -> Result<Connection, DbError> {
    let connection = connect(path)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -8000")?;
    Ok(connection)
}

/// Never creates the file: one that was removed must not be replaced by an empty one.
fn connect(path: &Path) -> Result<Connection, DbError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Otherwise a statement with a bound limit or range is planned again at each execution.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

fn identity_of(path: &Path) -> std::io::Result<Identity> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
