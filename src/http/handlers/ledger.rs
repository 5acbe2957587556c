//! Who changed what, when and with what outcome (contract 4.9).

use serde::Serialize;

use super::operations::{authorized_systems, parse_record_filter};
use crate::access::Permission;
use crate::http::context::RequestContext;
use crate::http::error::HandlerResult;
use crate::http::headers::accept;
use crate::http::openapi::LedgerListParams;
use crate::http::response::{self, ReadPreconditions};
use crate::store::{LedgerEntry, LedgerQuery};

const TIME_FORM: &str = "an RFC 3339 time such as 2026-11-21T10:15:30Z (a + is written %2B)";

/// A page of the ledger, oldest first.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct LedgerPage {
    /// The entries.
    items: Vec<LedgerEntry>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// `GET` and `HEAD /ledger?system=&record=&caller=&since=&until=&limit=&cursor=`.
#[utoipa::path(get, path = "/ledger", tag = "Operations", operation_id = "listLedger",
    summary = "Read the ledger", description = "Who changed what, when and with what outcome; oldest first, never a field's value.",
    params(LedgerListParams),
    responses((status = 200, description = "A page", body = LedgerPage)))]
pub(in crate::http) async fn list(context: RequestContext) -> HandlerResult {
    context.caller()?;
    let params = context.query(&["system", "record", "caller", "since", "until", "limit", "cursor"])?;
    let systems = authorized_systems(&context, params.get("system"), Permission::Ledger)?;
    accept::require_json(context.headers())?;
    let query = LedgerQuery {
        systems,
        record: parse_record_filter(&context, &params)?,
        caller: params.get("caller").map(str::to_owned),
        since: params.parse_param("since", TIME_FORM)?,
        until: params.parse_param("until", TIME_FORM)?,
        limit: params.limit()?,
        after_seq: params.decode_cursor(|place| place.parse().ok())?,
    };
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let page = context.read_store(context.gateway().store().ledger(query)).await?;
    let body = LedgerPage { items: page.items, next: page.next.map(|seq| params.encode_cursor(&seq.to_string())) };
    let link = params.next_link_header("/ledger", body.next.as_deref());
    preconditions.respond(response::to_json(&body), None, link)
}
