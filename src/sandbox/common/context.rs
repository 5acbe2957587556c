//! What the handlers of a fake vendor share.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use super::faults::Faults;
use super::log::RequestLog;

/// The state that the server's thread and the owner of the fake vendor share.
#[derive(Debug)]
pub(super) struct ServerContext<M> {
    pub(super) state: Arc<M>,
    pub(super) faults: Arc<Faults>,
    pub(super) log: Arc<RequestLog>,
}

/// A second handle to the socket of a connection: the only way to close it without an HTTP
/// response.
#[derive(Debug)]
pub(super) struct Socket(pub(super) TcpStream);

impl Socket {
    /// Closes both directions. Bytes written before still arrive.
    pub(super) fn reset(&self) {
        // An error means that the peer has closed it already.
        self.0.shutdown(Shutdown::Both).ok();
    }
}
