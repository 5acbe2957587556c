//! How a TCP connection to a vendor is opened: nothing that is written to it waits (`TCP_NODELAY`).
//!
//! Without that the kernel keeps a small packet back until the small packet before it is acknowledged, which the other end
//! may put off for 40 ms: the first request after a TLS handshake would wait so long.

use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Connector};
use actix_web::dev::{Service, fn_service};
use actix_web::http::Uri;
use actix_web::rt::net::TcpStream;

/// Opens connections for awc.
pub(super) fn nodelay_connector()
-> impl Service<ConnectInfo<Uri>, Response = Connection<Uri, TcpStream>, Error = ConnectError> + Clone + 'static {
    let connector = Connector::default().service();
    fn_service(move |wanted: ConnectInfo<Uri>| {
        let connecting = connector.call(wanted);
        async move {
            let connection = connecting.await?;
            // A connection on which it cannot be set is slower, and no worse.
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
        assert!(connection.io_ref().nodelay().expect("told"));
    }
}
