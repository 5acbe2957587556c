//! Builds awc clients, whose connections set `TCP_NODELAY`.
//!
//! Without `TCP_NODELAY` the kernel holds a small packet back until the packet before it is
//! acknowledged, which the peer may delay by 40 ms. That would delay the first request after every
//! TLS handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_tls::connect::rustls_0_23::TlsConnector;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Connector};
use actix_web::dev::{Service, fn_service};
use actix_web::http::Uri;
use actix_web::http::uri::{Authority, Scheme};

use super::vendor_stream::{Socket, VendorStream};

/// `User-Agent` of every request.
pub(super) const USER_AGENT_VALUE: &str = concat!("records-gateway/", env!("CARGO_PKG_VERSION"));

/// Builds a client that sends exactly the headers it is given, follows no redirect and has no
/// timeout but `connect_timeout`, which applies to the TCP connect and again to the TLS handshake.
///
/// The URLs of its requests are those of [`stream_url`]: TLS is part of the stream, below awc.
pub(super) fn build_client(
    tls: Option<&Arc<rustls::ClientConfig>>,
    connect_timeout: Duration,
    keep_alive: Option<Duration>,
) -> awc::Client {
    // The bulkhead bounds the requests in flight, so the pool has no limit of its own.
    let mut connector = awc::Connector::new()
        .connector(vendor_connector(tls.map(Arc::clone), connect_timeout))
        .timeout(connect_timeout * 2)
        .limit(0);
    if let Some(keep_alive) = keep_alive {
        connector = connector.conn_keep_alive(keep_alive);
    }
    awc::Client::builder().disable_redirects().no_default_headers().disable_timeout().connector(connector).finish()
}

/// The URL that awc gets for a request: `http` with an explicit port.
pub(super) fn stream_url(url: Uri) -> Option<Uri> {
    let mut parts = url.into_parts();
    let authority = parts.authority.take()?;
    let default_port = if parts.scheme == Some(Scheme::HTTPS) { 443 } else { 80 };
    parts.authority = Some(match authority.port_u16() {
        Some(_) => authority,
        None => Authority::try_from(format!("{authority}:{default_port}")).ok()?,
    });
    parts.scheme = Some(Scheme::HTTP);
    Uri::from_parts(parts).ok()
}

fn vendor_connector(
    tls: Option<Arc<rustls::ClientConfig>>,
    timeout: Duration,
) -> impl Service<ConnectInfo<Uri>, Response = Connection<Uri, VendorStream>, Error = ConnectError> + Clone + 'static {
    let connector = Connector::default().service();
    let tls = tls.map(TlsConnector::service);
    fn_service(move |target: ConnectInfo<Uri>| {
        let (connecting, tls) = (connector.call(target), tls.clone());
        async move {
            let connection = within(timeout, connecting).await??;
            // A connection that cannot set it is slower, but correct.
            let _ = connection.io_ref().set_nodelay(true);
            let Some(tls) = tls else {
                let (tcp, connection) = connection.replace_io(());
                return Ok(connection.replace_io(VendorStream::from(Socket::Plain(tcp))).1);
            };
            let handshake = within(timeout, tls.call(connection)).await?;
            let (tls, connection) = handshake.map_err(ConnectError::Io)?.replace_io(());
            Ok(connection.replace_io(VendorStream::from(Socket::Tls(Box::new(tls)))).1)
        }
    })
}

async fn within<F: Future>(timeout: Duration, connecting: F) -> Result<F::Output, ConnectError> {
    let elapsed = |_| ConnectError::Io(io::Error::new(io::ErrorKind::TimedOut, "no connection in time"));
    tokio::time::timeout(timeout, connecting).await.map_err(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn vendor_connections_set_tcp_nodelay() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let target = ConnectInfo::new(url.parse().expect("a URL"));
        let connection = vendor_connector(None, Duration::from_secs(5)).call(target).await.expect("a connection");
        assert!(connection.io_ref().tcp().nodelay().expect("readable"));
    }

    #[test]
    fn the_url_for_awc_names_the_port_of_the_scheme() {
        for (url, expected) in [
            ("https://vendor.example/a?b=c", "http://vendor.example:443/a?b=c"),
            ("https://[::1]:8443/", "http://[::1]:8443/"),
            ("http://vendor.example/", "http://vendor.example:80/"),
        ] {
            assert_eq!(stream_url(url.parse().expect("a URL")).expect("a URL").to_string(), expected);
        }
    }
}
