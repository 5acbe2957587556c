//! What became of writes (contract 4.4).

use actix_web::http::header::HeaderValue;
use actix_web::http::header::RETRY_AFTER;
use serde::Serialize;

use super::headers::accept;
use super::openapi::{self, OperationListParams, OperationPath};
use super::query::QueryParams;
use super::response::{self, ReadPreconditions};
use super::seams::{OperationsQuery, Permission};
use super::service::{HandlerResult, RequestContext};
use crate::problem::{Problem, ProblemKind};
use crate::record::{Action, Operation, OperationId, OperationState};

/// `GET` and `HEAD /operations/{id}`. Whoever may not read the system is told the same as for an id that does not exist.
#[utoipa::path(get, path = "/operations/{id}", tag = "Operations", operation_id = "getOperation",
    summary = "Follow an operation", description = "How far a write is. A failed operation is 200 too: `state` and `problem` tell.",
    params(OperationPath),
    responses((status = 200, description = "The operation", body = Operation)))]
pub(super) async fn show(inbound: &RequestContext<'_>, raw_id: &str) -> HandlerResult {
    let unknown = || ProblemKind::OperationNotFound.with_detail("there is no operation of this id that you may see");
    let caller = inbound.caller()?;
    let id = OperationId::parse(raw_id).ok_or_else(unknown)?;
    accept::require_json(inbound.headers)?;
    QueryParams::read(inbound.query, &[])?;
    let conditions = ReadPreconditions::read(inbound.headers)?;
    let found = inbound.api.operations.operation(&id).await?;
    let may_see = |operation: &Operation| caller.can(&operation.system, Permission::Record(Action::Read));
    let operation = found.filter(may_see).ok_or_else(unknown)?;
    let mut answer = conditions.respond(response::to_json(&operation), None, None)?;
    if operation.state == OperationState::Running {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(response::POLL_INTERVAL_SECS));
    }
    Ok(answer)
}

/// `GET` and `HEAD /operations?system=&record=&state=&limit=&cursor=`.
#[utoipa::path(get, path = "/operations", tag = "Operations", operation_id = "listOperations",
    summary = "List operations", description = "Operations of the systems that the caller may read.",
    params(OperationListParams),
    responses((status = 200, description = "A page", body = openapi::OperationPage)))]
pub(super) async fn list(inbound: &RequestContext<'_>) -> HandlerResult {
    inbound.caller()?;
    let query = QueryParams::read(inbound.query, &["system", "record", "state", "limit", "cursor"])?;
    let systems = authorized_systems(inbound, query.get("system"), Permission::Record(Action::Read))?;
    accept::require_json(inbound.headers)?;
    let state = match query.get("state") {
        None => None,
        Some(word) => Some(OperationState::parse(word).ok_or_else(|| {
            ProblemKind::MalformedRequest.with_detail("state is one of running, applied, not-applied, unknown")
        })?),
    };
    let wanted = OperationsQuery {
        record: parse_record_filter(inbound, &query)?,
        systems,
        state,
        limit: query.limit()?,
        after: query.decode_cursor()?,
    };
    let conditions = ReadPreconditions::read(inbound.headers)?;
    let page = inbound.api.operations.operations(&wanted).await?;
    let next = query.encode_cursor(page.next.as_deref());
    let link = query.next_link_header("/operations", next.as_deref());
    conditions.respond(response::to_json(&PageBody { items: &page.items, next: next.as_deref() }), None, link)
}

/// A page of anything.
#[derive(Serialize)]
pub(super) struct PageBody<'p, T> {
    pub(super) items: &'p [T],
    pub(super) next: Option<&'p str>,
}

/// The systems to show: the one asked for, or all with which the caller has the right.
///
/// # Errors
/// 404 and 403 for the one asked for; 403 if there is none at all.
pub(super) fn authorized_systems(
    inbound: &RequestContext<'_>,
    asked: Option<&str>,
    right: Permission,
) -> Result<Vec<String>, Problem> {
    let caller = inbound.caller()?;
    let forbidden =
        |system: &str| ProblemKind::Forbidden.with_detail(format!("you lack the right {system}:{}", right.as_str()));
    if let Some(name) = asked {
        inbound.find_system(name)?;
        return if caller.can(name, right) { Ok(vec![name.to_owned()]) } else { Err(forbidden(name)) };
    }
    let names = inbound.api.records.systems().iter().map(|system| system.name.as_str());
    let readable: Vec<String> = names.filter(|name| caller.can(name, right)).map(str::to_owned).collect();
    if readable.is_empty() { Err(forbidden("*")) } else { Ok(readable) }
}

/// `record` in its canonical spelling: of the system that is named or, where none is, of those that know such a form, if they
/// agree.
///
/// # Errors
/// 404 when the id does not have the vendor's form.
pub(super) fn parse_record_filter(
    inbound: &RequestContext<'_>,
    query: &QueryParams,
) -> Result<Option<String>, Problem> {
    let Some(raw) = query.get("record") else { return Ok(None) };
    let Some(name) = query.get("system") else {
        let records = &inbound.api.records;
        let mut known = records.systems().iter().filter_map(|system| records.record_id(system, raw).ok());
        let first = known.next().filter(|first| known.all(|other| other == *first));
        return Ok(Some(first.map_or_else(|| raw.to_owned(), |id| id.as_str().to_owned())));
    };
    let id = inbound.api.records.record_id(inbound.find_system(name)?, raw)?;
    Ok(Some(id.as_str().to_owned()))
}
