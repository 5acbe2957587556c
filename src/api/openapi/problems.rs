//! Which problems each operation can answer, and how the document shows them: made from the one table of problems.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::Modify;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::{OpenApi, Ref, RefOr, Response};

use super::fields::reference;
use crate::problem::ProblemName::{
    self, BodyTooLarge, Forbidden, GuaranteeUnavailable, HeadersTooLarge, IdempotencyKeyReused, InternalError,
    LossyWrite, MalformedRequest, MethodNotAllowed, NotAcceptable, NotFound, NotImplemented, OperationInProgress,
    OperationNotFound, OutcomeUnknown, Overloaded, PatchFailed, PatchTestFailed, PreconditionFailed,
    PreconditionRequired, RateLimited, ReadOnlyMember, RecordNotFound, Rejected, RequestTimeout, SystemNotFound,
    Unauthenticated, UnsupportedMediaType, UriTooLong, VendorBusy, VendorCredentialsRejected, VendorError,
    VendorForbidden, VendorProtocolError, VendorTimeout, VendorUnavailable,
};

/// HTTP itself: any request.
const ANY: &[ProblemName] =
    &[MalformedRequest, MethodNotAllowed, UriTooLong, HeadersTooLarge, InternalError, NotImplemented];
/// Whatever needs a caller.
const CALLER: &[ProblemName] = &[Unauthenticated, NotAcceptable, Overloaded];
/// Whatever names a system and needs a right.
const SYSTEM: &[ProblemName] = &[SystemNotFound, Forbidden];
/// Whatever asks a vendor.
const VENDOR: &[ProblemName] = &[
    VendorForbidden,
    RateLimited,
    VendorError,
    VendorCredentialsRejected,
    VendorProtocolError,
    VendorUnavailable,
    VendorTimeout,
];
/// Any write.
const WRITE: &[ProblemName] =
    &[OperationInProgress, VendorBusy, LossyWrite, PreconditionFailed, Rejected, IdempotencyKeyReused, OutcomeUnknown];
/// Whatever has a body.
const BODY: &[ProblemName] = &[BodyTooLarge, RequestTimeout, UnsupportedMediaType];

fn problems_of(operation_id: &str) -> Vec<ProblemName> {
    let groups: &[&[ProblemName]] = match operation_id {
        "getRecord" => &[CALLER, SYSTEM, VENDOR, &[RecordNotFound, PreconditionFailed]],
        "listRecords" => &[CALLER, SYSTEM, VENDOR, &[RecordNotFound, PreconditionFailed, Rejected]],
        "createRecord" => &[CALLER, SYSTEM, VENDOR, WRITE, BODY, &[RecordNotFound]],
        "updateRecord" => &[
            CALLER,
            SYSTEM,
            VENDOR,
            WRITE,
            BODY,
            &[RecordNotFound, PreconditionRequired, GuaranteeUnavailable, PatchTestFailed, ReadOnlyMember, PatchFailed],
        ],
        "deleteRecord" => {
            &[CALLER, SYSTEM, VENDOR, WRITE, &[RecordNotFound, PreconditionRequired, GuaranteeUnavailable]]
        }
        "listOperations" | "listLedger" => &[CALLER, SYSTEM, &[RecordNotFound, PreconditionFailed]],
        "getOperation" => &[CALLER, &[OperationNotFound, PreconditionFailed]],
        "listSystems" => &[CALLER, &[PreconditionFailed]],
        "getSystem" => &[CALLER, &[SystemNotFound, PreconditionFailed]],
        "getReadiness" => &[&[Overloaded]],
        "getProblem" => &[&[NotFound]],
        _ => &[],
    };
    let mut all: Vec<ProblemName> = ANY.iter().chain(groups.iter().copied().flatten()).copied().collect();
    all.sort_unstable_by_key(|problem| ProblemName::ALL.iter().position(|other| other == problem));
    all.dedup();
    all
}

/// Adds them to every operation.
pub(super) struct Problems;

impl Modify for Problems {
    fn modify(&self, document: &mut OpenApi) {
        let mut shared: BTreeMap<String, RefOr<Response>> = BTreeMap::new();
        for operation in operations_mut(document) {
            let mut by_status: BTreeMap<u16, Vec<ProblemName>> = BTreeMap::new();
            for problem in problems_of(operation.operation_id.as_deref().unwrap_or_default()) {
                by_status.entry(problem.row().status).or_default().push(problem);
            }
            for (status, problems) in by_status {
                let name = problems.iter().map(|problem| problem.as_str()).collect::<Vec<_>>().join(".or.");
                shared.entry(name.clone()).or_insert_with(|| RefOr::T(response(&problems)));
                let reference = Ref::new(format!("#/components/responses/{name}"));
                operation.responses.responses.insert(status.to_string(), RefOr::Ref(reference));
            }
        }
        document.components.get_or_insert_default().responses.extend(shared);
    }
}

fn response(problems: &[ProblemName]) -> Response {
    let words = problems.iter().map(|problem| format!("`{}`: {}", problem.as_str(), problem.row().meaning));
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    for problem in problems {
        let example = ExampleBuilder::new().summary(problem.row().title).value(Some(example(*problem))).build();
        content = content.examples_from_iter([(problem.as_str(), RefOr::T(example))]);
    }
    let response = ResponseBuilder::new()
        .description(words.collect::<Vec<_>>().join("\n\n"))
        .content("application/problem+json", content.build());
    let mut response = response.build();
    let fields = problems.iter().flat_map(|problem| fields_of(*problem)).chain(["X-Request-Id", "Cache-Control"]);
    response.headers.extend(fields.map(|name| (name.to_owned(), reference(name))));
    response
}

fn example(problem: ProblemName) -> Value {
    let row = problem.row();
    json!({
        "type": format!("/problems/{}", row.name), "title": row.title, "status": row.status, "detail": row.meaning,
        "instance": "/records/crm/a:b", "request_id": "01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b12", "retryable": row.retryable,
    })
}

fn fields_of(problem: ProblemName) -> impl Iterator<Item = &'static str> {
    let fields: &[&'static str] = match problem.row().status {
        401 => &["WWW-Authenticate"],
        405 => &["Allow"],
        415 => &["Accept-Patch"],
        429 | 503 => &["Retry-After"],
        409 if problem.row().retryable => &["Retry-After"],
        504 if problem == OutcomeUnknown => &["Operation"],
        _ => &[],
    };
    fields.iter().copied()
}

/// Every operation of the document.
pub(super) fn operations_mut(document: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    document.paths.paths.values_mut().flat_map(|item| {
        let PathItem { get, post, patch, delete, .. } = item;
        [get, post, patch, delete].into_iter().flatten()
    })
}
