//! Reading one record, and a page of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::session::Session;
use super::{Ask, Gateway, Record, RecordPage, System};
use crate::adapters::Item;
use crate::problem::{Problem, ProblemName};
use crate::record::{Fault, FaultKind, OperationId, RecordId, Stored, open_cursor, seal_cursor};

/// How long a read waits for a store that does not answer.
const STORE_PATIENCE: Duration = Duration::from_millis(500);

impl Gateway {
    /// GET of one record.
    ///
    /// # Errors
    /// The problem to answer.
    pub async fn read(&self, system: &Arc<System>, id: &RecordId, ask: &Ask) -> Result<Record, Problem> {
        let session = Session::new(&*system.stack, &ask.trace, ask.deadline);
        let stored =
            system.adapter.read(&session, id).await.map_err(|fault| session.quoted(missing_or(system, id, &fault)))?;
        // A store that is away must not stop reads; the pointer to a running write is then left out.
        let asked = self.store.pending(system.name.as_str(), id.as_str());
        let pending = tokio::time::timeout(STORE_PATIENCE, asked).await.ok().and_then(Result::ok).flatten();
        let record = system.show(id, &stored, pending.as_ref());
        self.shown.note(&record).await;
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
        ask: &Ask,
    ) -> Result<RecordPage, Problem> {
        let name = system.name.as_str();
        let digits = limit.to_string();
        let query = [name, collection, &digits];
        let from = match cursor {
            None => None,
            Some(text) => Some(open_cursor(&query, text).ok_or_else(foreign_cursor)?),
        };
        let session = Session::new(&*system.stack, &ask.trace, ask.deadline);
        let page = system.adapter.list(&session, collection, limit, from.as_deref()).await.map_err(|fault| {
            if fault.kind == FaultKind::Rejected && from.is_some() {
                foreign_cursor()
            } else {
                session.quoted(system.problem(&fault))
            }
        })?;
        let records: Vec<String> = page.items.iter().map(|item| item.id.as_str().to_owned()).collect();
        let asked = self.store.pending_among(name, records);
        let running = tokio::time::timeout(STORE_PATIENCE, asked).await.ok().and_then(Result::ok).unwrap_or_default();
        let shown = |item: &Item| show_item(system, item, running.get(item.id.as_str()));
        let items: Vec<Record> = page.items.iter().map(shown).collect();
        for record in &items {
            self.shown.note(record).await;
        }
        Ok(RecordPage { items, next: page.next.map(|vendor| seal_cursor(&query, &vendor)) })
    }
}

fn show_item(system: &System, item: &Item, running: Option<&OperationId>) -> Record {
    let mut record = system.show(&item.id, &item.stored, running);
    record.partial = item.partial;
    if item.partial {
        record.etag = None;
    }
    record
}

fn foreign_cursor() -> Problem {
    let detail = "the cursor is not one that this very query (system, collection and limit) gave; \
                  take `next` of the page before, unchanged, or begin again without a cursor";
    ProblemName::MalformedRequest.with(detail)
}

/// A fault of a read, naming the record where it is not there.
pub(super) fn missing_or(system: &System, id: &RecordId, fault: &Fault) -> Problem {
    let mut problem = system.problem(fault);
    if fault.kind == FaultKind::NotFound {
        problem.detail = format!("{} has no record {id}, or the gateway's account may not see it", system.name);
    }
    problem
}

/// Reads the record of a write whose outcome is looked for. That it is not there is believed when two looks agree: where a record
/// is found by reading a list, one that changes its place meanwhile can be missed.
pub(super) async fn look_for_effect(
    system: &System,
    session: &Session<'_>,
    id: &RecordId,
    until: Instant,
) -> Result<Option<Stored>, Fault> {
    match look(system, session, id, until).await? {
        Some(stored) => Ok(Some(stored)),
        None => look(system, session, id, until).await,
    }
}

/// Reads a record for the gateway's own use, within a time of its own.
pub(super) async fn look(
    system: &System,
    session: &Session<'_>,
    id: &RecordId,
    until: Instant,
) -> Result<Option<Stored>, Fault> {
    session.patience(until);
    match system.adapter.read(session, id).await {
        Ok(stored) => Ok(Some(stored)),
        Err(fault) if fault.kind == FaultKind::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}
