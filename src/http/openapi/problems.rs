//! The problems of each operation, described from the table of problems.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::Modify;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::{OpenApi, Ref, RefOr, Response};

use super::operations::operations_mut;
use super::response_headers::header_ref;
use crate::http::response;
use crate::problem::ProblemKind::{
    self, BatchNotFound, BodyTooLarge, CollectionNotFound, Contended, CursorExpired, DependencyFailed, Forbidden,
    GuaranteeUnavailable, HeadersTooLarge, IdempotencyKeyReused, InternalError, LossyWrite, MalformedRequest,
    MethodNotAllowed, ModelNotFound, NotAcceptable, NotFound, NotImplemented, OperationEnded, OperationInProgress,
    OperationNotFound, OutcomeUnknown, Overloaded, PatchFailed, PatchTestFailed, PlanChanged, PlanRequired,
    PreconditionFailed, PreconditionRequired, QuotaExceeded, RateLimited, ReadOnlyMember, RecordNotFound, Rejected,
    RequestTimeout, SystemNotFound, Unauthenticated, UnsupportedMediaType, UriTooLong, VendorBusy,
    VendorCredentialsRejected, VendorError, VendorForbidden, VendorProtocolError, VendorTimeout, VendorUnavailable,
};

/// The only operation with the method PATCH. Its 415 has another header than that of a POST.
const PATCH_OPERATION: &str = "updateRecord";

/// Of any request.
const ANY_PROBLEMS: &[ProblemKind] =
    &[MalformedRequest, MethodNotAllowed, UriTooLong, HeadersTooLarge, InternalError, NotImplemented];
/// Of requests that need a caller.
const CALLER_PROBLEMS: &[ProblemKind] = &[Unauthenticated, QuotaExceeded, NotAcceptable, Overloaded];
/// Of requests that name a system and need a permission.
const SYSTEM_PROBLEMS: &[ProblemKind] = &[SystemNotFound, Forbidden];
/// Of requests that send vendor requests.
const VENDOR_PROBLEMS: &[ProblemKind] = &[
    VendorForbidden,
    RateLimited,
    VendorError,
    VendorCredentialsRejected,
    VendorProtocolError,
    VendorUnavailable,
    VendorTimeout,
];
/// Of writes.
const WRITE_PROBLEMS: &[ProblemKind] = &[
    OperationInProgress,
    VendorBusy,
    Contended,
    LossyWrite,
    PlanChanged,
    PlanRequired,
    PreconditionFailed,
    Rejected,
    IdempotencyKeyReused,
    OutcomeUnknown,
];
/// Of previews.
const PREVIEW_PROBLEMS: &[ProblemKind] = &[RecordNotFound, PreconditionFailed, Rejected, IdempotencyKeyReused];
/// Of requests with a body.
const BODY_PROBLEMS: &[ProblemKind] = &[BodyTooLarge, RequestTimeout, UnsupportedMediaType];

fn problems_for(operation_id: &str) -> Vec<ProblemKind> {
    let groups = record_groups(operation_id).or_else(|| other_groups(operation_id)).unwrap_or_default();
    let mut all: Vec<ProblemKind> = ANY_PROBLEMS.iter().chain(groups.iter().copied().flatten()).copied().collect();
    all.sort_unstable_by_key(|problem| ProblemKind::ALL.iter().position(|other| other == problem));
    all.dedup();
    all
}

/// Of the operations on records.
fn record_groups(operation_id: &str) -> Option<&'static [&'static [ProblemKind]]> {
    Some(match operation_id {
        "getRecord" => &[CALLER_PROBLEMS, SYSTEM_PROBLEMS, VENDOR_PROBLEMS, &[RecordNotFound, PreconditionFailed]],
        "listRecords" => {
            &[CALLER_PROBLEMS, SYSTEM_PROBLEMS, VENDOR_PROBLEMS, &[CollectionNotFound, PreconditionFailed, Rejected]]
        }
        "createRecord" => &[
            CALLER_PROBLEMS,
            SYSTEM_PROBLEMS,
            VENDOR_PROBLEMS,
            WRITE_PROBLEMS,
            BODY_PROBLEMS,
            &[CollectionNotFound, GuaranteeUnavailable],
        ],
        "previewRecord" => &[
            CALLER_PROBLEMS,
            SYSTEM_PROBLEMS,
            VENDOR_PROBLEMS,
            BODY_PROBLEMS,
            PREVIEW_PROBLEMS,
            &[PreconditionRequired, GuaranteeUnavailable, PatchTestFailed, ReadOnlyMember, PatchFailed],
        ],
        "previewNewRecord" => &[
            CALLER_PROBLEMS,
            SYSTEM_PROBLEMS,
            VENDOR_PROBLEMS,
            BODY_PROBLEMS,
            PREVIEW_PROBLEMS,
            &[GuaranteeUnavailable, CollectionNotFound],
        ],
        "updateRecord" => &[
            CALLER_PROBLEMS,
            SYSTEM_PROBLEMS,
            VENDOR_PROBLEMS,
            WRITE_PROBLEMS,
            BODY_PROBLEMS,
            &[RecordNotFound, PreconditionRequired, GuaranteeUnavailable, PatchTestFailed, ReadOnlyMember, PatchFailed],
        ],
        "deleteRecord" => &[
            CALLER_PROBLEMS,
            SYSTEM_PROBLEMS,
            VENDOR_PROBLEMS,
            WRITE_PROBLEMS,
            &[RecordNotFound, PreconditionRequired, GuaranteeUnavailable],
        ],
        _ => return None,
    })
}

/// Of the other operations.
fn other_groups(operation_id: &str) -> Option<&'static [&'static [ProblemKind]]> {
    Some(match operation_id {
        "runBatch" => {
            &[CALLER_PROBLEMS, BODY_PROBLEMS, &[Rejected, DependencyFailed, IdempotencyKeyReused, OutcomeUnknown]]
        }
        "previewBatch" => &[CALLER_PROBLEMS, BODY_PROBLEMS, &[Rejected, DependencyFailed, IdempotencyKeyReused]],
        "getBatch" | "cancelBatch" => &[CALLER_PROBLEMS, &[BatchNotFound, PreconditionFailed]],
        "listOperations" | "listLedger" => &[CALLER_PROBLEMS, SYSTEM_PROBLEMS, &[RecordNotFound, PreconditionFailed]],
        "getOperation" => &[CALLER_PROBLEMS, &[OperationNotFound, PreconditionFailed]],
        "settleOperation" => &[CALLER_PROBLEMS, &[Forbidden, OperationNotFound, OperationInProgress, OperationEnded]],
        "resolveOperation" => &[
            CALLER_PROBLEMS,
            BODY_PROBLEMS,
            &[Forbidden, OperationNotFound, OperationInProgress, OperationEnded, Rejected],
        ],
        "listChanges" => &[CALLER_PROBLEMS, SYSTEM_PROBLEMS, &[RecordNotFound, CursorExpired]],
        "getLedgerHead" | "verifyLedger" | "getStatus" => &[CALLER_PROBLEMS, &[Forbidden, PreconditionFailed]],
        "listSystems" => &[CALLER_PROBLEMS, &[PreconditionFailed]],
        "listCollections" => &[CALLER_PROBLEMS, SYSTEM_PROBLEMS, VENDOR_PROBLEMS, &[PreconditionFailed]],
        "getSchema" => {
            &[CALLER_PROBLEMS, SYSTEM_PROBLEMS, VENDOR_PROBLEMS, &[CollectionNotFound, NotFound, PreconditionFailed]]
        }
        "listModels" => &[CALLER_PROBLEMS],
        "getModel" => &[CALLER_PROBLEMS, &[ModelNotFound, Forbidden]],
        "getModelSchema" => &[CALLER_PROBLEMS, &[ModelNotFound, PreconditionFailed]],
        "getSystem" | "getSystemOpenApi" => &[CALLER_PROBLEMS, SYSTEM_PROBLEMS, &[PreconditionFailed]],
        "getReadiness" => &[&[Overloaded]],
        "getProblem" => &[&[NotFound]],
        _ => return None,
    })
}

/// Adds the problems to every operation.
pub(super) struct ProblemResponses;

impl Modify for ProblemResponses {
    fn modify(&self, document: &mut OpenApi) {
        let mut shared: BTreeMap<String, RefOr<Response>> = BTreeMap::new();
        for operation in operations_mut(document) {
            let mut by_status: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
            let id = operation.operation_id.as_deref().unwrap_or_default();
            let is_patch = id == PATCH_OPERATION;
            for problem in problems_for(id) {
                by_status.entry(problem.spec().status).or_default().push(problem);
            }
            for (status, problems) in by_status {
                let mut name = problems.iter().map(|problem| problem.as_str()).collect::<Vec<_>>().join(".or.");
                if is_patch && problems.contains(&UnsupportedMediaType) {
                    name.push_str(".of.patch");
                }
                shared.entry(name.clone()).or_insert_with(|| RefOr::T(build_response(&problems, is_patch)));
                let reference = Ref::new(format!("#/components/responses/{name}"));
                operation.responses.responses.insert(status.to_string(), RefOr::Ref(reference));
            }
        }
        document.components.get_or_insert_default().responses.extend(shared);
    }
}

fn build_response(problems: &[ProblemKind], is_patch: bool) -> Response {
    let words = problems.iter().map(|problem| format!("`{}`: {}", problem.as_str(), problem.spec().meaning));
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    for problem in problems {
        let example =
            ExampleBuilder::new().summary(problem.spec().title).value(Some(example_document(*problem))).build();
        content = content.examples_from_iter([(problem.as_str(), RefOr::T(example))]);
    }
    let response = ResponseBuilder::new()
        .description(words.collect::<Vec<_>>().join("\n\n"))
        .content(response::PROBLEM_JSON, content.build());
    let mut response = response.build();
    let of_problem = |problem: &ProblemKind| headers_for(*problem, is_patch);
    let fields = problems.iter().flat_map(of_problem).chain(["X-Request-Id", "Cache-Control"]);
    response.headers.extend(fields.map(|name| (name.to_owned(), header_ref(name))));
    response
}

fn example_document(problem: ProblemKind) -> Value {
    let row = problem.spec();
    json!({
        "type": format!("/problems/{}", row.name), "title": row.title, "status": row.status, "detail": row.meaning,
        "instance": "/records/crm/a:b", "request_id": "01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b12", "retryable": row.retryable,
    })
}

fn headers_for(problem: ProblemKind, is_patch: bool) -> impl Iterator<Item = &'static str> {
    let fields: &[&'static str] = match problem.spec().status {
        401 => &["WWW-Authenticate"],
        405 => &["Allow"],
        415 if is_patch => &["Accept-Patch"],
        415 => &["Accept-Post"],
        429 => &["Retry-After", "RateLimit", "RateLimit-Policy"],
        503 => &["Retry-After"],
        409 if problem.spec().retryable => &["Retry-After"],
        504 if problem == OutcomeUnknown => &["Operation"],
        _ => &[],
    };
    fields.iter().copied()
}
