//! Operations that have no row in the table of operations, because the ledger tells all of them.
//!
//! Where an operation begins and is applied within one commit, and there is nothing to tell but that, its two entries stand on one
//! page and say everything. Such a page notes the greatest id among them, and takes only operations whose ids are greater
//! than those of all pages before (others get a row): so an id that has no row is on the first page that notes one as great.

use std::collections::HashMap;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::block_reader::BlockReader;
use super::ledger::LedgerEvent;
use super::queries::{MAX_SCANNED_ROWS, WhereClause};
use super::sql::{SqlValue, bind_all};
use super::{OperationQuery, Page};
use crate::record::{Operation, OperationId, OperationState};

/// How many pages are read at once.
const BLOCKS_PER_READ: i64 = 4;

/// One of them, unless its page was begun before `since` (milliseconds since 1970).
pub(super) async fn operation(
    connection: &mut AnyConnection,
    id: &OperationId,
    since: i64,
) -> Result<Option<Operation>, sqlx::Error> {
    let statement = "SELECT first_seq, lines, last_operation FROM ledger WHERE last_operation >= $1 AND at >= $2
                     ORDER BY last_operation LIMIT 1";
    let cells = bind_all([SqlValue::text(id.as_str()), SqlValue::Number(since)])?;
    let page = sqlx::query_with(statement, cells).fetch_optional(connection).await?;
    let told = page.map(|page| operations_in_block(&page)).transpose()?;
    Ok(told.and_then(|told| told.into_iter().find(|one| one.id == *id)))
}

/// Those that a query asks for, in any order: at least so many as it wants, and all whose ids are not greater than `next`
/// (`None` = all). Some of them may have rows, too.
pub(super) async fn operations(
    connection: &mut AnyConnection,
    query: &OperationQuery,
    since: i64,
) -> Result<Page<Operation, OperationId>, sqlx::Error> {
    let mut found = Page { items: Vec::new(), next: None };
    if query.state.is_some_and(|state| state != OperationState::Applied) {
        return Ok(found);
    }
    let is_wanted = |one: &Operation| {
        query.systems.contains(&one.system)
            && query.after.as_ref().is_none_or(|after| after.as_str() < one.id.as_str())
            && (query.record.is_none() || query.record == one.record)
    };
    let mut after = query.after.as_ref().map_or("", OperationId::as_str).to_owned();
    let mut looked_at = 0;
    loop {
        let pages = fetch_blocks(connection, query, &after, since).await?;
        let Some(last) = pages.last() else { break };
        after = last.try_get(2)?;
        for page in &pages {
            let told = operations_in_block(page)?;
            looked_at += told.len();
            found.items.extend(told.into_iter().filter(is_wanted));
        }
        if found.items.len() > query.limit || i64::try_from(looked_at).unwrap_or(i64::MAX) >= MAX_SCANNED_ROWS {
            found.next = Some(OperationId::from(after));
            break;
        }
    }
    Ok(found)
}

async fn fetch_blocks(
    connection: &mut AnyConnection,
    query: &OperationQuery,
    after: &str,
    since: i64,
) -> Result<Vec<AnyRow>, sqlx::Error> {
    let mut filter = WhereClause::new();
    filter.and("last_operation >", SqlValue::text(after));
    filter.and("at >=", SqlValue::Number(since));
    if let Some(record) = &query.record {
        filter.in_blocks_for_record(record, &query.systems);
    }
    let limit = filter.bind(SqlValue::Number(BLOCKS_PER_READ));
    let text = &filter.text;
    let statement = format!(
        "SELECT first_seq, lines, last_operation FROM ledger WHERE {text} ORDER BY last_operation LIMIT {limit}"
    );
    sqlx::query_with(AssertSqlSafe(statement), bind_all(filter.values)?).fetch_all(connection).await
}

/// The operations that began on a page and were applied on it.
fn operations_in_block(page: &AnyRow) -> Result<Vec<Operation>, sqlx::Error> {
    let text: String = page.try_get(1)?;
    let mut lines = BlockReader::new(page.try_get(0)?, String::new(), &text);
    let (mut begun, mut told) = (HashMap::new(), Vec::new());
    while let Some(entry) = lines.next_entry() {
        let entry = entry?;
        if entry.event == LedgerEvent::Intent {
            begun.insert(entry.operation, entry.at);
        } else if entry.state == OperationState::Applied.as_str()
            && let Some(started_at) = begun.remove(&entry.operation)
        {
            told.push(Operation {
                id: entry.operation,
                state: OperationState::Applied,
                action: entry.action,
                system: entry.system,
                record: entry.record,
                caller: entry.caller,
                started_at,
                finished_at: Some(entry.at),
                etag: entry.etag_after,
                warnings: Vec::new(),
                problem: None,
                observed: None,
            });
        }
    }
    Ok(told)
}
