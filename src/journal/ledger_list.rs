//! Pages of the ledger.

use std::ops::Range;

use super::bounded_page::{PageRequest, PageSource, read_page};
use super::entry_json::StoredEntry;
use super::error::DbError;
use super::ledger::{GENESIS, LedgerEntry, LedgerEvent};
use super::operations::ceil_ms;
use super::query::{LedgerQuery, Page};
use super::readers::Reader;
use super::sql::{Row, SqlValue, operation_uuid};
use super::time_search::ranges_of_time;
use crate::record::OperationId;

/// A page of entries.
pub(super) async fn entries(reader: &Reader, query: &LedgerQuery) -> Result<Page<LedgerEntry>, DbError> {
    if query.systems.is_empty() || query.limit == 0 {
        return Ok(Page { items: Vec::new(), next: None });
    }
    let (since, until) = (query.since.map(ceil_ms), query.until.map(ceil_ms));
    let mut ranges = ranges_of_time(reader, since, until).await?;
    if let Some(operation) = &query.operation {
        ranges = entries_of(reader, operation, &ranges).await?;
    }
    let request = PageRequest { ranges, order: query.order, after: query.after_seq, limit: query.limit };
    let matches = |entry: &LedgerEntry| {
        (query.systems.contains(&entry.system) || query.includes_cuts && entry.event == LedgerEvent::Cut)
            && query.record.as_ref().is_none_or(|record| entry.record.as_ref() == Some(record))
            && query.caller.as_ref().is_none_or(|caller| entry.caller == *caller)
            && query.problem.as_ref().is_none_or(|problem| entry.problem.as_ref() == Some(problem))
    };
    read_page(reader, &source(query), &request, |row| {
        let entry = decode(row)?;
        Ok((entry.seq, Some(entry).filter(matches)))
    })
    .await
}

pub(super) fn source(query: &LedgerQuery) -> PageSource {
    let select = "SELECT e.seq, e.hash, e.entry, coalesce(p.hash, c.hash) FROM ledger e
        LEFT JOIN ledger p ON p.seq = e.seq - 1 LEFT JOIN ledger_cut c ON c.seq = e.seq - 1 WHERE";
    match &query.record {
        Some(record) => {
            PageSource { select: format!("{select} e.record = ?4"), params: vec![SqlValue::Text(record.clone())] }
        }
        None => PageSource { select: format!("{select} 1 = 1"), params: Vec::new() },
    }
}

/// The positions of an operation's entries within some ranges.
async fn entries_of(
    reader: &Reader,
    operation: &OperationId,
    ranges: &[Range<i64>],
) -> Result<Vec<Range<i64>>, DbError> {
    let statement = "SELECT abs(intent), seq FROM ledger WHERE operation = ?1 AND intent IS NOT NULL
                     UNION ALL SELECT seq, NULL FROM running WHERE operation = ?1";
    let mut found = Vec::new();
    for mut row in reader.select(statement, &[SqlValue::Id(operation_uuid(operation))]).await? {
        found.push(row.int(0)?);
        found.extend(row.opt_int(1)?);
    }
    found.sort_unstable();
    found.dedup();
    found.retain(|seq| ranges.iter().any(|range| range.contains(seq)));
    Ok(found.into_iter().map(|seq| seq..seq + 1).collect())
}

fn decode(mut row: Row) -> Result<LedgerEntry, DbError> {
    let unreadable = || DbError::Corrupt("a ledger entry cannot be read".into());
    let (seq, hash) = (row.int(0)?, row.array(1)?);
    let entry = StoredEntry::parse(&row.text(2)?).ok_or_else(unreadable)?;
    let prev = match row.opt_bytes(3)? {
        Some(prev) => prev.try_into().map_err(|_| unreadable())?,
        None => GENESIS,
    };
    Ok(entry.into_entry(seq, &prev, &hash))
}
