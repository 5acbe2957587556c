//! Which problem a vendor's error is.

use std::time::Duration;

use super::{Problem, ProblemKind, VendorErrorInfo};
use crate::record::{Retry, VendorError, VendorErrorKind};

impl Problem {
    /// The problem of a vendor's error: the one table from error kinds to problems.
    ///
    /// `Ambiguous` errors must have been resolved by reading before; one that was not is a vendor
    /// error. A write with an unknown effect never gets here: the gateway responds
    /// `outcome-unknown` itself.
    #[must_use]
    pub fn from_vendor_error(error: &VendorError) -> Self {
        const DEFAULT_RETRY: Duration = Duration::from_secs(1);
        let wait = match error.retry {
            Retry::After(wait) => wait,
            _ => DEFAULT_RETRY,
        };
        let (name, retry_after, default_detail) = match error.kind {
            VendorErrorKind::NotFound => (ProblemKind::RecordNotFound, None, "the vendor has no such record"),
            VendorErrorKind::Conflict => {
                (ProblemKind::PreconditionFailed, None, "the record was changed by another writer")
            }
            VendorErrorKind::Busy => (ProblemKind::VendorBusy, Some(wait), "the vendor is processing this record"),
            VendorErrorKind::Rejected => (ProblemKind::Rejected, None, "the vendor rejected values"),
            VendorErrorKind::Forbidden => {
                (ProblemKind::VendorForbidden, None, "the vendor does not allow the gateway's account this action")
            }
            VendorErrorKind::TokenRejected | VendorErrorKind::CredentialsRejected => {
                (ProblemKind::VendorCredentialsRejected, None, "the vendor rejects the gateway's credentials")
            }
            VendorErrorKind::RateLimited => (ProblemKind::RateLimited, Some(wait), "too many calls to the vendor"),
            // With a status the vendor was reached.
            VendorErrorKind::Unavailable if error.status.is_some() => {
                (ProblemKind::VendorUnavailable, Some(wait), "the vendor reports that it is busy or out of service")
            }
            VendorErrorKind::Unavailable | VendorErrorKind::CircuitOpen => {
                (ProblemKind::VendorUnavailable, Some(wait), "the vendor cannot be reached")
            }
            VendorErrorKind::Overloaded => {
                (ProblemKind::Overloaded, Some(wait), "too many requests wait for this vendor")
            }
            VendorErrorKind::Timeout => (ProblemKind::VendorTimeout, None, "the vendor did not respond in time"),
            VendorErrorKind::ConnectionLost | VendorErrorKind::InvalidResponse => {
                (ProblemKind::VendorProtocolError, None, "the vendor's response could not be read")
            }
            VendorErrorKind::Ambiguous | VendorErrorKind::ServerError => {
                (ProblemKind::VendorError, None, "the vendor failed")
            }
            VendorErrorKind::Unsupported => (ProblemKind::MethodNotAllowed, None, "the vendor has no such action"),
            VendorErrorKind::NotCompared => {
                (ProblemKind::GuaranteeUnavailable, None, "the vendor compares no versions in this collection")
            }
        };
        // A message without a status is the gateway's own and becomes the detail; the vendor's goes
        // into `vendor`.
        let own_message = error.message.as_deref().filter(|_| error.status.is_none());
        let mut problem = name.with_detail(own_message.unwrap_or(default_detail)).errors(error.invalid.clone());
        problem.retry_after = retry_after;
        problem.is_logged = error.kind == VendorErrorKind::CircuitOpen;
        if error.status.is_some() {
            problem.vendor = Some(VendorErrorInfo {
                status: error.status,
                code: error.code.clone(),
                message: error.message.clone(),
            });
        }
        problem
    }
}
