//! Verifies that the ledger is the chain that was written.

use std::sync::Mutex;

use super::entry_json::StoredEntry;
use super::error::{DbError, JournalError};
use super::ledger::{GENESIS, Hash, chain_hash, rfc3339};
use super::location::Location;
use super::postgres::PostgresServer;
use super::readers::Reader;
use super::sql::{Row, Value, operation_uuid, replace_nul};
use super::sqlite;

/// How many entries are in memory at once.
const CHUNK: usize = 2000;

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
    /// How many entries are right, counted from the first.
    pub entries: i64,
    /// The hash of the last right entry. Given to a later verification, it proves that the entry is
    /// still there.
    pub head: String,
    /// The first entry that is wrong or missing.
    pub first_error: Option<ChainError>,
    /// Whether the given hash is that of an entry or of the empty ledger; `None` if none was given.
    pub head_found: Option<bool>,
}

impl VerifyReport {
    /// Whether the ledger is one chain that holds the given hash. Only a hash that was noted
    /// elsewhere shows that the end was cut off or written anew.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.first_error.is_none() && self.head_found != Some(false)
    }
}

/// Verifies the ledger at `url` (see [`StoreSettings`](super::StoreSettings)) read-only, which is
/// safe beside a running gateway. `head` is a hash that must be in the chain. Needs a tokio
/// runtime.
///
/// # Errors
/// `Open`, `Unavailable`. A broken chain is not an error; the report has it.
pub async fn verify_ledger(url: &str, head: Option<&str>) -> Result<VerifyReport, JournalError> {
    let failed = |error: DbError| JournalError::Open(error.to_string());
    let reader = match Location::parse(url)? {
        Location::Sqlite { path, .. } => Reader::Sqlite(Mutex::new(sqlite::connect_reader(&path).map_err(failed)?)),
        Location::Postgres { url } => {
            Reader::Postgres(PostgresServer::new(&url)?.connect_reader().await.map_err(failed)?)
        }
    };
    run(&reader, head).await.map_err(failed)
}

/// Verifies the whole chain; `expected` is a hash that must be in it.
pub(super) async fn run(reader: &Reader, expected: Option<&str>) -> Result<VerifyReport, DbError> {
    let expected = expected.map(|head| (head, parse_hash(head)));
    let mut head_found = expected.map(|(_, hash)| hash == Some(GENESIS));
    let (mut entries, mut head) = (0, GENESIS);
    let statement = "SELECT e.seq, e.at, e.operation, e.system, e.record, e.intent, e.entry, e.hash FROM ledger e
                     WHERE e.seq >= ?1 ORDER BY e.seq LIMIT ?2";
    let limit = Value::Int(i64::try_from(CHUNK).unwrap_or(i64::MAX));
    let report = |entries: i64, head: &Hash, head_found, reason: Option<String>| VerifyReport {
        entries,
        head: const_hex::encode(head),
        first_error: reason.map(|reason| ChainError { seq: entries + 1, reason }),
        head_found,
    };
    loop {
        let next = if entries == 0 { i64::MIN } else { entries + 1 };
        let rows = reader.select(statement, &[Value::Int(next), limit.clone()]).await?;
        let is_last = rows.len() < CHUNK;
        for row in rows {
            match check_entry(row, entries + 1, &head) {
                Ok(hash) => head = hash,
                Err(reason) => return Ok(report(entries, &head, head_found, Some(reason))),
            }
            entries += 1;
            if expected.is_some_and(|(_, expected)| expected == Some(head)) {
                head_found = Some(true);
            }
        }
        if is_last {
            return Ok(report(entries, &head, head_found, None));
        }
    }
}

fn parse_hash(text: &str) -> Option<Hash> {
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
        && row.array(2)? == *operation_uuid(&entry.operation).as_bytes()
        && row.text(3)? == replace_nul(entry.system.clone())
        && row.opt_text(4)? == entry.record.clone().map(replace_nul)
        && row.opt_int(5)? == entry.intent)
}
