//! From an accepted connection to the application.
//!
//! actix-web's `HttpServer` offers HTTP/2 to every TLS client (`src/server.rs`), so the gateway
//! puts the same parts together itself.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_server::GracefulShutdownSignal;
use actix_service::{IntoServiceFactory as _, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_tls::accept::TlsError;
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::dev::{AppConfig, Extensions};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::tls::ALPN_HTTP2;
use crate::http::{self, AbortableStream, Listener, SharedApiState};

/// What a connection may take, in time and memory.
#[derive(Clone)]
pub(super) struct ConnectionLimits {
    /// How long an idle connection is kept.
    pub(super) keep_alive: Duration,
    /// How long the head of a request may take to arrive.
    pub(super) head_timeout: Duration,
    /// How long a TLS handshake may take.
    pub(super) handshake_timeout: Duration,
    /// How long the end of a connection may take.
    pub(super) close_timeout: Duration,
    /// How much of a response is written ahead of a client that reads slowly, in bytes.
    pub(super) write_buffer: usize,
    /// When idle connections end because the server stops.
    pub(super) shutdown: Option<GracefulShutdownSignal>,
}

/// A connection with its protocol and its other end.
type AcceptedConnection<T> = (T, Protocol, Option<std::net::SocketAddr>);

impl ConnectionLimits {
    pub(super) fn shut_down_by(&self, signal: GracefulShutdownSignal) -> Self {
        Self { shutdown: Some(signal), ..self.clone() }
    }

    /// Serves HTTP/1.1.
    pub(super) fn accept_plain(
        self,
        state: &Arc<SharedApiState>,
        listener: Listener,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<> {
        fn_service(|io: TcpStream| {
            let peer = io.peer_addr().ok();
            ready(Ok::<_, DispatchError>((AbortableStream::new(io), Protocol::Http1, peer)))
        })
        .and_then(self.serve(state, listener, |io: &AbortableStream<_>, data| io.on_connect(false, data)))
    }

    /// Serves the protocol that the handshake has chosen.
    pub(super) fn accept_tls(
        self,
        tls: ServerConfig,
        state: &Arc<SharedApiState>,
        listener: Listener,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error: std::fmt::Debug, InitError = ()> + use<>
    {
        let mut acceptor = Acceptor::new(tls);
        acceptor.set_handshake_timeout(self.handshake_timeout);
        let service = self.serve(state, listener, |io: &AbortableStream<_>, data| io.on_connect(true, data));
        acceptor.map_err(TlsError::into_service_error).map(with_protocol).and_then(service.map_err(TlsError::Service))
    }

    fn serve<T: AsyncRead + AsyncWrite + Unpin + 'static>(
        self,
        state: &Arc<SharedApiState>,
        listener: Listener,
        on_connect: fn(&T, &mut Extensions),
    ) -> impl ServiceFactory<AcceptedConnection<T>, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<T>
    {
        let app = http::app(state, listener).into_factory().map_err(|error| error.error_response());
        let builder = HttpService::build()
            .keep_alive(self.keep_alive)
            .client_request_timeout(self.head_timeout)
            .client_disconnect_timeout(self.close_timeout)
            .h1_write_buffer_size(self.write_buffer)
            .on_connect_ext(on_connect);
        let builder = match self.shutdown {
            Some(shutdown) => builder.graceful_shutdown_signal(move || {
                let shutdown = shutdown.clone();
                async move { shutdown.notified().await }
            }),
            None => builder,
        };
        builder.finish(map_config(app, |()| AppConfig::default()))
    }
}

fn with_protocol(io: TlsStream<TcpStream>) -> AcceptedConnection<AbortableStream<TlsStream<TcpStream>>> {
    let (tcp, session) = io.get_ref();
    let protocol = if session.alpn_protocol() == Some(ALPN_HTTP2) { Protocol::Http2 } else { Protocol::Http1 };
    let peer = tcp.peer_addr().ok();
    (AbortableStream::new(io), protocol, peer)
}
