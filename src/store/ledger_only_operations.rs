//! Ledger-only operations: those without a row in the table of operations.
//!
//! An operation that begins and is applied within one commit, without warnings or a problem, has
//! both entries in one ledger block, and they hold all of it. The block notes the greatest id of
//! its ledger-only operations. An operation is ledger-only only if its id is greater than those of
//! all earlier blocks. So an id without a row is in the first block whose noted id is not smaller.

use std::collections::HashMap;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::block_reader::BlockReader;
use super::ledger::LedgerEvent;
use super::model::{OperationQuery, Page};
use super::sql::{SqlValue, bind_all};
use super::where_clause::{MAX_SCANNED_ROWS, WhereClause};
use crate::record::{Operation, OperationId, OperationState};

/// How many blocks one statement reads.
const BLOCKS_PER_READ: i64 = 4;

/// One operation, unless its block is older than `since_ms` (milliseconds since 1970).
pub(super) async fn operation(
    connection: &mut AnyConnection,
    id: &OperationId,
    since_ms: i64,
) -> Result<Option<Operation>, sqlx::Error> {
    let statement = "SELECT first_seq, lines, last_operation FROM ledger WHERE last_operation >= $1 AND at >= $2
                     ORDER BY last_operation LIMIT 1";
    let values = bind_all([SqlValue::text(id.as_str()), SqlValue::Number(since_ms)])?;
    let block = sqlx::query_with(statement, values).fetch_optional(connection).await?;
    let operations = block.map(|block| operations_in_block(&block)).transpose()?;
    Ok(operations.into_iter().flatten().find(|operation| operation.id == *id))
}

/// The matches of a query, unsorted: more than its limit or all of them, and complete up to the id
/// `next` (`None` = complete). Some of them may have rows, too.
pub(super) async fn operations(
    connection: &mut AnyConnection,
    query: &OperationQuery,
    since_ms: i64,
) -> Result<Page<Operation, OperationId>, sqlx::Error> {
    let mut found = Page { items: Vec::new(), next: None };
    if query.state.is_some_and(|state| state != OperationState::Applied) {
        return Ok(found);
    }
    let matches = |operation: &Operation| {
        query.systems.contains(&operation.system)
            && query.after.as_ref().is_none_or(|after| after.as_str() < operation.id.as_str())
            && (query.record.is_none() || query.record == operation.record)
    };
    let mut after = query.after.as_ref().map_or("", OperationId::as_str).to_owned();
    let mut scanned = 0;
    loop {
        let blocks = fetch_blocks(connection, query, &after, since_ms).await?;
        let Some(last) = blocks.last() else { break };
        after = last.try_get(2)?;
        for block in &blocks {
            let operations = operations_in_block(block)?;
            scanned += operations.len();
            found.items.extend(operations.into_iter().filter(matches));
        }
        if found.items.len() > query.limit || i64::try_from(scanned).unwrap_or(i64::MAX) >= MAX_SCANNED_ROWS {
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
    since_ms: i64,
) -> Result<Vec<AnyRow>, sqlx::Error> {
    let mut filter = WhereClause::new();
    filter.and("last_operation >", SqlValue::text(after));
    filter.and("at >=", SqlValue::Number(since_ms));
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

/// The operations that begin and are applied in a block.
fn operations_in_block(block: &AnyRow) -> Result<Vec<Operation>, sqlx::Error> {
    let text: String = block.try_get(1)?;
    let mut reader = BlockReader::new(block.try_get(0)?, String::new(), &text);
    let (mut begun, mut operations) = (HashMap::new(), Vec::new());
    while let Some(entry) = reader.next_entry() {
        let entry = entry?;
        if entry.event == LedgerEvent::Intent {
            begun.insert(entry.operation, entry.at);
        } else if entry.state == OperationState::Applied.as_str()
            && let Some(started_at) = begun.remove(&entry.operation)
        {
            operations.push(Operation {
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
    Ok(operations)
}
