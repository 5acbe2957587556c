//! Changing records.

use std::sync::Arc;

use crate::access::Permission;
use crate::http::context::{RequestContext, missing_permission};
use crate::http::error::HandlerResult;
use crate::http::headers::{BodyType, WriteHeaders, accept};
use crate::http::openapi::{
    IfMatch, JsonPatch, MergePatch, RecordDraft, RecordPath, SystemPath, WriteHeaderParams, examples,
};
use crate::http::representation::{GivenFields, ParsedCreate, Representation};
use crate::http::write_request::{self, WriteMode};
use crate::http::{body, write_response};
use crate::problem::Problem;
use crate::record::{Action, Operation};
use crate::system::{RecordView, System};
use crate::writes::{WriteCommand, WriteOp};

const PATCH_MEDIA_TYPES: &[BodyType] = &[BodyType::MergePatch, BodyType::JsonPatch, BodyType::Json];

/// `PATCH /records/{system}/{id}`.
#[utoipa::path(patch, path = "/records/{system}/{id}", tag = "Records", operation_id = "updateRecord",
    summary = "Change a record", description = "Changes members of `fields`, if the record is still in the state that `If-Match` names.",
    params(RecordPath, IfMatch, WriteHeaderParams),
    request_body(description = "What changes, as a merge patch or a JSON Patch", content(
        (MergePatch = "application/merge-patch+json"),
        (JsonPatch = "application/json-patch+json", examples(
            ("Pretectum" = (summary = "A value replaced only if another is as expected", value = json!(examples::json_patch()))))),
        (MergePatch = "application/json"))),
    responses((status = 204, description = "Done"),
        (status = 200, description = "Done, and this is the record now", body = RecordView),
        (status = 202, description = "Accepted; the operation shows the outcome", body = Operation)))]
pub(in crate::http) async fn update(context: RequestContext) -> HandlerResult {
    let representation = Representation::from_path(&context)?;
    representation.translate_error(&context, send_update(&context, &representation).await)
}

async fn send_update(context: &RequestContext, representation: &Representation) -> HandlerResult {
    let (system, command) = parse_update(context, representation, WriteMode::Execute).await?;
    execute(context, system, representation, command).await
}

/// A PATCH, checked as far as the request alone allows.
pub(super) async fn parse_update<'c>(
    context: &'c RequestContext,
    representation: &Representation,
    mode: WriteMode,
) -> Result<(&'c Arc<System>, WriteCommand), Problem> {
    let system = context.authorize_system(Action::Update)?;
    let id = representation.record_id(system, &context.path_param("id")?)?;
    accept::require_json(context.headers())?;
    let (body_type, body) = body::read(context, PATCH_MEDIA_TYPES).await?;
    let patch = representation.parse_patch(&id, body_type, &body)?;
    let headers = write_request::parse_headers(context, Action::Update, mode)?;
    require_conditions(system, Action::Update, &headers, mode)?;
    let patch = write_request::validate_patch(patch, system, &id)?;
    if patch.has_test() && !context.can_read(system.name.as_str())? {
        return Err(missing_permission(system.name.as_str(), Permission::Read));
    }
    let rejected_values = write_request::find_rejected_values(&patch, system, &id);
    let command = write_request::build_command(context, system, headers, WriteOp::Update { id, patch }, &body);
    Ok((system, WriteCommand { rejected_values, ..command }))
}

/// 428 for a write without `If-Match`, or without the plan that the system requires of it.
fn require_conditions(system: &System, action: Action, headers: &WriteHeaders, mode: WriteMode) -> Result<(), Problem> {
    if action != Action::Create {
        system.require_if_match(headers.if_match.as_ref())?;
    }
    match mode {
        WriteMode::Execute => system.require_plan(action, headers.if_plan.as_ref()),
        WriteMode::Preview => Ok(()),
    }
}

/// `DELETE /records/{system}/{id}`. A body has no meaning and is ignored (RFC 9110 §9.3.5).
#[utoipa::path(delete, path = "/records/{system}/{id}", tag = "Records", operation_id = "deleteRecord",
    summary = "Delete a record", description = "Deletes the record, if it is still in the state that `If-Match` names.",
    params(RecordPath, IfMatch, WriteHeaderParams),
    responses((status = 204, description = "Done"),
        (status = 202, description = "Accepted; the operation shows the outcome", body = Operation)))]
pub(in crate::http) async fn delete(context: RequestContext) -> HandlerResult {
    let representation = Representation::from_path(&context)?;
    representation.translate_error(&context, send_delete(&context, &representation).await)
}

async fn send_delete(context: &RequestContext, representation: &Representation) -> HandlerResult {
    let (system, command) = parse_delete(context, representation, WriteMode::Execute)?;
    execute(context, system, representation, command).await
}

/// A DELETE, checked as far as the request alone allows.
pub(super) fn parse_delete<'c>(
    context: &'c RequestContext,
    representation: &Representation,
    mode: WriteMode,
) -> Result<(&'c Arc<System>, WriteCommand), Problem> {
    let system = context.authorize_system(Action::Delete)?;
    let id = representation.record_id(system, &context.path_param("id")?)?;
    accept::require_json(context.headers())?;
    let headers = write_request::parse_headers(context, Action::Delete, mode)?;
    require_conditions(system, Action::Delete, &headers, mode)?;
    Ok((system, write_request::build_command(context, system, headers, WriteOp::Delete { id }, b"")))
}

/// `POST /records/{system}`.
#[utoipa::path(post, path = "/records/{system}", tag = "Records", operation_id = "createRecord",
    summary = "Create a record", description = "Creates a record in a collection. Send an `Idempotency-Key` to make repeating safe.",
    params(SystemPath, WriteHeaderParams),
    request_body(description = "The new record", content(
        (RecordDraft = "application/json"))),
    responses((status = 201, description = "Created", body = RecordView),
        (status = 202, description = "Accepted; the operation shows the outcome", body = Operation)))]
pub(in crate::http) async fn create(context: RequestContext) -> HandlerResult {
    let representation = Representation::from_path(&context)?;
    let (system, command, given) = match parse_create(&context, &representation, WriteMode::Execute).await {
        Ok(create) => create,
        Err(problem) => return representation.translate_error(&context, Err(problem.into())),
    };
    let result = execute(&context, system, &representation, command).await;
    representation.translate_create_error(&context, &given, result)
}

/// A POST, checked as far as the request alone allows; with the fields that a problem of it may be
/// about.
pub(super) async fn parse_create<'c>(
    context: &'c RequestContext,
    representation: &Representation,
    mode: WriteMode,
) -> Result<(&'c Arc<System>, WriteCommand, GivenFields), Problem> {
    let system = context.authorize_system(Action::Create)?;
    accept::require_json(context.headers())?;
    let (_, body) = body::read(context, &[BodyType::Json]).await?;
    let value = body::parse_json(&body)?;
    let headers = write_request::parse_headers(context, Action::Create, mode)?;
    require_conditions(system, Action::Create, &headers, mode)?;
    let ParsedCreate { collection, fields, rejected_values, given } = representation.parse_create(value, system)?;
    write_request::check_collection_precondition(&headers)?;
    let op = WriteOp::Create { collection, fields };
    let command = write_request::build_command(context, system, headers, op, &body);
    Ok((system, WriteCommand { rejected_values, ..command }, given))
}

/// Executes a write. A caller that may not read the system's records learns nothing of what they
/// hold.
async fn execute(
    context: &RequestContext,
    system: &Arc<System>,
    representation: &Representation,
    mut command: WriteCommand,
) -> HandlerResult {
    representation.bind(&mut command);
    let can_read = context.can_read(system.name.as_str())?;
    command.prefer.return_representation &= can_read;
    // Whether places have moved says something about the record.
    command.prefer.rebase &= can_read;
    let mut response = context.gateway().write(system, command, &context.caller_context()?).await;
    if !can_read {
        write_response::redact(&mut response.outcome);
    }
    write_response::respond(context, response)
}
