//! Reading the ledger: the pages where entries may be, and of their entries those that were asked for.

use sqlx::any::AnyRow;
use sqlx::{AnyPool, AssertSqlSafe, Row as _};

use super::ledger::LedgerEntry;
use super::lines::Lines;
use super::queries::{Filter, LOOK};
use super::sql::{Cell, arguments};
use super::{LedgerQuery, Page};

/// How many entries, about, are held in memory at once; a page has at most as many as a commit has commands.
const PIECE: i64 = 1000;
/// How many pages are read at once where a record is asked for and each of them holds one of its entries at least.
const PAGES: i64 = 16;

/// A part of the ledger, oldest first.
pub(super) async fn list(pool: &AnyPool, query: &LedgerQuery) -> Result<Page<LedgerEntry, i64>, sqlx::Error> {
    let nothing = Page { items: Vec::new(), next: None };
    if query.systems.is_empty() || query.limit == 0 {
        return Ok(nothing);
    }
    let last: i64 = sqlx::query("SELECT seq FROM head WHERE id = 1").fetch_one(pool).await?.try_get(0)?;
    let after = query.after_seq.unwrap_or(0).max(0);
    let mut wanted = Wanted { query, after, items: Vec::new(), looked_at: 0, seen: after, over: false };
    let mut from = first_page(pool, query, after).await?;
    while from <= last && !wanted.over && wanted.looked_at < LOOK {
        let rows = pages(pool, query, from).await?;
        for row in &rows {
            wanted.take_from(row)?;
        }
        from = match (rows.last(), &query.record) {
            (Some(row), Some(_)) => row.try_get::<i64, _>(0)?.saturating_add(1),
            (None, Some(_)) => i64::MAX,
            (_, None) => from.saturating_add(PIECE),
        };
    }
    let Wanted { mut items, seen, over, .. } = wanted;
    let next = if items.len() > query.limit {
        items.truncate(query.limit);
        items.last().map(|last| last.seq)
    } else {
        (!over && from <= last).then_some(seen)
    };
    Ok(Page { items, next })
}

/// The page to begin with: that of the next entry, or a later one where time says so.
async fn first_page(pool: &AnyPool, query: &LedgerQuery, after: i64) -> Result<i64, sqlx::Error> {
    let next = after.saturating_add(1);
    let mut first: i64 = newest(pool, "SELECT max(first_seq) FROM ledger WHERE first_seq <= $1", next).await?;
    if let Some(since) = query.since {
        let since = since.as_millisecond();
        first = first.max(newest(pool, "SELECT max(first_seq) FROM ledger WHERE at < $1", since).await?);
    }
    Ok(first)
}

async fn newest(pool: &AnyPool, statement: &'static str, number: i64) -> Result<i64, sqlx::Error> {
    let row = sqlx::query_with(statement, arguments([Cell::Number(number)])?).fetch_one(pool).await?;
    Ok(row.try_get::<Option<i64>, _>(0)?.unwrap_or(0))
}

async fn pages(pool: &AnyPool, query: &LedgerQuery, from: i64) -> Result<Vec<AnyRow>, sqlx::Error> {
    let mut filter = Filter::new();
    filter.and("first_seq >=", Cell::Number(from));
    let limit = if let Some(record) = &query.record {
        filter.on_pages_about(record, &query.systems);
        PAGES
    } else {
        filter.and("first_seq <", Cell::Number(from.saturating_add(PIECE)));
        PIECE
    };
    let limit = filter.bind(Cell::Number(limit));
    let statement =
        format!("SELECT first_seq, prev, lines FROM ledger WHERE {} ORDER BY first_seq LIMIT {limit}", filter.text);
    sqlx::query_with(AssertSqlSafe(statement), arguments(filter.cells)?).fetch_all(pool).await
}

/// What has been found so far.
struct Wanted<'q> {
    query: &'q LedgerQuery,
    after: i64,
    items: Vec<LedgerEntry>,
    looked_at: i64,
    /// The last entry that was looked at.
    seen: i64,
    /// Whether nothing further can be among what was asked for.
    over: bool,
}

impl Wanted<'_> {
    fn take_from(&mut self, row: &AnyRow) -> Result<(), sqlx::Error> {
        let text: String = row.try_get(2)?;
        let mut lines = Lines::of(row.try_get(0)?, row.try_get(1)?, &text);
        while let Some(entry) = lines.entry() {
            if self.over {
                break;
            }
            let entry = entry?;
            self.looked_at += 1;
            self.seen = self.seen.max(entry.seq);
            if self.query.until.is_some() && time_of(&entry)? >= self.query.until {
                self.over = true;
            } else if self.is_wanted(&entry)? {
                self.items.push(entry);
                self.over = self.items.len() > self.query.limit;
            }
        }
        Ok(())
    }

    fn is_wanted(&self, entry: &LedgerEntry) -> Result<bool, sqlx::Error> {
        let query = self.query;
        let is_one = |wanted: &Option<String>, is: Option<&String>| wanted.is_none() || wanted.as_ref() == is;
        Ok(entry.seq > self.after
            && query.systems.contains(&entry.system)
            && is_one(&query.record, entry.record.as_ref())
            && is_one(&query.caller, Some(&entry.caller))
            && (query.since.is_none() || time_of(entry)? >= query.since))
    }
}

fn time_of(entry: &LedgerEntry) -> Result<Option<jiff::Timestamp>, sqlx::Error> {
    let at = entry.at.parse().map_err(|_| sqlx::Error::Decode("a ledger entry's time cannot be read".into()))?;
    Ok(Some(at))
}
