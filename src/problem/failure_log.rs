//! The one log line of a failure.
//!
//! A failure is written down once, where it is handled: a request's where it is answered (`api/door.rs`), that of a write
//! which goes on without its caller where it ends (`gateway/line.rs`, or `gateway/settler.rs` if that has taken it over). Successes leave no line: the metrics count
//! them, and a line costs as much as half a request. What a caller did wrong leaves none either
//! ([`ProblemKind::concerns_the_operator`]): it is told to the caller and counted.
//!
//! Every line has all of [`MEMBERS`], and of the others only [`MEMBERS_THAT_MAY_BE_THERE`]; as JSON (`--log-format json`) they
//! are members of one flat object.

use std::time::Duration;

use super::{Problem, ProblemKind};
use crate::record::OperationId;

/// What every line of a failure has.
pub const REQUIRED_FIELDS: [&str; 12] = [
    "timestamp",
    "level",
    "target",
    // `request failed` or `operation failed`.
    "message",
    // `X-Request-Id`, which the answer, the problem and the ledger have too; `-` where nobody remembers it.
    "request_id",
    // The configured name, `none` if the request reached no system.
    "system",
    // As in the metrics.
    "action",
    // The problem's name.
    "outcome",
    // What the caller is (or would be) answered.
    "status",
    // Milliseconds that vendor calls were on the wire, sign-ins and repeats included.
    "vendor_ms",
    // All other milliseconds from the request's head to its end: queues and pauses included.
    "gateway_ms",
    // As the caller reads it.
    "detail",
];

/// What a line of a failure has where it applies.
pub const OPTIONAL_FIELDS: [&str; 5] = [
    // What no caller is told.
    "cause",
    // The operation that tells (or will tell) the outcome.
    "operation",
    // Of the request, where a vendor was about to be asked.
    "trace_id",
    // What the vendor said, cleaned.
    "vendor_message",
    "vendor_status",
];

impl ProblemKind {
    /// Whether it is the operator's trouble: something here or at the vendor does not work. What the caller did wrong, or
    /// somebody else did first, is not.
    #[must_use]
    pub fn is_operator_issue(self) -> bool {
        match self {
            // Only the operator can give the gateway's account more rights, or callers more room.
            Self::VendorForbidden | Self::VendorBusy | Self::RateLimited => true,
            // A method that HTTP does not know is the caller's.
            Self::NotImplemented => false,
            _ => self.spec().status >= 500,
        }
    }
}

/// A failure about to be written down.
#[derive(Debug)]
pub struct FailureEvent<'f> {
    /// `request failed` or `operation failed`.
    pub message: &'static str,
    /// `X-Request-Id`.
    pub request_id: &'f str,
    /// The configured name.
    pub system: Option<&'f str>,
    /// The word of the metrics.
    pub action: &'f str,
    /// What the caller is told.
    pub problem: &'f Problem,
    /// The operation, where the problem does not name it.
    pub operation: Option<&'f OperationId>,
    /// The request's trace.
    pub trace_id: Option<&'f str>,
    /// From the request's head to its end.
    pub elapsed: Duration,
    /// How much of that vendor calls were on the wire.
    pub vendor_time: Duration,
}

impl FailureEvent<'_> {
    /// Writes it down, if it is the operator's trouble.
    pub fn log(&self) {
        let problem = self.problem;
        if !problem.name.is_operator_issue() {
            return;
        }
        let vendor_ms = to_millis(self.vendor_time);
        let said = problem.vendor.as_ref();
        tracing::warn!(
            message = self.message,
            request_id = self.request_id,
            system = self.system.unwrap_or("none"),
            action = self.action,
            outcome = problem.name.as_str(),
            status = problem.name.spec().status,
            vendor_ms,
            gateway_ms = to_millis(self.elapsed).saturating_sub(vendor_ms),
            detail = problem.detail,
            cause = problem.cause,
            operation = problem.operation.as_ref().or(self.operation).map(tracing::field::display),
            trace_id = self.trace_id,
            vendor_message = said.and_then(|said| said.message.as_deref()),
            vendor_status = said.and_then(|said| said.status),
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
        let words = |wanted| -> Vec<&str> {
            ProblemKind::ALL
                .iter()
                .filter(|name| name.is_operator_issue() == wanted)
                .map(|name| name.as_str())
                .collect()
        };
        let trouble = [
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
        assert_eq!(words(true), trouble);
        assert!(words(false).contains(&"precondition-failed") && words(false).contains(&"operation-in-progress"));
    }
}
