//! The middleware. `server::app` and `endpoint` list it in order.

mod auth;
mod catch_panic;
mod head_validation;
mod metrics;
mod problem_response;
mod request_state;
mod route;

pub(super) use auth::authenticate;
pub(super) use catch_panic::{catch_panic, panic_to_problem};
pub(super) use head_validation::validate_head;
pub(super) use metrics::record_metrics;
pub(super) use problem_response::{ProblemTarget, render_problem, render_problems};
pub(super) use request_state::{add_common_headers, create_request_state};
pub(super) use route::enter_route;
