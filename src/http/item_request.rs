//! A request of a batch: what a request over HTTP has, without a connection.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use bytes::Bytes;

use super::request_target::percent_decode;
use super::state::ApiState;
use crate::system::{ItemSlot, System};

/// Segments of a path by their names in its route, as they were sent.
pub(super) type PathParams = Vec<(&'static str, String)>;

/// One item, as parts of a request.
#[derive(Clone)]
pub(super) struct ItemRequest {
    pub(super) method: Method,
    /// The path, as it was sent.
    pub(super) path: String,
    pub(super) params: PathParams,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// What the ledger calls the item: `{request id}/{item id}`.
    pub(super) name: Arc<str>,
    /// Its slot in its batch, once it has had one.
    pub(super) slot: Option<ItemSlot>,
    /// The idempotency key of the item, made of the batch's key and the item's id.
    pub(super) key: Option<String>,
    /// What `key` is bound to in place of the values of `{x}`, which a repetition may not have.
    pub(super) given: GivenReferences,
    /// Whether its batch is in the journal.
    pub(super) is_stored: bool,
    /// Whether it begins nothing: it had begun before, and only its outcome is needed.
    pub(super) replays_only: bool,
}

/// The parts of an item that name another item, as they were sent.
#[derive(Clone, Default)]
pub(super) struct GivenReferences {
    /// A path with the record of another item.
    pub(super) path: Option<String>,
    /// An `If-Match` with the tag of another item.
    pub(super) if_match: Option<String>,
}

impl ItemRequest {
    /// The configured system that the path names.
    pub(super) fn system(&self, api: &ApiState) -> Option<Arc<System>> {
        system_of(&self.params, api)
    }

    /// A segment of the path.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        segment(&self.params, name)
    }
}

/// A segment by its name.
pub(super) fn segment<'p>(params: &'p PathParams, name: &str) -> Option<&'p str> {
    params.iter().find(|(one, _)| *one == name).map(|(_, segment)| segment.as_str())
}

/// The configured system that a path names.
pub(super) fn system_of(params: &PathParams, api: &ApiState) -> Option<Arc<System>> {
    let name = percent_decode(segment(params, "system")?, "path").ok()?;
    api.find_system(&name).ok().cloned()
}
