//! Lists ledger entries: reads the blocks that may hold matches and filters their entries.

use sqlx::any::AnyRow;
use sqlx::{AnyPool, AssertSqlSafe, Row as _};

use super::block_reader::BlockReader;
use super::ledger::LedgerEntry;
use super::model::{LedgerQuery, Page};
use super::sql::{SqlValue, bind_all};
use super::where_clause::{MAX_SCANNED_ROWS, WhereClause};

/// About how many entries are in memory at once.
const SCAN_CHUNK: i64 = 1000;
/// How many blocks one statement reads if a record is given: each of them holds a match.
const BLOCKS_PER_RECORD_READ: i64 = 16;

/// A page of the ledger, oldest first.
pub(super) async fn list(pool: &AnyPool, query: &LedgerQuery) -> Result<Page<LedgerEntry, i64>, sqlx::Error> {
    if query.systems.is_empty() || query.limit == 0 {
        return Ok(Page { items: Vec::new(), next: None });
    }
    let last: i64 = sqlx::query("SELECT seq FROM head WHERE id = 1").fetch_one(pool).await?.try_get(0)?;
    let after = query.after_seq.unwrap_or(0).max(0);
    let mut scan = EntryScan { query, after, items: Vec::new(), scanned: 0, last_scanned: after, done: false };
    let mut from_seq = find_first_block(pool, query, after).await?;
    while from_seq <= last && !scan.done && scan.scanned < MAX_SCANNED_ROWS {
        let rows = fetch_blocks(pool, query, from_seq).await?;
        for row in &rows {
            scan.scan_block(row)?;
        }
        from_seq = match (rows.last(), &query.record) {
            (Some(row), Some(_)) => row.try_get::<i64, _>(0)?.saturating_add(1),
            (None, Some(_)) => i64::MAX,
            (_, None) => from_seq.saturating_add(SCAN_CHUNK),
        };
    }
    let EntryScan { mut items, last_scanned, done, .. } = scan;
    let next = if items.len() > query.limit {
        items.truncate(query.limit);
        items.last().map(|last| last.seq)
    } else {
        (!done && from_seq <= last).then_some(last_scanned)
    };
    Ok(Page { items, next })
}

/// The first block to read: that of the next entry, or a later one because of `since`.
async fn find_first_block(pool: &AnyPool, query: &LedgerQuery, after: i64) -> Result<i64, sqlx::Error> {
    let next = after.saturating_add(1);
    let mut first: i64 = max_first_seq(pool, "SELECT max(first_seq) FROM ledger WHERE first_seq <= $1", next).await?;
    if let Some(since) = query.since {
        let since = since.as_millisecond();
        first = first.max(max_first_seq(pool, "SELECT max(first_seq) FROM ledger WHERE at < $1", since).await?);
    }
    Ok(first)
}

async fn max_first_seq(pool: &AnyPool, statement: &'static str, number: i64) -> Result<i64, sqlx::Error> {
    let row = sqlx::query_with(statement, bind_all([SqlValue::Number(number)])?).fetch_one(pool).await?;
    Ok(row.try_get::<Option<i64>, _>(0)?.unwrap_or(0))
}

async fn fetch_blocks(pool: &AnyPool, query: &LedgerQuery, from_seq: i64) -> Result<Vec<AnyRow>, sqlx::Error> {
    let mut filter = WhereClause::new();
    filter.and("first_seq >=", SqlValue::Number(from_seq));
    let limit = if let Some(record) = &query.record {
        filter.in_blocks_for_record(record, &query.systems);
        BLOCKS_PER_RECORD_READ
    } else {
        filter.and("first_seq <", SqlValue::Number(from_seq.saturating_add(SCAN_CHUNK)));
        SCAN_CHUNK
    };
    let limit = filter.bind(SqlValue::Number(limit));
    let statement =
        format!("SELECT first_seq, prev, lines FROM ledger WHERE {} ORDER BY first_seq LIMIT {limit}", filter.text);
    sqlx::query_with(AssertSqlSafe(statement), bind_all(filter.values)?).fetch_all(pool).await
}

/// A scan of the ledger, with its matches so far.
struct EntryScan<'q> {
    query: &'q LedgerQuery,
    after: i64,
    items: Vec<LedgerEntry>,
    scanned: i64,
    /// The number of the last entry read.
    last_scanned: i64,
    /// Whether no later entry can match, or the page is full.
    done: bool,
}

impl EntryScan<'_> {
    fn scan_block(&mut self, row: &AnyRow) -> Result<(), sqlx::Error> {
        let text: String = row.try_get(2)?;
        let mut reader = BlockReader::new(row.try_get(0)?, row.try_get(1)?, &text);
        while let Some(entry) = reader.next_entry() {
            if self.done {
                break;
            }
            let entry = entry?;
            self.scanned += 1;
            self.last_scanned = self.last_scanned.max(entry.seq);
            if self.query.until.is_some() && parse_entry_time(&entry)? >= self.query.until {
                self.done = true;
            } else if self.matches(&entry)? {
                self.items.push(entry);
                self.done = self.items.len() > self.query.limit;
            }
        }
        Ok(())
    }

    fn matches(&self, entry: &LedgerEntry) -> Result<bool, sqlx::Error> {
        let query = self.query;
        let fits = |filter: &Option<String>, value: Option<&String>| filter.is_none() || filter.as_ref() == value;
        Ok(entry.seq > self.after
            && query.systems.contains(&entry.system)
            && fits(&query.record, entry.record.as_ref())
            && fits(&query.caller, Some(&entry.caller))
            && (query.since.is_none() || parse_entry_time(entry)? >= query.since))
    }
}

fn parse_entry_time(entry: &LedgerEntry) -> Result<Option<jiff::Timestamp>, sqlx::Error> {
    let at = entry.at.parse().map_err(|_| sqlx::Error::Decode("a ledger entry's time cannot be read".into()))?;
    Ok(Some(at))
}
