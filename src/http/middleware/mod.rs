//! The middleware. `server::app` and `endpoint` list it in order.

mod auth;
mod catch_panic;
mod head_validation;
mod metrics;
mod problem_response;
mod request_state;
mod route;

pub(super) use auth::authenticate;
pub(super) use catch_panic::catch_panic;
pub(super) use head_validation::validate_head;
pub(super) use metrics::record_metrics;
pub(super) use problem_response::render_problems;
pub(super) use request_state::create_request_state;
pub(super) use route::enter_route;
