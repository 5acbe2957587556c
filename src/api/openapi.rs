//! The OpenAPI document.

use actix_web::HttpResponse;

/// The document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    utoipa::openapi::OpenApi::default()
}

/// Its text.
#[must_use]
pub fn openapi_json() -> String {
    openapi().to_pretty_json().unwrap_or_default()
}

pub(super) fn served() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(openapi_json())
}
