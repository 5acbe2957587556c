//! Verifies that the ledger is the chain that was written.

use std::sync::Arc;

use uuid::Uuid;

use super::entry_json::StoredEntry;
use super::error::{DbError, JournalError};
use super::ledger::{GENESIS, Hash, chain_hash, rfc3339};
use super::postgres::PostgresServer;
use super::readers::{ReadSource, Reader};
use super::sql::{Row, SqlValue, operation_uuid, replace_nul};
use super::store_url::Location;

/// How many entries are in memory at once.
const CHUNK: i64 = 2000;
/// The rows that [`Chain::check`] expects, from `?1` on.
pub(super) const SELECT_ROWS: &str = "SELECT seq, at, operation, system, record, intent, entry, hash FROM ledger
    WHERE seq >= ?1 ORDER BY seq LIMIT ?2";

/// The first error in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainError {
    /// The number of the wrong entry.
    pub seq: i64,
    /// What is wrong with it.
    pub reason: String,
}

/// The result of verifying the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// The number of the last right entry.
    pub entries: i64,
    /// The hash of the last right entry. Given to a later verification, it proves that the entry is
    /// still there.
    pub head: String,
    /// The first entry that is wrong or missing.
    pub first_error: Option<ChainError>,
    /// Whether the given hash is that of an entry or of the empty ledger; `None` if none was given.
    pub head_found: Option<bool>,
}

/// The result of verifying a part of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRange {
    /// The first entry that was checked: the given one, or the first that a cut has left.
    pub from: i64,
    /// The last right entry; one less than `from` if there is none.
    pub to: i64,
    /// Its hash.
    pub head: String,
    /// The first entry that is wrong or missing.
    pub first_error: Option<ChainError>,
}

/// The end of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerHead {
    /// The number of the last entry; 0 if there is none.
    pub seq: i64,
    /// Its time (RFC 3339, UTC, milliseconds).
    pub at: Option<String>,
    /// Its hash; zeros if there is none.
    pub hash: String,
}

impl VerifyReport {
    /// Whether the ledger is one chain that holds the given hash. Only a hash that was noted
    /// elsewhere shows that the end was cut off or rewritten.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.first_error.is_none() && self.head_found != Some(false)
    }
}

/// Verifies the ledger at `url` (see [`JournalSettings`](super::JournalSettings)) read-only, which
/// is safe beside a running gateway. `head` is a hash that must be in the chain. Needs a tokio
/// runtime.
///
/// # Errors
/// `Open`, `Unavailable`. A broken chain is not an error; the report has it.
pub async fn verify_ledger(url: &str, head: Option<&str>) -> Result<VerifyReport, JournalError> {
    let reader = open_reader(url)?;
    run(&reader, head).await.map_err(JournalError::cannot_open)
}

/// Reads beside a gateway that may run.
pub(super) fn open_reader(url: &str) -> Result<Reader, JournalError> {
    let source = match Location::parse(url)? {
        Location::Sqlite { path, .. } => ReadSource::foreign_file(path).map_err(JournalError::cannot_open)?,
        Location::Postgres { url } => ReadSource::postgres(Arc::new(PostgresServer::new(&url)?)),
    };
    Ok(Reader::new(source))
}

/// Verifies the whole chain; `expected` is a hash that must be in it.
pub(super) async fn run(reader: &Reader, expected: Option<&str>) -> Result<VerifyReport, DbError> {
    let expected = expected.map(parse_hash);
    'restart: loop {
        let start = ChainStart::read(reader).await?;
        let mut chain = Chain::from(&start);
        let mut head_found = expected.map(|expected| expected == Some(chain.head));
        let mut error = start.error;
        while error.is_none() {
            let rows = reader.select(SELECT_ROWS, &[SqlValue::Int(chain.last + 1), SqlValue::Int(CHUNK)]).await?;
            let is_last = rows.len() < usize::try_from(CHUNK).unwrap_or(usize::MAX);
            for row in rows {
                error = chain.check(row).err();
                if error.is_some() {
                    break;
                }
                if expected == Some(Some(chain.head)) {
                    head_found = Some(true);
                }
            }
            if is_last {
                break;
            }
        }
        // What is missing may have been cut meanwhile.
        if error.is_some() && ChainStart::read(reader).await?.seq > start.seq {
            continue 'restart;
        }
        let head = const_hex::encode(chain.head);
        return Ok(VerifyReport { entries: chain.last, head, first_error: error, head_found });
    }
}

/// Verifies at most `limit` entries from number `from` on, or from the first that a cut has left.
pub(super) async fn run_range(reader: &Reader, from: i64, limit: i64) -> Result<VerifiedRange, DbError> {
    let start = ChainStart::read(reader).await?;
    let from = from.max(start.seq + 1);
    let mut chain = Chain::from(&start);
    let mut error = start.error.filter(|_| from == start.seq + 1);
    if from > start.seq + 1 {
        let rows = reader.select("SELECT hash FROM ledger WHERE seq = ?1", &[SqlValue::Int(from - 1)]).await?;
        if let Some(mut row) = rows.into_iter().next() {
            chain = Chain { last: from - 1, head: row.array(0)? };
        } else {
            let last = head(reader).await?;
            if from - 1 > last.seq {
                return Ok(VerifiedRange { from, to: from - 1, head: last.hash, first_error: None });
            }
            error = Some(ChainError { seq: from - 1, reason: "it is missing".into() });
        }
    }
    if error.is_none() {
        for row in reader.select(SELECT_ROWS, &[SqlValue::Int(from), SqlValue::Int(limit)]).await? {
            error = chain.check(row).err();
            if error.is_some() {
                break;
            }
        }
    }
    let to = chain.last.max(from - 1);
    Ok(VerifiedRange { from, to, head: const_hex::encode(chain.head), first_error: error })
}

/// The last entry: its number, time and hash; of an empty ledger 0, no time, and zeros.
pub(super) async fn head(reader: &Reader) -> Result<LedgerHead, DbError> {
    let statement = "SELECT seq, at, hash FROM ledger ORDER BY seq DESC LIMIT 1";
    let rows = reader.select(statement, &[]).await?;
    let Some(mut row) = rows.into_iter().next() else {
        return Ok(LedgerHead { seq: 0, at: None, hash: const_hex::encode(GENESIS) });
    };
    let hash: Hash = row.array(2)?;
    Ok(LedgerHead { seq: row.int(0)?, at: Some(rfc3339(row.int(1)?)), hash: const_hex::encode(hash) })
}

/// Where the kept chain begins: after the last cut.
pub(super) struct ChainStart {
    /// The last entry that is not kept.
    pub(super) seq: i64,
    /// Its hash.
    pub(super) hash: Hash,
    /// Set if no entry of the ledger carries this cut.
    error: Option<ChainError>,
}

impl ChainStart {
    pub(super) async fn read(reader: &Reader) -> Result<Self, DbError> {
        let statement = "SELECT c.seq, c.hash, l.entry FROM ledger_cut c LEFT JOIN ledger l ON l.seq = c.marker
                         ORDER BY c.seq DESC LIMIT 1";
        let rows = reader.select(statement, &[]).await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(Self { seq: 0, hash: GENESIS, error: None }) };
        let (seq, hash): (i64, Hash) = (row.int(0)?, row.array(1)?);
        let marker = row.opt_text(2)?.and_then(|json| StoredEntry::parse(&json)?.cut);
        let is_noted = marker.is_some_and(|cut| cut.seq == seq && cut.hash == const_hex::encode(hash));
        let reason = || format!("it and all before it are missing up to {seq}, and no entry carries their cut");
        let error = (!is_noted).then(|| ChainError { seq: 1, reason: reason() });
        Ok(Self { seq, hash, error })
    }
}

/// The part of the chain that was checked.
pub(super) struct Chain {
    pub(super) last: i64,
    pub(super) head: Hash,
}

impl From<&ChainStart> for Chain {
    fn from(start: &ChainStart) -> Self {
        Self { last: start.seq, head: start.hash }
    }
}

impl Chain {
    /// Checks the next row of [`SELECT_ROWS`].
    pub(super) fn check(&mut self, row: Row) -> Result<(), ChainError> {
        let seq = self.last + 1;
        self.head = check_entry(row, seq, &self.head).map_err(|reason| ChainError { seq, reason })?;
        self.last = seq;
        Ok(())
    }
}

pub(super) fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = GENESIS;
    const_hex::decode_to_slice(text, &mut hash).ok().map(|()| hash)
}

/// The hash of an entry that follows `prev`; `Err` = what is wrong with it.
fn check_entry(mut row: Row, expected_seq: i64, prev: &Hash) -> Result<Hash, String> {
    let unreadable = |error: DbError| format!("it cannot be read: {error}");
    let seq = row.int(0).map_err(unreadable)?;
    if seq != expected_seq {
        return Err(format!("it is missing; the next is {seq}"));
    }
    let json = row.text(6).map_err(unreadable)?;
    let hash: Hash = row.array(7).map_err(unreadable)?;
    if chain_hash(prev, seq, &json) != hash {
        return Err("its hash does not match its content and the entry before".into());
    }
    let entry = StoredEntry::parse(&json).ok_or("its content is not an entry")?;
    if columns_match(&mut row, &entry).map_err(unreadable)? {
        Ok(hash)
    } else {
        Err("the columns beside its content differ from it".into())
    }
}

fn columns_match(row: &mut Row, entry: &StoredEntry) -> Result<bool, DbError> {
    Ok(rfc3339(row.int(1)?) == entry.at
        && row.array(2)? == entry.operation.as_ref().map_or_else(Uuid::nil, operation_uuid).into_bytes()
        && row.text(3)? == replace_nul(entry.system.clone())
        && row.opt_text(4)? == entry.record.clone().map(replace_nul)
        && row.opt_int(5)? == entry.intent_column())
}
