//! How the process is (contract 4, 6).

use std::time::Duration;

use actix_web::HttpResponse;

use super::door::{Answer, Inbound};
use super::reply;
use crate::problem::ProblemName;

/// `GET /healthz`: the process answers.
pub(super) fn alive() -> HttpResponse {
    up("{\"status\":\"up\"}")
}

/// `GET /readyz`: requests can be served.
pub(super) async fn ready(inbound: &Inbound<'_>) -> Answer {
    match inbound.api.health.ready().await {
        Ok(()) => Ok(up("{\"status\":\"ready\"}")),
        Err(missing) => Err(ProblemName::Overloaded.with(missing).retry_after(Duration::from_secs(1)).into()),
    }
}

/// `GET /metrics`: Prometheus' text form.
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
