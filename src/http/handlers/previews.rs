//! Showing what a write would do, and making nothing (contract 4.11).

use actix_web::http::StatusCode;

use super::record_writes::{parse_create, parse_delete, parse_update};
use crate::access::Permission;
use crate::http::context::{RequestContext, missing_permission};
use crate::http::error::HandlerResult;
use crate::http::openapi::{
    IfMatch, JsonPatch, MergePatch, PreviewParams, RecordDraft, RecordPath, SystemPath, WriteHeaderParams, examples,
};
use crate::http::representation::Representation;
use crate::http::response;
use crate::http::write_request::WriteMode;
use crate::problem::{Problem, ProblemKind};
use crate::record::Action;
use crate::system::System;
use crate::writes::{Preview, WriteCommand};

/// `POST /records/{system}/{id}/preview`.
#[utoipa::path(post, path = "/records/{system}/{id}/preview", tag = "Records", operation_id = "previewRecord",
    summary = "Preview a change or a delete", description = "Shows what the same PATCH, or with `action=delete` the same DELETE, \
        would do, and writes nothing. Its `plan` makes that very write when it is sent with it in `If-Plan`.",
    params(RecordPath, PreviewParams, IfMatch, WriteHeaderParams),
    request_body(description = "What would change, as in the PATCH; nothing for a delete", content(
        (MergePatch = "application/merge-patch+json"),
        (JsonPatch = "application/json-patch+json", examples(
            ("Pretectum" = (summary = "A value replaced only if another is as expected", value = json!(examples::json_patch()))))),
        (MergePatch = "application/json"))),
    responses((status = 200, description = "What the write would do", body = Preview)))]
pub(in crate::http) async fn change_or_delete(context: RequestContext) -> HandlerResult {
    let deletes = context.query(&["action"]).is_ok_and(|query| query.get("action") == Some("delete"));
    if deletes { preview_delete(&context).await } else { preview_update(&context).await }
}

/// `POST /records/{system}/preview`.
#[utoipa::path(post, path = "/records/{system}/preview", tag = "Records", operation_id = "previewNewRecord",
    summary = "Preview a new record", description = "Shows what the same POST would do, and creates nothing.",
    params(SystemPath, WriteHeaderParams),
    request_body(description = "The new record", content((RecordDraft = "application/json"))),
    responses((status = 200, description = "What the write would do", body = Preview)))]
pub(in crate::http) async fn new_record(context: RequestContext) -> HandlerResult {
    preview_create(&context).await
}

/// The preview of a PATCH.
pub(in crate::http) async fn preview_update(context: &RequestContext) -> HandlerResult {
    let representation = Representation::from_path(context)?;
    representation.translate_error(context, preview_update_as(context, &representation).await)
}

async fn preview_update_as(context: &RequestContext, representation: &Representation) -> HandlerResult {
    require_read(context, Action::Update)?;
    let (system, command) = parse_update(context, representation, WriteMode::Preview).await?;
    check_action(context)?;
    respond(context, representation, system, command).await
}

/// The preview of a DELETE.
pub(in crate::http) async fn preview_delete(context: &RequestContext) -> HandlerResult {
    let representation = Representation::from_path(context)?;
    representation.translate_error(context, preview_delete_as(context, &representation).await)
}

async fn preview_delete_as(context: &RequestContext, representation: &Representation) -> HandlerResult {
    require_read(context, Action::Delete)?;
    let (system, command) = parse_delete(context, representation, WriteMode::Preview)?;
    respond(context, representation, system, command).await
}

/// The preview of a POST.
pub(in crate::http) async fn preview_create(context: &RequestContext) -> HandlerResult {
    let representation = Representation::from_path(context)?;
    let parsed = match require_read(context, Action::Create) {
        Ok(()) => parse_create(context, &representation, WriteMode::Preview).await,
        Err(problem) => Err(problem),
    };
    let (system, command, given) = match parsed {
        Ok(create) => create,
        Err(problem) => return representation.translate_error(context, Err(problem.into())),
    };
    let result = respond(context, &representation, system, command).await;
    representation.translate_create_error(context, &given, result)
}

/// 403 unless the caller may make the write and read the record: a preview shows values.
fn require_read(context: &RequestContext, action: Action) -> Result<(), Problem> {
    let system = context.authorize_system(action)?.name.as_str();
    if context.can_read(system)? { Ok(()) } else { Err(missing_permission(system, Permission::Read)) }
}

/// 400 for an `action` other than `update` and `delete`.
fn check_action(context: &RequestContext) -> Result<(), Problem> {
    match context.query(&["action"])?.get("action") {
        None | Some("update") => Ok(()),
        Some(_) => Err(ProblemKind::MalformedRequest.with_detail("action must be update or delete")),
    }
}

async fn respond(
    context: &RequestContext,
    representation: &Representation,
    system: &System,
    mut command: WriteCommand,
) -> HandlerResult {
    representation.bind(&mut command);
    let plan_ttl = context.api().limits.plan_ttl;
    let mut preview: Preview =
        context.gateway().preview(system, &command, &context.caller_context()?, plan_ttl).await?;
    representation.translate_preview(&mut preview);
    Ok(response::no_store_json(StatusCode::OK, response::to_json(&preview)))
}
