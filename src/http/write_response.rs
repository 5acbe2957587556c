//! From the outcome of a write to its response (contract 4, 4.3 to 4.5).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LOCATION, ETAG, HeaderMap, HeaderValue, LINK, LOCATION, RETRY_AFTER, VARY};
use serde_json::Value;

use super::context::RequestContext;
use super::error::{ApiError, HandlerResult};
use super::headers::names;
use super::model_document::VendorPart;
use super::representation::Representation;
use super::response;
use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemKind};
use crate::record::{Operation, OperationId, OperationState, RawObject};
use crate::system::RecordView;
use crate::transport::JSON;
use crate::writes::{SuccessBody, WriteOutcome, WriteResponse, WriteSuccess};

/// The response, replayed or not.
pub(super) fn respond(context: &RequestContext, result: WriteResponse) -> HandlerResult {
    let representation = Representation::from_path(context)?;
    let mut success = match result.outcome {
        WriteOutcome::Success(success) => success,
        WriteOutcome::Problem(problem) => return Err(ApiError { problem, is_replay: result.replayed }),
    };
    let operation = match success.body {
        SuccessBody::Accepted => Some(returned_operation(context, success.operation.as_ref(), result.operation)?),
        _ => None,
    };
    representation.translate_success(context, &mut success);
    let shown = RecordInResponse { representation: &representation, metrics: &context.api().metrics };
    let mut response = success_response(&shown, &success, operation.as_ref(), result.replayed);
    if let SuccessBody::Record(record) | SuccessBody::Created(record) = &success.body
        && let Some(link) = representation.describedby_link(context.api().find_system(&record.system)?, &record.id)
    {
        response::append_header(response.headers_mut(), LINK, link);
    }
    Ok(response)
}

/// How a record is shown in a response.
struct RecordInResponse<'r> {
    representation: &'r Representation,
    metrics: &'r Metrics,
}

/// `operation` is the body of a 202.
fn success_response(
    shown: &RecordInResponse<'_>,
    success: &WriteSuccess,
    operation: Option<&Operation>,
    is_replay: bool,
) -> HttpResponse {
    let (mut response, location) = match (&success.body, operation) {
        (SuccessBody::Record(record), _) => {
            (shown.response(StatusCode::OK, record), Some((CONTENT_LOCATION, shown.url(record))))
        }
        (SuccessBody::Created(record), _) => {
            (shown.response(StatusCode::CREATED, record), Some((LOCATION, shown.url(record))))
        }
        (SuccessBody::Accepted, Some(operation)) => {
            (accepted_response(operation), Some((LOCATION, operation.id.path())))
        }
        (SuccessBody::NoContent | SuccessBody::Accepted, _) => (HttpResponse::new(StatusCode::NO_CONTENT), None),
    };
    if let Some((name, path)) = location {
        response::append_header(response.headers_mut(), name, path);
    }
    add_write_headers(response.headers_mut(), shown, success, is_replay);
    response
}

/// Removes what the record holds from the outcome for a caller that may not read it.
pub(super) fn redact(outcome: &mut WriteOutcome) {
    match outcome {
        WriteOutcome::Success(success) => redact_record(success),
        WriteOutcome::Problem(problem) => redact_problem(problem),
    }
}

/// A record in a 200 carries the warnings, so it stays, without its state.
fn redact_record(success: &mut WriteSuccess) {
    if let SuccessBody::Record(record) = &mut success.body {
        record.etag = None;
        record.read_only.clear();
        record.fields = RawObject::default();
        for warning in &mut record.warnings {
            warning.onto = None;
            warning.moved.clear();
        }
    }
    // The tag of a created record is that of what its caller has just sent.
    if !matches!(success.body, SuccessBody::Created(_)) {
        success.etag = None;
    }
}

/// The members of a problem that show the record's state, in its document.
const RECORD_MEMBERS: [&str; 3] = ["current_etag", "changed", "overlap"];

fn redact_problem(problem: &mut Problem) {
    problem.current_etag = None;
    problem.changed.clear();
    problem.overlap.clear();
}

fn add_write_headers(headers: &mut HeaderMap, shown: &RecordInResponse<'_>, success: &WriteSuccess, is_replay: bool) {
    let (cache_control, no_store) = response::NO_STORE;
    headers.append(cache_control, no_store);
    headers.append(VARY, HeaderValue::from_static("Prefer"));
    if let Some(operation) = &success.operation {
        response::append_header(headers, names::OPERATION, operation.path());
    }
    if let Some(guarantee) = success.guarantee {
        headers.append(names::CONCURRENCY_GUARANTEE, HeaderValue::from_static(guarantee.as_str()));
    }
    if let Some(applied) = &success.preference_applied {
        response::append_header(headers, names::PREFERENCE_APPLIED, applied.as_str());
    }
    // `ETag` is the tag of the record in the body. A 202 has no new representation yet (http-rules
    // 190).
    let etag = match &success.body {
        SuccessBody::Record(record) | SuccessBody::Created(record) => {
            shown.representation.etag_of(record).or_else(|| success.etag.clone())
        }
        SuccessBody::NoContent => success.etag.clone(),
        SuccessBody::Accepted => None,
    };
    if let Some(etag) = etag {
        response::append_header(headers, ETAG, etag);
    }
    if is_replay {
        headers.append(names::IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
}

impl RecordInResponse<'_> {
    fn url(&self, record: &RecordView) -> String {
        self.representation.path(&record.system, Some(&record.id))
    }

    fn response(&self, status: StatusCode, record: &RecordView) -> HttpResponse {
        let etag = self.representation.etag_of(record);
        let json = self.representation.record_json(record, etag.as_deref(), VendorPart::default(), self.metrics);
        HttpResponse::build(status).content_type(JSON).body(json)
    }
}

fn accepted_response(operation: &Operation) -> HttpResponse {
    let mut response = HttpResponse::Accepted();
    if operation.state == OperationState::Running {
        response.insert_header((RETRY_AFTER, response::POLL_INTERVAL_SECS));
    }
    response.content_type(JSON).body(response::to_json(operation))
}

/// The operation of a 202, as the gateway returned it. The outcome of an earlier attempt may hold
/// parts of the record, which only a caller that may read it sees.
///
/// # Errors
/// `outcome-unknown`: the store cannot be read now. The write runs, so the response must not say
/// that nothing was sent.
fn returned_operation(
    context: &RequestContext,
    id: Option<&OperationId>,
    returned: Option<Operation>,
) -> Result<Operation, Problem> {
    let unavailable = || {
        let detail = "The write was begun, and the gateway's store cannot be read at the moment. Follow the operation, \
                      and do not send the write again before it has ended.";
        let problem = ProblemKind::OutcomeUnknown.with_detail(detail);
        match id {
            Some(id) => problem.operation(id),
            None => problem,
        }
    };
    let mut operation = returned.ok_or_else(unavailable)?;
    if !context.can_read(&operation.system)? {
        operation.etag = None;
        if let Some(problem) = operation.problem.as_mut().and_then(Value::as_object_mut) {
            problem.retain(|name, _| !RECORD_MEMBERS.contains(&name.as_str()));
        }
    }
    Ok(operation)
}
