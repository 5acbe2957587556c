//! Builds awc clients, whose connections set `TCP_NODELAY`.
//!
//! Without `TCP_NODELAY` the kernel holds a small packet back until the packet before it is
//! acknowledged, which the peer may delay by 40 ms. That would delay the first request after every
//! TLS handshake.

use std::sync::Arc;
use std::time::Duration;

use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Connector};
use actix_web::dev::{Service, fn_service};
use actix_web::http::Uri;
use actix_web::rt::net::TcpStream;

/// `User-Agent` of every request.
pub(super) const USER_AGENT_VALUE: &str = concat!("records-gateway/", env!("CARGO_PKG_VERSION"));

/// Builds a client that sends exactly the headers it is given, follows no redirect and has no
/// timeout but `connect_timeout`, which applies to the TCP connect and again to the TLS handshake.
pub(super) fn build_client(
    tls: Option<&Arc<rustls::ClientConfig>>,
    connect_timeout: Duration,
    keep_alive: Option<Duration>,
) -> awc::Client {
    // The bulkhead bounds the requests in flight, so the pool has no limit of its own.
    let mut connector = awc::Connector::new()
        .connector(nodelay_connector())
        .timeout(connect_timeout)
        .handshake_timeout(connect_timeout)
        .limit(0);
    if let Some(keep_alive) = keep_alive {
        connector = connector.conn_keep_alive(keep_alive);
    }
    if let Some(tls) = tls {
        connector = connector.rustls_0_23(Arc::clone(tls));
    }
    awc::Client::builder().disable_redirects().no_default_headers().disable_timeout().connector(connector).finish()
}

fn nodelay_connector()
-> impl Service<ConnectInfo<Uri>, Response = Connection<Uri, TcpStream>, Error = ConnectError> + Clone + 'static {
    let connector = Connector::default().service();
    fn_service(move |target: ConnectInfo<Uri>| {
        let connecting = connector.call(target);
        async move {
            let connection = connecting.await?;
            // A connection that cannot set it is slower, but correct.
            let _ = connection.io_ref().set_nodelay(true);
            Ok(connection)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn vendor_connections_set_tcp_nodelay() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let connection =
            nodelay_connector().call(ConnectInfo::new(url.parse().expect("a URL"))).await.expect("a connection");
        assert!(connection.io_ref().nodelay().expect("readable"));
    }
}
