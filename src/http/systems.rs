//! What is configured, and what each system can and cannot do.

use serde::Serialize;
use serde_json::Value;

use super::headers::accept;
use super::openapi::{self, SystemPath};
use super::query::QueryParams;
use super::response::{self, ReadPreconditions};
use super::service::{HandlerResult, RequestContext};
use crate::gateway::{Guarantee, System};
use crate::record::Action;
use crate::vendors::{UpdateStyle, Versioning};

/// A system (contract 4). A caller sees all of them, whatever its rights: names and abilities are no records.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = System)]
pub(super) struct SystemView<'s> {
    /// Its configured name: the first segment after `/records/`.
    #[schema(example = "architecture")]
    name: &'s str,
    /// `pretectum`, `bluedolphin` or `matrix42`.
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
    /// Whether the vendor keeps (`partial`) or removes (`replace`) what a change does not name; the gateway completes either.
    #[schema(example = "replace")]
    update: &'static str,
    /// How a write excludes others, per verb.
    guarantee: Guarantees,
    /// Whether list items are whole records with their tags.
    list_is_whole: bool,
    /// What its writes are documented to destroy besides what they are asked to.
    losses: Vec<LossView>,
    /// What happens to a write that would destroy something its request does not accept by name: `refuse` (409) or `warn` (it
    /// is done and named, unless only the caller can accept it).
    #[schema(example = "refuse")]
    on_lossy_write: &'static str,
    /// How it is doing, as this replica sees it.
    #[schema(value_type = SystemHealth)]
    health: Value,
}

/// The form of a system's ids.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct IdForm<'s> {
    /// For people.
    #[schema(example = "object-definitions:{24 hexadecimal digits}")]
    form: &'s str,
    /// An id of this form.
    #[schema(example = "object-definitions:640b3d7d4a28b925fcf8b9a2")]
    example: &'s str,
}

/// Per verb; null where the system has no such action.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Guarantees {
    /// PATCH.
    update: Option<Guarantee>,
    /// DELETE.
    delete: Option<Guarantee>,
}

/// Something a write may destroy besides.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct LossView {
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

/// How a system's vendor fares. All times are RFC 3339.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct SystemHealth {
    /// `closed`: calls go through; `open`: the vendor has failed several times in a row, and calls are answered 503 without being
    /// sent; `half-open`: one call is trying whether it works again.
    #[schema(example = "closed")]
    circuit: String,
    /// When a call last showed that the vendor works; null if none has yet.
    #[schema(format = "date-time")]
    last_success: Option<String>,
    /// The last call that showed that it does not; null if none has yet.
    last_failure: Option<SystemFailure>,
    /// When the present token expires; null without one, and for keys that do not expire.
    #[schema(format = "date-time")]
    token_expires: Option<String>,
}

/// A call that showed that a vendor does not work.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct SystemFailure {
    /// When.
    #[schema(format = "date-time")]
    at: String,
    /// Why, in a sentence.
    #[schema(example = "the vendor did not answer in time")]
    reason: String,
}

/// `GET` and `HEAD /systems`.
#[utoipa::path(get, path = "/systems", tag = "Systems", operation_id = "listSystems",
    summary = "List systems", description = "Every configured system.",
    responses((status = 200, description = "The systems", body = openapi::SystemList)))]
pub(super) fn list(inbound: &RequestContext<'_>) -> HandlerResult {
    #[derive(Serialize)]
    struct SystemListBody<'s> {
        items: Vec<SystemView<'s>>,
    }
    accept::require_json(inbound.headers)?;
    QueryParams::read(inbound.query, &[])?;
    let conditions = ReadPreconditions::read(inbound.headers)?;
    let items = inbound.api.records.systems().iter().map(|system| system_view(inbound, system)).collect();
    conditions.respond(response::to_json(&SystemListBody { items }), None, None)
}

/// `GET` and `HEAD /systems/{system}`.
#[utoipa::path(get, path = "/systems/{system}", tag = "Systems", operation_id = "getSystem",
    summary = "Show a system", description = "What a system can do, the form of its ids, and how it is doing.",
    params(SystemPath),
    responses((status = 200, description = "The system", body = SystemView)))]
pub(super) fn show(inbound: &RequestContext<'_>, name: &str) -> HandlerResult {
    let system = inbound.find_system(name)?;
    accept::require_json(inbound.headers)?;
    QueryParams::read(inbound.query, &[])?;
    let conditions = ReadPreconditions::read(inbound.headers)?;
    conditions.respond(response::to_json(&system_view(inbound, system)), None, None)
}

fn system_view<'s>(inbound: &RequestContext<'s>, system: &'s System) -> SystemView<'s> {
    let profile = system.adapter.capabilities();
    let can = |action: Action| profile.actions.contains(&action);
    let native = match profile.versioning {
        Versioning::Native => Guarantee::Native,
        Versioning::None => Guarantee::Guarded,
    };
    let losses = profile.losses.iter();
    SystemView {
        name: system.name.as_str(),
        vendor: profile.vendor,
        capabilities: profile.actions,
        id: IdForm { form: profile.id_form, example: profile.id_example },
        collection: system.policy.collection.as_deref(),
        require_if_match: system.policy.require_if_match,
        update: match profile.update_style {
            UpdateStyle::Partial => "partial",
            UpdateStyle::Replace => "replace",
        },
        guarantee: Guarantees {
            update: can(Action::Update).then_some(native),
            // No vendor compares versions on delete.
            delete: can(Action::Delete).then_some(Guarantee::Guarded),
        },
        list_is_whole: profile.list_is_complete,
        losses: losses
            .map(|loss| LossView {
                name: loss.name,
                detail: loss.detail,
                actions: loss.actions,
                caller_must_accept: loss.caller_must_accept,
            })
            .collect(),
        on_lossy_write: if system.policy.warn_on_loss { "warn" } else { "refuse" },
        health: inbound.api.health.system(system.name.as_str()),
    }
}
