//! Sends one request to a vendor, safely.
//!
//! An adapter builds a [`VendorRequest`] and hands it to the system's [`TransportStack`]. The
//! request passes the layers from the outside in; the response passes them from the inside out:
//!
//! 1. **Retry** takes the request and counts it into the retry budget.
//! 2. **Credential fallback** chooses one of the system's secrets, where it has two.
//! 3. **Authentication** adds the current token. Without one it signs in first: the sign-in is a
//!    request of its own that enters at the next layer.
//! 4. **Circuit breaker** lets the request through, or rejects it at once while the vendor is
//!    failing.
//! 5. **Bulkhead** waits for one of `max_in_flight` permits and for the `rate_limit`, which
//!    callers share.
//! 6. **Attempt** starts the clock: the timeout covers connect to last byte, not the wait before.
//! 7. **Client** opens or reuses a connection, writes the request and reads the whole response.
//! 8. Back in the attempt, [`VendorProtocol::classify`] decides once whether the response is a
//!    success or a [`VendorError`]. Secrets are redacted from the error; the metric and the span
//!    are recorded.
//! 9. The bulkhead releases its permit. The circuit breaker counts the result. Authentication
//!    replaces a rejected token and sends the request once more. Credential fallback sends it once
//!    more with the other secret. Retry sends it again after a pause where that is safe and may
//!    help.
//! 10. The adapter gets a [`VendorResponse`] that is a success, or the `VendorError`, whose
//!     [`effect`](VendorError::effect) says whether the vendor may have changed anything.
//!
//! The module `stack` builds the layers and gives the reason for their order. This module
//! knows neither records nor callers.

mod auth;
mod body_budget;
mod bulkhead;
mod circuit_breaker;
mod client;
mod credential_fallback;
mod fair_queue;
mod layer;
mod lock;
mod origin;
mod priority;
mod protocol;
mod rate_limiter;
mod redact;
mod request;
mod response;
mod retry;
mod sanitize;
mod settings;
mod shared_token;
mod stack;
#[cfg(test)]
mod testing;
mod timed_attempt;
mod tls;
pub mod trace;

#[cfg(doc)]
use crate::record::VendorError;
pub use crate::record::VendorRequestKind;
pub use circuit_breaker::{CircuitState, LastFailure};
pub use client::{ExchangeError, OneShot, OneShotResponse, exchange, fetch};
pub use layer::Transport;
pub use origin::RequestOrigin;
pub use priority::{Lane, Priority};
pub use protocol::{Token, VendorProtocol};
pub use request::{JSON, SendPermission, VendorRequest};
pub use response::VendorResponse;
pub use sanitize::{sanitize_text, strip_stack_trace};
pub use settings::{StackError, StackSettings};
pub use shared_token::{SignInLock, TokenStore};
pub use stack::{TransportStack, VendorHealth};
