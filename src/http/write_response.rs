//! What a write came to, as an HTTP answer (contract 4, 4.3 to 4.5).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CONTENT_LOCATION, ETAG, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, VARY,
};
use serde_json::Value;

use super::response;
use super::seams::Permission;
use super::service::{ApiError, HandlerResult, RequestContext};
use crate::gateway::{RecordView, SuccessBody, WriteOutcome, WriteResponse, WriteSuccess};
use crate::problem::{Problem, ProblemKind};
use crate::record::{Action, Operation, OperationId, OperationState};

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The answer, replayed or not.
pub(super) async fn write_response(inbound: &RequestContext<'_>, told: WriteResponse) -> HandlerResult {
    let written = match told.outcome {
        WriteOutcome::Success(written) => written,
        WriteOutcome::Problem(problem) => return Err(ApiError { problem, replayed: told.replayed }),
    };
    let (mut answer, place) = match &written.body {
        SuccessBody::NoContent => (HttpResponse::new(StatusCode::NO_CONTENT), None),
        SuccessBody::Record(record) => {
            (record_response(StatusCode::OK, record), Some((CONTENT_LOCATION, record_url(record))))
        }
        SuccessBody::Created(record) => {
            (record_response(StatusCode::CREATED, record), Some((LOCATION, record_url(record))))
        }
        SuccessBody::Accepted => {
            let operation = load_operation(inbound, written.operation.as_ref(), told.operation).await?;
            (accepted_response(&operation), Some((LOCATION, operation.id.path())))
        }
    };
    if let Some((name, path)) = place {
        append_header(answer.headers_mut(), name, path);
    }
    add_write_headers(answer.headers_mut(), &written, told.replayed);
    Ok(answer)
}

fn add_write_headers(fields: &mut HeaderMap, written: &WriteSuccess, replayed: bool) {
    let (cache_control, no_store) = response::NO_STORE;
    fields.append(cache_control, no_store);
    fields.append(VARY, HeaderValue::from_static("Prefer"));
    if let Some(operation) = &written.operation {
        append_header(fields, response::H_OPERATION, operation.path());
    }
    if let Some(guarantee) = written.guarantee {
        fields.append(response::H_CONCURRENCY_GUARANTEE, HeaderValue::from_static(guarantee.as_str()));
    }
    if let Some(applied) = &written.preference_applied {
        append_header(fields, PREFERENCE_APPLIED, applied.as_str());
    }
    // The record in the body and its tag in the field are the same state; there is no new representation behind a 202 yet
    // (http-rules 190).
    let etag = match &written.body {
        SuccessBody::Record(record) | SuccessBody::Created(record) => {
            record.etag.as_deref().or(written.etag.as_deref())
        }
        SuccessBody::NoContent => written.etag.as_deref(),
        SuccessBody::Accepted => None,
    };
    if let Some(etag) = etag {
        append_header(fields, ETAG, etag);
    }
    if replayed {
        fields.append(response::H_IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
}

/// What cannot stand in a field is left out of it: none of these can hold such a thing.
fn append_header(fields: &mut HeaderMap, name: HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        fields.append(name, value);
    }
}

fn record_url(record: &RecordView) -> String {
    response::record_path(&record.system, &record.id)
}

fn record_response(status: StatusCode, record: &RecordView) -> HttpResponse {
    HttpResponse::build(status).content_type("application/json").body(response::record_json(record))
}

fn accepted_response(operation: &Operation) -> HttpResponse {
    let mut answer = HttpResponse::Accepted();
    if operation.state == OperationState::Running {
        answer.insert_header((RETRY_AFTER, response::POLL_INTERVAL_SECS));
    }
    answer.content_type("application/json").body(response::to_json(operation))
}

/// The operation of a 202: as the gateway told it, else as the store has it now. What became of an earlier sending may tell of the
/// record; that is for those who may read it.
async fn load_operation(
    inbound: &RequestContext<'_>,
    id: Option<&OperationId>,
    told: Option<Operation>,
) -> Result<Operation, Problem> {
    let mut operation = if let Some(operation) = told {
        operation
    } else {
        let missing =
            || ProblemKind::InternalError.with_detail("the write was taken on, and its operation cannot be found");
        let id = id.ok_or_else(missing)?;
        inbound.api.operations.operation(id).await?.ok_or_else(|| missing().operation(id))?
    };
    if !inbound.caller()?.can(&operation.system, Permission::Record(Action::Read)) {
        operation.etag = None;
        if let Some(problem) = operation.problem.as_mut().and_then(Value::as_object_mut) {
            problem.retain(|name, _| !matches!(name.as_str(), "current_etag" | "changed"));
        }
    }
    Ok(operation)
}
