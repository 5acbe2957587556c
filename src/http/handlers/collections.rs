//! The collections of a system, and the schemas of their records (contract 4.13).

use serde::Serialize;

use crate::catalog::{SchemaDocument, SchemaPurpose};
use crate::http::context::RequestContext;
use crate::http::error::HandlerResult;
use crate::http::handlers::systems::Guarantees;
use crate::http::headers::accept;
use crate::http::openapi::{PageParams, SchemaParams, SchemaPath, SystemPath};
use crate::http::response::{self, ReadPreconditions};
use crate::problem::ProblemKind;
use crate::record::{Action, percent_encode_id};
use crate::system::System;
use crate::vendors::CollectionInfo;

/// A collection.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Collection)]
struct CollectionView<'s> {
    /// The part of its records' ids before the last colon.
    #[schema(example = "object-definitions")]
    collection: &'s str,
    /// Its name, for people.
    #[schema(example = "Object definitions")]
    title: &'s str,
    /// How many records it holds; null where the vendor does not say.
    #[schema(required = true)]
    records: Option<u64>,
    /// What can be done with its records.
    actions: &'s [Action],
    /// How a write of its records excludes concurrent writers, as far as the gateway knows yet.
    guarantee: Guarantees,
    /// The path of its schema; null where there is none.
    #[schema(required = true, example = "/systems/architecture/collections/object-definitions/schema")]
    schema: Option<String>,
    /// Where the schema comes from: `vendor`, `fixed` (the vendor's documentation) or `none`.
    #[schema(example = "fixed")]
    schema_source: &'static str,
    /// The models whose records it holds.
    models: Vec<String>,
}

/// A page of collections.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct CollectionPage<'s> {
    /// Those that the vendor names, then the configured ones.
    items: Vec<CollectionView<'s>>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    next: Option<String>,
    /// Whether the system has no other collections.
    complete: bool,
}

/// `GET` and `HEAD /systems/{system}/collections`.
#[utoipa::path(get, path = "/systems/{system}/collections", tag = "Systems", operation_id = "listCollections",
    summary = "List collections", description = "The collections that the vendor names or the operator has configured.",
    params(SystemPath, PageParams),
    responses((status = 200, description = "A page", body = CollectionPage)))]
pub(in crate::http) async fn list(context: RequestContext) -> HandlerResult {
    let system = context.authorize_system(Action::Read)?;
    accept::require_json(context.headers())?;
    let query = context.query(&["limit", "cursor"])?;
    let limit = query.limit()?;
    let start = query.decode_cursor(|position| position.parse().ok())?.unwrap_or(0_usize);
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let caller_context = context.caller_context()?;
    let policy = &system.policy;
    let configured: Vec<&str> = policy.collection.iter().chain(&policy.collections).map(String::as_str).collect();
    let list = system.catalog.collections(&configured, caller_context.requester()).await;
    let list = list.map_err(|fault| system.vendor_error_to_problem(&fault))?;
    let models = &context.api().models;
    let shown = list.items.iter().skip(start).take(limit);
    let items = shown
        .map(|info| collection_view(system, info, models.names_for_collection(system.name.as_str(), &info.collection)))
        .collect();
    let end = start.saturating_add(limit);
    let next = (end < list.items.len()).then(|| query.encode_cursor(&end.to_string()));
    let path = format!("/systems/{}/collections", percent_encode_id(system.name.as_str()));
    let link = query.next_link_header(&path, next.as_deref());
    let page = CollectionPage { items, next, complete: list.complete };
    preconditions.respond(response::to_json(&page), None, link)
}

fn collection_view<'s>(system: &'s System, info: &'s CollectionInfo, models: Vec<String>) -> CollectionView<'s> {
    CollectionView {
        collection: &info.collection,
        title: &info.title,
        records: info.records,
        actions: system.adapter.capabilities().actions,
        guarantee: Guarantees::for_collection(system, &info.collection),
        schema: system.catalog.schema_path(&info.collection),
        schema_source: system.catalog.source().as_str(),
        models,
    }
}

/// `GET` and `HEAD /systems/{system}/collections/{collection}/schema`.
#[utoipa::path(get, path = "/systems/{system}/collections/{collection}/schema", tag = "Systems", operation_id = "getSchema",
    summary = "Show a schema", description = "The fields of a collection's records as JSON Schema 2020-12: `fields` of a record, of a new record, or of a merge patch.",
    params(SchemaPath, SchemaParams),
    responses((status = 200, description = "The schema", content_type = "application/schema+json", body = Object),
        (status = 304, description = "The caller has the current schema")))]
pub(in crate::http) async fn schema(context: RequestContext) -> HandlerResult {
    let system = context.authorize_system(Action::Read)?;
    let raw = context.path_param("collection")?;
    let collection = system.adapter.parse_collection(&raw).ok_or_else(|| system.collection_not_found())?;
    accept::require_schema(context.headers())?;
    let query = context.query(&["for"])?;
    let purpose =
        query.parse_word("for", "record, create, update", SchemaPurpose::parse)?.unwrap_or(SchemaPurpose::Record);
    let preconditions = ReadPreconditions::parse(context.headers())?;
    if system.catalog.schema_path(&collection).is_none() {
        let detail = format!("the records of {} are not described anywhere", system.name);
        return Err(ProblemKind::NotFound.with_detail(detail).system(system.name.as_str()).into());
    }
    let caller_context = context.caller_context()?;
    let found = system.catalog.schema(&collection, caller_context.requester()).await;
    let schema = found.map_err(|fault| system.collection_error_to_problem(&fault))?;
    let policy = &system.policy;
    let is_configured = policy.collection.iter().chain(&policy.collections).any(|known| *known == collection);
    if !is_configured && system.catalog.lacks(&collection, caller_context.requester()).await {
        return Err(system.collection_not_found().into());
    }
    respond(&preconditions, schema.document(purpose), &context.api().external_url)
}

fn respond(preconditions: &ReadPreconditions, document: &SchemaDocument, external_url: &str) -> HandlerResult {
    let text = match external_url {
        "" => document.text.clone(),
        url => document.text.replacen("\"$id\":\"/", &format!("\"$id\":\"{url}/"), 1),
    };
    response::schema_response(preconditions, text.into(), &document.etag)
}
