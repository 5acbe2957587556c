//! What became of writes (contract 4.4).

use actix_web::http::header::HeaderValue;
use actix_web::http::header::RETRY_AFTER;
use serde::Serialize;

use super::door::{Answer, Inbound};
use super::headers::accept;
use super::openapi::{self, OperationPath, OperationsFilter};
use super::query::Query;
use super::reply::{self, Conditions};
use super::seams::{OperationsQuery, Right};
use crate::problem::{Problem, ProblemName};
use crate::record::{Action, Operation, OperationId, OperationState};

/// `GET` and `HEAD /operations/{id}`. Whoever may not read the system is told the same as for an id that does not exist.
#[utoipa::path(get, path = "/operations/{id}", tag = "Operations", operation_id = "getOperation",
    summary = "Follow an operation", description = "How far a write is. A failed operation is 200 too: `state` and `problem` tell.",
    params(OperationPath),
    responses((status = 200, description = "The operation", body = Operation)))]
pub(super) async fn show(inbound: &Inbound<'_>, raw_id: &str) -> Answer {
    let unknown = || ProblemName::OperationNotFound.with("there is no operation of this id that you may see");
    let caller = inbound.caller()?;
    let id = OperationId::parse(raw_id).ok_or_else(unknown)?;
    accept::json(inbound.headers)?;
    Query::read(inbound.query, &[])?;
    let conditions = Conditions::read(inbound.headers)?;
    let found = inbound.api.operations.operation(&id).await?;
    let may_see = |operation: &Operation| caller.may(&operation.system, Right::Records(Action::Read));
    let operation = found.filter(may_see).ok_or_else(unknown)?;
    let mut answer = conditions.answer(reply::json(&operation), None, None)?;
    if operation.state == OperationState::Running {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(reply::LOOK_AGAIN));
    }
    Ok(answer)
}

/// `GET` and `HEAD /operations?system=&record=&state=&limit=&cursor=`.
#[utoipa::path(get, path = "/operations", tag = "Operations", operation_id = "listOperations",
    summary = "List operations", description = "Operations of the systems that the caller may read.",
    params(OperationsFilter),
    responses((status = 200, description = "A page", body = openapi::OperationPage)))]
pub(super) async fn list(inbound: &Inbound<'_>) -> Answer {
    inbound.caller()?;
    let query = Query::read(inbound.query, &["system", "record", "state", "limit", "cursor"])?;
    let systems = systems_for(inbound, query.get("system"), Right::Records(Action::Read))?;
    accept::json(inbound.headers)?;
    let state = match query.get("state") {
        None => None,
        Some(word) => Some(OperationState::parse(word).ok_or_else(|| {
            ProblemName::MalformedRequest.with("state is one of running, applied, not-applied, unknown")
        })?),
    };
    let wanted = OperationsQuery {
        record: record_filter(inbound, &query)?,
        systems,
        state,
        limit: query.limit()?,
        place: query.place()?,
    };
    let conditions = Conditions::read(inbound.headers)?;
    let page = inbound.api.operations.operations(&wanted).await?;
    let next = query.cursor(page.next.as_deref());
    let link = query.next_link("/operations", next.as_deref());
    conditions.answer(reply::json(&Page { items: &page.items, next: next.as_deref() }), None, link)
}

/// A page of anything.
#[derive(Serialize)]
pub(super) struct Page<'p, T> {
    pub(super) items: &'p [T],
    pub(super) next: Option<&'p str>,
}

/// The systems to show: the one asked for, or all with which the caller has the right.
///
/// # Errors
/// 404 and 403 for the one asked for; 403 if there is none at all.
pub(super) fn systems_for(inbound: &Inbound<'_>, asked: Option<&str>, right: Right) -> Result<Vec<String>, Problem> {
    let caller = inbound.caller()?;
    let forbidden =
        |system: &str| ProblemName::Forbidden.with(format!("you lack the right {system}:{}", right.as_str()));
    if let Some(name) = asked {
        inbound.system(name)?;
        return if caller.may(name, right) { Ok(vec![name.to_owned()]) } else { Err(forbidden(name)) };
    }
    let names = inbound.api.records.systems().iter().map(|system| system.name.as_str());
    let readable: Vec<String> = names.filter(|name| caller.may(name, right)).map(str::to_owned).collect();
    if readable.is_empty() { Err(forbidden("*")) } else { Ok(readable) }
}

/// `record` in its canonical spelling: of the system that is named or, where none is, of those that know such a form, if they
/// agree.
///
/// # Errors
/// 404 when the id does not have the vendor's form.
pub(super) fn record_filter(inbound: &Inbound<'_>, query: &Query) -> Result<Option<String>, Problem> {
    let Some(raw) = query.get("record") else { return Ok(None) };
    let Some(name) = query.get("system") else {
        let records = &inbound.api.records;
        let mut known = records.systems().iter().filter_map(|system| records.record_id(system, raw).ok());
        let first = known.next().filter(|first| known.all(|other| other == *first));
        return Ok(Some(first.map_or_else(|| raw.to_owned(), |id| id.as_str().to_owned())));
    };
    let id = inbound.api.records.record_id(inbound.system(name)?, raw)?;
    Ok(Some(id.as_str().to_owned()))
}
