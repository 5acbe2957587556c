//! The problem document (RFC 9457 §3): the one JSON form of a problem.

use serde::Serialize;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use super::{Problem, ProblemKind, RebaseRefusal, VendorErrorInfo};
use crate::record::{FieldError, OperationId, PlanPart};

/// A problem document. Members that do not apply are absent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument<'p> {
    /// `/problems/{name}`: identifies the problem; a page there explains it.
    #[serde(rename = "type")]
    #[schema(schema_with = type_schema)]
    type_uri: String,
    /// The same for every problem of this type.
    #[schema(example = "Precondition failed")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 412, minimum = 400, maximum = 599)]
    status: u16,
    /// What was wrong this time and what would be right.
    detail: &'p str,
    /// The path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri-reference")]
    instance: Option<&'p str>,
    /// The `X-Request-Id` of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'p str>,
    /// Whether the same request may succeed later, unchanged.
    retryable: bool,
    /// The system, where a vendor was involved.
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'p str>,
    /// The vendor's error, sanitized.
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<&'p VendorErrorInfo>,
    /// The invalid values.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    #[schema(required = false)]
    errors: &'p [FieldError],
    /// 412: the record's current ETag, if known. It is not sent as `ETag`: no representation was
    /// selected.
    #[serde(skip_serializing_if = "Option::is_none")]
    current_etag: Option<&'p str>,
    /// 412: JSON Pointers of the values that differ from the caller's version, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Vec<String>)]
    changed: Option<&'p [String]>,
    /// 412 with `Prefer: rebase=disjoint`: JSON Pointers of the values that the request touches and
    /// another client has changed.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false)]
    overlap: &'p [String],
    /// 412 with `Prefer: rebase=disjoint`: why the rebase was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    rebase: Option<RebaseRefusal>,
    /// `plan-changed`: in what the write differs from its plan.
    #[serde(skip_serializing_if = "<[PlanPart]>::is_empty")]
    #[schema(required = false)]
    differs: &'p [PlanPart],
    /// `/operations/{id}` of the operation that has the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri-reference")]
    operation: Option<String>,
    /// `/batches/{id}` of the batch that has or will have the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri-reference")]
    batch: Option<String>,
    /// `lossy-write`: the names to send in `Accept-Loss`.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false)]
    losses: &'p [String],
    /// `quota-exceeded`: `rate` or `in-flight`.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false)]
    violated_policies: &'p [String],
    /// `cursor-expired`: `since` for what comes from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    restart: Option<&'p str>,
    /// `cursor-expired`: the paths of the collections to read again.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false)]
    lists: &'p [String],
}

/// The type of every problem.
fn type_schema() -> Object {
    let types = ProblemKind::ALL.iter().map(|kind| format!("/problems/{}", kind.as_str()));
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(types))
        .examples(["/problems/precondition-failed"])
        .description(Some("`/problems/{name}`: identifies the problem; a page there explains it."))
        .build()
}

impl<'p> ProblemDocument<'p> {
    /// The same with URLs that begin with `external_url` instead of paths.
    #[must_use]
    pub fn with_external_url(mut self, external_url: &str) -> Self {
        if !external_url.is_empty() {
            self.type_uri.insert_str(0, external_url);
            self.operation = self.operation.map(|path| [external_url, &path].concat());
            self.batch = self.batch.map(|path| [external_url, &path].concat());
        }
        self
    }

    /// The document of a problem. `instance` and `request_id` are those of the request.
    #[must_use]
    pub fn new(problem: &'p Problem, instance: Option<&'p str>, request_id: Option<&'p str>) -> Self {
        let spec = problem.kind.spec();
        Self {
            type_uri: format!("/problems/{}", spec.name),
            title: spec.title,
            status: spec.status,
            detail: &problem.detail,
            instance,
            request_id,
            retryable: spec.retryable,
            system: problem.system.as_deref(),
            vendor: problem.vendor.as_ref(),
            errors: &problem.errors,
            current_etag: problem.current_etag.as_deref(),
            changed: (problem.is_foreign_tag || !problem.changed.is_empty()).then_some(&problem.changed),
            overlap: &problem.overlap,
            rebase: problem.rebase,
            differs: &problem.differs,
            operation: problem.operation.as_ref().map(OperationId::path),
            batch: problem.batch.as_ref().map(|id| format!("/batches/{id}")),
            losses: &problem.losses,
            violated_policies: &problem.violated_policies,
            restart: problem.restart.as_deref(),
            lists: &problem.lists,
        }
    }
}
