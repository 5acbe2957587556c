//! Authentication (contract 4: 401 comes after the route and before the system), and then the
//! caller's limits (contract 4.16).

use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderMap;
use actix_web::middleware::Next;

use crate::http::error::refuse;
use crate::http::request_state::RequestState;
use crate::http::{caller_quota, fault_rehearsal, headers};

/// Authenticates the caller and applies its limits, unless the route is public: there, credentials
/// are ignored.
pub(in crate::http) async fn authenticate(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let state = RequestState::from_request(request.request())?;
    if !state.route().is_some_and(|route| route.is_public) {
        match state.api.authenticator.authenticate(headers::bearer(request.headers())).await {
            Ok(caller) => {
                state.set_principal(caller);
                if let Err(problem) = caller_quota::admit(&state) {
                    return Ok(refuse(request, problem));
                }
            }
            Err(problem) => return Ok(refuse(request, problem)),
        }
    }
    match fault_rehearsal::begin(&state, request.request()) {
        Ok(_rehearsal) => next.call(request).await,
        Err(problem) => Ok(refuse(request, problem)),
    }
}

/// The challenge of a 401 (RFC 6750 §3); `error` only if credentials were sent.
pub(super) fn www_authenticate(headers: &HeaderMap) -> &'static str {
    if headers::bearer(headers).is_some() {
        r#"Bearer realm="records-gateway", error="invalid_token""#
    } else {
        r#"Bearer realm="records-gateway""#
    }
}
