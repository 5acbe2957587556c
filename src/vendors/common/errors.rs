//! Errors of responses, and the statuses that mean the same for every vendor.

use super::error_texts::ErrorTexts;
use crate::record::{Retry, SideEffect, VendorError, VendorErrorKind};
use crate::transport::{VendorRequest, VendorResponse};

/// An error of this kind with the vendor's status and texts. A request that changes nothing has no
/// effect.
pub(crate) fn fault_from_response(
    kind: VendorErrorKind,
    request: &VendorRequest,
    response: &VendorResponse,
    texts: &ErrorTexts,
) -> VendorError {
    let mut fault = VendorError::new(kind).status(response.status);
    fault.message = texts.message();
    if request.kind.is_safe() { fault.without_effect() } else { fault }
}

/// The error of a response that the vendor does not document.
pub(crate) fn undocumented_response(request: &VendorRequest, response: &VendorResponse, detail: &str) -> VendorError {
    let fault = VendorError::invalid_response(detail).status(response.status);
    if request.kind.is_safe() { fault.without_effect() } else { fault }
}

/// The meaning of a status for which the vendor documents nothing else. Each protocol checks its
/// own statuses first.
pub(crate) fn fault_for_status(request: &VendorRequest, response: &VendorResponse, texts: &ErrorTexts) -> VendorError {
    let fault = |kind| fault_from_response(kind, request, response, texts);
    let is_write = !request.kind.is_safe();
    let retry = response.retry_after.map_or(Retry::Soon, Retry::After);
    match response.status {
        403 => fault(VendorErrorKind::Forbidden),
        404 | 410 => fault(VendorErrorKind::NotFound),
        429 => fault(VendorErrorKind::RateLimited).retry(retry),
        503 => {
            let mut fault = fault(VendorErrorKind::Unavailable).retry(retry);
            // Without Retry-After it may come from a proxy that lost the response to a write that
            // was done.
            if is_write && response.retry_after.is_none() {
                fault.effect = SideEffect::Unknown;
            }
            fault
        }
        // A 408 of a proxy does not show how far the request came.
        408 | 500..=599 => fault(VendorErrorKind::ServerError),
        400..=499 if is_write => fault(VendorErrorKind::Rejected),
        400..=499 => fault(VendorErrorKind::ServerError).retry(Retry::Never),
        200..=299 => undocumented_response(
            request,
            response,
            "the vendor responded with a success that it does not document for this call",
        ),
        300..=399 => undocumented_response(
            request,
            response,
            "the vendor responded with a redirect; the gateway never follows redirects",
        ),
        _ => undocumented_response(
            request,
            response,
            "the vendor responded with a status that is not valid for a final response",
        ),
    }
}

/// Whether a status means that the request is done, or that the body is what it requests. A client
/// takes a 2xx that it does not know for a 200 (RFC 9110 §15); a 202 means that it is not done yet,
/// a 206 and a 207 that a part of it is.
pub(crate) fn is_done(response: &VendorResponse) -> bool {
    (200..=299).contains(&response.status) && !matches!(response.status, 202 | 206 | 207)
}

/// The error of a read whose response cannot be parsed.
pub(crate) fn unparseable_response(detail: impl std::fmt::Display) -> VendorError {
    VendorError::invalid_response(format!("the vendor's response could not be read: {detail}")).without_effect()
}

/// The error of a create whose response does not show what was created.
pub(crate) fn missing_id_fault(response: &VendorResponse) -> VendorError {
    VendorError::invalid_response("the vendor's response to the create names no record").status(response.status)
}

/// The error of a cursor that is not the adapter's.
pub(crate) fn invalid_cursor_fault() -> VendorError {
    VendorError::new(VendorErrorKind::Rejected)
        .message("the cursor is not one of this list, or it belongs to another limit")
}
