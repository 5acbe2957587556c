//! The one table of problems: what a caller is told, whatever went wrong (RFC 9457, contract 4.7).
//!
//! Everything that shows problems is made from this table: the answers, their pages at `/problems/{name}`, the OpenAPI
//! document, the README's table (tested) and the `outcome` label of the metrics.

mod document;
pub mod failure_log;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use document::{FieldErrorView, ProblemDocument};
pub use failure_log::FailureEvent;

use crate::record::{FieldError, OperationId, VendorError, VendorErrorKind};

macro_rules! problems {
    ($($variant:ident, $name:literal, $status:literal, $retryable:literal, $title:literal, $meaning:literal, $remedy:literal;)*) => {
        /// Which problem; the last segment of its `type`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ProblemKind {
            $(#[doc = $meaning] #[serde(rename = $name)] $variant,)*
        }

        impl ProblemKind {
            /// Every problem, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its row of the table.
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

/// What is always the same about a problem.
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
    /// What it means, in a sentence or two.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

problems! {
    MalformedRequest, "malformed-request", 400, false, "Malformed request",
        "The body, a header or the query does not have the form it must have. Nothing was sent to the vendor.",
        "Correct what `detail` names. JSON must be UTF-8, without a member name twice in one object and at most 64 levels deep.";
    Unauthenticated, "unauthenticated", 401, false, "Who are you?",
        "The request carries no credentials that this gateway knows.",
        "Send `Authorization: Bearer KEY` with a key (or token) that the operator has given you.";
    Forbidden, "forbidden", 403, false, "Not allowed",
        "The gateway knows you, and you may not do this with this system.",
        "Ask the operator for the right `system:action`.";
    VendorForbidden, "vendor-forbidden", 403, false, "The vendor does not allow it",
        "The vendor refuses the gateway's account this action.",
        "Ask the operator to give the gateway's account the right at the vendor.";
    NotFound, "not-found", 404, false, "No such page",
        "The path is none of the gateway's.",
        "Look at `/docs/` for the paths there are.";
    SystemNotFound, "system-not-found", 404, false, "No such system",
        "No system of that name is configured.",
        "`GET /systems` lists the systems.";
    RecordNotFound, "record-not-found", 404, false, "No such record",
        "The system has no record of that id that the gateway may see, or the id does not have the form the vendor's ids have.",
        "Compare the id with the form that `detail` or `GET /systems/{system}` tells.";
    OperationNotFound, "operation-not-found", 404, false, "No such operation",
        "There is no operation of that id that you may see; settled ones are kept for the configured retention.",
        "Use the `Operation` or `Location` header of a write, unchanged.";
    MethodNotAllowed, "method-not-allowed", 405, false, "Method not allowed",
        "The path exists and does not take this method, or the vendor has no such action.",
        "Use one of the methods in the `Allow` header.";
    NotAcceptable, "not-acceptable", 406, false, "Not acceptable",
        "`Accept` rules out `application/json`, the only form in which this is to be had.",
        "Send `Accept: application/json` or leave it out.";
    RequestTimeout, "request-timeout", 408, true, "Request too slow",
        "The request's body did not arrive in time. Nothing was sent to the vendor.",
        "Send the body without pauses.";
    OperationInProgress, "operation-in-progress", 409, true, "A write is running",
        "Another write of this record (or the first request with this `Idempotency-Key`) is still running.",
        "Follow the operation named in `operation`, or repeat after `Retry-After`.";
    VendorBusy, "vendor-busy", 409, true, "The vendor is busy with the record",
        "The vendor works on this record just now and did nothing.",
        "Read the record again after `Retry-After`: it is about to change.";
    LossyWrite, "lossy-write", 409, false, "This write would destroy something else",
        "The vendor is documented to destroy things with this write that it does not name; `losses` lists them. Nothing was done.",
        "If that is acceptable, repeat with `Accept-Loss:` and the names in `losses`.";
    GuaranteeUnavailable, "guarantee-unavailable", 409, false, "The vendor cannot guarantee that",
        "`Require-Guarantee: native` was asked for, and the vendor does not compare versions for this action.",
        "Leave `Require-Guarantee` out to accept the `guarded` way, or do not make this write.";
    PatchTestFailed, "patch-test-failed", 409, false, "A test operation failed",
        "A `test` of the JSON Patch found another value. Nothing was changed.",
        "Read the record again and decide anew.";
    PreconditionFailed, "precondition-failed", 412, false, "The record has changed",
        "The record's tag is not the one in `If-Match` (or is the one in `If-None-Match`). Nothing was changed by this request.",
        "Read the record again, decide anew and send its new tag; `current_etag` and `changed` tell more where the gateway knows it.";
    BodyTooLarge, "body-too-large", 413, false, "Body too large",
        "The body is longer than the gateway takes.",
        "Send less; `detail` names the limit.";
    UriTooLong, "uri-too-long", 414, false, "Address too long",
        "The request's target is longer than 8000 bytes.",
        "Shorten the path or the query.";
    UnsupportedMediaType, "unsupported-media-type", 415, false, "Unsupported media type",
        "The body's `Content-Type` (or `Content-Encoding`) is none the gateway reads here, or is missing.",
        "Use one of the types in `detail`, without a content coding.";
    Rejected, "rejected", 422, false, "Values rejected",
        "Values were found wrong, by the gateway before sending or by the vendor; `errors` lists them where they are known. Nothing was changed.",
        "Correct the values.";
    ReadOnlyMember, "read-only-member", 422, false, "Read-only member",
        "The patch would change something that is not the caller's to change.",
        "Change members of `/fields` only, and none that `read_only` lists.";
    PatchFailed, "patch-failed", 422, false, "The patch does not fit the record",
        "A path of the JSON Patch is not in the record.",
        "Read the record again and correct the path.";
    IdempotencyKeyReused, "idempotency-key-reused", 422, false, "Idempotency-Key used for another request",
        "This `Idempotency-Key` came earlier with another method, path, `If-Match` or body.",
        "Use a new key for every new request.";
    PreconditionRequired, "precondition-required", 428, false, "If-Match required",
        "This write needs `If-Match`, so that no change of others is overwritten. `If-Unmodified-Since` does not count.",
        "Read the record and send its `ETag` as `If-Match`; or `If-Match: *` if any state will do.";
    RateLimited, "rate-limited", 429, true, "Too many calls",
        "The vendor's limit, or the one configured for it, is used up.",
        "Repeat after `Retry-After`.";
    HeadersTooLarge, "headers-too-large", 431, false, "Headers too large",
        "The request's header fields are larger than the gateway takes.",
        "Send less; `detail` names the limit.";
    InternalError, "internal-error", 500, true, "A fault of the gateway",
        "The gateway failed. If this answers a write, its operation tells the outcome.",
        "Repeat a read; for a write look at its operation first. Tell the operator the `request_id`.";
    NotImplemented, "not-implemented", 501, false, "Unknown method",
        "HTTP knows no such method, or this gateway does not. Methods are case-sensitive.",
        "Use one of the methods in `/docs/`.";
    VendorError, "vendor-error", 502, true, "The vendor failed",
        "The vendor says that it failed, and it did not do what was asked.",
        "Repeat later; `vendor` holds what it said.";
    VendorCredentialsRejected, "vendor-credentials-rejected", 502, false, "The vendor does not accept the gateway",
        "The vendor refuses the credentials configured for it.",
        "The operator has to renew them.";
    VendorProtocolError, "vendor-protocol-error", 502, true, "The vendor answered nonsense",
        "The vendor's answer is not what its documentation allows for: not JSON, cut short, a redirect, too long.",
        "Tell the operator: the address may be wrong, or something stands in front of the vendor.";
    Overloaded, "overloaded", 503, true, "Too busy",
        "Too many requests wait for this vendor, its circuit is open, the store cannot be written, or the gateway shuts down. Nothing was sent.",
        "Repeat after `Retry-After`.";
    VendorUnavailable, "vendor-unavailable", 503, true, "The vendor cannot be reached",
        "No connection to the vendor could be made, or it says that it is out of service. Nothing was changed.",
        "Repeat after `Retry-After`.";
    VendorTimeout, "vendor-timeout", 504, true, "The vendor did not answer in time",
        "A read was not answered in time.",
        "Repeat later.";
    OutcomeUnknown, "outcome-unknown", 504, false, "Nobody knows yet whether it was done",
        "The write was sent, and whether the vendor did it is not known yet. The gateway goes on finding out.",
        "Follow `operation` until it is settled; do not send the write again before (with an `Idempotency-Key` you may).";
}

impl ProblemKind {
    /// The last segment of the type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.spec().name
    }

    /// The problem of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|problem| problem.as_str() == name)
    }

    /// A problem of this name.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Problem {
        Problem { name: self, detail: detail.into(), ..Problem::default() }
    }
}

/// What the vendor said, cleaned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = VendorSaid)]
pub struct VendorErrorInfo {
    /// Its HTTP status, if it answered.
    #[schema(example = 500)]
    pub status: Option<u16>,
    /// Its own code, if it has one.
    pub code: Option<String>,
    /// Its text: short, no markup, no stack trace, no secret.
    pub message: Option<String>,
}

/// One problem that a caller is told about. It can be stored and told again, word for word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which.
    pub name: ProblemKind,
    /// What was wrong this time and what would be right.
    pub detail: String,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The system, where one was involved.
    pub system: Option<String>,
    /// What the vendor said, where it was asked.
    pub vendor: Option<VendorErrorInfo>,
    /// The values found wrong: JSON Pointer and detail.
    pub errors: Vec<(String, String)>,
    /// 412: the record's present tag, if known.
    pub current_etag: Option<String>,
    /// 412: the paths that differ from the caller's version, if known.
    pub changed: Vec<String>,
    /// The operation that tells or will tell the outcome.
    pub operation: Option<OperationId>,
    /// `lossy-write`: the names to accept.
    pub losses: Vec<String>,
    /// 405: the methods the path takes (`Allow`).
    pub allow: Option<String>,
    /// Why, for the log alone: no caller is told, no operation remembers it.
    #[serde(skip)]
    pub cause: Option<String>,
}

impl Default for Problem {
    fn default() -> Self {
        Self {
            name: ProblemKind::InternalError,
            detail: String::new(),
            retry_after: None,
            system: None,
            vendor: None,
            errors: Vec::new(),
            current_etag: None,
            changed: Vec::new(),
            operation: None,
            losses: Vec::new(),
            allow: None,
            cause: None,
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

    /// Adds the findings.
    #[must_use]
    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors.into_iter().map(|one| (one.pointer, one.detail)).collect();
        self
    }

    /// Adds why, for the log alone.
    #[must_use]
    pub fn with_cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Names the operation that tells the outcome.
    #[must_use]
    pub fn operation(mut self, operation: &OperationId) -> Self {
        self.operation = Some(operation.clone());
        self
    }

    /// Names the system.
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

    /// The document that an operation remembers, where it is known of which path and request.
    #[must_use]
    pub fn to_stored_json(&self, instance: Option<&str>, request_id: Option<&str>) -> Value {
        serde_json::to_value(ProblemDocument::new(self, instance, request_id)).unwrap_or_default()
    }

    /// What a vendor's fault is to a caller: the one table from kind to problem.
    ///
    /// `Ambiguous` faults must have been settled by reading before; one that was not is a vendor error. A write whose
    /// effect is unknown is never told by this table: the gateway says `outcome-unknown` itself.
    #[must_use]
    pub fn from_vendor_error(fault: &VendorError) -> Self {
        const DEFAULT_RETRY: Duration = Duration::from_secs(1);
        let wait = match fault.retry {
            crate::record::Retry::After(wait) => wait,
            _ => DEFAULT_RETRY,
        };
        let (name, retry_after, words) = match fault.kind {
            VendorErrorKind::NotFound => (ProblemKind::RecordNotFound, None, "the vendor has no such record"),
            VendorErrorKind::Conflict => {
                (ProblemKind::PreconditionFailed, None, "the record has been changed by somebody else")
            }
            VendorErrorKind::Busy => (ProblemKind::VendorBusy, Some(wait), "the vendor works on this record just now"),
            VendorErrorKind::Rejected => (ProblemKind::Rejected, None, "the vendor found values wrong"),
            VendorErrorKind::Forbidden => {
                (ProblemKind::VendorForbidden, None, "the vendor refuses the gateway's account this action")
            }
            VendorErrorKind::TokenRejected | VendorErrorKind::CredentialsRejected => {
                (ProblemKind::VendorCredentialsRejected, None, "the vendor does not accept the gateway's credentials")
            }
            VendorErrorKind::RateLimited => (ProblemKind::RateLimited, Some(wait), "too many calls to the vendor"),
            VendorErrorKind::Unavailable => {
                (ProblemKind::VendorUnavailable, Some(wait), "the vendor cannot be reached")
            }
            VendorErrorKind::Overloaded => {
                (ProblemKind::Overloaded, Some(wait), "too many requests wait for this vendor")
            }
            VendorErrorKind::Timeout => (ProblemKind::VendorTimeout, None, "the vendor did not answer in time"),
            VendorErrorKind::ConnectionLost | VendorErrorKind::InvalidResponse => {
                (ProblemKind::VendorProtocolError, None, "the vendor's answer could not be read")
            }
            VendorErrorKind::Ambiguous | VendorErrorKind::ServerError => {
                (ProblemKind::VendorError, None, "the vendor failed")
            }
            VendorErrorKind::Unsupported => (ProblemKind::MethodNotAllowed, None, "the vendor has no such action"),
        };
        // Texts of the gateway's own making (no status) are the detail; the vendor's are quoted in `vendor`.
        let own_words = fault.message.as_deref().filter(|_| fault.status.is_none());
        let mut problem = name.with_detail(own_words.unwrap_or(words)).errors(fault.invalid.clone());
        problem.retry_after = retry_after;
        if fault.status.is_some() {
            problem.vendor = Some(VendorErrorInfo {
                status: fault.status,
                code: fault.code.clone(),
                message: fault.message.clone(),
            });
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_one_name_and_is_found_by_it() {
        for problem in ProblemKind::ALL {
            assert_eq!(ProblemKind::parse(problem.as_str()), Some(*problem));
            let json = serde_json::to_string(problem).expect("a word");
            assert_eq!(json, format!("\"{}\"", problem.as_str()));
        }
    }

    #[test]
    fn retry_after_is_whole_seconds_and_at_least_one() {
        let seconds =
            |ms| ProblemKind::RateLimited.with_detail("").retry_after(Duration::from_millis(ms)).retry_after_seconds();
        assert_eq!([seconds(0), seconds(1), seconds(1000), seconds(1001)], [Some(1), Some(1), Some(1), Some(2)]);
    }
}
