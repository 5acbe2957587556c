//! Who changed what, when and with what outcome (contract 4.9).

use serde::Serialize;

use super::operations::{authorized_systems, parse_record_filter};
use crate::access::Permission;
use crate::http::context::RequestContext;
use crate::http::error::HandlerResult;
use crate::http::headers::accept;
use crate::http::openapi::{LedgerListParams, PageParams};
use crate::http::response::{self, ReadPreconditions};
use crate::journal::{LedgerEntry, LedgerQuery};
use crate::problem::ProblemKind;
use crate::record::OperationId;

/// A page of the ledger.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct LedgerPage {
    /// The entries.
    items: Vec<LedgerEntry>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// `GET` and `HEAD /ledger`, with the filters of [`LedgerListParams`].
#[utoipa::path(get, path = "/ledger", tag = "Operations", operation_id = "listLedger",
    summary = "Read the ledger", description = "Who changed what, when and with what outcome, never a field's value; oldest first unless `order` is `desc`.",
    params(LedgerListParams, PageParams),
    responses((status = 200, description = "A page", body = LedgerPage)))]
pub(in crate::http) async fn list(context: RequestContext) -> HandlerResult {
    context.caller()?;
    let params = context.query(&[
        "system",
        "record",
        "caller",
        "operation",
        "problem",
        "since",
        "until",
        "order",
        "limit",
        "cursor",
    ])?;
    let systems = authorized_systems(&context, params.get("system"), Permission::Ledger)?;
    accept::require_json(context.headers())?;
    let (since, until) = params.time_range()?;
    let problem = params.parse_word("problem", "the names under /problems", ProblemKind::parse)?;
    let query = LedgerQuery {
        includes_cuts: systems.len() == context.api().systems.len() && params.get("system").is_none(),
        systems,
        record: parse_record_filter(&context, &params)?,
        caller: params.get("caller").map(str::to_owned),
        operation: params.parse_word("operation", "the ids of operations", OperationId::parse)?,
        problem: problem.map(|problem| problem.as_str().to_owned()),
        since,
        until,
        order: params.order()?,
        limit: params.limit()?,
        after_seq: params.decode_cursor(|position| position.parse().ok())?,
    };
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let page = context.read_journal(context.gateway().journal().ledger(query)).await?;
    let body = LedgerPage { items: page.items, next: page.next.map(|seq| params.encode_cursor(&seq.to_string())) };
    let link = params.next_link_header("/ledger", body.next.as_deref());
    preconditions.respond(response::to_json(&body), None, link)
}
