//! The feed of changes (contract 4.14), read from the ledger: an event is an outcome entry with the
//! state `applied` or `unknown`. It is therefore made in the commit of the outcome, in the order of
//! the ledger, and as durable as the ledger.

use std::ops::Range;

use super::bounded_page::{PageRequest, PageSource, read_page};
use super::entry_json::StoredEntry;
use super::error::DbError;
use super::ledger::LedgerEvent;
use super::query::SortOrder;
use super::readers::Reader;
use super::sql::{Row, SqlValue};
use super::time_search::ranges_of_time;
use crate::metrics::ChangeType;
use crate::record::{Action, OperationId, OperationState};

/// An event of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEvent {
    /// The number of its ledger entry.
    pub seq: i64,
    /// Its time (RFC 3339, UTC, milliseconds).
    pub at: String,
    /// Its type.
    pub kind: ChangeType,
    /// The system.
    pub system: String,
    /// The record; `None` for a create whose outcome is unknown.
    pub record: Option<String>,
    /// The record's ETag after the write, if confirmed.
    pub etag: Option<String>,
    /// The operation.
    pub operation: OperationId,
    /// JSON Pointers to what the write changed.
    pub paths: Vec<String>,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeStart {
    /// At the oldest event that is kept.
    First,
    /// After all that has happened.
    Now,
    /// After this position.
    After(i64),
}

/// Which events to read.
#[derive(Clone, Debug)]
pub struct ChangeQuery {
    /// The systems that the caller may see; no others are listed.
    pub systems: Vec<String>,
    /// Only events of records of this collection, and those whose record is not known.
    pub collection: Option<String>,
    /// Only events of this record.
    pub record: Option<String>,
    /// The most events to read.
    pub limit: usize,
}

/// A part of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePage {
    /// The events, oldest first.
    pub items: Vec<FeedEvent>,
    /// The position that these events follow.
    pub start: i64,
    /// The position that the next part follows.
    pub next: i64,
    /// Whether there was nothing after it.
    pub at_end: bool,
}

/// What reading the feed came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeRead {
    /// A part of the feed.
    Page(ChangePage),
    /// Events after the position are not kept any more. This is the position of now.
    Expired(i64),
}

/// The position before the oldest event since a time.
pub(super) async fn floor(reader: &Reader, cutoff_ms: i64) -> Result<i64, DbError> {
    let kept = ranges_of_time(reader, Some(cutoff_ms), None).await?;
    match kept.first() {
        Some(Range { start, .. }) => Ok(start - 1),
        None => head(reader).await,
    }
}

/// The position of now.
pub(super) async fn head(reader: &Reader) -> Result<i64, DbError> {
    max_seq(reader, "ledger").await
}

async fn max_seq(reader: &Reader, table: &str) -> Result<i64, DbError> {
    let rows = reader.select(&format!("SELECT max(seq) FROM {table}"), &[]).await?;
    Ok(rows.into_iter().next().map_or(Ok(None), |mut row| row.opt_int(0))?.unwrap_or_default())
}

/// Reads a part of the feed. `floor` is the position before the oldest event that is kept.
pub(super) async fn read(
    reader: &Reader,
    query: &ChangeQuery,
    start: ChangeStart,
    floor: i64,
) -> Result<ChangeRead, DbError> {
    let head = head(reader).await?;
    let after = match start {
        ChangeStart::First => floor,
        ChangeStart::Now => head,
        ChangeStart::After(position) if position < floor => return Ok(ChangeRead::Expired(head)),
        ChangeStart::After(position) => position,
    };
    let range = after.saturating_add(1)..head + 1;
    let request = PageRequest { ranges: vec![range], order: SortOrder::Ascending, after: None, limit: query.limit };
    let page = read_page(reader, &source(query), &request, |row| decode(row, query)).await?;
    let at_end = page.next.is_none();
    let next = page.next.unwrap_or(head.max(after));
    // Looked at after the page: entries are deleted only after their cut is stored. Who begins with
    // the first event misses none that it has seen.
    if start != ChangeStart::First && after < max_seq(reader, "ledger_cut").await? {
        return Ok(ChangeRead::Expired(head));
    }
    Ok(ChangeRead::Page(ChangePage { items: page.items, start: after, next, at_end }))
}

fn source(query: &ChangeQuery) -> PageSource {
    let select = "SELECT e.seq, e.entry FROM ledger e WHERE e.intent <> 0".to_owned();
    match &query.record {
        Some(record) => {
            PageSource { select: format!("{select} AND e.record = ?4"), params: vec![SqlValue::Text(record.clone())] }
        }
        None => PageSource { select, params: Vec::new() },
    }
}

fn decode(mut row: Row, query: &ChangeQuery) -> Result<(i64, Option<FeedEvent>), DbError> {
    let seq = row.int(0)?;
    let unreadable = || DbError::Corrupt("a ledger entry cannot be read".into());
    let entry = StoredEntry::parse(&row.text(1)?).ok_or_else(unreadable)?;
    if !query.systems.contains(&entry.system) || !is_of_collection(entry.record.as_deref(), query) {
        return Ok((seq, None));
    }
    let kind = entry.action.and_then(|action| change_type(entry.event, action, entry.state));
    let change = kind.zip(entry.operation).map(|(kind, operation)| FeedEvent {
        seq,
        at: entry.at,
        kind,
        system: entry.system,
        record: entry.record,
        etag: entry.etag_after,
        operation,
        paths: entry.paths,
    });
    Ok((seq, change))
}

/// Keys have no colon, so what stands before the last one is the collection.
fn is_of_collection(record: Option<&str>, query: &ChangeQuery) -> bool {
    let Some(collection) = &query.collection else { return true };
    record.is_none_or(|record| record.rsplit_once(':').is_some_and(|(of, _)| of == collection))
}

/// The type of the event that an entry is in the feed, if it is one.
pub(super) fn change_type(event: LedgerEvent, action: Action, state: OperationState) -> Option<ChangeType> {
    match (event, state) {
        (LedgerEvent::Outcome | LedgerEvent::Resolved, OperationState::Applied) => match action {
            Action::Create => Some(ChangeType::Created),
            Action::Update => Some(ChangeType::Updated),
            Action::Delete => Some(ChangeType::Deleted),
            Action::Read => None,
        },
        (LedgerEvent::Outcome, OperationState::Unknown) => Some(ChangeType::Gap),
        _ => None,
    }
}
