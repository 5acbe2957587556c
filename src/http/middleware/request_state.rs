//! The state of a request, and the headers that every response carries.

use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CONTENT_LOCATION, HeaderMap, HeaderName, HeaderValue, LINK, LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _};

use crate::http::headers::names;
use crate::http::request_state::RequestState;
use crate::http::state::ApiState;
use crate::http::{caller_quota, compat, headers};

/// The headers that hold a path of the gateway.
const URL_HEADERS: [HeaderName; 4] = [LOCATION, CONTENT_LOCATION, LINK, names::OPERATION];

/// Turns the paths in headers into URLs of a gateway that callers reach elsewhere.
fn add_external_url(headers: &mut HeaderMap, external_url: &str) {
    for name in URL_HEADERS {
        let Some(path) = headers.get(&name).and_then(|value| value.to_str().ok()) else { continue };
        let url = match path.strip_prefix('<') {
            Some(link) => format!("<{external_url}{link}"),
            None => format!("{external_url}{path}"),
        };
        if let Ok(url) = HeaderValue::try_from(url) {
            headers.insert(name, url);
        }
    }
}

/// Gives the request its [`RequestState`] with its id and its body, and the response `X-Request-Id`
/// and `nosniff`.
pub(in crate::http) async fn create_request_state(
    api: Arc<ApiState>,
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let payload = request.take_payload();
    let state = RequestState::new(api, headers::request_id(request.headers()), payload);
    state.attach_to(&request);
    let mut response = next.call(request).await?;
    compat::keep_unfinished_body(response.request(), || state.take_payload());
    add_common_headers(response.headers_mut(), &state);
    Ok(response)
}

/// The headers that every response carries, and the gateway's URL in those that hold a path.
pub(in crate::http) fn add_common_headers(headers: &mut HeaderMap, state: &RequestState) {
    if let Ok(value) = HeaderValue::from_str(&state.request_id.0) {
        headers.insert(names::REQUEST_ID, value);
    }
    if !state.api.external_url.is_empty() {
        add_external_url(headers, &state.api.external_url);
    }
    caller_quota::add_headers(headers, state);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
