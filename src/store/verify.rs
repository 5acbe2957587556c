//! Verifies that the ledger holds exactly what was written.

use std::collections::HashSet;

use sqlx::AnyPool;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::backend::Backend;
use super::block_reader::BlockReader;
use super::error::StoreError;
use super::ledger::{GENESIS_HASH, LedgerEntry, rfc3339};
use super::sql::{SqlValue, bind_all, pad_chunk};

/// How many blocks are in memory at once.
const BLOCKS_PER_READ: i64 = 64;
/// How many records one lookup takes: `INDEXED` has placeholders for as many.
const RECORDS_PER_LOOKUP: usize = 8;

const INDEXED: &str = "SELECT system, record FROM ledger_record WHERE (system, record, first_seq) IN (VALUES
    ($1,$2,$3),($4,$5,$6),($7,$8,$9),($10,$11,$12),($13,$14,$15),($16,$17,$18),($19,$20,$21),($22,$23,$24))";

const SELECT_BLOCKS: &str =
    "SELECT first_seq, at, prev, lines FROM ledger WHERE first_seq > $1 ORDER BY first_seq LIMIT $2";
/// For SQLite, which may hold text that is not UTF-8; PostgreSQL does not.
const SELECT_BLOCKS_AS_BYTES: &str = "SELECT first_seq, at, CAST(prev AS BLOB), CAST(lines AS BLOB) FROM ledger
    WHERE first_seq > $1 ORDER BY first_seq LIMIT $2";

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
    /// Whether the ledger holds exactly what was written.
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
pub async fn verify_ledger(url: &str, head: Option<&str>) -> Result<VerifyReport, StoreError> {
    let pool = Backend::parse(url)?.build_reader_pool(|| true)?;
    let report = run(&pool, head).await;
    pool.close().await;
    report.map_err(|error| match error {
        sqlx::Error::Database(database) => StoreError::Open(database.message().to_owned()),
        other => other.into(),
    })
}

/// Verifies the whole chain; `expected` is a hash that must be in it.
pub(super) async fn run(pool: &AnyPool, expected: Option<&str>) -> Result<VerifyReport, sqlx::Error> {
    // Read first: every entry up to this head must exist. Later ones are verified too.
    let (last, last_hash) = stored_head(pool).await?;
    let mut report = VerifyReport {
        entries: 0,
        head: GENESIS_HASH.into(),
        first_error: None,
        head_found: expected.map(|expected| expected == GENESIS_HASH),
    };
    let (mut after, mut limit) = (0, BLOCKS_PER_READ);
    loop {
        let blocks = match blocks_after(pool, SELECT_BLOCKS, after, limit).await {
            // A block is not UTF-8. Reading block by block as bytes finds it and the line in it.
            Err(sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) if limit > 1 => {
                limit = 1;
                continue;
            }
            Err(sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) => {
                blocks_after(pool, SELECT_BLOCKS_AS_BYTES, after, limit).await?
            }
            result => result?,
        };
        for block in &blocks {
            if let Err(reason) = check_block(pool, block, &mut report, expected, (last, &last_hash)).await? {
                return Ok(with_error(report, reason));
            }
        }
        let Some(block) = blocks.last() else { break };
        after = block.try_get(0)?;
    }
    if report.entries < last {
        return Ok(with_error(report, format!("it is missing; the ledger had {last} entries")));
    }
    if report.entries > stored_head(pool).await?.0 {
        report.entries = last;
        return Ok(with_error(report, "no writer added it: the ledger ends before it".into()));
    }
    Ok(report)
}

async fn blocks_after(
    pool: &AnyPool,
    statement: &'static str,
    seq: i64,
    limit: i64,
) -> Result<Vec<AnyRow>, sqlx::Error> {
    let values = bind_all([SqlValue::Number(seq), SqlValue::Number(limit)])?;
    sqlx::query_with(statement, values).fetch_all(pool).await
}

/// The text of a column, with a replacement character for what is not UTF-8.
fn lossy_text(block: &AnyRow, column: usize) -> Result<String, sqlx::Error> {
    block.try_get(column).or_else(|_| {
        let bytes: Vec<u8> = block.try_get(column)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })
}

/// The number and the hash of the last entry according to the head row.
async fn stored_head(pool: &AnyPool) -> Result<(i64, String), sqlx::Error> {
    let row = sqlx::query("SELECT seq, hash FROM head WHERE id = 1").fetch_optional(pool).await?;
    Ok(match row {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => (0, GENESIS_HASH.into()),
    })
}

fn with_error(mut report: VerifyReport, reason: String) -> VerifyReport {
    report.first_error = Some(ChainError { seq: report.entries + 1, reason });
    report
}

/// Verifies a block entry by entry; the inner `Err` = what is wrong with the next entry.
async fn check_block(
    pool: &AnyPool,
    block: &AnyRow,
    report: &mut VerifyReport,
    expected: Option<&str>,
    (last, last_hash): (i64, &str),
) -> Result<Result<(), String>, sqlx::Error> {
    let columns = || Ok((block.try_get(0)?, block.try_get(1)?, lossy_text(block, 2)?, lossy_text(block, 3)?));
    let (first_seq, at, prev, lines): (i64, i64, String, String) = match columns() {
        Ok(columns) => columns,
        Err::<_, sqlx::Error>(error) => return Ok(Err(format!("it cannot be read: {error}"))),
    };
    if first_seq != report.entries + 1 {
        return Ok(Err(format!("it is missing; the next is {first_seq}")));
    }
    if prev != report.head {
        return Ok(Err("its hash does not match its content and the entry before".into()));
    }
    let unindexed = missing_index_entries(pool, first_seq, &lines).await?;
    let mut reader = BlockReader::new(first_seq, prev, &lines);
    while let Some(entry) = reader.next_verified() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(reason) => return Ok(Err(reason)),
        };
        let time_differs = entry.seq == first_seq && entry.at != rfc3339(at);
        if time_differs || unindexed.iter().any(|record| mentions_record(&entry, record)) {
            return Ok(Err("the index columns differ from its content".into()));
        }
        report.entries += 1;
        if expected == Some(entry.hash.as_str()) {
            report.head_found = Some(true);
        }
        report.head = entry.hash;
        if report.entries == last && report.head != last_hash {
            report.entries -= 1;
            return Ok(Err("it is not the entry that was written last".into()));
        }
    }
    Ok(if report.entries < first_seq { Err("its block is empty".into()) } else { Ok(()) })
}

fn mentions_record(entry: &LedgerEntry, (system, record): &(String, String)) -> bool {
    entry.system == *system && entry.record.as_ref() == Some(record)
}

/// The records of a block that the index does not list for it.
async fn missing_index_entries(
    pool: &AnyPool,
    first_seq: i64,
    lines: &str,
) -> Result<HashSet<(String, String)>, sqlx::Error> {
    let mut reader = BlockReader::new(first_seq, String::new(), lines);
    let entries = std::iter::from_fn(|| reader.next_entry()).filter_map(Result::ok);
    let mut missing: HashSet<_> = entries.filter_map(|entry| Some((entry.system, entry.record?))).collect();
    let records: Vec<_> = missing.iter().cloned().collect();
    for chunk in records.chunks(RECORDS_PER_LOOKUP) {
        let values = pad_chunk(chunk, RECORDS_PER_LOOKUP)
            .flat_map(|(system, record)| [SqlValue::text(system), SqlValue::text(record), SqlValue::Number(first_seq)]);
        for row in sqlx::query_with(INDEXED, bind_all(values)?).fetch_all(pool).await? {
            missing.remove(&(row.try_get(0)?, row.try_get(1)?));
        }
    }
    Ok(missing)
}
