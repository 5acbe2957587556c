//! The operations of the document.

use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};

/// Every operation of the document.
pub(super) fn operations_mut(document: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    document.paths.paths.values_mut().flat_map(|item| {
        let PathItem { get, post, patch, delete, .. } = item;
        [get, post, patch, delete].into_iter().flatten()
    })
}
