use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, LocalSet};

use super::*;
use crate::record::{Retry, SideEffect, VendorErrorKind, VendorRequestKind};

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Serves one connection after another and closes each after its last response. The task returns
/// the requests it received.
async fn spawn_vendor(connections: &'static [&'static [&'static str]]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("http://{}/prefix/", listener.local_addr().expect("an address"));
    let requests = tokio::task::spawn_local(async move {
        let mut requests = Vec::new();
        for responses in connections {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            for response in *responses {
                requests.push(read_request(&mut stream).await);
                stream.write_all(response.as_bytes()).await.expect("sent");
            }
        }
        requests
    });
    (base_url, requests)
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let read = stream.read(&mut buffer).await.expect("readable");
        assert_ne!(read, 0, "the client disconnected: {text}");
        request.extend_from_slice(&buffer[..read]);
    }
}

/// Exchanges data over another socket, so that the reactor has polled the sockets under test.
async fn let_the_reactor_poll() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    for _ in 0..2 {
        let address = listener.local_addr().expect("an address");
        let (there, here) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut there, (mut here, _)) = (there.expect("connected"), here.expect("accepted"));
        there.write_all(b"x").await.expect("sent");
        here.read_exact(&mut [0]).await.expect("received");
    }
}

fn client(base_url: &str) -> Client {
    let mut settings = StackSettings::for_base_url(base_url);
    settings.max_vendor_body = 100;
    Client::new(&settings, &[]).expect("a client")
}

async fn read(client: &Client) -> Result<VendorResponse, VendorError> {
    client.call(&mut VendorRequest::new(VendorRequestKind::Read, Method::GET, "/v1/x?a=b")).await
}

async fn read_from_vendor(connections: &'static [&'static [&'static str]]) -> Result<VendorResponse, VendorError> {
    LocalSet::new()
        .run_until(async {
            let (base_url, _) = spawn_vendor(connections).await;
            read(&client(&base_url)).await
        })
        .await
}

#[tokio::test]
async fn a_request_is_sent_with_exactly_the_gateways_headers() {
    LocalSet::new()
        .run_until(async {
            let response = "HTTP/1.1 503 No\r\nretry-after: 7\r\ncontent-type: text/x\r\ncontent-length: 2\r\n\r\nhi";
            let connections: &[&[&str]] =
                Box::leak(Box::new([Box::leak(Box::new([response, EMPTY, EMPTY])) as &[&str]]));
            let (base_url, requests) = spawn_vendor(connections).await;
            let client = client(&base_url);
            let mut call = VendorRequest::new(VendorRequestKind::Update, Method::PUT, "/v1/x?a=b").body("{}");
            call.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
            let response = client.call(&mut call).await.expect("a response");
            assert_eq!(
                (response.status, response.content_type.as_str(), &response.body[..]),
                (503, "text/x", &b"hi"[..])
            );
            assert_eq!(response.retry_after, Some(Duration::from_secs(7)));
            client
                .call(&mut VendorRequest::new(VendorRequestKind::SignIn, Method::POST, "/t"))
                .await
                .expect("a response");
            client
                .call(&mut VendorRequest::new(VendorRequestKind::Delete, Method::DELETE, "/t"))
                .await
                .expect("a response");
            let requests = requests.await.expect("requests");
            let lines = |request: &str| {
                let mut lines: Vec<String> = request.lines().map(str::to_owned).collect();
                // actix adds `Date`, as RFC 9110 §6.6.1 allows a user agent to do.
                lines.retain(|line| !line.starts_with("date: "));
                lines.sort_unstable();
                lines
            };
            let host = format!("host: {}", client.vendor.header.to_str().expect("text"));
            let agent = format!("user-agent: {USER_AGENT_VALUE}");
            let (via, accept) = ("via: 1.1 records-gateway", "accept: application/json");
            let encoding = "accept-encoding: identity";
            let mut expected = vec![
                "",
                "{}",
                "PUT /prefix/v1/x?a=b HTTP/1.1",
                accept,
                encoding,
                "content-length: 2",
                "content-type: application/json",
                &host,
                &agent,
                via,
            ];
            expected.sort_unstable();
            assert_eq!(lines(&requests[0]), expected);
            assert!(requests[1].contains("content-length: 0"));
            assert!(!requests[2].contains("content-length"));
        })
        .await;
}

#[tokio::test]
async fn a_refused_connection_proves_that_nothing_was_sent() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    LocalSet::new()
        .run_until(async {
            let mut call = VendorRequest::new(VendorRequestKind::Update, Method::PUT, "/x").body("{}");
            let fault = client(&format!("http://{free}")).call(&mut call).await.expect_err("refused");
            assert_eq!(
                (fault.kind, fault.effect, fault.retry),
                (VendorErrorKind::Unavailable, SideEffect::None, Retry::Soon)
            );
        })
        .await;
}

#[tokio::test]
async fn a_connection_lost_before_the_response_has_an_unknown_effect() {
    for response in [&[&[""] as &[&str]] as &[&[&str]], &[&["HTTP/1.1 200 O"]]] {
        let fault = read_from_vendor(response).await.expect_err("broken");
        assert_eq!((fault.kind, fault.effect), (VendorErrorKind::ConnectionLost, SideEffect::Unknown));
    }
}

#[tokio::test]
async fn a_truncated_response_is_not_accepted_as_complete() {
    let by_length: &[&[&str]] = &[&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"a\":1}"]];
    let in_chunks: &[&[&str]] = &[&[
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n6\r\n{\"a\":1\r\n",
    ]];
    let until_close: &[&[&str]] = &[&["HTTP/1.0 200 OK\r\ncontent-type: text/json\r\n\r\n[1,"]];
    for response in [by_length, in_chunks, until_close] {
        assert_eq!(
            read_from_vendor(response).await.expect_err("cut").kind,
            VendorErrorKind::ConnectionLost,
            "{response:?}"
        );
    }
}

#[tokio::test]
async fn chunks_are_joined_into_one_body() {
    let response =
        read_from_vendor(&[&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"]])
            .await;
    assert_eq!(&response.expect("a response").body[..], b"abcde");
}

#[tokio::test]
async fn an_oversized_response_is_an_invalid_response() {
    let announced: &[&[&str]] = &[&["HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n"]];
    let streamed: &[&[&str]] = &[&[concat!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n32\r\n",
        "12345678901234567890123456789012345678901234567890",
        "\r\n33\r\n",
        "123456789012345678901234567890123456789012345678901",
        "\r\n0\r\n\r\n"
    )]];
    for response in [announced, streamed] {
        assert_eq!(
            read_from_vendor(response).await.expect_err("too long").kind,
            VendorErrorKind::InvalidResponse,
            "{response:?}"
        );
    }
}

/// The vendor sends header lines until the client closes the connection.
#[tokio::test]
async fn an_endless_response_head_is_an_invalid_response() {
    LocalSet::new()
        .run_until(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let base_url = format!("http://{}/", listener.local_addr().expect("an address"));
            let endless = tokio::task::spawn_local(async move {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                read_request(&mut stream).await;
                let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
                while sent.is_ok() {
                    sent = stream.write_all(b"x-more: and more\r\n").await;
                }
            });
            let fault = read(&client(&base_url)).await.expect_err("an endless head");
            assert_eq!(fault.kind, VendorErrorKind::InvalidResponse, "{fault}");
            endless.await.expect("the client closes the connection");
        })
        .await;
}

#[tokio::test]
async fn a_redirect_is_returned_and_not_followed() {
    let response =
        read_from_vendor(&[&["HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"]]).await;
    assert_eq!(response.expect("a response").status, 302);
}

#[tokio::test]
async fn an_idle_connection_is_reused_unless_the_vendor_has_closed_it() {
    LocalSet::new()
        .run_until(async {
            let (base_url, requests) = spawn_vendor(&[&[EMPTY, EMPTY], &[EMPTY]]).await;
            let client = client(&base_url);
            for _ in 0..3 {
                read(&client).await.expect("a response");
                let_the_reactor_poll().await;
            }
            assert_eq!(requests.await.expect("all served").len(), 3);
        })
        .await;
}

#[tokio::test]
async fn a_tls_handshake_that_fails_proves_that_nothing_was_sent() {
    LocalSet::new()
        .run_until(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            tokio::task::spawn_local(async move {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let _ = stream.write_all(b"HTTP/1.1 400 Plain\r\n\r\n").await;
            });
            let mut client = client(&format!("http://{address}"));
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            client.vendor.tls = Some(Arc::new(config));
            let mut call = VendorRequest::new(VendorRequestKind::Update, Method::PUT, "/x").body("{}");
            let fault = client.call(&mut call).await.expect_err("no TLS there");
            assert_eq!((fault.kind, fault.effect), (VendorErrorKind::Unavailable, SideEffect::None));
        })
        .await;
}

#[test]
fn invalid_base_urls_are_rejected() {
    for url in
        ["", "vendor.example", "/v1", "ftp://vendor.example", "http://a:b@vendor.example", "http://v.example/?q=1"]
    {
        let settings = StackSettings::for_base_url(url);
        assert!(matches!(Client::new(&settings, &[]), Err(StackError::BaseUrl { .. })), "{url}");
    }
}

#[tokio::test]
async fn a_sign_in_may_go_to_another_host_and_only_listed_headers_are_kept() {
    LocalSet::new()
        .run_until(async {
            const RECORD: &str = "HTTP/1.1 200 OK\r\nOData-EntityId: a(1)\r\nX-Other: b\r\ncontent-length: 2\r\n\r\n{}";
            let (vendor_url, at_vendor) = spawn_vendor(&[&[RECORD]]).await;
            let (sign_in_url, at_issuer) = spawn_vendor(&[&[EMPTY]]).await;
            let mut settings = StackSettings::for_base_url(vendor_url);
            settings.sign_in_url = Some(sign_in_url);
            let client = Client::new(&settings, &["odata-entityid"]).expect("a client");
            let mut sign_in = VendorRequest::new(VendorRequestKind::SignIn, Method::POST, "/token").to_sign_in_host();
            client.call(&mut sign_in).await.expect("a token");
            let response = read(&client).await.expect("a record");
            assert_eq!((response.header("odata-entityid"), response.header("x-other")), (Some("a(1)"), None));
            assert!(at_issuer.await.expect("requests")[0].contains("POST /prefix/token HTTP/1.1"));
            assert!(at_vendor.await.expect("requests")[0].contains("GET /prefix/v1/x?a=b HTTP/1.1"));
        })
        .await;
}

#[test]
fn an_unreadable_private_ca_is_rejected() {
    let mut settings = StackSettings::for_base_url("https://vendor.example");
    settings.ca_certificate = Some("Cargo.toml".into());
    assert!(matches!(Client::new(&settings, &[]), Err(StackError::Certificate { .. })));
    settings.ca_certificate = Some("no/such/file.pem".into());
    assert!(matches!(Client::new(&settings, &[]), Err(StackError::Certificate { .. })));
}

#[tokio::test]
async fn the_full_stack_signs_in_sends_the_request_and_reports_health() {
    use crate::transport::testing::{StatusVendor, metric_value, metrics};
    use crate::transport::{CircuitState, Transport as _, TransportStack};

    LocalSet::new()
        .run_until(async {
            let (base_url, requests) =
                spawn_vendor(&[&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nT1", EMPTY]]).await;
            let (metrics, _) = metrics();
            let name = crate::record::SystemName::parse("crm").expect("a name");
            let settings = StackSettings::for_base_url(base_url);
            let stack = TransportStack::new(&name, Arc::new(StatusVendor), &settings, None, &metrics).expect("a stack");
            let response = stack
                .send(VendorRequest::new(VendorRequestKind::Read, Method::GET, "/v1/x"))
                .await
                .expect("a response");
            assert_eq!(response.status, 200);
            let requests = requests.await.expect("requests");
            assert!(requests[0].starts_with("POST /prefix/token ") && !requests[0].contains("authorization"));
            assert!(requests[1].contains("authorization: T1\r\n"));
            let health = stack.health();
            assert_eq!(health.circuit, CircuitState::Closed);
            assert!(health.last_success.is_some() && health.last_failure.is_none() && health.token_expires.is_some());
            for call in ["sign_in", "read"] {
                let counted = format!(r#"vendor_requests_total{{call="{call}",outcome="2xx",system="crm"}}"#);
                assert_eq!(metric_value(&metrics, &counted), 1);
            }
        })
        .await;
}

#[path = "framing_tests.rs"]
mod framing;

#[tokio::test]
async fn a_read_beyond_the_memory_for_bodies_is_overloaded_and_a_write_is_read() {
    LocalSet::new()
        .run_until(async {
            let body = "x".repeat(100 * 1024);
            let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let one: &[&str] = Box::leak(Box::new([&*response.leak()]));
            let (base_url, _) = spawn_vendor(Box::leak(Box::new([one; 4]))).await;
            let mut client = client(&base_url);
            (client.max_body, client.bodies) = (body.len(), Arc::new(BodyBudget::new(150 * 1024)));
            let first = read(&client).await.expect("a response");
            let fault = read(&client).await.expect_err("no memory");
            assert_eq!((fault.kind, fault.effect), (VendorErrorKind::Overloaded, SideEffect::None));
            let mut write = VendorRequest::new(VendorRequestKind::Update, Method::PUT, "/v1/x").body("{}");
            assert_eq!(client.call(&mut write).await.expect("a response").body.len(), body.len());
            drop(first);
            assert_eq!(read(&client).await.expect("a response").body, body);
        })
        .await;
}
