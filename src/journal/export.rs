//! The ledger as a file: JSON lines that anybody can verify, written before a cut (contract 1).
//!
//! A line is the stored JSON of an entry with `seq`, `prev` and `hash` in front: without these
//! three members it is the text that the hash covers. The last line holds the `head`, and without
//! it the file is incomplete.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{DbError, JournalError};
use super::handle::Journal;
use super::ledger::{Hash, chain_hash, rfc3339};
use super::model::JournalSettings;
use super::operations::ceil_ms;
use super::readers::Reader;
use super::sql::SqlValue;
use super::verify::{Chain, ChainStart, SELECT_ROWS, open_reader, parse_hash};

/// How many entries are in memory at once.
const CHUNK: usize = 2000;
/// How long the end of a cut waits for the store.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the ledger was not exported or cut.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFileError {
    /// The store.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// The file of SQLite cannot be written now.
    #[error("{0} (a SQLite file can be cut only while no gateway uses it)")]
    InUse(String),
    /// The file.
    #[error("{0}")]
    File(#[from] std::io::Error),
    /// An entry of the ledger is not the one that was written.
    #[error("entry {seq} is broken: {reason}")]
    Broken {
        /// The number of the entry.
        seq: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is not an export of this ledger.
    #[error("line {line} of the file: {reason}")]
    Foreign {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<DbError> for LedgerFileError {
    fn from(error: DbError) -> Self {
        Self::Journal(JournalError::Open(error.to_string()))
    }
}

/// The last line: the last entry of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportHead {
    /// The number of the last entry, or of the one before the first if there is none.
    pub seq: i64,
    /// Its time.
    pub at: Option<String>,
    /// Its hash.
    pub hash: String,
}

#[derive(Serialize, Deserialize)]
struct HeadLine {
    head: ExportHead,
}

/// Writes the entries before `until` to a new file and returns its last line. The chain is verified
/// on the way. It only reads the store, which is safe beside a running gateway.
///
/// # Errors
/// Any [`LedgerFileError`] but `Foreign`; no file is left then.
pub async fn export_ledger(url: &str, until: Timestamp, path: &Path) -> Result<ExportHead, LedgerFileError> {
    let reader = open_reader(url)?;
    // Only the gateway's user may read who changed what; and an earlier export is never replaced.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = write_entries(&reader, until, file).await;
    if written.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(path);
    }
    written
}

async fn write_entries(reader: &Reader, until: Timestamp, file: File) -> Result<ExportHead, LedgerFileError> {
    let until_ms = ceil_ms(until);
    let mut chain = Chain::from(&ChainStart::read(reader).await?);
    let (mut out, mut last_at) = (BufWriter::new(file), None);
    'chunks: loop {
        let limit = i64::try_from(CHUNK).unwrap_or(i64::MAX);
        let rows = reader.select(SELECT_ROWS, &[SqlValue::Int(chain.last + 1), SqlValue::Int(limit)]).await?;
        let is_last = rows.len() < CHUNK;
        for row in rows {
            let (at, json, prev) = (row.peek_int(1)?, row.peek_text(6)?, const_hex::encode(chain.head));
            if at >= until_ms {
                break 'chunks;
            }
            chain.check(row).map_err(|error| LedgerFileError::Broken { seq: error.seq, reason: error.reason })?;
            let (seq, hash) = (chain.last, const_hex::encode(chain.head));
            let rest = json.strip_prefix('{').unwrap_or(&json);
            writeln!(out, r#"{{"seq":{seq},"prev":"{prev}","hash":"{hash}",{rest}"#)?;
            last_at = Some(rfc3339(at));
        }
        if is_last {
            break;
        }
    }
    let head = ExportHead { seq: chain.last, at: last_at, hash: const_hex::encode(chain.head) };
    serde_json::to_writer(&mut out, &HeadLine { head: head.clone() }).map_err(std::io::Error::from)?;
    writeln!(out)?;
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(head)
}

/// Removes the entries before `until` that the file holds, leaves a `cut` entry, and returns the
/// number and the hash of the last one removed. The entries of an operation that runs or ended
/// `unknown`, and all after them, stay. `None` = there was nothing to remove.
///
/// A file of SQLite must not be in use; replicas on PostgreSQL may run.
///
/// # Errors
/// Any [`LedgerFileError`]; unless it is `Unavailable`, nothing is removed.
pub async fn cut_ledger(
    settings: JournalSettings,
    until: Timestamp,
    path: &Path,
) -> Result<Option<(i64, String)>, LedgerFileError> {
    let reader = open_reader(&settings.url)?;
    let Some((seq, hash)) = check_export(&reader, until, path).await? else { return Ok(None) };
    drop(reader);
    let is_sqlite = settings.url.starts_with("sqlite:");
    let journal = Journal::open(settings, Arc::new(())).await.map_err(|error| match error {
        JournalError::Open(reason) if is_sqlite => LedgerFileError::InUse(reason),
        error => error.into(),
    })?;
    let cut = journal.cut(seq, hash).await;
    journal.close(CLOSE_TIMEOUT).await;
    cut?;
    Ok(Some((seq, const_hex::encode(hash))))
}

/// Compares a file with the ledger, entry by entry. Returns the last entry that may be removed, and
/// its hash: it is before `until`, and before all that an unresolved operation still needs.
/// `None` = there is none.
async fn check_export(reader: &Reader, until: Timestamp, path: &Path) -> Result<Option<(i64, Hash)>, LedgerFileError> {
    let start = ChainStart::read(reader).await?;
    let (mut kept, mut rows) = (Chain::from(&start), Vec::new().into_iter());
    let mut file = ExportFile::open(path)?;
    let needed = first_needed(reader).await?;
    let (mut last, mut must_stay, until_ms) = (None, false, ceil_ms(until));
    while let Some(exported) = file.next_entry()? {
        if exported.seq <= start.seq {
            if exported.seq == start.seq && exported.hash != start.hash {
                return Err(file.foreign_file_error("the ledger was cut at another entry of this number"));
            }
            continue;
        }
        if exported.seq != kept.last + 1 {
            return Err(file.foreign_file_error(&format!("expected entry {}; the file begins too late", kept.last + 1)));
        }
        if rows.len() == 0 {
            let limit = i64::try_from(CHUNK).unwrap_or(i64::MAX);
            let params = [SqlValue::Int(kept.last + 1), SqlValue::Int(limit)];
            rows = reader.select(SELECT_ROWS, &params).await?.into_iter();
        }
        let Some(row) = rows.next() else { return Err(file.foreign_file_error("the ledger has no such entry")) };
        let (at, json) = (row.peek_int(1)?, row.peek_text(6)?);
        kept.check(row).map_err(|error| LedgerFileError::Broken { seq: error.seq, reason: error.reason })?;
        if json != exported.json || kept.head != exported.hash {
            return Err(file.foreign_file_error("the ledger has another entry of this number"));
        }
        // What is removed has no gaps, even where the clock went back.
        must_stay |= at >= until_ms || needed.is_some_and(|needed| exported.seq >= needed);
        if !must_stay {
            last = Some((exported.seq, exported.hash));
        }
    }
    Ok(last)
}

/// The first entry of an operation that runs, or that ended `unknown`: what is stored of it is
/// needed to find its outcome, or to end it by hand, until the retention ends.
async fn first_needed(reader: &Reader) -> Result<Option<i64>, DbError> {
    let statement = "SELECT min(seq) FROM (SELECT min(seq) AS seq FROM running UNION ALL
        SELECT min(seq) FROM operation_detail WHERE state <> 'applied' AND state = 'unknown') AS needed";
    let rows = reader.select(statement, &[]).await?;
    rows.into_iter().next().map_or(Ok(None), |mut row| row.opt_int(0))
}

/// One line of a file.
struct ExportedEntry {
    seq: i64,
    hash: Hash,
    /// The text that the hash covers.
    json: String,
}

/// A file that is read line by line, and whose own chain is checked.
struct ExportFile {
    lines: std::io::Lines<BufReader<File>>,
    line: usize,
    before: Option<(i64, Hash)>,
}

impl ExportFile {
    fn open(path: &Path) -> Result<Self, LedgerFileError> {
        Ok(Self { lines: BufReader::new(File::open(path)?).lines(), line: 0, before: None })
    }

    fn foreign_file_error(&self, reason: &str) -> LedgerFileError {
        LedgerFileError::Foreign { line: self.line, reason: reason.to_owned() }
    }

    /// The next entry; `None` at the head, which must be the last line and that of the chain.
    fn next_entry(&mut self) -> Result<Option<ExportedEntry>, LedgerFileError> {
        self.line += 1;
        let Some(text) = self.lines.next().transpose()? else {
            return Err(self.foreign_file_error("the head is missing: the export was not finished"));
        };
        if let Ok(HeadLine { head }) = serde_json::from_str(&text) {
            let is_of_chain =
                self.before.is_none_or(|(seq, hash)| (seq, Some(hash)) == (head.seq, parse_hash(&head.hash)));
            return if is_of_chain {
                Ok(None)
            } else {
                Err(self.foreign_file_error("the head is not that of the last entry"))
            };
        }
        let (entry, prev) =
            parse_line(&text).ok_or_else(|| self.foreign_file_error("it is not an entry of the ledger"))?;
        let follows = self.before.is_none_or(|(seq, hash)| (seq + 1, hash) == (entry.seq, prev));
        if !follows || chain_hash(&prev, entry.seq, &entry.json) != entry.hash {
            return Err(self.foreign_file_error("its hash does not match its content and the line before"));
        }
        self.before = Some((entry.seq, entry.hash));
        Ok(Some(entry))
    }
}

/// An entry and its `prev`.
fn parse_line(text: &str) -> Option<(ExportedEntry, Hash)> {
    let (seq, rest) = text.strip_prefix(r#"{"seq":"#)?.split_once(r#","prev":""#)?;
    let (prev, rest) = rest.split_once(r#"","hash":""#)?;
    let (hash, rest) = rest.split_once(r#"","#)?;
    let entry = ExportedEntry { seq: seq.parse().ok()?, hash: parse_hash(hash)?, json: format!("{{{rest}") };
    Some((entry, parse_hash(prev)?))
}
