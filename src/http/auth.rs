//! Who calls (contract 4: 401 comes after the route and before the system).

use std::sync::Arc;

use actix_web::http::header::HeaderMap;

use super::routes::Route;
use super::seams::AuthenticatedCaller;
use super::{ApiState, headers};
use crate::problem::{Problem, ProblemKind};

/// The challenge of a 401 (RFC 6750 §3); `error` only if credentials were sent.
pub(super) fn www_authenticate(headers: &HeaderMap) -> &'static str {
    if headers::bearer(headers).is_some() {
        r#"Bearer realm="records-gateway", error="invalid_token""#
    } else {
        r#"Bearer realm="records-gateway""#
    }
}

/// The caller; `None` on an open route, where credentials are not even looked at.
///
/// # Errors
/// 401.
pub(super) async fn authenticate(
    api: &ApiState,
    route: &Route,
    headers: &HeaderMap,
) -> Result<Option<Arc<dyn AuthenticatedCaller>>, Problem> {
    if route.is_open() {
        return Ok(None);
    }
    api.access.authenticate(headers::bearer(headers)).await.map(Some)
}

/// 401 for a route that needs a caller and was reached without one.
pub(super) fn missing_credentials() -> Problem {
    ProblemKind::Unauthenticated.with_detail("send Authorization: Bearer KEY")
}
