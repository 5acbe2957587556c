//! What the models are, and the records of all their systems in one list.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, LINK};
use serde::Serialize;
use serde_json::Value;

use crate::http::context::{RequestContext, missing_permission};
use crate::http::error::HandlerResult;
use crate::http::headers::accept;
use crate::http::openapi::{ModelListParams, ModelPath};
use crate::http::representation::{Representation, schema_path};
use crate::http::response::{self, ReadPreconditions};
use crate::models::{MapEntry, Model, SystemMap};
use crate::problem::{Problem, ProblemKind};
use crate::record::Action;
use crate::system::RecordView;

/// A model in `GET /models`.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct ModelView {
    /// The name.
    #[schema(example = "contact")]
    name: String,
    /// For people.
    title: String,
    /// The systems that keep it.
    systems: Vec<String>,
    /// The path of its JSON Schema.
    schema: String,
    /// Changes with the fields and the maps.
    fingerprint: String,
}

/// What a system keeps of a model.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct SystemMapView {
    /// The system.
    system: String,
    /// The collection; null for any.
    #[schema(required = true)]
    collection: Option<String>,
    /// Changes with the map; the tags of its documents carry it.
    fingerprint: String,
    /// The fields that it keeps.
    mapped: Vec<String>,
    /// Those of them that cannot be changed.
    read_only: Vec<String>,
    /// The fields that it does not keep.
    missing: Vec<String>,
}

/// Every model.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct ModelListBody {
    items: Vec<ModelView>,
}

/// A model with a page of the records of all its systems.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct ModelBody {
    #[serde(flatten)]
    model: ModelView,
    /// What each system keeps.
    maps: Vec<SystemMapView>,
    /// Documents of the model, system after system.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    next: Option<String>,
    /// Systems whose records are not in the list, because they could not be read, or because the
    /// caller may not read them.
    unreachable: Vec<String>,
}

fn model_view(model: &Model) -> ModelView {
    ModelView {
        name: model.name.to_string(),
        title: model.title.clone(),
        systems: model.maps.iter().map(|map| map.system.as_str().to_owned()).collect(),
        schema: schema_path(&model.name),
        fingerprint: model.fingerprint(),
    }
}

fn map_view(map: &Arc<SystemMap>) -> SystemMapView {
    let names = |keep: fn(&MapEntry) -> bool| {
        map.entries.iter().filter(|entry| keep(entry)).map(|entry| entry.field.name()).collect()
    };
    SystemMapView {
        system: map.system.as_str().to_owned(),
        collection: map.collection.clone(),
        fingerprint: map.fingerprint.to_string(),
        mapped: names(|_| true),
        read_only: names(|entry| entry.is_read_only),
        missing: map.missing.iter().map(crate::models::Field::name).collect(),
    }
}

/// `GET /models`.
#[utoipa::path(get, path = "/models", tag = "Models", operation_id = "listModels",
    summary = "List the models", description = "The normalized shapes that the operator has declared over several systems.",
    responses((status = 200, description = "Every model", body = ModelListBody)))]
pub(in crate::http) async fn list(context: RequestContext) -> HandlerResult {
    accept::require_json(context.headers())?;
    context.query(&[])?;
    let items = context.api().models.list().iter().map(|model| model_view(model)).collect();
    Ok(json_response(&ModelListBody { items }))
}

fn json_response(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "private, no-cache"))
        .content_type("application/json")
        .body(response::to_json(body))
}

/// `GET /models/{model}/schema`.
#[utoipa::path(get, path = "/models/{model}/schema", tag = "Models", operation_id = "getModelSchema",
    summary = "The schema of a model", description = "JSON Schema 2020-12 of `fields`.",
    params(ModelPath),
    responses((status = 200, description = "The schema", content_type = "application/schema+json", body = Object),
        (status = 304, description = "The caller has the current schema")))]
pub(in crate::http) async fn schema(context: RequestContext) -> HandlerResult {
    let model = context.api().models.find(&context.path_param("model")?)?;
    accept::require_schema(context.headers())?;
    context.query(&[])?;
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let mut schema = model.schema();
    if let Value::Object(members) = &mut schema {
        members.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        members.insert("$id".to_owned(), format!("{}{}", context.api().external_url, schema_path(&model.name)).into());
    }
    response::schema_response(&preconditions, response::to_json(&schema), &format!("\"{}\"", model.fingerprint()))
}

/// `GET /models/{model}?limit=&cursor=&vendor=`.
#[utoipa::path(get, path = "/models/{model}", tag = "Models", operation_id = "getModel",
    summary = "A model and its records",
    description = "What the model is, what each system keeps of it, and a page of the records of all its systems, one system after the other.",
    params(ModelPath, ModelListParams),
    responses((status = 200, description = "The model and a page", body = ModelBody)))]
pub(in crate::http) async fn get(context: RequestContext) -> HandlerResult {
    let model = context.api().models.find(&context.path_param("model")?)?;
    let (maps, hidden) = readable_maps(&context, model)?;
    accept::require_json(context.headers())?;
    let query = context.query(&["limit", "cursor", "vendor"])?;
    let limit = query.limit()?;
    let start = query.decode_cursor(ListPosition::parse)?.or_else(|| ListPosition::start_of(maps.first(), limit));
    let mut page = CrossPage::read(&context, &maps, limit, start).await?;
    page.unreachable.splice(0..0, hidden);
    let part = Representation::vendor_part(&query)?;
    let mut items = Vec::new();
    for (map, record) in &page.items {
        let representation = Representation::Model(Arc::clone(map));
        let etag = representation.etag_of(record);
        let json = representation.record_json(record, etag.as_deref(), part, &context.api().metrics);
        items.push(crate::record::parse_strict(json.as_bytes()).unwrap_or_default());
    }
    let next = page.next.map(|position| query.encode_cursor(&position.to_text()));
    let path = format!("/models/{}", model.name);
    let link = query.next_link_header(&path, next.as_deref());
    let maps = model.maps.iter().map(map_view).collect();
    let body = ModelBody { model: model_view(model), maps, items, next, unreachable: page.unreachable };
    let mut response = json_response(&body);
    if let Some(link) = link {
        response::append_header(response.headers_mut(), LINK, link);
    }
    Ok(response)
}

/// The maps of the systems that the caller may read, and the names of the others.
fn readable_maps(context: &RequestContext, model: &Model) -> Result<(Vec<Arc<SystemMap>>, Vec<String>), Problem> {
    let (mut maps, mut hidden) = (Vec::new(), Vec::new());
    for map in &model.maps {
        if context.can_read(map.system.as_str())? {
            maps.push(Arc::clone(map));
        } else {
            hidden.push(map.system.as_str().to_owned());
        }
    }
    match (maps.is_empty(), model.maps.first()) {
        (true, Some(first)) => Err(missing_permission(first.system.as_str(), Action::Read.into())),
        _ => Ok((maps, hidden)),
    }
}

/// Where a page over several systems begins.
struct ListPosition {
    /// The system. By its name: a reload may add systems before it.
    system: String,
    /// The limit that the cursor of the system is bound to.
    limit: usize,
    /// The system's cursor; `None` = the beginning of its list.
    cursor: Option<String>,
}

impl ListPosition {
    /// The beginning of a system's list; `None` after the last system.
    fn start_of(map: Option<&Arc<SystemMap>>, limit: usize) -> Option<Self> {
        Some(Self { system: map?.system.as_str().to_owned(), limit, cursor: None })
    }

    fn to_text(&self) -> String {
        format!("{}|{}|{}", self.system, self.limit, self.cursor.as_deref().unwrap_or_default())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '|');
        let (system, limit) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        let cursor = parts.next().filter(|cursor| !cursor.is_empty()).map(str::to_owned);
        Some(Self { system, limit, cursor })
    }

    /// The index of its system.
    fn index_in(&self, maps: &[Arc<SystemMap>]) -> Result<usize, Problem> {
        let index = maps.iter().position(|map| map.system.as_str() == self.system);
        index.ok_or_else(|| {
            let detail = "the model has no records of the cursor's system any more, or none that this caller may read";
            ProblemKind::MalformedRequest.with_detail(detail)
        })
    }
}

/// A page over several systems.
struct CrossPage {
    items: Vec<(Arc<SystemMap>, RecordView)>,
    next: Option<ListPosition>,
    unreachable: Vec<String>,
}

impl CrossPage {
    /// Reads system after system until the page is full. A system that fails ends the page; the
    /// next page continues after it.
    async fn read(
        context: &RequestContext,
        maps: &[Arc<SystemMap>],
        limit: usize,
        start: Option<ListPosition>,
    ) -> Result<Self, Problem> {
        let mut page = Self { items: Vec::new(), next: None, unreachable: Vec::new() };
        let mut position = start;
        while let Some(at) = position {
            let index = at.index_in(maps)?;
            let Some(map) = maps.get(index) else { break };
            let left = limit.saturating_sub(page.items.len());
            let used = if at.cursor.is_some() { at.limit } else { left };
            if used > left || left == 0 {
                page.next = Some(at);
                return Ok(page);
            }
            let following = ListPosition::start_of(maps.get(index + 1), limit);
            let before = page.items.len();
            match page.add(context, map, used, at.cursor.as_deref()).await {
                Ok(Some(cursor)) => {
                    let next = ListPosition { limit: used, cursor: Some(cursor), ..at };
                    if page.items.len() == before {
                        page.next = Some(next);
                        return Ok(page);
                    }
                    position = Some(next);
                }
                Ok(None) => position = following,
                Err(problem) if problem.kind.spec().status == 400 => return Err(problem),
                Err(problem) => {
                    context.state().log_failure(&problem);
                    page.unreachable.push(map.system.as_str().to_owned());
                    page.next = following;
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    async fn add(
        &mut self,
        context: &RequestContext,
        map: &Arc<SystemMap>,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Option<String>, Problem> {
        let system = context.api().find_system(map.system.as_str())?;
        let collection = Representation::Model(Arc::clone(map)).collection(system, None)?;
        let caller_context = context.caller_context()?;
        let page = context.gateway().list(system, &collection, &[], limit, cursor, &caller_context).await?;
        self.items.extend(page.items.into_iter().map(|record| (Arc::clone(map), record)));
        Ok(page.next)
    }
}
