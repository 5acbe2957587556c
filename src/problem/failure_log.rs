//! The one log event of a failure.
//!
//! A failure is logged once, where it is handled: that of a request where it is responded to, that
//! of a write that continues without its caller where it ends. Successes are not logged: the
//! metrics count them, and a log line costs as much as half a request. Errors of callers are not
//! logged either ([`ProblemKind::is_operator_issue`]): they are returned and counted.
//!
//! Every event has all [`REQUIRED_FIELDS`] and otherwise only [`OPTIONAL_FIELDS`]; as JSON
//! (`--log-format json`) they are members of one flat object.

use std::time::Duration;

use super::{Problem, ProblemKind};
use crate::record::OperationId;

/// The fields of every failure event.
pub const REQUIRED_FIELDS: [&str; 12] = [
    "timestamp",
    "level",
    "target",
    // `request failed` or `operation failed`.
    "message",
    // `X-Request-Id`, as in the response, the problem and the ledger; `-` where it is not known.
    "request_id",
    // The configured name; `none` if the request reached no system.
    "system",
    // As in the metrics.
    "action",
    // The problem's name.
    "outcome",
    // The HTTP status of the response, whether or not the caller still waits for it.
    "status",
    // Milliseconds of vendor calls on the wire, including sign-ins and repeats.
    "vendor_ms",
    // All other milliseconds from the request's head to its end, including queues and pauses.
    "gateway_ms",
    // As in the problem document.
    "detail",
];

/// The fields of a failure event where they apply.
pub const OPTIONAL_FIELDS: [&str; 5] = [
    // The cause, which no caller gets.
    "cause",
    // The operation that has or will have the outcome.
    "operation",
    // Of the request, where it got as far as a vendor call.
    "trace_id",
    // The vendor's error, sanitized.
    "vendor_message",
    "vendor_status",
];

impl ProblemKind {
    /// Whether the operator can act on it: something here or at the vendor does not work. Errors of
    /// the caller and conflicts with other writers are no operator issues.
    #[must_use]
    pub fn is_operator_issue(self) -> bool {
        match self {
            // Only the operator can give the gateway's account more permissions, or callers higher
            // limits.
            Self::VendorForbidden | Self::VendorBusy | Self::RateLimited => true,
            // A method that HTTP does not know is an error of the caller.
            Self::NotImplemented => false,
            _ => self.spec().status >= 500,
        }
    }
}

/// A failure to be logged.
#[derive(Debug)]
pub struct FailureEvent<'f> {
    /// `request failed` or `operation failed`.
    pub message: &'static str,
    /// `X-Request-Id`.
    pub request_id: &'f str,
    /// The configured name.
    pub system: Option<&'f str>,
    /// The action, as in the metrics.
    pub action: &'f str,
    /// The problem that the caller gets.
    pub problem: &'f Problem,
    /// The operation, where the problem does not name it.
    pub operation: Option<&'f OperationId>,
    /// The request's trace.
    pub trace_id: Option<&'f str>,
    /// From the request's head to its end.
    pub elapsed: Duration,
    /// The part of it that vendor calls were on the wire.
    pub vendor_time: Duration,
}

impl FailureEvent<'_> {
    /// Logs the failure if it is an operator issue that the log does not have yet.
    pub fn log(&self) {
        let problem = self.problem;
        if !problem.kind.is_operator_issue() || problem.is_logged {
            return;
        }
        let vendor_ms = to_millis(self.vendor_time);
        let vendor_error = problem.vendor.as_ref();
        tracing::warn!(
            message = self.message,
            request_id = self.request_id,
            system = self.system.unwrap_or("none"),
            action = self.action,
            outcome = problem.kind.as_str(),
            status = problem.kind.spec().status,
            vendor_ms,
            gateway_ms = to_millis(self.elapsed).saturating_sub(vendor_ms),
            detail = problem.detail,
            cause = problem.cause,
            operation = problem.operation.as_ref().or(self.operation).map(tracing::field::display),
            trace_id = self.trace_id,
            vendor_message = vendor_error.and_then(|error| error.message.as_deref()),
            vendor_status = vendor_error.and_then(|error| error.status),
        );
    }
}

fn to_millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operator_issues_exclude_errors_of_the_caller() {
        let names = |is_issue| -> Vec<&str> {
            ProblemKind::ALL
                .iter()
                .filter(|name| name.is_operator_issue() == is_issue)
                .map(|name| name.as_str())
                .collect()
        };
        let issues = [
            "vendor-forbidden",
            "vendor-busy",
            "rate-limited",
            "internal-error",
            "vendor-error",
            "vendor-credentials-rejected",
            "vendor-protocol-error",
            "overloaded",
            "vendor-unavailable",
            "vendor-timeout",
            "outcome-unknown",
        ];
        assert_eq!(names(true), issues);
        assert!(names(false).contains(&"precondition-failed") && names(false).contains(&"operation-in-progress"));
    }
}
