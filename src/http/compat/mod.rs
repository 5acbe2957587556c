//! Guards against what actix-http does and nothing else here can change. Each names its upstream
//! source; the tests show that actix-http still does it, and fail when a guard is no longer needed.
//!
//! What actix-http does before there is a request stays as it is:
//! - It refuses a broken request line or header block, a head of more than 128 KiB or 96 fields,
//!   two `Host` lines, `Content-Length` with `Transfer-Encoding`, and a head that does not arrive
//!   in time with a 400, 431 or 408 without a body. Of well-formed requests only those with a
//!   target of more than 65,534 bytes or more than 96 fields are among them.
//! - It closes the connection, mostly without a response, on a chunked body whose framing is
//!   broken.
//! - It takes a chunk size of up to 16 hexadecimal digits without a limit. The size is not handed
//!   out, so that such a chunk is refused like any long body: with 413 when too much of it has
//!   arrived, or with 408.
//! - It sends `100 Continue` to every `Expect: 100-continue` at once, even where the head alone
//!   decides the final status. RFC 9110 §10.1.1 allows that.

mod abortable_stream;
mod connection_state;
mod holding_body;
mod request_body;
#[cfg(test)]
mod tests;
mod unfinished_body;
mod unread_body;

use std::pin::pin;
use std::sync::Arc;

use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use futures_util::future::{Either, select};

pub use abortable_stream::AbortableStream;
pub(super) use connection_state::{check_not_closing, disconnect_watch, is_over_tls, mark_closing};
pub(super) use request_body::limit_to_content_length;
pub(super) use unfinished_body::keep_unfinished_body;

use unfinished_body::UnfinishedBody;
use unread_body::UnreadBody;

use super::state::SharedApiState;
use super::throttled_body::chunk_large_body;
use crate::metrics::{RequestAction, RequestOutcome};
use crate::problem::ProblemKind;

/// Limits the requests of one connection and frames each response by its own request.
pub(super) async fn guard_connection(
    shared: Arc<SharedApiState>,
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(permit) = connection_state::acquire_stream_permit(request.request()) else {
        let overloaded = RequestOutcome::Problem(ProblemKind::Overloaded);
        shared.load().metrics.request(None, RequestAction::Other, overloaded, 0.0);
        return Ok(request.into_response(connection_state::too_many_streams()));
    };
    let (request, response) = match UnreadBody::take(&mut request) {
        None => next.call(request).await?,
        Some(body) => match select(next.call(request), pin!(body.discard())).await {
            Either::Left((response, _)) => response?,
            Either::Right((too_long, _)) => return Err(too_long.into()),
        },
    }
    .into_parts();
    let unfinished = UnfinishedBody::take(&request);
    if shared.is_stopping() || unfinished.is_some() {
        mark_closing(&request);
    }
    let mut response = connection_state::fix_response_framing(chunk_large_body(response), &request);
    if let Some(body) = unfinished {
        response = body.hold_until_sent(response);
    }
    Ok(ServiceResponse::new(request, connection_state::hold_permit_until_sent(response, permit)))
}
