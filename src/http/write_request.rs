//! From the request of a write to its [`WriteCommand`].

use actix_web::http::Method;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::context::RequestContext;
use super::headers::{BodyType, WriteHeaders, fingerprint};
use super::response;
use crate::problem::{Problem, ProblemKind};
use crate::record::{
    Action, FieldError, Patch, PatchError, PlanTag, Precondition, RecordId, json_pointer, percent_encode_id,
};
use crate::system::{System, Validation};
use crate::writes::{IdempotencyKey, WriteCommand, WriteOp, patch_error_to_problem};

/// Whether a request makes its write or previews it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteMode {
    /// It is made.
    Execute,
    /// It is shown (contract 4.11).
    Preview,
}

/// The headers of a write, which takes no query. The path of the preview of a record takes
/// `action`; that of a new record has only one.
///
/// # Errors
/// 400.
pub(super) fn parse_headers(
    context: &RequestContext,
    action: Action,
    mode: WriteMode,
) -> Result<WriteHeaders, Problem> {
    let takes_action = mode == WriteMode::Preview && action != Action::Create;
    context.query(if takes_action { &["action"] } else { &[] })?;
    WriteHeaders::parse(context.headers())
}

/// Parses a patch; see [`refuse_malformed`] for the two errors.
///
/// # Errors
/// 400.
pub(super) fn parse_patch(body_type: BodyType, body: &Bytes) -> Result<Result<Patch, PatchError>, Problem> {
    let patch = match body_type {
        BodyType::JsonPatch => Patch::parse_json_patch(body),
        BodyType::MergePatch | BodyType::Json => Patch::parse_merge_patch(body),
    };
    refuse_malformed(patch)
}

/// A patch that is well-formed and impossible is returned as the inner error: 400 for the headers
/// and 428 come before its 422 (contract 4).
///
/// # Errors
/// 400.
pub(super) fn refuse_malformed(patch: Result<Patch, PatchError>) -> Result<Result<Patch, PatchError>, Problem> {
    match patch {
        Err(PatchError::Malformed(detail)) => Err(ProblemKind::MalformedRequest.with_detail(detail)),
        other => Ok(other),
    }
}

/// Checks what the patch alone shows.
///
/// # Errors
/// 422.
pub(super) fn validate_patch(
    patch: Result<Patch, PatchError>,
    system: &System,
    id: &RecordId,
) -> Result<Patch, Problem> {
    let canonical = |raw: &str| system.record_id(raw).ok().map(|id| id.as_str().to_owned());
    let patch = patch.map_err(patch_error_to_problem)?.with_canonical_id(canonical);
    let is_reserved = |name: &str| system.adapter.is_reserved(id.collection(), name);
    patch.validate(system.name.as_str(), id.as_str(), &is_reserved).map_err(patch_error_to_problem)?;
    Ok(patch)
}

/// The values of a patch that can never be sent, in whatever words they are given.
pub(super) fn find_rejected_values(patch: &Patch, system: &System, id: &RecordId) -> Vec<FieldError> {
    patch.rejected_values(&|name| system.adapter.is_reserved(id.collection(), name))
}

/// The idempotency key in the headers of a write: the caller's, or the plan of a create, which
/// makes it at most once, too. No key of a caller has a space.
pub(super) fn own_key(headers: &WriteHeaders, creates: bool) -> Option<String> {
    let plan = || headers.if_plan.as_ref().filter(|_| creates).map(IdempotencyKey::of_plan);
    headers.idempotency_key.clone().or_else(plan)
}

/// Puts the command together. `body` is what an `Idempotency-Key` is bound to.
pub(super) fn build_command(
    context: &RequestContext,
    system: &System,
    headers: WriteHeaders,
    op: WriteOp,
    body: &[u8],
) -> WriteCommand {
    let creates = matches!(op, WriteOp::Create { .. });
    // The key of an item of a batch holds spaces, which no key of a caller does.
    let own_key = own_key(&headers, creates);
    let given = context.item().filter(|_| own_key.is_none()).map(|item| item.given.clone()).unwrap_or_default();
    let key = own_key.or_else(|| context.item().and_then(|item| item.key.clone()));
    let idempotency = key.map(|key| {
        let system = system.name.as_str();
        // All spellings of a target are one request. A preview looks up the key of its write.
        let (method, path) = match &op {
            WriteOp::Update { id, .. } => (Method::PATCH, response::record_path(system, id.as_str())),
            WriteOp::Delete { id } => (Method::DELETE, response::record_path(system, id.as_str())),
            WriteOp::Create { .. } => (Method::POST, format!("/records/{}", percent_encode_id(system))),
        };
        let path = given.path.unwrap_or(path);
        let if_match = headers.if_match.as_ref().map(Precondition::to_header).unwrap_or_default();
        let if_match = given.if_match.unwrap_or(if_match);
        let if_plan = headers.if_plan.as_ref().map(PlanTag::as_str);
        let fingerprint = fingerprint(method.as_str(), &path, &if_match, body, if_plan);
        IdempotencyKey { key, fingerprint, is_of_stored_batch: context.item().is_some_and(|item| item.is_stored) }
    });
    let is_update = matches!(op, WriteOp::Update { .. });
    let has_one_tag = matches!(&headers.if_match, Some(Precondition::AnyOf(tags)) if tags.len() == 1);
    let is_checked = system.policy.validate != Validation::Off && !matches!(op, WriteOp::Delete { .. });
    let mut prefer = headers.prefer;
    prefer.rebase &= is_update && has_one_tag && headers.if_plan.is_none() && system.policy.allow_rebase;
    prefer.handling = prefer.handling.filter(|_| is_checked);
    WriteCommand {
        op,
        precondition: headers.if_match.filter(|_| !creates),
        if_none_match: headers.if_none_match.filter(|_| !creates),
        prefer,
        accept_loss: headers.accept_loss,
        require_native: headers.require_native,
        rejected_values: Vec::new(),
        mapping: None,
        if_plan: headers.if_plan,
        idempotency,
        replays_only: context.item().is_some_and(|item| item.replays_only),
    }
}

/// The preconditions of a POST are about its target, the collection, which exists and has no tag
/// (http-rules 43).
pub(super) fn check_collection_precondition(headers: &WriteHeaders) -> Result<(), Problem> {
    let fails = match (&headers.if_match, &headers.if_none_match) {
        (Some(Precondition::AnyOf(_)), _) => Some("If-Match names a tag, and a collection has none"),
        (_, Some(Precondition::Exists)) => {
            Some("If-None-Match: * is about the collection, which exists; use Idempotency-Key to create only once")
        }
        _ => None,
    };
    fails.map_or(Ok(()), |detail| Err(ProblemKind::PreconditionFailed.with_detail(detail)))
}

/// Parses `{"collection": "…", "fields": {…}}`. `system` may be present with its name. Members that
/// responses add are ignored, so that a record that was read can be sent as a new one; those that
/// claim an identity are refused.
///
/// # Errors
/// 422.
pub(super) fn parse_new_record(value: Value, system: &str) -> Result<(Option<String>, Map<String, Value>), Problem> {
    let Value::Object(members) = value else { return Err(new_record_is_no_object()) };
    let (mut collection, mut fields, mut errors) = (None, None, Vec::new());
    for (name, value) in members {
        match (name.as_str(), value) {
            ("collection", Value::String(text)) => collection = Some(text),
            ("collection", _) => errors.push(FieldError::new("/collection", "collection must be a string")),
            ("fields", Value::Object(map)) => fields = Some(map),
            ("fields", _) => errors.push(FieldError::new("/fields", "fields must be an object")),
            ("system", Value::String(text)) if text == system => {}
            ("warnings" | "read_only" | "pending_operation", _) => {}
            (name, _) => {
                let pointer = json_pointer("", &[name]);
                errors.push(FieldError::new(pointer, "a new record has no such member; it has collection and fields"));
            }
        }
    }
    match fields {
        Some(fields) if errors.is_empty() => Ok((collection, fields)),
        None if errors.is_empty() => Err(invalid_new_record(vec![FieldError::new("/fields", "fields is missing")])),
        _ => Err(invalid_new_record(errors)),
    }
}

/// The body of a POST is a text, a number, an array…
pub(super) fn new_record_is_no_object() -> Problem {
    let detail = "a new record is an object such as {\"collection\":\"…\",\"fields\":{}}";
    invalid_new_record(vec![FieldError::new("", detail)])
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
            assert_eq!(problem.errors[0].pointer, pointer, "{wrong}");
        }
    }
}
