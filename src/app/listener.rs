//! The servers: socket options, limits and TLS of each listener.

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_server::Server;
use socket2::{Domain, Protocol, Socket, Type};

use super::connection::ConnectionLimits;
use super::error::StartError;
use super::tls::ReloadableTls;
use crate::config;
use crate::http::{Listener, SharedApiState};

/// What a connection may take.
const LIMITS: ConnectionLimits = ConnectionLimits {
    keep_alive: Duration::from_secs(30),
    head_timeout: Duration::from_secs(5),
    handshake_timeout: Duration::from_secs(5),
    close_timeout: Duration::from_secs(1),
    write_buffer: 8 * 1024,
    shutdown: None,
};

/// How long a client may leave a response unread; then the kernel ends the connection and frees
/// what it held.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a response the kernel buffers for one connection. Left alone it would grow the
/// buffer to megabytes, and the buffers of all connections of the machine are bounded together.
const SEND_BUFFER: usize = 128 * 1024;
/// How many connections wait to be accepted.
const BACKLOG: i32 = 1024;

/// The most connections of one worker, however many files may be open: the default of actix-web.
const MAX_CONNECTIONS: usize = 25_600;

/// The most connections of one worker: three quarters of the process's open files for the API, an
/// eighth for metrics and health. Otherwise idle connections of callers would leave none for the
/// vendors and the store.
fn max_connections(listener: Listener, files: usize, workers: usize) -> usize {
    let all = match listener {
        Listener::Everything | Listener::Api => files / 4 * 3,
        Listener::Ops => files / 8,
    };
    (all / workers.max(1)).clamp(1, MAX_CONNECTIONS)
}

/// How many files the process may open. The soft limit (`ulimit -n`, often 1024) is raised to the
/// hard one first: a thousand callers that wait for one vendor must not keep out those of the
/// others.
fn raise_open_file_limit() -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).or_else(|_| rlimit::Resource::NOFILE.get_soft());
    limit.ok().and_then(|limit| limit.try_into().ok()).unwrap_or(usize::MAX)
}

/// A server that is bound to its address.
pub(super) struct BoundServer {
    /// The server, to be run.
    pub(super) server: Server,
    /// Its address.
    pub(super) address: SocketAddr,
    /// The same socket that the server accepts from.
    pub(super) socket: Socket,
}

/// Refuses new connections. A server that is only paused leaves them waiting until the process
/// ends.
pub(super) fn stop_accepting(socket: &Socket) {
    if let Err(error) = socket.shutdown(Shutdown::Read) {
        tracing::warn!(%error, "new connections wait instead of being refused");
    }
}

/// Binds an address and builds the server that listens there.
pub(super) fn listen(
    config: &config::ServerConfig,
    bind: SocketAddr,
    listener: Listener,
    tls: Option<&ReloadableTls>,
    state: &Arc<SharedApiState>,
) -> Result<BoundServer, StartError> {
    let failed = |error| StartError::Bind(bind, error);
    let tcp = bind_socket(bind).map_err(failed)?;
    let address = tcp.local_addr().map_err(failed)?;
    let socket = tcp.try_clone().map_err(failed)?.into();
    let builder = Server::build()
        .workers(config.workers)
        .max_concurrent_connections(max_connections(listener, raise_open_file_limit(), config.workers))
        .disable_signals()
        .shutdown_timeout(config.shutdown_timeout.as_secs().max(1));
    let (state, shutdown) = (Arc::clone(state), builder.graceful_shutdown_signal());
    let limits = move || LIMITS.shut_down_by(shutdown.clone());
    let builder = match tls {
        Some(tls) => {
            let tls = tls.server_config(config.http2).map_err(|error| StartError::Tls(error.to_string()))?;
            builder.listen("https", tcp, move || limits().accept_tls(tls.clone(), &state, listener))
        }
        None => builder.listen("http", tcp, move || limits().accept_plain(&state, listener)),
    };
    Ok(BoundServer { server: builder.map_err(failed)?.run(), address, socket })
}

/// Connections inherit the options that are set here.
fn bind_socket(bind: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(bind), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    // Small packets do not wait for the acknowledgement of earlier ones, such as those that end a
    // TLS handshake.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&bind.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn connection_quotas_leave_file_handles_for_vendors_and_store() {
        assert!(raise_open_file_limit() > 0);
        for (files, workers, callers, operators) in [
            (1024, 2, 384, 128),
            (200, 1, 150, 25),
            (65_536, 2, 24_576, 8192),
            (8, 4, 1, 1),
            (usize::MAX, 1, 25_600, 25_600),
        ] {
            assert_eq!(max_connections(Listener::Api, files, workers), callers, "{files} {workers}");
            assert_eq!(max_connections(Listener::Ops, files, 1), operators, "{files}");
        }
    }

    #[test]
    fn accepted_connections_inherit_the_socket_options() {
        let listener = bind_socket(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a listener");
        let _caller = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (connection, _) = listener.accept().expect("a caller");
        let connection = SockRef::from(&connection);
        assert_eq!(connection.tcp_user_timeout().expect("a timeout"), Some(TCP_USER_TIMEOUT));
        assert!(connection.tcp_nodelay().expect("an option"));
        // The kernel doubles it for its own use.
        assert!(connection.send_buffer_size().expect("a size") <= 2 * SEND_BUFFER);
    }
}
