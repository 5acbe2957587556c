//! The HTTP side, in the way of actix-web.
//!
//! [`server`](app) lists every path and the middleware. A handler takes a `RequestContext`, calls
//! the gateway or the store, and returns a response or an `ApiError`, which becomes a problem
//! document (contract 4.7). `compat` guards against what actix-http does on its own.

mod access_log;
mod authenticator;
mod batch;
mod batch_registry;
mod body;
mod caller_quota;
mod change_event;
mod change_stream;
mod compat;
mod configured_models;
mod context;
mod endpoint;
mod error;
mod fault_rehearsal;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod handlers;
mod headers;
mod html;
mod item_request;
mod middleware;
mod model_document;
mod model_translation;
mod open_streams;
mod openapi;
mod process_info;
mod query;
mod representation;
mod request_state;
mod request_target;
mod response;
mod route;
mod server;
mod state;
mod stream_access;
#[cfg(test)]
mod tests;
mod throttled_body;
mod write_request;
mod write_response;

pub use authenticator::Authenticator;
pub use batch::stored::resume as resume_batches;
pub use compat::AbortableStream;
pub use configured_models::Models;
pub use openapi::{VendorOfSystem, openapi, openapi_json, openapi_json_with};
pub use process_info::{ConfigState, ProcessInfo};
pub use server::{Listener, app};
pub use state::{ApiState, BatchLimits, FaultRehearsal, RequestLimits, SharedApiState};
