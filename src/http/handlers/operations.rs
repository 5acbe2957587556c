//! The operations: writes and their outcomes (contract 4.4).

use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use serde::Serialize;

use crate::access::Permission;
use crate::http::context::{RequestContext, missing_permission};
use crate::http::error::HandlerResult;
use crate::http::headers::accept;
use crate::http::openapi::{OperationListParams, OperationPath, PageParams};
use crate::http::query::QueryParams;
use crate::http::response::{self, ReadPreconditions};
use crate::journal::OperationQuery;
use crate::problem::{Problem, ProblemKind};
use crate::record::{Action, Operation, OperationId, OperationState};

/// A page of operations.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct OperationPage {
    /// The operations.
    items: Vec<Operation>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// `GET` and `HEAD /operations/{id}`. An operation of a system that the caller may neither read nor
/// operate is not found.
#[utoipa::path(get, path = "/operations/{id}", tag = "Operations", operation_id = "getOperation",
    summary = "Follow an operation", description = "The state of a write. A failed operation is 200 too: see `state` and `problem`.",
    params(OperationPath),
    responses((status = 200, description = "The operation", body = Operation)))]
pub(in crate::http) async fn get(context: RequestContext) -> HandlerResult {
    context.caller()?;
    let id = parse_id(&context)?;
    accept::require_json(context.headers())?;
    context.query(&[])?;
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let operation = find_operation(&context, &id).await?;
    let mut response = preconditions.respond(response::to_json(&operation), None, None)?;
    if operation.state == OperationState::Running {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(response::POLL_INTERVAL_SECS));
    }
    Ok(response)
}

fn unknown_operation() -> Problem {
    ProblemKind::OperationNotFound.with_detail("there is no operation of this id that you may see")
}

/// The id in the path.
///
/// # Errors
/// 404.
pub(super) fn parse_id(context: &RequestContext) -> Result<OperationId, Problem> {
    OperationId::parse(&context.path_param("id")?).ok_or_else(unknown_operation)
}

/// An operation that the caller may read or operate.
///
/// # Errors
/// 404.
pub(super) async fn find_operation(context: &RequestContext, id: &OperationId) -> Result<Operation, Problem> {
    let caller = context.caller()?;
    let found = context.read_journal(context.gateway().journal().operation(id)).await?;
    let may_see = |operation: &Operation| {
        [Permission::Read, Permission::Operate].iter().any(|permission| caller.can(&operation.system, *permission))
    };
    found.filter(may_see).ok_or_else(unknown_operation)
}

/// `GET` and `HEAD /operations`, with the filters of [`OperationListParams`].
#[utoipa::path(get, path = "/operations", tag = "Operations", operation_id = "listOperations",
    summary = "List operations", description = "Operations of the systems that the caller may read; oldest first unless `order` is `desc`.",
    params(OperationListParams, PageParams),
    responses((status = 200, description = "A page", body = OperationPage)))]
pub(in crate::http) async fn list(context: RequestContext) -> HandlerResult {
    context.caller()?;
    let params = context
        .query(&["system", "record", "state", "caller", "action", "since", "until", "order", "limit", "cursor"])?;
    let systems = authorized_systems(&context, params.get("system"), Permission::Read)?;
    accept::require_json(context.headers())?;
    let (since, until) = params.time_range()?;
    let query = OperationQuery {
        systems,
        record: parse_record_filter(&context, &params)?,
        state: params.parse_word("state", "running, applied, not-applied, unknown", OperationState::parse)?,
        caller: params.get("caller").map(str::to_owned),
        action: params.parse_word("action", "create, update, delete", parse_action)?,
        since,
        until,
        order: params.order()?,
        limit: params.limit()?,
        after: params.decode_cursor(|position| position.parse().ok())?,
    };
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let page = context.read_journal(context.gateway().journal().operations(query)).await?;
    let body = OperationPage { items: page.items, next: page.next.map(|seq| params.encode_cursor(&seq.to_string())) };
    let link = params.next_link_header("/operations", body.next.as_deref());
    preconditions.respond(response::to_json(&body), None, link)
}

fn parse_action(word: &str) -> Option<Action> {
    [Action::Create, Action::Update, Action::Delete].into_iter().find(|action| action.as_str() == word)
}

/// The systems to list: the requested one, or all for which the caller has the permission.
///
/// # Errors
/// 404 and 403 for the requested one; 403 if there is none at all.
pub(super) fn authorized_systems(
    context: &RequestContext,
    requested: Option<&str>,
    permission: Permission,
) -> Result<Vec<String>, Problem> {
    let caller = context.caller()?;
    if let Some(name) = requested {
        context.api().find_system(name)?;
        let allowed = caller.can(name, permission).then(|| vec![name.to_owned()]);
        return allowed.ok_or_else(|| missing_permission(name, permission));
    }
    let names = context.api().systems.iter().map(|system| system.name.as_str());
    let allowed: Vec<String> = names.filter(|name| caller.can(name, permission)).map(str::to_owned).collect();
    if allowed.is_empty() { Err(missing_permission("*", permission)) } else { Ok(allowed) }
}

/// `record` in its canonical spelling: of the requested system or, where none is requested, of the
/// systems that know its form, if they agree.
///
/// # Errors
/// 404 when the id does not have the vendor's form.
pub(super) fn parse_record_filter(context: &RequestContext, params: &QueryParams) -> Result<Option<String>, Problem> {
    let Some(raw) = params.get("record") else { return Ok(None) };
    if let Some(name) = params.get("system") {
        let id = context.api().find_system(name)?.record_id(raw)?;
        return Ok(Some(id.as_str().to_owned()));
    }
    let mut known = context.api().systems.iter().filter_map(|system| system.record_id(raw).ok());
    let first = known.next().filter(|first| known.all(|other| other == *first));
    Ok(Some(first.map_or_else(|| raw.to_owned(), |id| id.as_str().to_owned())))
}
