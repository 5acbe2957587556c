//! Reading records.

use super::door::{Answer, Inbound};
use super::headers::accept;
use super::openapi::{self, CollectionPath, ListFilter, ReadFields, RecordPath};
use super::query::Query;
use super::record_json;
use super::reply::{Conditions, encoded};
use crate::problem::ProblemName;
use crate::record::Action;

/// `GET` and `HEAD /records/{system}/{id}`.
#[utoipa::path(get, path = "/records/{system}/{id}", tag = "Records", operation_id = "getRecord",
    summary = "Read a record", description = "The record with its tag.",
    params(RecordPath, ReadFields),
    responses((status = 200, description = "The record", body = openapi::Record),
        (status = 304, description = "The caller has the present state")))]
pub(super) async fn show(inbound: &Inbound<'_>, system: &str, raw_id: &str) -> Answer {
    let system = inbound.system_for(system, Action::Read)?;
    let id = inbound.api.records.record_id(system, raw_id)?;
    accept::json(inbound.headers)?;
    Query::read(inbound.query, &[])?;
    let conditions = Conditions::read(inbound.headers)?;
    let record = inbound.api.records.read(system, &id, &inbound.ask()?).await?;
    let answer = conditions.answer(record_json::record(&record), record.etag.as_deref(), None);
    answer.map_err(|mut refused| {
        if refused.problem.name == ProblemName::PreconditionFailed {
            inbound.api.records.precondition_failed(system);
        }
        refused.problem.system = Some(system.name.as_str().to_owned());
        refused
    })
}

/// `GET` and `HEAD /records/{system}?collection=&limit=&cursor=`.
#[utoipa::path(get, path = "/records/{system}", tag = "Records", operation_id = "listRecords",
    summary = "List records", description = "A page of a collection's records, in the vendor's order.",
    params(CollectionPath, ListFilter),
    responses((status = 200, description = "A page", body = openapi::RecordPage)))]
pub(super) async fn list(inbound: &Inbound<'_>, system: &str) -> Answer {
    let system = inbound.system_for(system, Action::Read)?;
    accept::json(inbound.headers)?;
    let query = Query::read(inbound.query, &["collection", "limit", "cursor"])?;
    let limit = query.limit()?;
    let conditions = Conditions::read(inbound.headers)?;
    let collection = inbound.api.records.collection(system, query.get("collection"))?;
    let ask = inbound.ask()?;
    let page = inbound.api.records.list(system, &collection, limit, query.get("cursor"), &ask).await?;
    let path = format!("/records/{}", encoded(system.name.as_str()));
    let link = query.next_link(&path, page.next.as_deref());
    conditions.answer(record_json::page(&page.items, page.next.as_deref()), None, link)
}
