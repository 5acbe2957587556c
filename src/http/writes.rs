//! Changing records: from a request to a [`WriteCommand`], and from what it came to back to HTTP.
//!
//! The order of checks is the contract's: system, rights, id, `Accept`, body size and type, syntax of body and fields (400),
//! `If-Match` present (428), what the body asks for (422). Everything after that is the gateway's.

use std::sync::Arc;

use actix_web::web::Payload;
use serde_json::{Map, Value};

use super::headers::{BodyType, WriteHeaders, accept, fingerprint};
use super::openapi::{self, CollectionPath, IfMatch, RecordPath, WriteHeaderParams};
use super::query::QueryParams;
use super::seams::Permission;
use super::service::{HandlerResult, RequestContext};
use super::{body, response, write_response};
use crate::gateway::{
    IdempotencyKey, RecordView, SuccessBody, System, WriteCommand, WriteOp, WriteOutcome, WriteResponse, WriteSuccess,
    patch_error_to_problem,
};
use crate::problem::{Problem, ProblemKind};
use crate::record::{
    Action, FieldError, JsonError, Operation, Patch, PatchError, Precondition, RawJson, json_pointer, parse_strict,
    percent_encode_id,
};

const PATCH_MEDIA_TYPES: &[BodyType] = &[BodyType::MergePatch, BodyType::JsonPatch, BodyType::Json];

/// `PATCH /records/{system}/{id}`.
#[utoipa::path(patch, path = "/records/{system}/{id}", tag = "Records", operation_id = "updateRecord",
    summary = "Change a record", description = "Changes members of `fields`, if the record is still in the state that `If-Match` names.",
    params(RecordPath, IfMatch, WriteHeaderParams),
    request_body(description = "What changes, as a merge patch or a JSON Patch", content(
        (openapi::MergePatch = "application/merge-patch+json", examples(
            ("BlueDolphin" = (summary = "One property of an object definition", value = json!(openapi::bluedolphin()))),
            ("Matrix42" = (summary = "Two attributes of a fragment, one reset", value = json!(openapi::matrix42()))),
            ("Pretectum" = (summary = "Two fields of a data object", value = json!(openapi::pretectum()))))),
        (openapi::JsonPatch = "application/json-patch+json", examples(
            ("Test and replace" = (summary = "Replaces a value only if it is as expected", value = json!(openapi::json_patch()))))),
        (openapi::MergePatch = "application/json", examples(
            ("Pretectum" = (summary = "Read as a merge patch", value = json!(openapi::pretectum()))))))),
    responses((status = 204, description = "Done"),
        (status = 200, description = "Done, and this is the record now", body = RecordView),
        (status = 202, description = "Taken on; the operation tells what becomes of it", body = Operation)))]
pub(super) async fn update(
    inbound: &RequestContext<'_>,
    system: &str,
    raw_id: &str,
    payload: &mut Payload,
) -> HandlerResult {
    let system = inbound.authorize_system(system, Action::Update)?;
    let id = inbound.api.records.record_id(system, raw_id)?;
    accept::require_json(inbound.headers)?;
    let (body_type, body) = body::read(inbound, payload, PATCH_MEDIA_TYPES).await?;
    let patch = match body_type {
        BodyType::JsonPatch => Patch::parse_json_patch(&body),
        BodyType::MergePatch | BodyType::Json => Patch::parse_merge_patch(&body),
    };
    if let Err(PatchError::Malformed(detail)) = patch {
        return Err(ProblemKind::MalformedRequest.with_detail(detail).into());
    }
    let terms = parse_write_headers(inbound)?;
    system.require_if_match(terms.if_match.as_ref())?;
    let canonical = |raw: &str| inbound.api.records.record_id(system, raw).ok().map(|id| id.as_str().to_owned());
    let patch = patch.map_err(patch_error_to_problem)?.with_canonical_id(canonical);
    let read_only = |name: &str| system.adapter.is_read_only(name);
    patch.validate(system.name.as_str(), id.as_str(), &read_only).map_err(patch_error_to_problem)?;
    if patch.has_test() && !can_read(inbound, system)? {
        let detail = format!("a test asks what the record holds: you lack the right {}:read", system.name);
        return Err(ProblemKind::Forbidden.with_detail(detail).into());
    }
    system.validate_patch(&patch)?;
    execute_write(inbound, system, build_write_command(inbound, system, terms, WriteOp::Update { id, patch }, &body))
        .await
}

/// `DELETE /records/{system}/{id}`. A body has no meaning and is not read (RFC 9110 §9.3.5).
#[utoipa::path(delete, path = "/records/{system}/{id}", tag = "Records", operation_id = "deleteRecord",
    summary = "Delete a record", description = "Deletes the record, if it is still in the state that `If-Match` names.",
    params(RecordPath, IfMatch, WriteHeaderParams),
    responses((status = 204, description = "Done"),
        (status = 202, description = "Taken on; the operation tells what becomes of it", body = Operation)))]
pub(super) async fn delete(inbound: &RequestContext<'_>, system: &str, raw_id: &str) -> HandlerResult {
    let system = inbound.authorize_system(system, Action::Delete)?;
    let id = inbound.api.records.record_id(system, raw_id)?;
    accept::require_json(inbound.headers)?;
    let terms = parse_write_headers(inbound)?;
    system.require_if_match(terms.if_match.as_ref())?;
    execute_write(inbound, system, build_write_command(inbound, system, terms, WriteOp::Delete { id }, b"")).await
}

/// `POST /records/{system}`.
#[utoipa::path(post, path = "/records/{system}", tag = "Records", operation_id = "createRecord",
    summary = "Create a record", description = "Creates a record in a collection. Send an `Idempotency-Key` to make repeating safe.",
    params(CollectionPath, WriteHeaderParams),
    request_body(description = "The new record", content(
        (openapi::NewRecord = "application/json", examples(
            ("BlueDolphin" = (summary = "An object definition", value = json!(openapi::new_bluedolphin()))),
            ("Matrix42" = (summary = "A fragment", value = json!(openapi::new_matrix42()))),
            ("Pretectum" = (summary = "A data object", value = json!(openapi::new_pretectum()))))))),
    responses((status = 201, description = "Created", body = RecordView),
        (status = 202, description = "Taken on; the operation tells what becomes of it", body = Operation)))]
pub(super) async fn create(inbound: &RequestContext<'_>, system: &str, payload: &mut Payload) -> HandlerResult {
    let system = inbound.authorize_system(system, Action::Create)?;
    accept::require_json(inbound.headers)?;
    let (_, body) = body::read(inbound, payload, &[BodyType::Json]).await?;
    let value = parse_strict(&body).map_err(|JsonError(detail)| ProblemKind::MalformedRequest.with_detail(detail))?;
    let terms = parse_write_headers(inbound)?;
    let (collection, fields) = parse_new_record(value, system.name.as_str())?;
    let collection = inbound.api.records.collection(system, collection.as_deref())?;
    check_collection_precondition(&terms)?;
    execute_write(
        inbound,
        system,
        build_write_command(inbound, system, terms, WriteOp::Create { collection, fields }, &body),
    )
    .await
}

fn can_read(inbound: &RequestContext<'_>, system: &System) -> Result<bool, Problem> {
    Ok(inbound.caller()?.can(system.name.as_str(), Permission::Record(Action::Read)))
}

/// Who may not read the system's records is told nothing of what they hold.
async fn execute_write(inbound: &RequestContext<'_>, system: &Arc<System>, mut write: WriteCommand) -> HandlerResult {
    let may_read = can_read(inbound, system)?;
    write.prefer.return_representation &= may_read;
    let mut told = inbound.api.records.write(system, write, &inbound.op_context()?).await;
    if !may_read {
        match &mut told {
            Ok(WriteResponse { outcome: WriteOutcome::Success(written), .. }) => redact_record(written),
            Ok(WriteResponse { outcome: WriteOutcome::Problem(problem), .. }) => redact_problem(problem),
            Err(problem) => redact_problem(problem),
        }
    }
    match told {
        Ok(told) => write_response::write_response(inbound, told).await,
        Err(problem) => Err(problem.into()),
    }
}

/// What a 200 has to tell are its warnings: the record that carries them is left without its state.
fn redact_record(written: &mut WriteSuccess) {
    if let SuccessBody::Record(record) = &mut written.body {
        record.etag = None;
        record.read_only.clear();
        record.fields = RawJson::empty_object();
    }
    // A create's tag is that of what its caller has just sent.
    if !matches!(written.body, SuccessBody::Created(_)) {
        written.etag = None;
    }
}

fn redact_problem(problem: &mut Problem) {
    problem.current_etag = None;
    problem.changed.clear();
}

fn parse_write_headers(inbound: &RequestContext<'_>) -> Result<WriteHeaders, Problem> {
    QueryParams::read(inbound.query, &[])?;
    WriteHeaders::read(inbound.headers)
}

fn build_write_command(
    inbound: &RequestContext<'_>,
    system: &System,
    terms: WriteHeaders,
    kind: WriteOp,
    body: &[u8],
) -> WriteCommand {
    let creates = matches!(kind, WriteOp::Create { .. });
    let idempotency = terms.idempotency_key.map(|key| {
        let system = system.name.as_str();
        // However the target was spelled, it is the same request.
        let path = match &kind {
            WriteOp::Update { id, .. } | WriteOp::Delete { id } => response::record_path(system, id.as_str()),
            WriteOp::Create { .. } => format!("/records/{}", percent_encode_id(system)),
        };
        let if_match = terms.if_match.as_ref().map(Precondition::to_header).unwrap_or_default();
        IdempotencyKey { key, fingerprint: fingerprint(inbound.method.as_str(), &path, &if_match, body) }
    });
    WriteCommand {
        kind,
        precondition: terms.if_match.filter(|_| !creates),
        if_none_match: terms.if_none_match.filter(|_| !creates),
        prefer: terms.prefer,
        accept_loss: terms.accept_loss,
        require_native: terms.require_native,
        idempotency,
    }
}

/// The conditions of a POST are about its target, the collection: it exists and has no tag (http-rules 43).
fn check_collection_precondition(terms: &WriteHeaders) -> Result<(), Problem> {
    let fails = match (&terms.if_match, &terms.if_none_match) {
        (Some(Precondition::AnyOf(_)), _) => Some("If-Match names a tag, and the collection has none"),
        (_, Some(Precondition::Exists)) => {
            Some("If-None-Match: * is about the collection, which exists; use Idempotency-Key to create only once")
        }
        _ => None,
    };
    fails.map_or(Ok(()), |detail| Err(ProblemKind::PreconditionFailed.with_detail(detail)))
}

/// `{"collection": "…", "fields": {…}}`; `system` may be there with its name. The members that answers add are ignored, so
/// that a record that was read can be sent again as a new one, but for those that would claim an identity.
fn parse_new_record(value: Value, system: &str) -> Result<(Option<String>, Map<String, Value>), Problem> {
    let Value::Object(members) = value else {
        return Err(invalid_new_record(vec![FieldError::new(
            "",
            "a new record is an object such as {\"collection\":\"…\",\"fields\":{}}",
        )]));
    };
    let (mut collection, mut fields, mut wrong) = (None, None, Vec::new());
    for (name, value) in members {
        match (name.as_str(), value) {
            ("collection", Value::String(text)) => collection = Some(text),
            ("collection", _) => wrong.push(FieldError::new("/collection", "collection is a string")),
            ("fields", Value::Object(map)) => fields = Some(map),
            ("fields", _) => wrong.push(FieldError::new("/fields", "fields is an object")),
            ("system", Value::String(text)) if text == system => {}
            ("warnings" | "read_only" | "pending_operation", _) => {}
            (name, _) => {
                let pointer = json_pointer("", &[name]);
                wrong.push(FieldError::new(pointer, "not a member of a new record; it has collection and fields"));
            }
        }
    }
    match fields {
        Some(fields) if wrong.is_empty() => Ok((collection, fields)),
        None if wrong.is_empty() => Err(invalid_new_record(vec![FieldError::new("/fields", "fields is missing")])),
        _ => Err(invalid_new_record(wrong)),
    }
}

fn invalid_new_record(errors: Vec<FieldError>) -> Problem {
    ProblemKind::Rejected.with_detail("the body does not describe a new record").errors(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_record_has_fields_and_an_optional_collection() {
        let read = |text: &str| parse_new_record(serde_json::from_str(text).expect("JSON"), "crm");
        let (collection, fields) =
            read(r#"{"collection":"a:b","fields":{"n":1.10},"system":"crm"}"#).expect("a record");
        assert_eq!((collection.as_deref(), fields["n"].to_string().as_str()), (Some("a:b"), "1.10"));
        assert!(read(r#"{"fields":{}}"#).is_ok());
        for (wrong, pointer) in [
            ("[]", ""),
            ("{}", "/fields"),
            (r#"{"fields":[]}"#, "/fields"),
            (r#"{"fields":{},"collection":1}"#, "/collection"),
            (r#"{"fields":{},"id":"a:b"}"#, "/id"),
            (r#"{"fields":{},"system":"itsm"}"#, "/system"),
            (r#"{"fields":{},"a/b":1}"#, "/a~1b"),
        ] {
            let problem = read(wrong).expect_err("rejected");
            assert_eq!(problem.errors[0].0, pointer, "{wrong}");
        }
    }
}
