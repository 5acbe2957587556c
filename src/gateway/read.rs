//! Reading one record, and a page of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::vendor_session::VendorSession;
use super::{Gateway, OpContext, RecordPage, RecordView, System};
use crate::problem::{Problem, ProblemKind};
use crate::record::{OperationId, RecordId, VendorError, VendorErrorKind, VendorRecord, decode_cursor, encode_cursor};
use crate::vendors::ListItem;

/// How long a read waits for a store that does not answer.
const STORE_TIMEOUT: Duration = Duration::from_millis(500);

impl Gateway {
    /// GET of one record.
    ///
    /// # Errors
    /// The problem to answer.
    pub async fn read(&self, system: &Arc<System>, id: &RecordId, ask: &OpContext) -> Result<RecordView, Problem> {
        let session = VendorSession::new(&*system.transport, &ask.trace, ask.deadline);
        let stored = system
            .adapter
            .read(&session, id)
            .await
            .map_err(|fault| session.with_last_status(record_fault_to_problem(system, id, &fault)))?;
        // A store that is away must not stop reads; the pointer to a running write is then left out.
        let asked = self.store.async_write_on(system.name.as_str(), id.as_str());
        let pending = tokio::time::timeout(STORE_TIMEOUT, asked).await.ok().and_then(Result::ok).flatten();
        let record = system.to_view(id, &stored, pending.as_ref());
        self.recent_states.insert(&record).await;
        Ok(record)
    }

    /// GET of a page. `limit` is 1..1000.
    ///
    /// # Errors
    /// The problem to answer.
    pub async fn list(
        &self,
        system: &Arc<System>,
        collection: &str,
        limit: usize,
        cursor: Option<&str>,
        ask: &OpContext,
    ) -> Result<RecordPage, Problem> {
        let name = system.name.as_str();
        let digits = limit.to_string();
        let query = [name, collection, &digits];
        let from = match cursor {
            None => None,
            Some(text) => Some(decode_cursor(&query, text).ok_or_else(invalid_cursor)?),
        };
        let session = VendorSession::new(&*system.transport, &ask.trace, ask.deadline);
        let page = system.adapter.list(&session, collection, limit, from.as_deref()).await.map_err(|fault| {
            if fault.kind == VendorErrorKind::Rejected && from.is_some() {
                invalid_cursor()
            } else {
                session.with_last_status(system.fault_to_problem(&fault))
            }
        })?;
        let records: Vec<String> = page.items.iter().map(|item| item.id.as_str().to_owned()).collect();
        let asked = self.store.async_writes_on(name, records);
        let running = tokio::time::timeout(STORE_TIMEOUT, asked).await.ok().and_then(Result::ok).unwrap_or_default();
        let shown = |item: &ListItem| list_item_view(system, item, running.get(item.id.as_str()));
        let items: Vec<RecordView> = page.items.iter().map(shown).collect();
        for record in &items {
            self.recent_states.insert(record).await;
        }
        Ok(RecordPage { items, next: page.next.map(|vendor| encode_cursor(&query, &vendor)) })
    }
}

fn list_item_view(system: &System, item: &ListItem, running: Option<&OperationId>) -> RecordView {
    let mut record = system.to_view(&item.id, &item.record, running);
    record.partial = item.partial;
    if item.partial {
        record.etag = None;
    }
    record
}

fn invalid_cursor() -> Problem {
    let detail = "the cursor is not one that this very query (system, collection and limit) gave; \
                  take `next` of the page before, unchanged, or begin again without a cursor";
    ProblemKind::MalformedRequest.with_detail(detail)
}

/// A fault of a read, naming the record where it is not there.
pub(super) fn record_fault_to_problem(system: &System, id: &RecordId, fault: &VendorError) -> Problem {
    let mut problem = system.fault_to_problem(fault);
    if fault.kind == VendorErrorKind::NotFound {
        problem.detail = format!("{} has no record {id}, or the gateway's account may not see it", system.name);
    }
    problem
}

/// Reads the record of a write whose outcome is looked for. That it is not there is believed when two looks agree: where a record
/// is found by reading a list, one that changes its place meanwhile can be missed.
pub(super) async fn read_confirming_absence(
    system: &System,
    session: &VendorSession<'_>,
    id: &RecordId,
    until: Instant,
) -> Result<Option<VendorRecord>, VendorError> {
    match read_optional(system, session, id, until).await? {
        Some(stored) => Ok(Some(stored)),
        None => read_optional(system, session, id, until).await,
    }
}

/// Reads a record for the gateway's own use, within a time of its own.
pub(super) async fn read_optional(
    system: &System,
    session: &VendorSession<'_>,
    id: &RecordId,
    until: Instant,
) -> Result<Option<VendorRecord>, VendorError> {
    session.set_deadline(until);
    match system.adapter.read(session, id).await {
        Ok(stored) => Ok(Some(stored)),
        Err(fault) if fault.kind == VendorErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}
