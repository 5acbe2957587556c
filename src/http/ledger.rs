//! Who changed what, when and with what outcome (contract 4.9).

use super::headers::accept;
use super::openapi::{self, LedgerListParams};
use super::operations::{PageBody, authorized_systems, parse_record_filter};
use super::query::QueryParams;
use super::response::{self, ReadPreconditions};
use super::seams::{LedgerQuery, Permission};
use super::service::{HandlerResult, RequestContext};

/// `GET` and `HEAD /ledger?system=&record=&caller=&since=&until=&limit=&cursor=`.
#[utoipa::path(get, path = "/ledger", tag = "Operations", operation_id = "listLedger",
    summary = "Read the ledger", description = "Who changed what, when and with what outcome; oldest first, never a field's value.",
    params(LedgerListParams),
    responses((status = 200, description = "A page", body = openapi::LedgerPage)))]
pub(super) async fn list(inbound: &RequestContext<'_>) -> HandlerResult {
    const TIME: &str = "an RFC 3339 time such as 2026-11-21T10:15:30Z (a + is written %2B)";
    inbound.caller()?;
    let known = &["system", "record", "caller", "since", "until", "limit", "cursor"];
    let query = QueryParams::read(inbound.query, known)?;
    let systems = authorized_systems(inbound, query.get("system"), Permission::Ledger)?;
    accept::require_json(inbound.headers)?;
    let wanted = LedgerQuery {
        systems,
        record: parse_record_filter(inbound, &query)?,
        caller: query.get("caller").map(str::to_owned),
        since: query.parse_param("since", TIME)?,
        until: query.parse_param("until", TIME)?,
        limit: query.limit()?,
        after: query.decode_cursor()?,
    };
    let conditions = ReadPreconditions::read(inbound.headers)?;
    let page = inbound.api.operations.ledger(&wanted).await?;
    let next = query.encode_cursor(page.next.as_deref());
    let link = query.next_link_header("/ledger", next.as_deref());
    conditions.respond(response::to_json(&PageBody { items: &page.items, next: next.as_deref() }), None, link)
}
