//! No list reads a whole table: the plans of all statements of `GET /operations` and `GET /ledger`.

use super::fixtures::{TestDatabase, connect, test_databases};
use super::samples::all_entries_query;
use crate::journal::bounded_page::{PageSource, list_statement};
use crate::journal::{LedgerQuery, OperationQuery, SortOrder, ledger_list, operations};
use crate::record::OperationState;

/// As many rows as make the planner of PostgreSQL weigh a walk through the table.
const ROWS: u32 = 20_000;
const STATES: [OperationState; 4] =
    [OperationState::Running, OperationState::Applied, OperationState::NotApplied, OperationState::Unknown];
const TABLES: [&str; 2] = ["ledger", "operation_detail"];

/// The statements of every combination of filters, in both orders.
fn statements() -> Vec<String> {
    let mut sources: Vec<PageSource> = Vec::new();
    for record in [None, Some("r7".to_owned())] {
        for state in [None].into_iter().chain(STATES.map(Some)) {
            let query = OperationQuery { record: record.clone(), state, ..OperationQuery::default() };
            sources.push(operations::source(&query));
        }
        sources.push(ledger_list::source(&LedgerQuery { record, ..all_entries_query() }));
    }
    let orders = [SortOrder::Ascending, SortOrder::Descending];
    sources.iter().flat_map(|source| orders.map(|order| with_values(&list_statement(source, order)))).collect()
}

/// The statement with a range in the middle of the table, and the size of a page.
fn with_values(statement: &str) -> String {
    let values = [("?1", "5000"), ("?2", "15000"), ("?3", "101"), ("?4", "'r7'")];
    values.iter().fold(statement.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// The steps of a statement's plan, as the database describes them.
async fn plan(database: &TestDatabase, statement: &str) -> Vec<String> {
    if database.is_shared {
        let rows = connect(&database.url).await.query(&format!("EXPLAIN {statement}"), &[]).await.expect("a plan");
        return rows.iter().map(|row| row.get::<_, String>(0)).collect();
    }
    let connection = rusqlite::Connection::open(database.path()).expect("a connection");
    let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).expect("a statement");
    let rows = explained.query_map([], |row| row.get(3)).expect("a plan");
    rows.collect::<Result<_, _>>().expect("steps")
}

async fn fill(database: &TestDatabase) {
    if !database.is_shared {
        return;
    }
    let rows = format!(
        "INSERT INTO ledger SELECT g, g, gen_random_uuid(), 'crm', 'r' || g % 500,
             CASE WHEN g % 2 = 0 THEN g - 1 END, '{{}}', '' FROM generate_series(1, {ROWS}) g;
         INSERT INTO operation_detail (seq, state, finished)
             SELECT g, CASE WHEN g % 100 = 1 THEN 'unknown' ELSE 'applied' END, g FROM generate_series(1, {ROWS}, 2) g;
         ANALYZE ledger; ANALYZE operation_detail"
    );
    database.execute(&rows).await;
}

#[tokio::test]
async fn no_filter_of_a_list_walks_through_a_table() {
    for database in test_databases().await {
        let _journal = database.open().await;
        fill(&database).await;
        for statement in statements() {
            let steps = plan(&database, &statement).await;
            let is_walk = |step: &String| {
                step.starts_with("SCAN ") || TABLES.iter().any(|table| step.contains(&format!("Seq Scan on {table} ")))
            };
            // A walk along the numbers that looks for a record among all of them.
            let is_search = |step: &String| step.contains("Filter: (record = ") || step.contains("Filter: ((record = ");
            assert!(!steps.iter().any(|step| is_walk(step) || is_search(step)), "{statement}\n{steps:#?}");
            assert!(!steps.is_empty());
        }
    }
}

#[tokio::test]
async fn counting_unresolved_writes_walks_through_no_table() {
    for database in test_databases().await {
        let _journal = database.open().await;
        fill(&database).await;
        let statement = operations::SELECT_UNKNOWN_WRITES.replace("?1", "'i'").replace("?2", "1000").replace("?3", "2");
        let steps = plan(&database, &statement).await;
        let is_walk = |step: &String| {
            let scans = ["SCAN l", "SCAN d", "Seq Scan on ledger", "Seq Scan on operation_detail"];
            scans.iter().any(|scan| step.contains(scan))
        };
        assert!(!steps.is_empty() && !steps.iter().any(is_walk), "{steps:#?}");
    }
}
