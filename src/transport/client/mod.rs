//! HTTP connections to vendors. This module is the only one that uses awc.
//!
//! awc 3.11 behaves as follows (read in its source, `client/pool.rs` and `client/h1proto.rs`):
//!
//! - It never sends a request twice. Only a middleware follows redirects; it is switched off here.
//! - It polls an idle connection before it reuses it, and discards one on which the kernel has
//!   reported data or an end of stream. A close that arrives between the poll and the write goes
//!   unnoticed. So idle connections are dropped early (`keep_alive`), before the vendor would close
//!   them, and a connection that ends without a response is a [`VendorErrorKind::ConnectionLost`]
//!   with an unknown effect: the vendor may have received the request.
//! - It reports such an end as `Connect(Disconnected)`, which is *not* a failure to connect.
//! - It accepts a body that ends before its `Content-Length`, so the length is compared here. It
//!   cannot detect a truncated chunked body, so JSON without a length is checked for a missing end.
//! - It takes an interim response (1xx) for the final one, and an HTTP/1.1 response without a
//!   length, which ends with the connection (RFC 9112 §6.3), for an empty one; it waits for a body
//!   of a 204 that names a transfer coding. So `response_head` corrects such heads before awc reads
//!   them (`vendor_stream`).
//! - Dropping the future closes the connection.

mod connector;
mod host;
mod lone_surrogates;
mod one_shot;
mod receive;
mod response_head;
mod vendor_client;
mod vendor_stream;

#[cfg(doc)]
use crate::record::VendorErrorKind;
pub use one_shot::{ExchangeError, OneShot, OneShotResponse, exchange, fetch};
pub(super) use one_shot::{PostResponse, post};
pub(super) use vendor_client::Client;
