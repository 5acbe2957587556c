//! The one table of problems: every error that a caller can get (RFC 9457, contract 4.7).
//!
//! The responses, the pages at `/problems/{name}`, the OpenAPI document, the table in
//! `docs/reference.md` (tested) and the `outcome` label of the metrics are all made from this
//! table.

mod document;
pub mod failure_log;
mod from_vendor;
mod joined_errors;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use document::ProblemDocument;
pub use failure_log::FailureEvent;

use crate::record::{FieldError, OperationId, PlanPart};

macro_rules! problems {
    ($($variant:ident, $name:literal, $status:literal, $retryable:literal, $title:literal, $meaning:literal, $remedy:literal;)*) => {
        /// A kind of problem; its name is the last segment of `type`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ProblemKind {
            $(#[doc = $meaning] #[serde(rename = $name)] $variant,)*
        }

        impl ProblemKind {
            /// Every problem, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its row of the table: what is the same for every problem of this kind.
            #[must_use]
            pub fn spec(self) -> &'static ProblemSpec {
                match self {
                    $(Self::$variant => &ProblemSpec {
                        name: $name, status: $status, retryable: $retryable, title: $title, meaning: $meaning, remedy: $remedy,
                    },)*
                }
            }
        }
    };
}

/// What is the same for every problem of one kind.
#[derive(Debug)]
pub struct ProblemSpec {
    /// The last segment of `type`.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Whether the same request may succeed later, unchanged.
    pub retryable: bool,
    /// The `title`.
    pub title: &'static str,
    /// What was wrong, in a sentence or two.
    pub meaning: &'static str,
    /// What would be right.
    pub remedy: &'static str,
}

problems! {
    MalformedRequest, "malformed-request", 400, false, "Malformed request",
        "The body, a header or the query does not have the required form. Nothing was sent to the vendor.",
        "Correct what `detail` names. JSON must be UTF-8, nested at most 64 levels, without a duplicate member name in an object.";
    Unauthenticated, "unauthenticated", 401, false, "Authentication required",
        "The request carries no credentials, or none that this gateway accepts.",
        "Send `Authorization: Bearer KEY` with the key or token that you got from the operator.";
    Forbidden, "forbidden", 403, false, "Not allowed",
        "The credentials are valid, and they do not allow this action on this system.",
        "Ask the operator for the permission `system:action`.";
    VendorForbidden, "vendor-forbidden", 403, false, "The vendor does not allow it",
        "The vendor does not allow the gateway's account this action.",
        "Ask the operator to give the gateway's account the permission at the vendor.";
    NotFound, "not-found", 404, false, "No such page",
        "The gateway has no such path.",
        "See `/docs/` for the paths of the API.";
    ModelNotFound, "model-not-found", 404, false, "No such model",
        "No model of that name is configured.",
        "`GET /models` lists the models.";
    SystemNotFound, "system-not-found", 404, false, "No such system",
        "No system of that name is configured.",
        "`GET /systems` lists the systems.";
    RecordNotFound, "record-not-found", 404, false, "No such record",
        "The system has no record of that id that the gateway may read, or the id does not have the form of the vendor's ids.",
        "Compare the id with the form in `detail` or in `GET /systems/{system}`.";
    CollectionNotFound, "collection-not-found", 404, false, "No such collection",
        "The system has no collection of that name that the gateway may read, or the name does not have the vendor's form.",
        "`GET /systems/{system}/collections` lists the collections.";
    OperationNotFound, "operation-not-found", 404, false, "No such operation",
        "There is no operation of that id that you may read. Finished operations are kept for the configured retention.",
        "Use the `Operation` or `Location` header of a write, unchanged.";
    BatchNotFound, "batch-not-found", 404, false, "No such batch",
        "There is no asynchronous batch of that id that you may read. Batches that are over are kept for the configured retention.",
        "Use the `Location` header of the batch, unchanged.";
    MethodNotAllowed, "method-not-allowed", 405, false, "Method not allowed",
        "The path exists and does not support this method, or the vendor has no such action.",
        "Use one of the methods in the `Allow` header.";
    NotAcceptable, "not-acceptable", 406, false, "Not acceptable",
        "`Accept` allows no media type of this resource: `application/json` or, for some resources, `application/schema+json`, `application/x-ndjson` or `text/event-stream`.",
        "Send `Accept: application/json`, or no `Accept` header.";
    RequestTimeout, "request-timeout", 408, true, "Request too slow",
        "The request's body did not arrive in time. Nothing was sent to the vendor.",
        "Send the body without pauses.";
    OperationInProgress, "operation-in-progress", 409, true, "A write is running",
        "Another write of this record, or the first request with this `Idempotency-Key`, is still running.",
        "Poll the operation in `operation`, or repeat the request after `Retry-After`.";
    VendorBusy, "vendor-busy", 409, true, "The vendor is busy with the record",
        "The vendor is processing this record and made no change for this request.",
        "Read the record again after `Retry-After`: it is about to change.";
    Contended, "contended", 409, true, "Other writers were faster",
        "At every try of this `If-Match: *` write another writer changed the record between the gateway's read and its write. Nothing was changed.",
        "Repeat the request after `Retry-After`.";
    LossyWrite, "lossy-write", 409, false, "This write would destroy other data",
        "The vendor is documented to destroy data with this write that the write does not name; `losses` lists them. Nothing was changed.",
        "If the losses are acceptable, repeat the request with `Accept-Loss:` and the names in `losses`.";
    GuaranteeUnavailable, "guarantee-unavailable", 409, false, "The vendor cannot guarantee that",
        "The request has `Require-Guarantee: native`, and the vendor does not compare versions for this action.",
        "Leave `Require-Guarantee` out to accept the guarantee `guarded`, or do not make this write.";
    PatchTestFailed, "patch-test-failed", 409, false, "A test operation failed",
        "A `test` of the JSON Patch found another value. Nothing was changed.",
        "Read the record again and base a new patch on it.";
    PlanChanged, "plan-changed", 409, false, "The write differs from its plan",
        "The write that this request makes is not, or no longer, the one that was previewed; `differs` says in what. Nothing was sent.",
        "Preview the write again, and send the new plan if it is still what you want.";
    OperationEnded, "operation-ended", 409, false, "The operation has ended",
        "The outcome of this write is known already, or the gateway can no longer find it out.",
        "Read the operation: its `state` is final.";
    PreconditionFailed, "precondition-failed", 412, false, "Precondition failed",
        "The record's ETag does not match `If-Match`, or matches `If-None-Match`; `detail` says why. This request changed nothing.",
        "Read the record again and repeat the change with its new ETag. `current_etag` and `changed` hold the new ETag and the differing paths where the gateway knows them.";
    CursorExpired, "cursor-expired", 410, false, "Cursor expired",
        "The events after this cursor are not kept any more.",
        "Take `restart` as the new `since`, read the collections in `lists` again, and continue from `restart`.";
    BodyTooLarge, "body-too-large", 413, false, "Body too large",
        "The body is longer than the gateway accepts.",
        "Send a shorter body; `detail` names the limit.";
    UriTooLong, "uri-too-long", 414, false, "Address too long",
        "The request target is longer than 8000 bytes.",
        "Shorten the path or the query.";
    UnsupportedMediaType, "unsupported-media-type", 415, false, "Unsupported media type",
        "The body's `Content-Type` or `Content-Encoding` is missing or not supported here.",
        "Use one of the media types in `detail`, without a content coding.";
    Rejected, "rejected", 422, false, "Values rejected",
        "The gateway, before sending, or the vendor found invalid values; `errors` lists them where they are known. Nothing was changed.",
        "Correct the values.";
    ReadOnlyMember, "read-only-member", 422, false, "Read-only member",
        "The patch would change a member that callers cannot change.",
        "Change only members of `/fields`, and none that `read_only` lists.";
    PatchFailed, "patch-failed", 422, false, "The patch does not fit the record",
        "A path of the JSON Patch does not exist in the record.",
        "Read the record again and correct the path.";
    IdempotencyKeyReused, "idempotency-key-reused", 422, false, "Idempotency-Key used for another request",
        "This `Idempotency-Key` was used before with another method, path, `If-Match`, `If-Plan` or body.",
        "Use a new key for every new request.";
    DependencyFailed, "dependency-failed", 424, false, "A dependency failed",
        "The item of the batch was not begun, because an item that it depends on failed, or because the batch stops at a failure. Nothing was sent for it.",
        "See the item that `detail` names; correct it and send this item again.";
    PreconditionRequired, "precondition-required", 428, false, "If-Match required",
        "This write needs `If-Match`, so that it overwrites no change of others. `If-Unmodified-Since` is not enough.",
        "Read the record and send its ETag as `If-Match`, or `If-Match: *` to overwrite any state.";
    PlanRequired, "plan-required", 428, false, "A plan is required",
        "The system requires a plan for such a write, and the request has no `If-Plan`.",
        "Preview the write, and repeat the request with the `plan` of the preview in `If-Plan`.";
    RateLimited, "rate-limited", 429, true, "Too many calls",
        "The vendor's rate limit, or the one configured for it, is exceeded.",
        "Repeat the request after `Retry-After`.";
    QuotaExceeded, "quota-exceeded", 429, true, "Too many requests of this caller",
        "You exceed the limit that the operator has set for you; `violated_policies` names it. Nothing was sent to the vendor.",
        "Repeat the request after `Retry-After`. `RateLimit` in every response holds what is left.";
    HeadersTooLarge, "headers-too-large", 431, false, "Headers too large",
        "The request's headers are larger than the gateway accepts.",
        "Send smaller headers; `detail` names the limit.";
    InternalError, "internal-error", 500, true, "Internal error",
        "The gateway failed. If the request was a write, its operation has the outcome.",
        "Repeat a read; for a write, check its operation first. Report the `request_id` to the operator.";
    NotImplemented, "not-implemented", 501, false, "Unknown method",
        "The method is unknown to HTTP or to this gateway. Methods are case-sensitive.",
        "Use one of the methods in `/docs/`.";
    VendorError, "vendor-error", 502, true, "The vendor failed",
        "The vendor reports that it failed, and it did not carry out the request.",
        "Repeat the request later; `vendor` has the vendor's error.";
    VendorCredentialsRejected, "vendor-credentials-rejected", 502, false, "The vendor rejects the gateway's credentials",
        "The vendor rejects the credentials that are configured for it.",
        "Ask the operator to renew the credentials.";
    VendorProtocolError, "vendor-protocol-error", 502, true, "The vendor's response is invalid",
        "The vendor's response does not follow its documentation: it is not JSON, truncated, a redirect or too long.",
        "Report it to the operator: the address may be wrong, or a proxy in front of the vendor may have responded.";
    Overloaded, "overloaded", 503, true, "Too busy",
        "Too many requests wait for this vendor, the store cannot be written, or the gateway is shutting down. Nothing was sent.",
        "Repeat the request after `Retry-After`.";
    VendorUnavailable, "vendor-unavailable", 503, true, "The vendor is not available",
        "The gateway could not connect to the vendor, its circuit is open, or the vendor reports that it is busy or out of service. Nothing was changed.",
        "Repeat the request after `Retry-After`.";
    VendorTimeout, "vendor-timeout", 504, true, "The vendor did not respond in time",
        "The vendor did not respond to a read in time.",
        "Repeat the request later.";
    OutcomeUnknown, "outcome-unknown", 504, false, "The outcome of the write is not known yet",
        "The write may have reached the vendor, and it is not known yet whether it was applied. The gateway keeps checking until the operation ends.",
        "Poll `operation` until it is finished. Do not send the write again before that, except with the same `Idempotency-Key`. If it ends as `unknown`, the gateway could not find out: read the record and compare. An operator can have the outcome checked once more (`POST /operations/{id}/settle`) or record what the vendor shows (`POST /operations/{id}/resolve`); the console at `/console/` has both on the operation's page.";
}

impl ProblemKind {
    /// The name: the last segment of `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.spec().name
    }

    /// The kind with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|problem| problem.as_str() == name)
    }

    /// A problem of this kind.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Problem {
        Problem { kind: self, detail: detail.into(), ..Problem::default() }
    }
}

/// The vendor's error, sanitized.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = VendorSaid)]
pub struct VendorErrorInfo {
    /// Its HTTP status, if it responded.
    #[schema(example = 500)]
    pub status: Option<u16>,
    /// Its own error code, if it has one.
    pub code: Option<String>,
    /// Its message: short, without markup, stack traces and secrets.
    pub message: Option<String>,
}

/// A problem of one request. It can be stored and returned again unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind; a stored problem has its name.
    #[serde(rename = "name")]
    pub kind: ProblemKind,
    /// What was wrong this time and what would be right.
    pub detail: String,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The system, where one was involved.
    pub system: Option<String>,
    /// The vendor's error, where the vendor responded.
    pub vendor: Option<VendorErrorInfo>,
    /// The invalid values: JSON Pointer and detail.
    pub errors: Vec<FieldError>,
    /// 412: the record's current ETag, if known.
    pub current_etag: Option<String>,
    /// 412: the paths that differ from the caller's version, if known.
    pub changed: Vec<String>,
    /// 412: whether it is known that nothing differs, so that `changed` is shown empty: the tag is
    /// none of this document's.
    #[serde(default)]
    pub is_foreign_tag: bool,
    /// 412 of a rebase: the places that the request and another writer have both changed.
    #[serde(default)]
    pub overlap: Vec<String>,
    /// 412: why a rebase that was preferred was not tried.
    #[serde(default)]
    pub rebase: Option<RebaseRefusal>,
    /// `plan-changed`: in what the write differs from its plan.
    #[serde(default)]
    pub differs: Vec<PlanPart>,
    /// The operation that has or will have the outcome.
    pub operation: Option<OperationId>,
    /// The asynchronous batch that has or will have the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// `lossy-write`: the names to accept.
    pub losses: Vec<String>,
    /// `quota-exceeded`: the limits that the request exceeds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violated_policies: Vec<String>,
    /// `cursor-expired`: the cursor of now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// `cursor-expired`: the paths of what to read again.
    pub lists: Vec<String>,
    /// 405: the methods that the path supports (`Allow`).
    pub allow: Option<String>,
    /// The cause, for the log only: it is neither returned nor stored.
    #[serde(skip)]
    pub cause: Option<String>,
    /// Whether the log has the failure already, once for all requests that it concerns.
    #[serde(skip)]
    pub is_logged: bool,
}

/// Why a rebase that was preferred was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RebaseRefusal {
    /// The gateway does not know the state of the caller's tag any more.
    StateUnknown,
}

impl Default for Problem {
    fn default() -> Self {
        Self {
            kind: ProblemKind::InternalError,
            detail: String::new(),
            retry_after: None,
            system: None,
            vendor: None,
            errors: Vec::new(),
            current_etag: None,
            changed: Vec::new(),
            is_foreign_tag: false,
            overlap: Vec::new(),
            rebase: None,
            differs: Vec::new(),
            operation: None,
            batch: None,
            losses: Vec::new(),
            violated_policies: Vec::new(),
            restart: None,
            lists: Vec::new(),
            allow: None,
            cause: None,
            is_logged: false,
        }
    }
}

impl Problem {
    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds the invalid values.
    #[must_use]
    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Adds the cause, for the log only.
    #[must_use]
    pub fn with_cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Adds the operation that has the outcome.
    #[must_use]
    pub fn operation(mut self, operation: &OperationId) -> Self {
        self.operation = Some(operation.clone());
        self
    }

    /// Adds the asynchronous batch that has the outcome.
    #[must_use]
    pub fn batch(mut self, id: &str) -> Self {
        self.batch = Some(id.to_owned());
        self
    }

    /// Adds the system.
    #[must_use]
    pub fn system(mut self, system: &str) -> Self {
        self.system = Some(system.to_owned());
        self
    }

    /// `Retry-After` in whole seconds, at least 1 (RFC 9110 §10.2.3), where the problem has one.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| after.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1))
    }

    /// The document as an operation stores it. `instance` and `request_id` are those of the
    /// original request, if known.
    #[must_use]
    pub fn to_stored_json(&self, instance: Option<&str>, request_id: Option<&str>) -> Value {
        serde_json::to_value(ProblemDocument::new(self, instance, request_id)).unwrap_or_default()
    }
}
