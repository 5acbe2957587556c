//! How the process is (contract 4, 6).

use std::time::Duration;

use actix_web::HttpResponse;

use super::door::{Answer, Inbound};
use super::openapi::Status;
use super::reply;
use crate::problem::ProblemName;

/// `GET /healthz`: the process answers.
#[utoipa::path(get, path = "/healthz", tag = "Gateway", operation_id = "getHealth", security(()),
    summary = "Is the process up?", description = "Answers whenever the process does. On `ops_bind` where one is configured.",
    responses((status = 200, description = "It is", body = Status)))]
pub(super) fn alive() -> HttpResponse {
    up("{\"status\":\"up\"}")
}

/// `GET /readyz`: requests can be served.
#[utoipa::path(get, path = "/readyz", tag = "Gateway", operation_id = "getReadiness", security(()),
    summary = "Can requests be served?", description = "Whether the store can be reached, the configuration is loaded and the gateway is not stopping.",
    responses((status = 200, description = "They can", body = Status)))]
pub(super) async fn ready(inbound: &Inbound<'_>) -> Answer {
    match inbound.api.health.ready().await {
        Ok(()) => Ok(up("{\"status\":\"ready\"}")),
        Err(missing) => Err(ProblemName::Overloaded.with(missing).retry_after(Duration::from_secs(1)).into()),
    }
}

/// `GET /metrics`: Prometheus' text form.
#[utoipa::path(get, path = "/metrics", tag = "Gateway", operation_id = "getMetrics", security(()),
    summary = "Metrics", description = "All metrics in Prometheus' text form.",
    responses((status = 200, description = "The metrics", content_type = "text/plain", body = String)))]
pub(super) fn metrics(inbound: &Inbound<'_>) -> HttpResponse {
    let text = inbound.api.metrics.render();
    HttpResponse::Ok()
        .insert_header(reply::NO_STORE)
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(text)
}

fn up(json: &'static str) -> HttpResponse {
    HttpResponse::Ok().insert_header(reply::NO_STORE).content_type("application/json").body(json)
}
