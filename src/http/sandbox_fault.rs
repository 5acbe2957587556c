//! Failures on demand: the header `Sandbox-Fault` of the `sandbox` command.

use std::any::Any;

use actix_web::HttpRequest;

use super::headers::names;
use super::request_state::RequestState;
use super::request_target::percent_decode;
use crate::problem::{Problem, ProblemKind};

/// Begins the failure that the request names, where the gateway is a sandbox.
///
/// # Errors
/// 400.
pub(super) fn begin(state: &RequestState, request: &HttpRequest) -> Result<Option<Box<dyn Any>>, Problem> {
    let Some(rehearsal) = &state.api.rehearsal else { return Ok(None) };
    let (Some(fault), Some(system)) = (request.headers().get(names::SANDBOX_FAULT), state.system()) else {
        return Ok(None);
    };
    let record = request.match_info().get("id").map(|id| percent_decode(id, "path")).transpose()?;
    let begun = rehearsal.begin(system.name.as_str(), record.as_deref(), fault.to_str().unwrap_or_default());
    begun.map(Some).map_err(|message| ProblemKind::MalformedRequest.with_detail(message))
}
