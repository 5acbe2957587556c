//! What an operator does with a write whose outcome is not known (contract 4.15).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{LOCATION, RETRY_AFTER};
use serde_json::Value;

use super::operations::find_operation;
use crate::access::Permission;
use crate::http::context::{RequestContext, missing_permission, store_unavailable};
use crate::http::error::HandlerResult;
use crate::http::headers::{BodyType, accept};
use crate::http::openapi::OperationPath;
use crate::http::{body, response};
use crate::journal::VerdictResult;
use crate::problem::{Problem, ProblemKind};
use crate::record::{FieldError, Operation, OperationState};
use crate::writes::{Operator, ProbeRequestResult};

/// The longest note, in characters.
const MAX_NOTE: usize = 500;

/// The outcome of a write, as a person has found it.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "described, never constructed")]
#[schema(as = Resolution)]
pub(in crate::http) struct VerdictBody {
    /// The state in which the operation ends.
    #[schema(example = "applied")]
    state: ResolvedState,
    /// Why: 1 to 500 characters, not blanks alone, and no control characters but tabs and line
    /// breaks. The ledger has only its hash.
    #[schema(min_length = 1, max_length = 500, example = "Seen in the vendor's own user interface.")]
    note: String,
}

/// A state that a person can record.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "kebab-case")]
#[expect(dead_code, reason = "described, never constructed")]
enum ResolvedState {
    /// The write took effect.
    Applied,
    /// The write had no effect.
    NotApplied,
}

/// `POST /operations/{id}/settle`.
#[utoipa::path(post, path = "/operations/{id}/settle", tag = "Operations", operation_id = "settleOperation",
    summary = "Check the outcome again", description = "Reads the record again and reconciles the write now. Needs the permission `operate`. It never sends a write \
        that the gateway would not send by itself.",
    params(OperationPath),
    responses((status = 202, description = "The check has begun", body = Operation),
        (status = 200, description = "The outcome is known already", body = Operation)))]
pub(in crate::http) async fn probe_again(context: RequestContext) -> HandlerResult {
    let operation = authorized_operation(&context).await?;
    accept::require_json(context.headers())?;
    context.query(&[])?;
    let result = context.gateway().probe_again(&operation, operator(&context)?).await;
    match result.map_err(|error| store_unavailable(&error))? {
        ProbeRequestResult::Started => Ok(respond(StatusCode::ACCEPTED, &operation)),
        ProbeRequestResult::OutcomeKnown => Ok(respond(StatusCode::OK, &operation)),
        ProbeRequestResult::AlreadyRunning => {
            Err(in_progress("the gateway is checking the outcome of this write", &operation).into())
        }
        ProbeRequestResult::NoRecoveryData => {
            let detail =
                "the gateway no longer has what a check of this write needs; record its outcome with `/resolve`";
            Err(ProblemKind::OperationEnded.with_detail(detail).operation(&operation.id).into())
        }
    }
}

/// `POST /operations/{id}/resolve`.
#[utoipa::path(post, path = "/operations/{id}/resolve", tag = "Operations", operation_id = "resolveOperation",
    summary = "Record the outcome of a write", description = "Ends an operation that is `unknown`, or that has run for a minute, with the outcome that a person has found. \
        Its record is free at once. Needs the permission `operate`.",
    params(OperationPath),
    request_body(content = VerdictBody, description = "The outcome"),
    responses((status = 200, description = "The operation has this state", body = Operation)))]
pub(in crate::http) async fn resolve(context: RequestContext) -> HandlerResult {
    let operation = authorized_operation(&context).await?;
    accept::require_json(context.headers())?;
    let (_, body) = body::read(&context, &[BodyType::Json]).await?;
    let value = body::parse_json(&body)?;
    context.query(&[])?;
    let (state, note) = parse_verdict(value)?;
    let result = context.gateway().record_verdict(&operation, state, note, operator(&context)?).await;
    match result.map_err(|error| store_unavailable(&error))? {
        VerdictResult::Recorded | VerdictResult::Repeated => {
            Ok(respond(StatusCode::OK, &find_operation(&context, &operation.id).await?))
        }
        VerdictResult::TooEarly => {
            Err(in_progress("the write began less than a minute ago; the gateway still reconciles it", &operation)
                .into())
        }
        VerdictResult::Ended | VerdictResult::NotFound => {
            Err(has_ended(&find_operation(&context, &operation.id).await?).into())
        }
    }
}

/// The operation that the path names, of a caller that may operate its system.
///
/// # Errors
/// 404 if the caller may not see it, 403.
async fn authorized_operation(context: &RequestContext) -> Result<Operation, Problem> {
    let id = super::operations::parse_id(context)?;
    let operation = find_operation(context, &id).await?;
    if !context.caller()?.can(&operation.system, Permission::Operate) {
        return Err(missing_permission(&operation.system, Permission::Operate));
    }
    Ok(operation)
}

fn operator(context: &RequestContext) -> Result<Operator, Problem> {
    let caller_context = context.caller_context()?;
    Ok(Operator { caller: caller_context.caller, request_id: caller_context.request_id })
}

fn in_progress(detail: &str, operation: &Operation) -> Problem {
    ProblemKind::OperationInProgress.with_detail(detail).operation(&operation.id).system(&operation.system)
}

/// 409: how the operation has ended.
fn has_ended(operation: &Operation) -> Problem {
    let state = operation.state.as_str();
    let detail = match &operation.resolved_by {
        Some(person) => format!("{person} has resolved this operation as {state} already"),
        None => format!(
            "the gateway has found the outcome of this write itself: it is {state}, so nothing is to be resolved"
        ),
    };
    ProblemKind::OperationEnded.with_detail(detail).operation(&operation.id)
}

fn respond(status: StatusCode, operation: &Operation) -> HttpResponse {
    let mut response = response::no_store_json(status, response::to_json(operation));
    if status == StatusCode::ACCEPTED {
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, response::POLL_INTERVAL_SECS.into());
        response::append_header(headers, LOCATION, operation.id.path());
    }
    response
}

/// # Errors
/// 400 for what is no object of these two members, 422 for their values.
fn parse_verdict(value: Value) -> Result<(OperationState, String), Problem> {
    let malformed = |detail: &str| ProblemKind::MalformedRequest.with_detail(detail);
    let Value::Object(mut members) = value else { return Err(malformed("the body must be a JSON object")) };
    let (state, note) = (members.remove("state"), members.remove("note"));
    if let Some(name) = members.keys().next() {
        return Err(malformed(&format!("the body has the unknown member {name:?}; known: state, note")));
    }
    let parsed = match state.as_ref().and_then(Value::as_str) {
        Some("applied") => Some(OperationState::Applied),
        Some("not-applied") => Some(OperationState::NotApplied),
        _ => None,
    };
    let text = note.as_ref().and_then(Value::as_str).filter(|text| is_valid_note(text));
    let mut errors = Vec::new();
    if parsed.is_none() {
        errors.push(FieldError::new("/state", "must be \"applied\" or \"not-applied\""));
    }
    if text.is_none() {
        errors.push(FieldError::new(
            "/note",
            "must be a text of 1 to 500 characters, not blanks alone, without control characters other than tab, CR and LF",
        ));
    }
    match (parsed, text) {
        (Some(state), Some(note)) => Ok((state, note.to_owned())),
        _ => Err(ProblemKind::Rejected.with_detail("the body has no valid verdict").errors(errors)),
    }
}

/// Whether a person can read it later. Of the control characters it may have those that lay a text
/// out.
fn is_valid_note(text: &str) -> bool {
    let is_short = (1..=MAX_NOTE).contains(&text.chars().count());
    let is_visible = text.chars().any(|c| !c.is_whitespace());
    is_short && is_visible && text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
}
