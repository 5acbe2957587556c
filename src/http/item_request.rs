//! A request of a batch: what a request over HTTP has, without a connection.

use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use bytes::Bytes;

/// Segments of a path by their names in its route, as they were sent.
pub(super) type PathParams = Vec<(&'static str, String)>;

/// One item, as parts of a request.
pub(super) struct ItemRequest {
    pub(super) method: Method,
    /// The path, as it was sent.
    pub(super) path: String,
    pub(super) params: PathParams,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl ItemRequest {
    /// A segment of the path.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(one, _)| *one == name).map(|(_, segment)| segment.as_str())
    }
}
