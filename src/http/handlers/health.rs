//! Health and metrics of the process (contract 4, 6).

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;

use crate::http::context::RequestContext;
use crate::http::error::HandlerResult;
use crate::http::response;
use crate::metrics;
use crate::problem::ProblemKind;

/// The state of the process.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct ProcessStatus {
    /// `up` or `ready`.
    #[schema(example = "up")]
    status: ProcessState,
}

/// What a process says of itself.
#[derive(Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum ProcessState {
    /// It responds.
    Up,
    /// It serves requests.
    Ready,
}

/// `GET /healthz`: the process responds.
#[utoipa::path(get, path = "/healthz", tag = "Gateway", operation_id = "getHealth", security(()),
    summary = "Is the process up?", description = "Responds whenever the process does. On `ops_bind` where one is configured.",
    responses((status = 200, description = "It is", body = ProcessStatus)))]
pub(in crate::http) async fn healthz() -> HttpResponse {
    ok(&ProcessStatus { status: ProcessState::Up })
}

/// `GET /readyz`: requests can be served.
#[utoipa::path(get, path = "/readyz", tag = "Gateway", operation_id = "getReadiness", security(()),
    summary = "Can requests be served?", description = "Whether the store can be reached, the configuration is loaded and the gateway is not stopping.",
    responses((status = 200, description = "They can", body = ProcessStatus)))]
pub(in crate::http) async fn readyz(context: RequestContext) -> HandlerResult {
    let not_ready = |detail: String| ProblemKind::Overloaded.with_detail(detail).retry_after(Duration::from_secs(1));
    let gateway = context.gateway();
    if gateway.is_draining() {
        return Err(not_ready("the gateway is stopping".to_owned()).into());
    }
    context
        .before_deadline(gateway.journal().ping())
        .await?
        .map_err(|error| not_ready(format!("the store: {error}")))?;
    Ok(ok(&ProcessStatus { status: ProcessState::Ready }))
}

/// `GET /metrics`: Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "Gateway", operation_id = "getMetrics", security(()),
    summary = "Metrics", description = "All metrics in Prometheus' text format.",
    responses((status = 200, description = "The metrics", content_type = "text/plain", body = String)))]
pub(in crate::http) async fn metrics(context: RequestContext) -> HttpResponse {
    for system in &context.api().systems {
        system.transport.refresh_circuit_gauge();
    }
    let text = context.api().metrics.render().unwrap_or_else(|error| {
        tracing::error!(%error, "the metrics cannot be rendered");
        Vec::new()
    });
    HttpResponse::Ok().insert_header(response::NO_STORE).content_type(metrics::CONTENT_TYPE).body(text)
}

fn ok(status: &ProcessStatus) -> HttpResponse {
    response::no_store_json(StatusCode::OK, response::to_json(status))
}
