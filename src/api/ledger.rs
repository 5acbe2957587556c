//! Who changed what, when and with what outcome (contract 4.9).

use super::door::{Answer, Inbound};
use super::headers::accept;
use super::openapi::{self, LedgerFilter};
use super::operations::{Page, record_filter, systems_for};
use super::query::Query;
use super::reply::{self, Conditions};
use super::seams::{LedgerQuery, Right};

/// `GET` and `HEAD /ledger?system=&record=&caller=&since=&until=&limit=&cursor=`.
#[utoipa::path(get, path = "/ledger", tag = "Operations", operation_id = "listLedger",
    summary = "Read the ledger", description = "Who changed what, when and with what outcome; oldest first, never a field's value.",
    params(LedgerFilter),
    responses((status = 200, description = "A page", body = openapi::LedgerPage)))]
pub(super) async fn list(inbound: &Inbound<'_>) -> Answer {
    const TIME: &str = "an RFC 3339 time such as 2026-11-21T10:15:30Z (a + is written %2B)";
    inbound.caller()?;
    let known = &["system", "record", "caller", "since", "until", "limit", "cursor"];
    let query = Query::read(inbound.query, known)?;
    let systems = systems_for(inbound, query.get("system"), Right::Ledger)?;
    accept::json(inbound.headers)?;
    let wanted = LedgerQuery {
        systems,
        record: record_filter(inbound, &query)?,
        caller: query.get("caller").map(str::to_owned),
        since: query.parsed("since", TIME)?,
        until: query.parsed("until", TIME)?,
        limit: query.limit()?,
        place: query.place()?,
    };
    let conditions = Conditions::read(inbound.headers)?;
    let page = inbound.api.operations.ledger(&wanted).await?;
    let next = query.cursor(page.next.as_deref());
    let link = query.next_link("/ledger", next.as_deref());
    conditions.answer(reply::json(&Page { items: &page.items, next: next.as_deref() }), None, link)
}
