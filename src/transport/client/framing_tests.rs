//! Where a response ends (RFC 9112 §6.3), and how its body is coded.

use bytes::Bytes;

use super::*;

#[tokio::test]
async fn a_response_that_is_not_http_is_an_invalid_response() {
    let fault = read_from_vendor(&[&["SSH-2.0-OpenSSH_9.6\r\n\r\n"]]).await.expect_err("not HTTP");
    assert_eq!(fault.kind, VendorErrorKind::InvalidResponse);
}

#[tokio::test]
async fn interim_responses_before_the_final_one_are_skipped() {
    const FINAL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes";
    const INTERIM: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let together: &'static str = Box::leak(format!("{INTERIM}{FINAL}").into_boxed_str());
    LocalSet::new()
        .run_until(async {
            let connections: &[&[&str]] = Box::leak(Box::new([Box::leak(Box::new([together, together])) as &[&str]]));
            let (base_url, requests) = spawn_vendor(connections).await;
            let client = client(&base_url);
            for _ in 0..2 {
                let response = read(&client).await.expect("the final response");
                assert_eq!((response.status, &response.body[..]), (200, &b"yes"[..]));
                let_the_reactor_poll().await;
            }
            assert_eq!(requests.await.expect("all served").len(), 2, "on one connection");
        })
        .await;
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_read_to_its_end() {
    for head in ["HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"] {
        let response: &'static str = Box::leak(format!("{head}{{\"a\":1}}").into_boxed_str());
        let connections: &[&[&str]] = Box::leak(Box::new([Box::leak(Box::new([response])) as &[&str]]));
        let response = read_from_vendor(connections).await.expect("a response");
        assert_eq!((response.status, &response.body[..]), (200, &b"{\"a\":1}"[..]), "{head}");
    }
}

/// The vendor keeps the connection open and sends no chunk.
#[tokio::test(start_paused = true)]
async fn a_204_ends_at_its_head_whatever_it_announces() {
    LocalSet::new()
        .run_until(async {
            let head = "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n";
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let base_url = format!("http://{}/", listener.local_addr().expect("an address"));
            tokio::task::spawn_local(async move {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                read_request(&mut stream).await;
                stream.write_all(head.as_bytes()).await.expect("sent");
                std::future::pending::<()>().await;
            });
            assert_eq!(read(&client(&base_url)).await.expect("a response").status, 204);
        })
        .await;
}

#[tokio::test]
async fn data_after_a_response_is_not_returned_to_the_next_request() {
    const CONNECTIONS: &[&[&str]] = &[
        &["HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno"],
        &["HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes"],
    ];
    LocalSet::new()
        .run_until(async {
            let (base_url, _) = spawn_vendor(CONNECTIONS).await;
            let client = client(&base_url);
            assert_eq!(read(&client).await.expect("a response").status, 500);
            assert_eq!(&read(&client).await.expect("on a new connection").body[..], b"yes");
        })
        .await;
}

#[test]
fn a_gzip_body_is_decoded_within_the_limit() {
    let gzip = |content: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, content).expect("written");
        bytes::Bytes::from(encoder.finish().expect("finished"))
    };
    let decode = |body, coding| decode_body(body, Some(coding), 100);
    assert_eq!(decode(gzip(b"{\"a\":1}"), "gzip").expect("gzip").as_deref(), Some(&b"{\"a\":1}"[..]));
    assert_eq!(decode(gzip(&[b'x'; 100]), "X-GZIP").expect("gzip").map(|body| body.len()), Some(100));
    assert_eq!(decode(gzip(&vec![b'x'; 100_000]), "gzip").expect("gzip"), None, "too long");
    assert_eq!(decode(Bytes::from_static(b"{}"), "identity").expect("as it is").as_deref(), Some(&b"{}"[..]));
    for (body, coding) in [(Bytes::from_static(b"{}"), "gzip"), (gzip(b"{}").slice(..12), "gzip"), (gzip(b"{}"), "br")]
    {
        assert_eq!(decode(body, coding).expect_err("unreadable").kind, VendorErrorKind::InvalidResponse);
    }
}

type Expected = Result<(u16, &'static str), (VendorErrorKind, &'static str)>;

/// Each response, byte for byte, and what is read: status and body, or the kind of error
/// and a word of its reason.
const RESPONSES: &[(&str, Expected)] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Ok((200, "{}"))),
    ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", Ok((200, "{}"))),
    ("HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", Ok((200, "{}"))),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", Ok((200, "{}"))),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}", Ok((200, "{}"))),
    ("HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}", Ok((200, "{}"))),
    ("HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", Ok((200, "{}"))),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Ok((200, "{}"))),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\"b\"\r\n{\r\n1 ;c\r\n}\r\n0\r\n\r\n", Ok((200, "{}"))),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n", Ok((200, "{}"))),
    ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Ok((200, "{}"))),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n{}", Ok((200, "{}"))),
    ("HTTP/1.1 200 OK\r\n\r\n{}", Ok((200, "{}"))),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        Ok((200, "{}")),
    ),
    ("HTTP/1.1 204 No Content\r\n\r\n", Ok((204, ""))),
    ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Ok((204, ""))),
    ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Ok((204, ""))),
    ("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", Ok((304, ""))),
    ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", Ok((304, ""))),
    ("HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n", Ok((299, ""))),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0002\r\n\r\n{}", Ok((200, "{}"))),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n002\r\n{}\r\n00\r\n\r\n", Ok((200, "{}"))),
    ("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", Ok((200, "{}"))),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        Err((VendorErrorKind::InvalidResponse, "not HTTP")),
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}", Err((VendorErrorKind::InvalidResponse, "not HTTP"))),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: zip, chunked\r\n\r\n0\r\n\r\n",
        Err((VendorErrorKind::InvalidResponse, "not HTTP")),
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
        Err((VendorErrorKind::InvalidResponse, "br")),
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        Err((VendorErrorKind::InvalidResponse, "gzip")),
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", Err((VendorErrorKind::ConnectionLost, "cut short"))),
    (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"a\":",
        Err((VendorErrorKind::ConnectionLost, "cut short")),
    ),
    ("HTTP/1.1 200 OK\r\nContent-Le", Err((VendorErrorKind::ConnectionLost, ""))),
    ("", Err((VendorErrorKind::ConnectionLost, ""))),
];

#[tokio::test]
async fn every_framing_of_the_rfc_is_read_and_every_other_is_named() {
    for (raw, expected) in RESPONSES {
        let connections: &[&[&str]] = Box::leak(Box::new([Box::leak(Box::new([*raw])) as &[&str]]));
        assert_read(raw, &read_from_vendor(connections).await, expected);
    }
}

#[tokio::test]
async fn every_framing_is_read_the_same_when_it_arrives_byte_by_byte() {
    for (raw, expected) in RESPONSES {
        let pieces = raw.as_bytes().iter().map(std::slice::from_ref);
        assert_read(raw, &read_pieces(pieces.collect()).await, expected);
    }
}

#[tokio::test]
async fn a_gzip_body_is_read_although_it_was_not_accepted() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, b"{\"a\":1}").expect("written");
    let content = encoder.finish().expect("finished");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", content.len());
    let response = read_pieces(vec![head.as_bytes(), &content]).await.expect("a response");
    assert_eq!((response.status, &response.body[..]), (200, &b"{\"a\":1}"[..]));
}

fn assert_read(raw: &str, read: &Result<VendorResponse, VendorError>, expected: &Expected) {
    match (read, expected) {
        (Ok(response), Ok((status, body))) => {
            assert_eq!((response.status, &response.body[..]), (*status, body.as_bytes()), "{raw:?}");
        }
        (Err(fault), Err((kind, word))) => {
            assert_eq!(fault.kind, *kind, "{raw:?}: {fault}");
            assert!(fault.to_string().contains(word), "{raw:?}: {fault}");
        }
        _ => panic!("{raw:?}: {read:?}"),
    }
}

/// Reads a response that the vendor sends in these pieces, one segment each.
async fn read_pieces(pieces: Vec<&[u8]>) -> Result<VendorResponse, VendorError> {
    let pieces: Vec<Vec<u8>> = pieces.into_iter().map(<[u8]>::to_vec).collect();
    let serve = async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base_url = format!("http://{}/", listener.local_addr().expect("an address"));
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("an option");
            read_request(&mut stream).await;
            for piece in pieces {
                // The client may have closed the connection after an error.
                if stream.write_all(&piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        });
        read(&client(&base_url)).await
    };
    LocalSet::new().run_until(serve).await
}

#[tokio::test]
async fn a_head_beyond_every_limit_is_an_invalid_response() {
    let head = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(400_000));
    let connections: &[&[&str]] =
        Box::leak(Box::new([Box::leak(Box::new([&*Box::leak(head.into_boxed_str())])) as &[&str]]));
    let fault = read_from_vendor(connections).await.expect_err("too long");
    assert!(matches!(fault.kind, VendorErrorKind::InvalidResponse | VendorErrorKind::ConnectionLost), "{fault}");
}
