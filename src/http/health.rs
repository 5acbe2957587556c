//! How the process is (contract 4, 6).

use std::time::Duration;

use actix_web::HttpResponse;

use super::openapi::Status;
use super::response;
use super::service::{HandlerResult, RequestContext};
use crate::problem::ProblemKind;

/// `GET /healthz`: the process answers.
#[utoipa::path(get, path = "/healthz", tag = "Gateway", operation_id = "getHealth", security(()),
    summary = "Is the process up?", description = "Answers whenever the process does. On `ops_bind` where one is configured.",
    responses((status = 200, description = "It is", body = Status)))]
pub(super) fn healthz() -> HttpResponse {
    ok_status("{\"status\":\"up\"}")
}

/// `GET /readyz`: requests can be served.
#[utoipa::path(get, path = "/readyz", tag = "Gateway", operation_id = "getReadiness", security(()),
    summary = "Can requests be served?", description = "Whether the store can be reached, the configuration is loaded and the gateway is not stopping.",
    responses((status = 200, description = "They can", body = Status)))]
pub(super) async fn readyz(inbound: &RequestContext<'_>) -> HandlerResult {
    match inbound.api.health.ready().await {
        Ok(()) => Ok(ok_status("{\"status\":\"ready\"}")),
        Err(missing) => Err(ProblemKind::Overloaded.with_detail(missing).retry_after(Duration::from_secs(1)).into()),
    }
}

/// `GET /metrics`: Prometheus' text form.
#[utoipa::path(get, path = "/metrics", tag = "Gateway", operation_id = "getMetrics", security(()),
    summary = "Metrics", description = "All metrics in Prometheus' text form.",
    responses((status = 200, description = "The metrics", content_type = "text/plain", body = String)))]
pub(super) fn metrics(inbound: &RequestContext<'_>) -> HttpResponse {
    let text = inbound.api.metrics.render();
    HttpResponse::Ok()
        .insert_header(response::NO_STORE)
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(text)
}

fn ok_status(json: &'static str) -> HttpResponse {
    HttpResponse::Ok().insert_header(response::NO_STORE).content_type("application/json").body(json)
}
