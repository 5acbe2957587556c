//! Whether the ledger is what was written.

use std::collections::HashSet;

use sqlx::AnyPool;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::StoreError;
use super::backend::Backend;
use super::block_reader::BlockReader;
use super::ledger::{GENESIS_HASH, LedgerEntry, rfc3339};
use super::sql::{SqlValue, bind_all};

/// How many pages are held in memory at once.
const VERIFY_CHUNK: i64 = 64;
/// How many records of a page one look-up takes; fewer are filled up with the last.
const BIND_CHUNK: usize = 8;

const INDEXED: &str = "SELECT system, record FROM ledger_record WHERE (system, record, first_seq) IN (VALUES
    ($1,$2,$3),($4,$5,$6),($7,$8,$9),($10,$11,$12),($13,$14,$15),($16,$17,$18),($19,$20,$21),($22,$23,$24))";

const SELECT_BLOCKS: &str =
    "SELECT first_seq, at, prev, lines FROM ledger WHERE first_seq > $1 ORDER BY first_seq LIMIT $2";
/// For SQLite, which keeps texts that are none; PostgreSQL does not.
const SELECT_BLOCKS_AS_BYTES: &str = "SELECT first_seq, at, CAST(prev AS BLOB), CAST(lines AS BLOB) FROM ledger
    WHERE first_seq > $1 ORDER BY first_seq LIMIT $2";

/// The first thing found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainError {
    /// The entry.
    pub seq: i64,
    /// What is wrong with it.
    pub reason: String,
}

/// What computing the chain again showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// How many entries are right, from the first.
    pub entries: i64,
    /// The hash of the last of them: note it down, and a later check shows that it is still there.
    pub head: String,
    /// The first entry that is wrong or missing.
    pub first_error: Option<ChainError>,
    /// Whether the hash asked for is that of an entry (or of the empty ledger); `None` when none was asked for.
    pub head_found: Option<bool>,
}

impl VerifyReport {
    /// Whether everything is as it was written.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.first_error.is_none() && self.head_found != Some(false)
    }
}

/// Computes the chain of a store again without opening it for writing: also beside a running gateway.
/// Needs a tokio runtime. `url` as in [`StoreSettings`](super::StoreSettings).
///
/// # Errors
/// `Open`, `Unavailable`. A broken chain is not an error but a finding.
pub async fn verify_ledger(url: &str, head: Option<&str>) -> Result<VerifyReport, StoreError> {
    let pool = Backend::parse(url)?.build_reader_pool(|| true)?;
    let verified = run(&pool, head).await;
    pool.close().await;
    verified.map_err(|error| match error {
        sqlx::Error::Database(database) => StoreError::Open(database.message().to_owned()),
        other => other.into(),
    })
}

pub(super) async fn run(pool: &AnyPool, wanted: Option<&str>) -> Result<VerifyReport, sqlx::Error> {
    // Taken first: entries that come meanwhile are checked too, and those up to here must be there.
    let (last, last_hash) = stored_head(pool).await?;
    let mut verified = VerifyReport {
        entries: 0,
        head: GENESIS_HASH.into(),
        first_error: None,
        head_found: wanted.map(|wanted| wanted == GENESIS_HASH),
    };
    let (mut after, mut piece) = (0, VERIFY_CHUNK);
    loop {
        let pages = match blocks_after(pool, SELECT_BLOCKS, after, piece).await {
            // One that is no text any more: which it is, and which of its lines, shows when pages are read one by one as bytes.
            Err(sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) if piece > 1 => {
                piece = 1;
                continue;
            }
            Err(sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) => {
                blocks_after(pool, SELECT_BLOCKS_AS_BYTES, after, piece).await?
            }
            read => read?,
        };
        for page in &pages {
            if let Err(why) = check_block(pool, page, &mut verified, wanted, (last, &last_hash)).await? {
                return Ok(with_error(verified, why));
            }
        }
        let Some(page) = pages.last() else { break };
        after = page.try_get(0)?;
    }
    if verified.entries < last {
        return Ok(with_error(verified, format!("it is gone; the ledger had {last} entries")));
    }
    if verified.entries > stored_head(pool).await?.0 {
        verified.entries = last;
        return Ok(with_error(verified, "nobody wrote it: the ledger ends before it".into()));
    }
    Ok(verified)
}

async fn blocks_after(
    pool: &AnyPool,
    statement: &'static str,
    seq: i64,
    limit: i64,
) -> Result<Vec<AnyRow>, sqlx::Error> {
    let cells = bind_all([SqlValue::Number(seq), SqlValue::Number(limit)])?;
    sqlx::query_with(statement, cells).fetch_all(pool).await
}

/// A column's text; whatever is none in it shows as such.
fn lossy_text(page: &AnyRow, column: usize) -> Result<String, sqlx::Error> {
    page.try_get(column).or_else(|_| {
        let bytes: Vec<u8> = page.try_get(column)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })
}

/// Where the writers say that the chain ends.
async fn stored_head(pool: &AnyPool) -> Result<(i64, String), sqlx::Error> {
    let row = sqlx::query("SELECT seq, hash FROM head WHERE id = 1").fetch_optional(pool).await?;
    Ok(match row {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => (0, GENESIS_HASH.into()),
    })
}

fn with_error(mut verified: VerifyReport, why: String) -> VerifyReport {
    verified.first_error = Some(ChainError { seq: verified.entries + 1, reason: why });
    verified
}

/// Goes through a page, entry by entry; the inner `Err` = what is wrong with the next one.
async fn check_block(
    pool: &AnyPool,
    page: &AnyRow,
    verified: &mut VerifyReport,
    wanted: Option<&str>,
    (last, last_hash): (i64, &str),
) -> Result<Result<(), String>, sqlx::Error> {
    let columns = || Ok((page.try_get(0)?, page.try_get(1)?, lossy_text(page, 2)?, lossy_text(page, 3)?));
    let (first, at, prev, lines): (i64, i64, String, String) = match columns() {
        Ok(columns) => columns,
        Err::<_, sqlx::Error>(error) => return Ok(Err(format!("it cannot be read: {error}"))),
    };
    if first != verified.entries + 1 {
        return Ok(Err(format!("it is gone; the next is {first}")));
    }
    if prev != verified.head {
        return Ok(Err("its hash does not fit its content and the entry before".into()));
    }
    let untraced = missing_index_entries(pool, first, &lines).await?;
    let mut left = BlockReader::new(first, prev, &lines);
    while let Some(entry) = left.next_verified() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(why) => return Ok(Err(why)),
        };
        let at_another_time = entry.seq == first && entry.at != rfc3339(at);
        if at_another_time || untraced.iter().any(|record| mentions_record(&entry, record)) {
            return Ok(Err("the columns for searching tell another story than its content".into()));
        }
        verified.entries += 1;
        if wanted == Some(entry.hash.as_str()) {
            verified.head_found = Some(true);
        }
        verified.head = entry.hash;
        if verified.entries == last && verified.head != last_hash {
            verified.entries -= 1;
            return Ok(Err("it is not the entry that was written last".into()));
        }
    }
    Ok(if verified.entries < first { Err("its page is empty".into()) } else { Ok(()) })
}

fn mentions_record(entry: &LedgerEntry, (system, record): &(String, String)) -> bool {
    entry.system == *system && entry.record.as_ref() == Some(record)
}

/// The records on a page for which a search would not find it.
async fn missing_index_entries(
    pool: &AnyPool,
    first: i64,
    text: &str,
) -> Result<HashSet<(String, String)>, sqlx::Error> {
    let mut lines = BlockReader::new(first, String::new(), text);
    let entries = std::iter::from_fn(|| lines.next_entry()).filter_map(Result::ok);
    let mut about: HashSet<_> = entries.filter_map(|entry| Some((entry.system, entry.record?))).collect();
    let all: Vec<_> = about.iter().cloned().collect();
    for some in all.chunks(BIND_CHUNK) {
        let filled = some.iter().chain(std::iter::repeat(some.last()).flatten()).take(BIND_CHUNK);
        let cells = filled
            .flat_map(|(system, record)| [SqlValue::text(system), SqlValue::text(record), SqlValue::Number(first)]);
        for row in sqlx::query_with(INDEXED, bind_all(cells)?).fetch_all(pool).await? {
            about.remove(&(row.try_get(0)?, row.try_get(1)?));
        }
    }
    Ok(about)
}
