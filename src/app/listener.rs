//! What listens.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer};

use super::StartError;
use super::tls::LiveTls;
use crate::{api, config};

/// How long an idle caller's connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long the head of a request may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Binds an address and builds the server that listens there.
pub(super) fn listen<F>(
    configured: &config::Server,
    bind: SocketAddr,
    tls: Option<&LiveTls>,
    wiring: F,
) -> Result<(Server, SocketAddr), StartError>
where
    F: Fn(&mut ServiceConfig) + Clone + Send + 'static,
{
    let failed = |error| StartError::Bind(bind, error);
    let server = HttpServer::new(move || App::new().configure(wiring.clone()))
        .workers(configured.workers)
        .on_connect(api::opened)
        .disable_signals()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .tls_handshake_timeout(HANDSHAKE_TIMEOUT)
        .shutdown_timeout(configured.shutdown_timeout.as_secs().max(1));
    let server = match tls {
        Some(tls) => {
            server.bind_rustls_0_23(bind, tls.server_config().map_err(|error| StartError::Tls(error.to_string()))?)
        }
        None => server.bind(bind),
    };
    let server = server.map_err(failed)?;
    let address = server.addrs().first().copied().unwrap_or(bind);
    Ok((server.run(), address))
}
