//! Pages of rows of the ledger: bounded work for each call, independent of the size of the store.

use std::ops::Range;

use super::error::DbError;
use super::query::{Page, SortOrder};
use super::readers::Reader;
use super::sql::{Row, SqlValue};

/// About the most rows that one list call reads: a page may be short, but it is never slow.
/// Tests use a small number.
pub(super) const MAX_SCANNED_ROWS: usize = if cfg!(test) { 100 } else { 20_000 };
/// The most rows that one query reads.
const MAX_CHUNK: usize = 2000;

/// Where the rows come from. The first column is `e.seq`, the position of a row.
pub(super) struct PageSource {
    /// `SELECT … FROM … WHERE …`; `params` are `?4` and so on.
    pub(super) select: String,
    pub(super) params: Vec<SqlValue>,
}

/// What a page is made of.
pub(super) struct PageRequest {
    /// The positions to read, oldest first.
    pub(super) ranges: Vec<Range<i64>>,
    pub(super) order: SortOrder,
    /// Only what follows this position.
    pub(super) after: Option<i64>,
    pub(super) limit: usize,
}

impl PageRequest {
    /// The ranges in the order of the list, without what comes before `after`.
    fn ranges(&self) -> Vec<Range<i64>> {
        let mut ranges = self.ranges.clone();
        if self.order == SortOrder::Descending {
            ranges.reverse();
        }
        if let Some(after) = self.after {
            for range in &mut ranges {
                skip_to(range, self.order, after);
            }
        }
        ranges.retain(|range| range.start < range.end);
        ranges
    }
}

/// Leaves out everything up to and including `after`.
fn skip_to(range: &mut Range<i64>, order: SortOrder, after: i64) {
    match order {
        SortOrder::Ascending => range.start = range.start.max(after.saturating_add(1)),
        SortOrder::Descending => range.end = range.end.min(after),
    }
}

/// The statement that reads the rows from `?1` to before `?2`, at most `?3` of them.
pub(super) fn list_statement(source: &PageSource, order: SortOrder) -> String {
    let direction = if order == SortOrder::Descending { "DESC" } else { "ASC" };
    format!("{} AND e.seq >= ?1 AND e.seq < ?2 ORDER BY e.seq {direction} LIMIT ?3", source.select)
}

/// Reads a page. `decode` returns the position of a row, and the item if it belongs in the list.
pub(super) async fn read_page<T>(
    reader: &Reader,
    source: &PageSource,
    request: &PageRequest,
    mut decode: impl FnMut(Row) -> Result<(i64, Option<T>), DbError>,
) -> Result<Page<T>, DbError> {
    let statement = list_statement(source, request.order);
    let mut page = Page { items: Vec::new(), next: None };
    let (mut scanned, mut chunk) = (0, (request.limit + 1).min(MAX_CHUNK).min(MAX_SCANNED_ROWS));
    for mut range in request.ranges() {
        loop {
            let chunk_size = i64::try_from(chunk).unwrap_or(i64::MAX);
            let mut params = vec![SqlValue::Int(range.start), SqlValue::Int(range.end), SqlValue::Int(chunk_size)];
            params.extend_from_slice(&source.params);
            let rows = reader.select(&statement, &params).await?;
            let is_last = rows.len() < chunk;
            scanned += rows.len();
            for row in rows {
                let (seq, item) = decode(row)?;
                if let Some(item) = item {
                    if page.items.len() == request.limit {
                        return Ok(page);
                    }
                    page.items.push(item);
                }
                page.next = Some(seq);
            }
            if is_last {
                break;
            }
            if scanned >= MAX_SCANNED_ROWS {
                return Ok(page);
            }
            if let Some(last) = page.next {
                skip_to(&mut range, request.order, last);
            }
            chunk = (chunk * 2).min(MAX_CHUNK).min(MAX_SCANNED_ROWS);
        }
    }
    page.next = None;
    Ok(page)
}
