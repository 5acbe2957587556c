//! What a bare actix-web server does. When a test fails, its guard is no longer needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A server without guards that counts its requests and returns their bodies.
struct BareServer {
    address: std::net::SocketAddr,
    handle: ServerHandle,
    requests: Arc<AtomicUsize>,
}

impl BareServer {
    fn start() -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let server = HttpServer::new(move || {
            let counted = Arc::clone(&counted);
            App::new().default_service(web::to(move |body: Bytes| {
                counted.fetch_add(1, Ordering::SeqCst);
                async move {
                    // The next request on the connection is parsed meanwhile.
                    actix_web::rt::time::sleep(Duration::from_millis(50)).await;
                    if body.is_empty() { Bytes::from_static(b"content") } else { body }
                }
            }))
        });
        let server = server.workers(1).disable_signals().bind_auto_h2c(("127.0.0.1", 0)).expect("a port");
        let address = server.addrs()[0];
        let running = server.run();
        let handle = running.handle();
        actix_web::rt::spawn(running);
        Self { address, handle, requests }
    }

    /// Everything that the server sends within half a second after these bytes.
    async fn exchange(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.write_all(request).await.expect("sent");
        let mut received = Vec::new();
        let read = async {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut chunk).await {
                received.extend_from_slice(&chunk[..length]);
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), read).await;
        self.handle.stop(false).await;
        received
    }

    async fn exchange_text(&self, request: &str) -> String {
        String::from_utf8(self.exchange(request.as_bytes()).await).expect("UTF-8")
    }
}

/// `fix_response_framing`.
#[actix_web::test]
async fn actix_frames_a_response_by_the_method_of_the_latest_request() {
    let both = "GET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let responses = BareServer::start().exchange_text(both).await;
    assert_eq!(responses.matches("HTTP/1.1 200").count(), 2, "{responses}");
    assert!(!responses.contains("\r\n\r\ncontent"), "the response to GET has its content: {responses}");
}

/// `check_not_closing`.
#[actix_web::test]
async fn actix_executes_what_follows_a_request_with_connection_close() {
    let server = BareServer::start();
    let both = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nDELETE / HTTP/1.1\r\nHost: a\r\n\r\n";
    server.exchange_text(both).await;
    assert_eq!(server.requests.load(Ordering::SeqCst), 2);
}

/// `limit_to_content_length`.
#[actix_web::test]
async fn actix_reads_the_whole_connection_as_the_body_of_an_offered_upgrade() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\n";
    let server = BareServer::start();
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    stream.write_all(format!("{head}abcdefg").as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("half-closed");
    let mut response = String::new();
    let read = stream.read_to_string(&mut response);
    let _ = tokio::time::timeout(Duration::from_secs(1), read).await;
    server.handle.stop(false).await;
    assert!(!response.ends_with("\r\n\r\nabc"), "the body ends by its Content-Length: {response}");
}

/// `UnfinishedBody`.
#[actix_web::test]
async fn actix_reads_a_dropped_chunked_body_to_its_end_whatever_it_takes() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n";
    let response = BareServer::start().exchange_text(&format!("{head}{}", "x".repeat(300_000))).await;
    assert!(response.starts_with("HTTP/1.1 4"), "the body is not refused: {response}");
    assert!(!response.contains("connection: close"), "the connection ends: {response}");
}

/// `acquire_stream_permit`.
#[actix_web::test]
async fn actix_announces_no_limit_of_concurrent_http2_streams() {
    const SETTINGS: u8 = 4;
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let received = BareServer::start().exchange(preface).await;
    let (head, rest) = received.split_at_checked(9).expect("a frame");
    assert_eq!(head[3], SETTINGS, "{received:?}");
    let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
    let identifiers: Vec<u16> =
        rest[..length].chunks(6).map(|setting| u16::from_be_bytes([setting[0], setting[1]])).collect();
    assert!(!identifiers.contains(&MAX_CONCURRENT_STREAMS), "{identifiers:?}");
}
