//! What a write came to, as an HTTP answer (contract 4, 4.3 to 4.5).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CONTENT_LOCATION, ETAG, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, VARY,
};
use serde_json::Value;

use super::door::{Answer, Inbound, Refused};
use super::seams::Right;
use super::{record_json, reply};
use crate::gateway::{Done, Record, Told, Verdict, Written};
use crate::problem::{Problem, ProblemName};
use crate::record::{Action, Operation, OperationId, OperationState};

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The answer, replayed or not.
pub(super) async fn answer(inbound: &Inbound<'_>, told: Told) -> Answer {
    let written = match told.verdict {
        Verdict::Written(written) => written,
        Verdict::Problem(problem) => return Err(Refused { problem, replayed: told.replayed }),
    };
    let (mut answer, place) = match &written.done {
        Done::Silent => (HttpResponse::new(StatusCode::NO_CONTENT), None),
        Done::Shown(record) => (shown(StatusCode::OK, record), Some((CONTENT_LOCATION, path(record)))),
        Done::Created(record) => (shown(StatusCode::CREATED, record), Some((LOCATION, path(record)))),
        Done::Accepted => {
            let operation = running(inbound, written.operation.as_ref(), told.operation).await?;
            (accepted(&operation), Some((LOCATION, operation.id.path())))
        }
    };
    if let Some((name, path)) = place {
        add(answer.headers_mut(), name, path);
    }
    shared_fields(answer.headers_mut(), &written, told.replayed);
    Ok(answer)
}

fn shared_fields(fields: &mut HeaderMap, written: &Written, replayed: bool) {
    let (cache_control, no_store) = reply::NO_STORE;
    fields.append(cache_control, no_store);
    fields.append(VARY, HeaderValue::from_static("Prefer"));
    if let Some(operation) = &written.operation {
        add(fields, reply::OPERATION, operation.path());
    }
    if let Some(guarantee) = written.guarantee {
        fields.append(reply::GUARANTEE, HeaderValue::from_static(guarantee.as_str()));
    }
    if let Some(applied) = &written.preference_applied {
        add(fields, PREFERENCE_APPLIED, applied.as_str());
    }
    // The record in the body and its tag in the field are the same state; there is no new representation behind a 202 yet
    // (http-rules 190).
    let etag = match &written.done {
        Done::Shown(record) | Done::Created(record) => record.etag.as_deref().or(written.etag.as_deref()),
        Done::Silent => written.etag.as_deref(),
        Done::Accepted => None,
    };
    if let Some(etag) = etag {
        add(fields, ETAG, etag);
    }
    if replayed {
        fields.append(reply::REPLAYED, HeaderValue::from_static("true"));
    }
}

/// What cannot stand in a field is left out of it: none of these can hold such a thing.
fn add(fields: &mut HeaderMap, name: HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        fields.append(name, value);
    }
}

fn path(record: &Record) -> String {
    reply::record_path(&record.system, &record.id)
}

fn shown(status: StatusCode, record: &Record) -> HttpResponse {
    HttpResponse::build(status).content_type("application/json").body(record_json::record(record))
}

fn accepted(operation: &Operation) -> HttpResponse {
    let mut answer = HttpResponse::Accepted();
    if operation.state == OperationState::Running {
        answer.insert_header((RETRY_AFTER, reply::LOOK_AGAIN));
    }
    answer.content_type("application/json").body(reply::json(operation))
}

/// The operation of a 202: as the gateway told it, else as the store has it now. What became of an earlier sending may tell of the
/// record; that is for those who may read it.
async fn running(
    inbound: &Inbound<'_>,
    id: Option<&OperationId>,
    told: Option<Operation>,
) -> Result<Operation, Problem> {
    let mut operation = if let Some(operation) = told {
        operation
    } else {
        let missing = || ProblemName::InternalError.with("the write was taken on, and its operation cannot be found");
        let id = id.ok_or_else(missing)?;
        inbound.api.operations.operation(id).await?.ok_or_else(|| missing().operation(id))?
    };
    if !inbound.caller()?.may(&operation.system, Right::Records(Action::Read)) {
        operation.etag = None;
        if let Some(problem) = operation.problem.as_mut().and_then(Value::as_object_mut) {
            problem.retain(|name, _| !matches!(name.as_str(), "current_etag" | "changed"));
        }
    }
    Ok(operation)
}
