//! Bodies of requests that take none, on HTTP/2.
//!
//! h2 0.3 keeps every frame of a body until it is read, and empty frames use no flow control
//! (RUSTSEC-2026-0258). A request that takes no body could so fill the memory while its handler
//! waits for a vendor. On HTTP/1 actix-http stops reading the connection instead.

use std::rc::Rc;

use actix_web::HttpMessage as _;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::{Method, Version};
use futures_util::StreamExt as _;

use super::connection_state::{Connection, StreamSignals};

/// What is read of such a body before its connection ends, in bytes and in frames.
const MAX_BYTES: usize = 64 * 1024;
const MAX_FRAMES: usize = 1000;

/// The body of a request whose method has none here, and how to end its connection.
pub(super) struct UnreadBody {
    body: Payload,
    signals: Option<Rc<StreamSignals>>,
}

impl UnreadBody {
    pub(super) fn take(request: &mut ServiceRequest) -> Option<Self> {
        let takes_body = [Method::POST, Method::PATCH, Method::PUT].contains(request.method());
        if request.version() <= Version::HTTP_11 || takes_body {
            return None;
        }
        let signals = request.conn_data::<Connection>().and_then(Connection::abort_switch);
        Some(Self { body: request.take_payload(), signals })
    }

    /// Reads the body and forgets it. Returns only if it is too long: then the connection ends.
    pub(super) async fn discard(mut self) -> PayloadError {
        let (mut bytes, mut frames) = (0, 0);
        while let Some(Ok(chunk)) = self.body.next().await {
            (bytes, frames) = (bytes + chunk.len(), frames + 1);
            if bytes > MAX_BYTES || frames > MAX_FRAMES {
                if let Some(signals) = self.signals {
                    signals.aborted.set(true);
                }
                return PayloadError::Overflow;
            }
        }
        std::future::pending().await
    }
}
