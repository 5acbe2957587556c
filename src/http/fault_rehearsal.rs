//! Faults of vendors on demand, in the sandbox only: the header `Sandbox-Fault`.

use std::any::Any;

use actix_web::HttpRequest;

use super::headers::names;
use super::representation::Representation;
use super::request_state::RequestState;
use super::request_target::percent_decode;
use crate::problem::{Problem, ProblemKind};
use crate::record::RecordId;
use crate::system::System;

/// Where the header has a meaning.
const PATHS: [&str; 2] = ["/records/{system}", "/models/{model}/{system}"];

/// Begins the failure that the request names, where the gateway is a sandbox.
///
/// # Errors
/// 400.
pub(super) fn begin(state: &RequestState, request: &HttpRequest) -> Result<Option<Box<dyn Any>>, Problem> {
    let Some(rehearsal) = &state.api.rehearsal else { return Ok(None) };
    let (Some(fault), Some(route)) = (request.headers().get(names::SANDBOX_FAULT), state.route()) else {
        return Ok(None);
    };
    let malformed = |message: String| ProblemKind::MalformedRequest.with_detail(message);
    if !PATHS.iter().any(|path| route.path.starts_with(path)) {
        return Err(malformed(format!("Sandbox-Fault works on {} and below, for one request", PATHS.join(" and "))));
    }
    // The handler responds to what is not configured, and to an id that is none.
    let Some(system) = state.system() else { return Ok(None) };
    let record = match record_id(state, request, system)? {
        Some(Err(_)) => return Ok(None),
        found => found.and_then(Result::ok),
    };
    let (trace, fault) = (state.trace(request.headers()).trace_id(), fault.to_str().unwrap_or_default());
    let record = record.as_ref().map(RecordId::as_str);
    rehearsal.begin(system.name.as_str(), record, trace, fault).map(Some).map_err(malformed)
}

/// The record that the path names, in its canonical spelling, or the problem of its id.
fn record_id(
    state: &RequestState,
    request: &HttpRequest,
    system: &System,
) -> Result<Option<Result<RecordId, Problem>>, Problem> {
    let param = |name| percent_decode(request.match_info().get(name).unwrap_or_default(), "path");
    let (model, id) = (param("model")?, param("id")?);
    let found = || Representation::of_model(&state.api, &model, system)?.record_id(system, &id);
    Ok((!id.is_empty()).then(found))
}
