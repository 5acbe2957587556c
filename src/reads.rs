//! Reads of one record and of a page of records.

mod filters;

use crate::journal::Journal;
use crate::problem::{Problem, ProblemKind};
use crate::record::{ListCondition, OperationId, RecordId, VendorErrorKind, WarningCode, decode_cursor, encode_cursor};
use crate::system::{CallerContext, RecentStates, RecordPage, RecordView, System, VendorSession};
use crate::vendors::ListItem;

/// Reads one record.
pub(crate) async fn read(
    (journal, recent_states): (&Journal, &RecentStates),
    system: &System,
    id: &RecordId,
    context: &CallerContext,
) -> Result<RecordView, Problem> {
    let session = VendorSession::new(system, context);
    let record = session
        .read(system, id)
        .await
        .map_err(|fault| session.with_last_status(system.record_error_to_problem(id, &fault)))?;
    let running = journal.blocking_write_on(system.name.as_str(), id.as_str());
    let view = system.to_view(id, &record, running.as_ref());
    remember(journal, recent_states, &view).await;
    Ok(view)
}

/// Remembers what a caller gets, so that a later write can say what has changed since.
pub(crate) async fn remember(journal: &Journal, recent_states: &RecentStates, view: &RecordView) {
    recent_states.insert(view).await;
    if let Some(etag) = view.etag.as_deref().filter(|_| journal.remembers_shown()) {
        journal.remember_shown(etag, &view.fields.to_json());
    }
}

/// Reads a page of at most `limit` records, after `cursor`.
pub(crate) async fn list(
    (journal, recent_states): (&Journal, &RecentStates),
    system: &System,
    collection: &str,
    conditions: &[ListCondition],
    limit: usize,
    cursor: Option<&str>,
    context: &CallerContext,
) -> Result<RecordPage, Problem> {
    let name = system.name.as_str();
    let digits = limit.to_string();
    let mut query = vec![name, collection, &digits];
    query.extend(conditions.iter().flat_map(|one| [&one.member].into_iter().chain(&one.spellings)).map(String::as_str));
    let after = match cursor {
        None => None,
        Some(text) => Some(decode_cursor(&query, text).ok_or_else(invalid_cursor)?),
    };
    let session = VendorSession::new(system, context);
    let adapter = &system.adapter;
    let filters = filters::parse(system, collection, conditions, context.requester()).await?;
    let page = adapter.list(&session, collection, &filters, limit, after.as_deref()).await;
    let page = page.map_err(|fault| {
        if fault.kind == VendorErrorKind::Rejected && after.is_some() {
            invalid_cursor()
        } else {
            session.with_last_status(system.collection_error_to_problem(&fault))
        }
    })?;
    let to_view = |item: &ListItem| {
        let running = journal.blocking_write_on(name, item.id.as_str());
        list_item_view(system, item, running.as_ref())
    };
    let items: Vec<RecordView> = page.items.iter().map(to_view).collect();
    for record in &items {
        remember(journal, recent_states, record).await;
    }
    Ok(RecordPage { items, next: page.next.map(|next| encode_cursor(&query, &next)) })
}

fn list_item_view(system: &System, item: &ListItem, running: Option<&OperationId>) -> RecordView {
    let mut record = system.to_view(&item.id, &item.record, running);
    record.partial = item.partial || record.warnings.iter().any(|warning| warning.code == WarningCode::Unreadable);
    if record.partial {
        record.etag = None;
    }
    record
}

fn invalid_cursor() -> Problem {
    let detail = "The cursor does not belong to this query (system, collection, filters and limit). Send `next` of the \
                  previous page unchanged with the same query, or start again without a cursor.";
    ProblemKind::MalformedRequest.with_detail(detail)
}
