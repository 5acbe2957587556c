//! Events of the feed of changes as callers get them (CloudEvents 1.0, JSON; contract 4.14), and
//! their cursors.

use serde::Serialize;

use super::response;
use crate::journal::FeedEvent;
use crate::metrics::ChangeType;
use crate::record::{decode_cursor, encode_cursor};

/// What every cursor of the feed is bound to, together with its query.
const FEED: &str = "changes";
/// How many bytes of the hash an event's id has.
const ID_BYTES: usize = 16;

/// An event: a write that was applied, or one whose outcome is unknown. It never holds a value.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ChangeEvent<'c> {
    /// The version of CloudEvents.
    #[schema(example = "1.0")]
    specversion: &'static str,
    /// The same for the same change, however often it is in the feed.
    #[schema(example = "c.9f86d081884c7d659a2feaa0c55ad015")]
    id: String,
    /// The path of the system.
    #[schema(format = "uri-reference", example = "/systems/crm")]
    source: String,
    /// `records-gateway.record.created`, `…record.updated`, `…record.deleted`, or
    /// `records-gateway.system.gap`: the outcome of a write is not known.
    #[serde(rename = "type")]
    #[schema(example = "records-gateway.record.updated")]
    type_name: String,
    /// The record's id; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    subject: Option<&'c str>,
    /// When the outcome was recorded.
    #[schema(format = "date-time")]
    time: &'c str,
    /// The number of the ledger's entry, with zeros in front: text that sorts as the events do.
    #[schema(example = "00000000000000001234")]
    sequence: String,
    /// Always `application/json`.
    #[schema(example = "application/json")]
    datacontenttype: &'static str,
    /// The change.
    data: ChangeData<'c>,
}

/// What has changed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ChangeData<'c> {
    /// The path of the record; null where it is not known.
    #[schema(format = "uri-reference", required = true)]
    record: Option<String>,
    /// The record's tag after the write; null where it is not known.
    #[schema(required = true)]
    etag: Option<&'c str>,
    /// `gateway`: a write through this gateway.
    #[schema(example = "gateway")]
    origin: ChangeOrigin,
    /// The path of the operation.
    #[schema(format = "uri-reference")]
    operation: String,
    /// JSON Pointers to what the write changed.
    paths: &'c [String],
}

/// Who made a change.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum ChangeOrigin {
    /// A write through this gateway.
    Gateway,
}

impl<'c> From<&'c FeedEvent> for ChangeEvent<'c> {
    fn from(change: &'c FeedEvent) -> Self {
        Self {
            specversion: "1.0",
            id: event_id(change),
            source: format!("/systems/{}", change.system),
            type_name: type_name(change.kind),
            subject: change.record.as_deref(),
            time: &change.at,
            sequence: format!("{:020}", change.seq),
            datacontenttype: "application/json",
            data: ChangeData {
                record: change.record.as_deref().map(|record| response::record_path(&change.system, record)),
                etag: change.etag.as_deref(),
                origin: ChangeOrigin::Gateway,
                operation: change.operation.path(),
                paths: &change.paths,
            },
        }
    }
}

impl ChangeEvent<'_> {
    /// The cursor of a position in the feed of a query.
    pub(super) fn encode_cursor(scope: &[String], position: i64) -> String {
        encode_cursor(&cursor_scope(scope), &position.to_string())
    }

    /// The position of a cursor of this query.
    pub(super) fn decode_cursor(scope: &[String], cursor: &str) -> Option<i64> {
        decode_cursor(&cursor_scope(scope), cursor)?.parse().ok().filter(|position| *position >= 0)
    }
}

/// The `type` of an event.
pub(super) fn type_name(kind: ChangeType) -> String {
    format!("records-gateway.{}", kind.as_str())
}

fn cursor_scope(scope: &[String]) -> Vec<&str> {
    std::iter::once(FEED).chain(scope.iter().map(String::as_str)).collect()
}

/// A hash over system, record, type, and the tag or, where there is none, the operation. Each part
/// has its length in front, so that no two lists of parts are one text.
fn event_id(change: &FeedEvent) -> String {
    let FeedEvent { system, record, kind, etag, operation, .. } = change;
    // The version that a gap is about is not known.
    let etag = etag.as_deref().filter(|_| *kind != ChangeType::Gap);
    let parts = [system, record.as_deref().unwrap_or_default(), kind.as_str(), etag.unwrap_or(operation.as_str())];
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&part.len().to_le_bytes()).update(part.as_bytes());
    }
    let hash = hasher.finalize();
    format!("c.{}", const_hex::encode(hash.as_bytes().get(..ID_BYTES).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::OperationId;

    fn change() -> FeedEvent {
        FeedEvent {
            seq: 1234,
            at: "2026-11-21T10:05:30.120Z".into(),
            kind: ChangeType::Updated,
            system: "crm".into(),
            record: Some("A:1/2".into()),
            etag: Some("\"c8\"".into()),
            operation: OperationId::parse("01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11").expect("an id"),
            paths: vec!["/fields/Email".into()],
        }
    }

    #[test]
    fn an_event_has_the_members_of_the_contract() {
        let json = serde_json::to_string(&ChangeEvent::from(&change())).expect("JSON");
        let id = event_id(&change());
        assert_eq!(
            json,
            format!(
                r#"{{"specversion":"1.0","id":"{id}","source":"/systems/crm","type":"records-gateway.record.updated","subject":"A:1/2","time":"2026-11-21T10:05:30.120Z","sequence":"00000000000000001234","datacontenttype":"application/json","data":{{"record":"/records/crm/A:1%2F2","etag":"\"c8\"","origin":"gateway","operation":"/operations/01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11","paths":["/fields/Email"]}}}}"#
            )
        );
    }

    #[test]
    fn the_same_change_has_the_same_id_and_another_has_not() {
        let again = FeedEvent { seq: 9, at: "later".into(), operation: OperationId::new(), paths: vec![], ..change() };
        assert_eq!(event_id(&again), event_id(&change()));
        let others = [
            FeedEvent { system: "itsm".into(), ..change() },
            FeedEvent { record: Some("A:1".into()), ..change() },
            FeedEvent { kind: ChangeType::Deleted, ..change() },
            FeedEvent { etag: Some("\"c9\"".into()), ..change() },
            FeedEvent { etag: None, ..change() },
        ];
        for other in others {
            assert_ne!(event_id(&other), event_id(&change()), "{other:?}");
        }
    }

    #[test]
    fn a_cursor_serves_only_its_own_query() {
        let scope = |system: &str| [system.to_owned(), String::new(), String::new()];
        let cursor = ChangeEvent::encode_cursor(&scope("crm"), 7);
        assert_eq!(ChangeEvent::decode_cursor(&scope("crm"), &cursor), Some(7));
        assert_eq!(ChangeEvent::decode_cursor(&scope("itsm"), &cursor), None);
        assert_eq!(ChangeEvent::decode_cursor(&scope("crm"), "nonsense"), None);
    }
}
