//! An asynchronous batch that is sent again with its key when the first one is over (contract
//! 4.10): a new batch shows what the first one made, and does the rest.

use std::collections::HashSet;
use std::sync::Arc;

use actix_web::http::Method;
use bytes::Bytes;
use serde::Deserialize;

use super::head::{BatchHead, RepeatedBatch, parse_state};
use super::lease::BatchLease;
use super::outcome::{ItemClass, Summary};
use super::request::LEVELS_AROUND_BODY;
use super::routes::ItemRoutes;
use crate::http::headers::names;
use crate::journal::{BatchRow, IdempotencyClaim, IdempotencyState, Journal, JournalError};
use crate::record::{JsonObjectWriter, RawJson, RawObject};

/// How many rows are copied at once.
const COPIED_AT_ONCE: usize = 100;

/// The batch that has a key, if it had the same body, is over and has left something to do: an item
/// failed, was skipped, or has an unknown outcome. What a person has cancelled stays so, and a key
/// that has expired names no batch.
///
/// # Errors
/// The store cannot be read.
pub(in crate::http) async fn find_unfinished(
    journal: &Journal,
    claim: &IdempotencyClaim,
) -> Result<Option<RepeatedBatch>, JournalError> {
    let Some(IdempotencyState::Running(first)) = journal.lookup_idempotency_key(claim).await? else { return Ok(None) };
    let rows = journal.batch_rows(first.as_str(), BatchRow::HEAD, 1).await?;
    let is_over = |row: &&BatchRow| row.status != BatchRow::OPEN && !parse_state(row.response.as_deref()).is_cancelled;
    let head = rows.first().filter(is_over).and_then(|row| serde_json::from_str::<BatchHead>(&row.request).ok());
    let Some(head) = head else { return Ok(None) };
    let summary = Summary::of_stored(&journal.batch_counts(first.as_str()).await?, true);
    Ok((!summary.is_success()).then(|| RepeatedBatch::new(first, &head)))
}

/// Gives a batch that repeats another one the outcomes of the writes that succeeded there, and of
/// the reads that they depended on: they outlive the keys of these items. What was only read is
/// read again. `false` = the lease is no longer held.
///
/// # Errors
/// The store cannot be read or written.
pub(super) async fn adopt_outcomes(journal: &Journal, id: &Arc<str>, lease: &BatchLease) -> Result<bool, JournalError> {
    let head = journal.batch_rows(id, BatchRow::HEAD, 1).await?;
    let head = head.first().and_then(|row| serde_json::from_str::<BatchHead>(&row.request).ok());
    let Some(first) = head.and_then(|head| head.repeats) else { return Ok(true) };
    let first = first.id.as_str();
    let Some(needed) = find_made(journal, first, lease).await? else { return Ok(false) };
    let mut from = 0;
    while lease.renew_if_due().await {
        let rows = journal.batch_rows(first, from, COPIED_AT_ONCE).await?;
        let Some(last) = rows.last() else { return Ok(true) };
        from = last.position + 1;
        let is_adopted = |row: &BatchRow| {
            row.status == ItemClass::Ok as i64 && item_of(row).is_some_and(|item| needed.contains(&item.id))
        };
        let copies: Vec<BatchRow> = rows
            .into_iter()
            .filter(is_adopted)
            .map(|row| BatchRow { id: Arc::clone(id), response: row.response.map(mark_replayed), ..row })
            .collect();
        if !copies.is_empty() && !lease.save(copies).await {
            break;
        }
    }
    Ok(false)
}

/// The ids of the writes of a batch that succeeded, and of the items that they depended on.
/// `None` = the lease is no longer held.
async fn find_made(
    journal: &Journal,
    batch: &str,
    lease: &BatchLease,
) -> Result<Option<HashSet<String>>, JournalError> {
    let routes = ItemRoutes::new();
    let (mut made, mut from) = (HashSet::new(), 0);
    while lease.renew_if_due().await {
        let rows = journal.batch_rows(batch, from, COPIED_AT_ONCE).await?;
        let Some(last) = rows.last() else { return Ok(Some(made)) };
        from = last.position + 1;
        for row in rows.iter().filter(|row| row.status == ItemClass::Ok as i64) {
            if let Some(item) = item_of(row).filter(|item| item.is_write(&routes)) {
                made.insert(item.id);
                made.extend(item.depends_on);
            }
        }
    }
    Ok(None)
}

/// The part of a stored item that says what it does.
#[derive(Deserialize)]
struct StoredItem {
    id: String,
    method: String,
    path: String,
    #[serde(default)]
    depends_on: Vec<String>,
}

fn item_of(row: &BatchRow) -> Option<StoredItem> {
    serde_json::from_str(&row.request).ok()
}

impl StoredItem {
    /// Whether it changes records; a preview does not.
    fn is_write(&self, routes: &ItemRoutes) -> bool {
        let Ok(method) = self.method.parse::<Method>() else { return false };
        routes.find(&self.path).is_some_and(|(route, _)| route.action(&method).is_write())
    }
}

/// An item's document with the header of a replay; its body stays as it is.
fn mark_replayed(document: String) -> String {
    let Ok(item) = RawObject::parse_deeper(&Bytes::from(document.clone()), LEVELS_AROUND_BODY) else { return document };
    let Some(headers) = item.get("headers").and_then(|headers| headers.to_object().ok()) else { return document };
    let is_other = |(name, _): &(&str, &RawJson)| *name != names::IDEMPOTENCY_REPLAYED.as_str();
    let mark = |headers_of: JsonObjectWriter| {
        headers_of.raw_members(headers.iter().filter(is_other)).string(names::IDEMPOTENCY_REPLAYED.as_str(), "true")
    };
    let write = |document: JsonObjectWriter, (name, value): (&str, &RawJson)| match name {
        "headers" => document.object(name, mark),
        _ => document.raw(name, value.as_str()),
    };
    item.iter().fold(JsonObjectWriter::new(), write).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_write_is_not_made_again() {
        let routes = ItemRoutes::new();
        let item = |method: &str, path: &str| StoredItem {
            id: "a".to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            depends_on: Vec::new(),
        };
        for (method, path, expected) in [
            ("POST", "/records/crm", true),
            ("PATCH", "/records/crm/{c}", true),
            ("DELETE", "/models/customer/crm/1", true),
            ("GET", "/records/crm/1", false),
            ("GET", "/records/crm", false),
            ("POST", "/records/crm/preview", false),
            ("POST", "/records/crm/1/preview", false),
            ("PUT", "/records/crm/1", false),
        ] {
            assert_eq!(item(method, path).is_write(&routes), expected, "{method} {path}");
        }
    }

    #[test]
    fn the_document_of_a_repeated_item_is_marked_and_else_unchanged() {
        let made = r#"{"id":"a","status":201,"headers":{"etag":"\"c1\""},"body":{"fields":{"n":1E5,"m":1.10}}}"#;
        let marked = made.replace(r#"c1\""}"#, r#"c1\"","idempotency-replayed":"true"}"#);
        assert_ne!(marked, made);
        assert_eq!(mark_replayed(made.to_owned()), marked);
        assert_eq!(mark_replayed(marked.clone()), marked, "it is marked once");
        let nested = format!(r#"{{"headers":{{}},"body":{}1{}}}"#, "[".repeat(64), "]".repeat(64));
        assert!(mark_replayed(nested).contains("idempotency-replayed"), "however deep its body nests");
    }
}
