//! The state of a request, and the headers that every response carries.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _};

use crate::http::context::RequestState;
use crate::http::headers;
use crate::http::state::ApiState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request its [`RequestState`] with its id and its body, and the response `X-Request-Id`
/// and `nosniff`.
pub(in crate::http) async fn create_request_state(
    api: Arc<ApiState>,
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let payload = request.take_payload();
    let state = RequestState::new(api, headers::request_id(request.headers()), payload);
    request.extensions_mut().insert(Rc::clone(&state));
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&state.request_id.0) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}
