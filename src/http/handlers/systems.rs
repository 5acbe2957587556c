//! The configured systems: what each can do, and its health.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::catalog::CatalogHealth;
use crate::http::context::RequestContext;
use crate::http::error::HandlerResult;
use crate::http::handlers::docs;
use crate::http::headers::accept;
use crate::http::openapi::{SystemPath, sample_collection, system_document};
use crate::http::response::{self, ReadPreconditions};
use crate::http::state::ApiState;
use crate::metrics::Metrics;
use crate::problem::ProblemKind;
use crate::record::{Action, format_time};
use crate::system::{Guarantee, System};
use crate::transport::LastFailure;
use crate::vendors::DataLoss;

/// A system (contract 4), as callers with a permission on it see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = System)]
pub(in crate::http) struct SystemView<'s> {
    /// Its configured name: the first segment after `/records/`.
    #[schema(example = "architecture")]
    name: &'s str,
    /// Its vendor, as in the configuration.
    #[schema(example = "bluedolphin")]
    vendor: &'s str,
    /// What can be done with its records.
    capabilities: &'s [Action],
    /// The form of its ids.
    id: IdForm<'s>,
    /// The configured collection, which ids may leave out; null if there is none.
    collection: Option<&'s str>,
    /// Whether PATCH and DELETE need `If-Match`.
    require_if_match: bool,
    /// Whether the vendor keeps (`partial`) or removes (`replace`) what a change does not name; the
    /// gateway completes either.
    #[schema(example = "replace")]
    update: &'static str,
    /// How a write excludes others, for each method.
    guarantee: Guarantees,
    /// What a tag stands for: `strong`, everything that a record shows; `weak`, the vendor's own
    /// version, without which some calculated values may change.
    #[schema(example = "strong")]
    validator: TagStrength,
    /// Whether list items are whole records with their tags.
    list_is_whole: bool,
    /// The members of `fields` that lists can be filtered by; `*` stands for all.
    filters: &'static [&'static str],
    /// What its writes may destroy although the request does not name it.
    losses: Vec<SystemLoss>,
    /// What happens to a write that would destroy something that its request does not accept by
    /// name: `refuse` (409) or `warn` (it is done with a warning, unless only the caller can accept
    /// it).
    #[schema(example = "refuse")]
    on_lossy_write: OnLossyWrite,
    /// Whether writes are checked against the vendor's schema before they are sent: `refuse`,
    /// `warn` or `off`.
    #[schema(example = "refuse")]
    validation: &'static str,
    /// The schemas that this process has read.
    schemas: SchemasView,
    /// Its health, as this process sees it.
    health: SystemHealth,
}

/// What a tag stands for.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum TagStrength {
    /// Everything that a record shows.
    Strong,
    /// The vendor's own version.
    Weak,
}

/// What happens to a write that destroys more than its request accepts.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum OnLossyWrite {
    /// It is refused.
    Refuse,
    /// It is done, with a warning.
    Warn,
}

/// The schemas that this process has read.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct SchemasView {
    /// How many.
    known: usize,
    /// When the oldest of them was read (RFC 3339); null if there is none.
    #[schema(format = "date-time")]
    oldest: Option<String>,
    /// How many could not be read the last time.
    unavailable: usize,
}

/// The form of a system's ids.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct IdForm<'s> {
    /// For people.
    #[schema(example = "object-definitions:{24 hexadecimal digits}")]
    form: &'s str,
    /// An id of this form.
    #[schema(example = "object-definitions:640b3d7d4a28b925fcf8b9a2")]
    example: &'s str,
}

/// For each method; null where the system has no such action.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct Guarantees {
    /// PATCH.
    update: Option<Guarantee>,
    /// DELETE.
    delete: Option<Guarantee>,
}

impl Guarantees {
    /// Those of writes to one collection; a vendor may compare versions in most collections only.
    pub(in crate::http) fn for_collection(system: &System, collection: &str) -> Self {
        let guarantee = |action: Action| {
            let can = system.adapter.capabilities().actions.contains(&action);
            can.then(|| system.guarantee(action, collection))
        };
        Self { update: guarantee(Action::Update), delete: guarantee(Action::Delete) }
    }
}

/// Something that a write may destroy although the request does not name it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct SystemLoss {
    /// Its name in `Accept-Loss`.
    #[schema(example = "linked-questions")]
    name: &'static str,
    /// What is destroyed.
    detail: &'static str,
    /// The actions whose writes may destroy it.
    actions: &'static [Action],
    /// Whether only the caller can accept it, whatever is configured.
    caller_must_accept: bool,
}

/// The health of a system. All times are RFC 3339.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct SystemHealth {
    /// `closed`: vendor requests are sent; `open`: several have failed in a row, and callers get
    /// 503 without one; `half-open`: the next vendor request, or the one under way, tests whether
    /// the vendor works again.
    #[schema(example = "closed")]
    circuit: &'static str,
    /// When a vendor request last showed that the vendor works; null if none has yet.
    #[schema(format = "date-time")]
    last_success: Option<String>,
    /// The last vendor request that failed; null if none has yet.
    last_failure: Option<SystemFailure>,
    /// When the current token expires; null without one, and for keys that do not expire.
    #[schema(format = "date-time")]
    token_expires: Option<String>,
    /// When the gateway's key of the system expires; null where the key does not say so.
    #[schema(format = "date-time")]
    key_expires: Option<String>,
    /// The requests to this system in progress, without this one.
    in_flight: i64,
    /// The vendor requests that wait for a free slot.
    queued: i64,
    /// The writes whose outcome is not known: those being reconciled, and those that ended
    /// `unknown` and that nobody has resolved.
    writes_unknown: i64,
    /// When the oldest of these writes began; null without one.
    #[schema(format = "date-time")]
    oldest_unknown: Option<String>,
}

/// A vendor request that failed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct SystemFailure {
    /// When.
    #[schema(format = "date-time", required = true, nullable = false)]
    at: Option<String>,
    /// Why, in a sentence.
    #[schema(example = "the vendor did not respond in time")]
    reason: String,
}

/// The systems on which the caller has a permission.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct SystemList<'s> {
    /// In the order of the configuration.
    items: Vec<SystemView<'s>>,
}

/// `GET` and `HEAD /systems`.
#[utoipa::path(get, path = "/systems", tag = "Systems", operation_id = "listSystems",
    summary = "List systems", description = "The systems on which the caller has a permission.",
    responses((status = 200, description = "The systems", body = SystemList)))]
pub(in crate::http) async fn list(context: RequestContext) -> HandlerResult {
    accept::require_json(context.headers())?;
    context.query(&[])?;
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let caller = context.caller()?;
    let visible = context.api().systems.iter().filter(|system| caller.can_anything(system.name.as_str()));
    let items = visible.map(|system| system_view(context.api(), system, false)).collect();
    preconditions.respond(response::to_json(&SystemList { items }), None, None)
}

/// `GET` and `HEAD /systems/{system}`.
#[utoipa::path(get, path = "/systems/{system}", tag = "Systems", operation_id = "getSystem",
    summary = "Show a system", description = "What a system can do, the form of its ids, and its health.",
    params(SystemPath),
    responses((status = 200, description = "The system", body = SystemView)))]
pub(in crate::http) async fn get(context: RequestContext) -> HandlerResult {
    let system = context.system()?;
    if !context.caller()?.can_anything(system.name.as_str()) {
        let detail = format!("you have no permission on the system {}", system.name.as_str());
        return Err(ProblemKind::Forbidden.with_detail(detail).into());
    }
    accept::require_json(context.headers())?;
    context.query(&[])?;
    let preconditions = ReadPreconditions::parse(context.headers())?;
    preconditions.respond(response::to_json(&system_view(context.api(), system, true)), None, None)
}

/// `GET` and `HEAD /systems/{system}/openapi.json`.
#[utoipa::path(get, path = "/systems/{system}/openapi.json", tag = "Systems", operation_id = "getSystemOpenApi",
    summary = "The document of a system", description = "This document with the fields of the system's configured collection as types.",
    params(SystemPath),
    responses((status = 200, description = "The OpenAPI 3.1 document", content_type = "application/json", body = Object)))]
pub(in crate::http) async fn openapi_json(context: RequestContext) -> HandlerResult {
    let system = context.authorize_system(Action::Read)?;
    accept::require_json(context.headers())?;
    context.query(&[])?;
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let caller_context = context.caller_context()?;
    // Without a collection, or without its schema, the fields have no types.
    let schema = match sample_collection(system) {
        Some(collection) => system.catalog.schema(collection, caller_context.requester()).await.ok(),
        None => None,
    };
    let models = &context.api().models;
    let text = system_document(&models.openapi(), models.list(), system, schema.as_deref());
    let text = docs::at_external_url(&text, &context.api().external_url);
    preconditions.respond(text.into(), None, None)
}

/// `counts_itself`: whether the request that reads it is one of those in flight.
fn system_view<'s>(api: &ApiState, system: &'s Arc<System>, counts_itself: bool) -> SystemView<'s> {
    let capabilities = system.adapter.capabilities();
    // Without a collection, as the vendor does in most.
    let collection = system.policy.collection.as_deref().unwrap_or_default();
    SystemView {
        name: system.name.as_str(),
        vendor: capabilities.vendor,
        capabilities: capabilities.actions,
        id: IdForm { form: capabilities.id_form, example: capabilities.id_example },
        collection: system.policy.collection.as_deref(),
        require_if_match: system.policy.require_if_match,
        update: capabilities.update_style.as_str(),
        guarantee: Guarantees::for_collection(system, collection),
        validator: if capabilities.has_weak_versions { TagStrength::Weak } else { TagStrength::Strong },
        list_is_whole: capabilities.list_is_complete,
        filters: capabilities.filters.names(),
        losses: capabilities.losses.iter().map(SystemLoss::from).collect(),
        on_lossy_write: if system.policy.warn_on_loss { OnLossyWrite::Warn } else { OnLossyWrite::Refuse },
        health: SystemHealth::new(system, &api.metrics, counts_itself),
        validation: system.policy.validate.as_str(),
        schemas: system.catalog.health().into(),
    }
}

impl From<CatalogHealth> for SchemasView {
    fn from(health: CatalogHealth) -> Self {
        let CatalogHealth { known, oldest, unavailable } = health;
        Self { known, oldest: oldest.and_then(timestamp), unavailable }
    }
}

impl From<&DataLoss> for SystemLoss {
    fn from(loss: &DataLoss) -> Self {
        let DataLoss { name, detail, actions, caller_must_accept } = *loss;
        Self { name, detail, actions, caller_must_accept }
    }
}

impl SystemHealth {
    /// `counts_itself`: whether the request that reads it is one of those in flight.
    fn new(system: &System, metrics: &Metrics, counts_itself: bool) -> Self {
        let health = system.transport.health();
        let (in_flight, queued) = metrics.load(system.index);
        let unknown = metrics.unknown_writes(system.index);
        let oldest = unknown.oldest.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        Self {
            in_flight: in_flight - i64::from(counts_itself),
            queued,
            writes_unknown: unknown.total(),
            oldest_unknown: oldest.map(format_time),
            circuit: health.circuit.as_str(),
            last_success: health.last_success.and_then(timestamp),
            last_failure: health.last_failure.map(SystemFailure::from),
            token_expires: health.token_expires.and_then(timestamp),
            key_expires: system.key_expires.map(format_time),
        }
    }
}

impl From<LastFailure> for SystemFailure {
    fn from(failure: LastFailure) -> Self {
        Self { at: timestamp(failure.at), reason: failure.reason }
    }
}

/// RFC 3339 with milliseconds.
fn timestamp(at: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(at).ok().map(format_time)
}
