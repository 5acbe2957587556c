//! The HTTP side: what a request must look like, who may send it, which handler answers it, and how its answer is written.
//!
//! Every request takes one straight line, `service::serve`: HTTP itself (`head_validation`), route and method (`routes`), caller
//! (`auth`), then one handler. The line never panics through and never answers an error but as a problem document
//! (contract 4.7).
//!
//! What `actix-http` does before or after that line, and nothing here can change:
//! - What it refuses before it has a request to hand on (a broken request line or header block, a head of more than 128 KiB
//!   or 96 fields, two `Host` lines, `Content-Length` with `Transfer-Encoding`, a head that does not arrive in time) gets
//!   its 400, 431 or 408 without a body. Of well-formed requests only those with a target of more than 65,534 bytes or more
//!   than 96 field lines are among them.
//! - It closes the connection, mostly without an answer, on a chunked body whose frames are broken.
//! - It answers `100 Continue` to every `Expect: 100-continue` at once, even where the head alone decides the final status:
//!   allowed (RFC 9110 §10.1.1), not ideal.
//! - It remembers one method per connection. Where a caller sends a HEAD before it has the answer to the request before,
//!   that answer may lose its content although its length is told. What `connection_state` can put right of this it does.

mod auth;
mod body;
mod connection_state;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod head_validation;
mod headers;
mod health;
mod html;
mod ledger;
mod openapi;
mod operations;
mod problem_response;
mod query;
mod records;
mod request_target;
mod response;
mod routes;
mod seams;
mod service;
mod systems;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod throttled_body;
#[cfg(test)]
mod wire_tests;
mod write_response;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use arc_swap::ArcSwap;

use crate::transport::trace::Tracer;

pub use connection_state::on_connect;
pub use openapi::{openapi, openapi_json};
pub use seams::{
    AuthenticatedCaller, Authenticator, HealthChecks, LedgerQuery, ListingPage, OperationReader, OperationsQuery,
    Permission, RecordService, RequestRecorder,
};

/// What a request may cost.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// `max_body`, in bytes.
    pub max_body: u64,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// `deadline`: the longest a caller waits for one request.
    pub deadline: Duration,
}

/// Everything the HTTP side is lent.
pub struct ApiState {
    /// The gateway.
    pub records: Arc<dyn RecordService>,
    /// `[access]`.
    pub access: Arc<dyn Authenticator>,
    /// The store, as far as it is shown.
    pub operations: Arc<dyn OperationReader>,
    /// Readiness and the vendors' health.
    pub health: Arc<dyn HealthChecks>,
    /// Request metrics.
    pub metrics: Arc<dyn RequestRecorder>,
    /// Where spans go; `None` = nowhere.
    pub tracer: Option<Arc<Tracer>>,
    /// What a request may cost.
    pub limits: RequestLimits,
    /// Whether `/healthz`, `/readyz` and `/metrics` are on a bind of their own (`ops_bind`) and therefore not here.
    pub separate_ops: bool,
}

/// Which of the two listeners a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listener {
    /// `bind`.
    Main,
    /// `ops_bind`.
    Ops,
}

/// The API as it is now. A changed configuration puts another in its place; a request goes on with what it began with.
pub struct SharedApiState(ArcSwap<ApiState>);

impl SharedApiState {
    /// Begins with this one.
    #[must_use]
    pub fn new(api: impl Into<Arc<ApiState>>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::new(api.into())))
    }

    /// From now on requests begin with this one.
    pub fn replace(&self, api: ApiState) {
        self.0.store(Arc::new(api));
    }
}

/// Wires the API (and, unless they have a bind of their own, health and metrics) into an `App`:
/// `HttpServer::new(move || App::new().configure(http::configure(&api)))`.
pub fn configure(api: &Arc<SharedApiState>) -> impl Fn(&mut ServiceConfig) + Clone + use<> {
    configure_listener(api, Listener::Main)
}

/// Wires `/healthz`, `/readyz` and `/metrics` alone, for `ops_bind`.
pub fn configure_ops(api: &Arc<SharedApiState>) -> impl Fn(&mut ServiceConfig) + Clone + use<> {
    configure_listener(api, Listener::Ops)
}

fn configure_listener(api: &Arc<SharedApiState>, listener: Listener) -> impl Fn(&mut ServiceConfig) + Clone + use<> {
    let api = Arc::clone(api);
    move |config| {
        let api = Arc::clone(&api);
        config.default_service(web::to(move |request, payload| {
            service::handle_request(api.0.load_full(), listener, request, payload)
        }));
    }
}
