//! What a write came to, as an HTTP answer (contract 4, 4.3 to 4.5).

use actix_web::http::header::{CONTENT_LOCATION, ETAG, HeaderValue, LOCATION, RETRY_AFTER, VARY};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde_json::Value;

use super::door::{Answer, Inbound, Refused};
use super::seams::Right;
use super::{record_json, reply};
use crate::gateway::{Done, Record, Told, Verdict, Written};
use crate::problem::{Problem, ProblemName};
use crate::record::{Action, Operation, OperationId, OperationState};

/// The answer, replayed or not.
pub(super) async fn answer(inbound: &Inbound<'_>, told: Told) -> Answer {
    let written = match told.verdict {
        Verdict::Written(written) => written,
        Verdict::Problem(problem) => return Err(Refused { problem, replayed: told.replayed }),
    };
    let mut answer = match &written.done {
        Done::Silent => HttpResponse::NoContent(),
        Done::Shown(_) => HttpResponse::Ok(),
        Done::Created(_) => HttpResponse::Created(),
        Done::Accepted => HttpResponse::Accepted(),
    };
    shared_fields(&mut answer, &written, told.replayed);
    match written.done {
        Done::Silent => Ok(answer.finish()),
        Done::Shown(record) => {
            answer.insert_header((CONTENT_LOCATION, reply::record_path(&record.system, &record.id)));
            Ok(with_record(answer, &record))
        }
        Done::Created(record) => {
            answer.insert_header((LOCATION, reply::record_path(&record.system, &record.id)));
            Ok(with_record(answer, &record))
        }
        Done::Accepted => {
            let operation = running(inbound, written.operation.as_ref(), told.operation).await?;
            answer.insert_header((LOCATION, operation.id.path()));
            if operation.state == OperationState::Running {
                answer.insert_header((RETRY_AFTER, reply::LOOK_AGAIN));
            }
            Ok(answer.content_type("application/json").body(reply::json(&operation)))
        }
    }
}

fn shared_fields(answer: &mut HttpResponseBuilder, written: &Written, replayed: bool) {
    answer.insert_header(reply::NO_STORE).insert_header((VARY, HeaderValue::from_static("Prefer")));
    if let Some(operation) = &written.operation {
        answer.insert_header((reply::OPERATION, operation.path()));
    }
    if let Some(guarantee) = written.guarantee {
        answer.insert_header((reply::GUARANTEE, HeaderValue::from_static(guarantee.as_str())));
    }
    if let Some(applied) = &written.preference_applied {
        answer.insert_header(("Preference-Applied", applied.as_str()));
    }
    // There is no new representation behind a 202 yet (http-rules 190).
    if let Some(etag) = written.etag.as_deref().filter(|_| written.done != Done::Accepted) {
        answer.insert_header((ETAG, etag));
    }
    if replayed {
        answer.insert_header((reply::REPLAYED, "true"));
    }
}

/// The record in the body and its tag in the field are the same state.
fn with_record(mut answer: HttpResponseBuilder, record: &Record) -> HttpResponse {
    if let Some(etag) = &record.etag {
        answer.insert_header((ETAG, etag.as_str()));
    }
    answer.content_type("application/json").body(record_json::record(record))
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
