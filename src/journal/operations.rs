//! Operations, read from the ledger: the intent, its outcome if there is one, and what the ledger
//! does not hold.

use super::bounded_page::{PageRequest, PageSource, read_page};
use super::entry_json::StoredEntry;
use super::error::DbError;
use super::ledger::rfc3339;
use super::model::{InterimResponse, UnknownWrites};
use super::query::{OperationQuery, Page};
use super::readers::Reader;
use super::sql::{Row, SqlValue, operation_uuid};
use super::time_search::ranges_of_time;
use crate::record::{Action, ObservedState, Operation, OperationId, OperationState};

/// Longer than any operation runs (milliseconds): its outcome is at most so much later than its
/// intent.
const MAX_RUN_MS: i64 = 24 * 60 * 60 * 1000;

/// The columns of [`decode`] after the position.
const COLUMNS: &str =
    "i.entry, o.entry, d.warnings, d.problem, d.observed, d.state, d.resolved_by, d.note, d.record, d.etag";
/// Finds the outcome and the details of an intent `i`.
const ENDING: &str = "LEFT JOIN ledger o ON o.operation = i.operation AND o.intent > 0
    LEFT JOIN operation_detail d ON d.seq = i.seq";

/// One operation. One that finished before `cutoff_ms` is not there any more.
pub(super) async fn operation(reader: &Reader, id: &OperationId, cutoff_ms: i64) -> Result<Option<Operation>, DbError> {
    // One statement sees one state: an operation cannot end between two.
    let statement = format!(
        "SELECT i.seq, i.entry, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM running r JOIN ledger i ON i.seq = r.seq
         WHERE r.operation = ?1
         UNION ALL SELECT i.seq, {COLUMNS} FROM ledger o JOIN ledger i ON i.seq = o.intent
         LEFT JOIN operation_detail d ON d.seq = i.seq WHERE o.operation = ?1 AND o.intent > 0"
    );
    let rows = reader.select(&statement, &[SqlValue::Id(operation_uuid(id))]).await?;
    let cutoff = rfc3339(cutoff_ms);
    match rows.into_iter().next() {
        Some(row) => Ok(Some(decode(row)?.1).filter(|operation| is_kept(operation, &cutoff))),
        None => Ok(None),
    }
}

/// A page of operations. Those that finished before `cutoff_ms` are not listed.
pub(super) async fn operations(
    reader: &Reader,
    query: &OperationQuery,
    cutoff_ms: i64,
) -> Result<Page<Operation>, DbError> {
    if query.systems.is_empty() || query.limit == 0 {
        return Ok(Page { items: Vec::new(), next: None });
    }
    let (since, until) = (query.since.map(ceil_ms), query.until.map(ceil_ms));
    let (since_text, until_text, cutoff) = (since.map(rfc3339), until.map(rfc3339), rfc3339(cutoff_ms));
    // What runs is listed whatever its age; there is little of it.
    let oldest = Some(cutoff_ms - MAX_RUN_MS).filter(|_| query.state != Some(OperationState::Running));
    let oldest = match oldest {
        Some(oldest) => Some(oldest.min(first_running(reader).await?.unwrap_or(i64::MAX))),
        None => None,
    };
    let latest = until.map(|until| if query.record.is_some() { until.saturating_add(MAX_RUN_MS) } else { until });
    let request = PageRequest {
        ranges: ranges_of_time(reader, since.max(oldest), latest).await?,
        order: query.order,
        after: query.after,
        limit: query.limit,
    };
    let matches = |operation: &Operation| {
        query.systems.contains(&operation.system)
            && query.record.as_ref().is_none_or(|record| operation.record.as_ref() == Some(record))
            && query.state.is_none_or(|state| operation.state == state)
            && query.caller.as_ref().is_none_or(|caller| operation.caller == *caller)
            && query.action.is_none_or(|action| operation.action == action)
            && since_text.as_ref().is_none_or(|since| operation.started_at >= *since)
            && until_text.as_ref().is_none_or(|until| operation.started_at < *until)
            && is_kept(operation, &cutoff)
    };
    read_page(reader, &source(query), &request, |row| {
        let (position, operation) = decode(row)?;
        Ok((position, Some(operation).filter(matches)))
    })
    .await
}

/// The creates of a system that may have made a record that no entry of the ledger names, and their
/// recovery payloads, at most `limit`: those that run; and of those that began since a time
/// (milliseconds since 1970) those that ended `unknown`, or `applied` by a person's word alone.
pub(super) async fn unresolved_creates(
    reader: &Reader,
    system: &str,
    since_ms: i64,
    limit: usize,
) -> Result<Vec<(OperationId, Option<String>)>, DbError> {
    let first = ranges_of_time(reader, Some(since_ms), None).await?.first().map_or(i64::MAX, |range| range.start);
    // One statement sees one state: an operation cannot end between two.
    let statement = "SELECT r.operation, r.recovery FROM running r WHERE r.system = ?1 AND r.action = ?2
         UNION ALL SELECT i.operation, d.recovery FROM operation_detail d JOIN ledger i ON i.seq = d.seq
         WHERE d.seq >= ?3 AND i.system = ?1 AND i.record IS NULL AND
             (d.state = 'unknown' OR (d.state = 'applied' AND d.verdict IS NOT NULL AND d.record IS NULL))
         LIMIT ?4";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (system, create) = (SqlValue::Text(system.to_owned()), SqlValue::Text(Action::Create.as_str().to_owned()));
    let rows = reader.select(statement, &[system, create, SqlValue::Int(first), SqlValue::Int(limit)]).await?;
    let decode =
        |mut row: Row| Ok((row.operation(0)?, row.opt_bytes(1)?.and_then(|json| String::from_utf8(json).ok())));
    rows.into_iter().map(decode).collect()
}

/// The time of the oldest intent that runs.
async fn first_running(reader: &Reader) -> Result<Option<i64>, DbError> {
    let statement = "SELECT l.at FROM ledger l WHERE l.seq = (SELECT min(seq) FROM running)";
    reader.select(statement, &[]).await?.first_mut().map(|row| row.int(0)).transpose()
}

/// Milliseconds are all that the ledger has: a time within one is after its beginning.
pub(super) fn ceil_ms(time: jiff::Timestamp) -> i64 {
    let floor = time.as_millisecond();
    let has_rest = time.as_nanosecond() > i128::from(floor) * 1_000_000;
    (floor + i64::from(has_rest)).min(jiff::Timestamp::MAX.as_second() * 1000)
}

/// The shortest walk that meets all matches.
pub(super) fn source(query: &OperationQuery) -> PageSource {
    match (&query.record, query.state) {
        // A create is met by its outcome, or by a later verdict, which reveals the record.
        (Some(record), _) => PageSource {
            select: format!(
                "SELECT e.seq, {COLUMNS} FROM ledger e JOIN ledger i ON i.seq = coalesce(abs(e.intent), e.seq) {ENDING}
                 WHERE e.record = ?4 AND (e.intent IS NULL OR i.record IS NULL)"
            ),
            params: vec![SqlValue::Text(record.clone())],
        },
        (None, Some(OperationState::Running)) => PageSource {
            select: format!(
                "SELECT e.seq, {COLUMNS} FROM running e JOIN ledger i ON i.seq = e.seq {ENDING} WHERE 1 = 1"
            ),
            params: Vec::new(),
        },
        (None, Some(state @ (OperationState::Unknown | OperationState::NotApplied))) => PageSource {
            select: format!(
                "SELECT e.seq, {COLUMNS} FROM operation_detail e JOIN ledger i ON i.seq = e.seq {ENDING}
                 WHERE e.state <> 'applied' AND e.state = ?4"
            ),
            params: vec![SqlValue::Text(state.as_str().to_owned())],
        },
        (None, Some(OperationState::Applied) | None) => PageSource {
            select: format!(
                "SELECT e.seq, {COLUMNS} FROM ledger e JOIN ledger i ON i.seq = e.seq {ENDING} WHERE e.intent IS NULL"
            ),
            params: Vec::new(),
        },
    }
}

/// Whether the retention has not ended; `cutoff` in the form of the ledger, which sorts by time.
fn is_kept(operation: &Operation, cutoff: &str) -> bool {
    operation.finished_at.as_deref().is_none_or(|finished_at| finished_at >= cutoff)
}

fn corrupt(what: &str) -> DbError {
    DbError::Corrupt(format!("an operation's {what} cannot be read"))
}

/// A row with the position and [`COLUMNS`].
fn decode(mut row: Row) -> Result<(i64, Operation), DbError> {
    let parse = |json: String| StoredEntry::parse(&json).ok_or_else(|| corrupt("ledger entry"));
    let intent = parse(row.text(1)?)?;
    let outcome = row.opt_text(2)?.map(parse).transpose()?;
    let (warnings, problem, observed) = (row.opt_text(3)?, row.opt_text(4)?, row.opt_text(5)?);
    let later = (row.opt_text(6)?, row.opt_text(7)?, row.opt_text(8)?, row.opt_text(9)?, row.opt_text(10)?);
    let (state, resolved_by, note, record, etag) = later;
    let state = state.map(|text| OperationState::parse(&text).ok_or_else(|| corrupt("state"))).transpose()?;
    let operation = Operation {
        id: intent.operation.ok_or_else(|| corrupt("id"))?,
        state: state.or(outcome.as_ref().map(|outcome| outcome.state)).unwrap_or(OperationState::Running),
        action: intent.action.ok_or_else(|| corrupt("action"))?,
        system: intent.system,
        record: record.or_else(|| outcome.as_ref()?.record.clone()).or(intent.record),
        batch_item: intent.batch_item,
        model: intent.model,
        caller: intent.caller,
        started_at: intent.at,
        finished_at: outcome.as_ref().map(|outcome| outcome.at.clone()),
        etag: etag.or_else(|| outcome?.etag_after),
        warnings: match warnings {
            Some(text) => serde_json::from_str(&text).map_err(|_| corrupt("warnings"))?,
            None => Vec::new(),
        },
        problem: problem.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| corrupt("problem"))?,
        observed: observed
            .map(|text| ObservedState::parse(&text).ok_or_else(|| corrupt("observed state")))
            .transpose()?,
        resolved_by,
        note,
    };
    Ok((row.int(0)?, operation))
}

/// Finds the writes of each system whose outcome is not known: what is reconciled (of this instance
/// or of others), and what ended `unknown` and that nobody has resolved since.
/// An adopted write without a stored response is one of them, but not an asynchronous one without
/// a key: its caller has most likely got the 202. `<> 'applied'` is the condition of the index.
pub(super) const SELECT_UNKNOWN_WRITES: &str = "SELECT u.system, count(CASE WHEN u.kind = 1 THEN 1 END),
         count(CASE WHEN u.kind = 2 THEN 1 END), min(u.at)
     FROM (SELECT r.system AS system, CASE WHEN r.owner = ?1 THEN 0 ELSE 1 END AS kind, l.at AS at
             FROM running r JOIN ledger l ON l.seq = r.seq
             WHERE r.interim = ?3 OR (r.interim IS NULL AND r.first_adopted IS NOT NULL
                 AND (r.is_async = 0 OR r.key IS NOT NULL))
         UNION ALL SELECT l.system, 2, l.at FROM operation_detail d JOIN ledger l ON l.seq = d.seq
             WHERE d.state <> 'applied' AND d.state = 'unknown' AND d.finished >= ?2) u
     GROUP BY u.system";

/// The writes whose outcome is not known. Those that finished before `cutoff_ms` are not kept.
pub(super) async fn unknown_writes(
    reader: &Reader,
    instance: &str,
    cutoff_ms: i64,
) -> Result<Vec<UnknownWrites>, DbError> {
    let unknown = InterimResponse::Unknown.code();
    let params = [SqlValue::Text(instance.to_owned()), SqlValue::Int(cutoff_ms), SqlValue::Int(unknown)];
    let rows = reader.select(SELECT_UNKNOWN_WRITES, &params).await?;
    let decode = |mut row: Row| {
        Ok(UnknownWrites {
            system: row.text(0)?,
            reconciled_by_others: row.int(1)?,
            ended: row.int(2)?,
            oldest_ms: row.int(3)?,
        })
    };
    rows.into_iter().map(decode).collect()
}

/// The writes of other instances that block their records: system, record, operation.
pub(super) async fn blocking_writes_of_others(
    reader: &Reader,
    instance: &str,
) -> Result<Vec<(String, String, OperationId)>, DbError> {
    let statement = "SELECT system, record, operation FROM running WHERE owner <> ?1 AND record IS NOT NULL
        AND (is_async = 1 OR interim = ?2 OR first_adopted IS NOT NULL)";
    let unknown = InterimResponse::Unknown.code();
    let rows = reader.select(statement, &[SqlValue::Text(instance.to_owned()), SqlValue::Int(unknown)]).await?;
    rows.into_iter().map(|mut row| Ok((row.text(0)?, row.text(1)?, row.operation(2)?))).collect()
}
