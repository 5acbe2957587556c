//! TLS between callers and the gateway.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{Method, Version};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use records_gateway::sandbox::{CallKind, InjectedFault, matrix42};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use super::support::{ProcessBuilder, TestProcess};

/// A certificate authority.
pub(crate) struct TestCa(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, as PEM for servers and as DER for clients.
pub(crate) struct IssuedCertificate {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl TestCa {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self) -> IssuedCertificate {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        IssuedCertificate { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }
}

impl IssuedCertificate {
    /// For a server that shows this certificate.
    pub(crate) fn server_config(&self) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        builder.with_no_client_auth().with_single_cert(vec![self.certificate.der().clone()], key).unwrap()
    }
}

/// A client that trusts this authority, and may have a certificate of its own.
fn https_client(trusted: &TestCa, own: Option<&IssuedCertificate>, protocols: &[&str]) -> awc::Client {
    let connector = awc::Connector::new().rustls_0_23(Arc::new(client_config(trusted, own, protocols)));
    awc::Client::builder().timeout(Duration::from_secs(20)).connector(connector).finish()
}

fn client_config(trusted: &TestCa, own: Option<&IssuedCertificate>, protocols: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match own {
        Some(own) => {
            let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
            builder.with_client_auth_cert(vec![own.certificate.der().clone()], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

fn write_certificate(folder: &Path, served: &IssuedCertificate) {
    std::fs::write(folder.join("certificate.pem"), served.certificate.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), served.key.serialize_pem()).unwrap();
}

/// A gateway with this certificate, with HTTP/2; with `client_ca` it accepts only the authority's
/// clients.
fn start_process(served: &IssuedCertificate, client_ca: Option<&TestCa>) -> TestProcess {
    configure_tls(served, client_ca).configure(|config| config.server("http2", true)).start()
}

fn configure_tls(served: &IssuedCertificate, client_ca: Option<&TestCa>) -> ProcessBuilder {
    let builder = TestProcess::builder();
    let folder = builder.folder().to_owned();
    let path = |name: &str| toml::Value::from(folder.join(name).display().to_string());
    write_certificate(&folder, served);
    let mut tls = toml::Table::new();
    tls.insert("certificate".to_owned(), path("certificate.pem"));
    tls.insert("private_key".to_owned(), path("key.pem"));
    if let Some(authority) = client_ca {
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        tls.insert("client_ca".to_owned(), path("ca.pem"));
    }
    builder.configure(|config| config.server("tls", tls).server("ops_bind", "127.0.0.1:0"))
}

#[actix_web::test]
async fn without_the_key_http2_no_caller_gets_http_2() {
    let authority = TestCa::new();
    let process = configure_tls(&authority.issue(), None).start();
    let url = format!("{}/systems", process.base_url());
    let both = https_client(&authority, None, &["h2", "http/1.1"]).get(&url).send().await.unwrap();
    assert_eq!((both.version(), both.status().as_u16()), (Version::HTTP_11, 200));
    assert!(https_client(&authority, None, &["h2"]).get(&url).send().await.is_err());
    assert_eq!(process.terminate(), Some(0));
}

/// One frame (RFC 9113 §4.1).
fn h2_frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// The beginning of a connection, and the head of a GET whose body continues (RFC 7541 §6).
fn h2_get(path: &str) -> Vec<u8> {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const END_HEADERS: u8 = 4;
    let length = u8::try_from(path.len()).unwrap();
    let head = [&[0x82, 0x87, 0x01, 1, b'a', 0x04, length], path.as_bytes()].concat();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    [preface, h2_frame(SETTINGS, 0, 0, &[]), h2_frame(HEADERS, END_HEADERS, 1, &head)].concat()
}

#[actix_web::test]
async fn a_get_with_too_many_body_frames_ends_its_http_2_connection() {
    let authority = TestCa::new();
    let process = start_process(&authority.issue(), None);
    for payload in [&[][..], &[b'x'; 200]] {
        process.vendors.matrix42.faults.once(CallKind::Read, InjectedFault::Hold);
        let config = Arc::new(client_config(&authority, None, &["h2"]));
        let address = process.address();
        let ended = actix_web::rt::task::spawn_blocking(move || {
            let session = ClientConnection::new(config, ServerName::try_from("127.0.0.1").unwrap()).unwrap();
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut stream = StreamOwned::new(session, stream);
            let path = format!("/records/itsm/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID);
            stream.write_all(&h2_get(&path)).unwrap();
            let batch = h2_frame(0, 0, 1, payload).repeat(100);
            let sent = (0..20).try_for_each(|_| stream.write_all(&batch).and_then(|()| stream.flush()));
            // The gateway may have ended the connection already.
            drop(sent);
            stream.read_to_end(&mut Vec::new()).map_err(|error| error.kind())
        });
        let ended = ended.await.unwrap();
        assert!(!matches!(ended, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{ended:?}");
        process.vendors.matrix42.faults.release();
    }
    let url = format!("{}/systems", process.base_url());
    assert!(https_client(&authority, None, &["h2"]).get(&url).send().await.is_ok());
}

#[actix_web::test]
async fn http_1_1_and_http_2_work_over_tls() {
    let authority = TestCa::new();
    let process = start_process(&authority.issue(), None);
    let base_url = process.base_url();
    assert!(base_url.starts_with("https://127.0.0.1:"), "{base_url}");
    let url = format!("{base_url}/records/itsm/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID);
    for (protocol, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
        let client = https_client(&authority, None, &[protocol]);
        let mut read = client.get(&url).send().await.unwrap();
        assert_eq!((read.version(), read.status().as_u16()), (version, 200));
        let tag = read.headers().get("etag").unwrap().clone();
        assert!(read.body().await.unwrap().starts_with(b"{\"system\":\"itsm\""));

        let mut head = client.head(&url).send().await.unwrap();
        assert_eq!((head.status().as_u16(), head.headers().get("etag")), (200, Some(&tag)), "{protocol}");
        assert!(head.body().await.unwrap().is_empty());
        let same = client.get(&url).insert_header(("If-None-Match", tag.clone())).send().await.unwrap();
        assert_eq!(same.status().as_u16(), 304);

        let patch = |tag| {
            let request = client.request(Method::PATCH, &url).insert_header(("If-Match", tag));
            request.insert_header(("Content-Type", "application/merge-patch+json"))
        };
        let body = format!("{{\"fields\":{{\"Description\":\"over {protocol}\"}}}}");
        assert_eq!(patch(tag.clone()).send_body(body.clone()).await.unwrap().status().as_u16(), 204);
        let mut stale = patch(tag).send_body(body).await.unwrap();
        assert_eq!(stale.status().as_u16(), 412);
        assert!(stale.body().await.unwrap().starts_with(b"{\"type\":\"/problems/precondition-failed\""));
        let long = client.post(format!("{base_url}/records/itsm")).send_body("x".repeat(2 << 20)).await.unwrap();
        assert_eq!(long.status().as_u16(), 413, "{protocol}");
    }
    assert_eq!(process.terminate(), Some(0));
}

#[actix_web::test]
async fn with_a_client_ca_only_its_clients_are_accepted() {
    let (authority, client_ca, other_ca) = (TestCa::new(), TestCa::new(), TestCa::new());
    let process = start_process(&authority.issue(), Some(&client_ca));
    let url = format!("{}/systems", process.base_url());
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"]] {
        let own = client_ca.issue();
        let known = https_client(&authority, Some(&own), protocols).get(&url).send().await.unwrap();
        assert_eq!(known.status().as_u16(), 200);
        assert!(https_client(&authority, None, protocols).get(&url).send().await.is_err());
        assert!(https_client(&authority, Some(&other_ca.issue()), protocols).get(&url).send().await.is_err());
    }
    // The authority is exchanged: the clients of the former one are rejected now.
    std::fs::write(process.folder().join("ca.pem"), other_ca.pem()).unwrap();
    process.wait_for_log("server.tls was reloaded", 1).await;
    assert!(https_client(&authority, Some(&client_ca.issue()), &["h2"]).get(&url).send().await.is_err());
    assert!(https_client(&authority, Some(&other_ca.issue()), &["h2"]).get(&url).send().await.is_ok());
}

#[actix_web::test]
async fn a_valid_new_certificate_is_served_without_a_restart() {
    let (old, new) = (TestCa::new(), TestCa::new());
    let process = start_process(&old.issue(), None);
    let url = format!("{}/systems", process.base_url());
    let reaches = async |authority: &TestCa| https_client(authority, None, &["h2"]).get(&url).send().await.is_ok();
    assert!(reaches(&old).await && !reaches(&new).await);

    std::fs::write(process.folder().join("certificate.pem"), new.issue().certificate.pem()).unwrap();
    process.wait_for_log("the changed files of server.tls are invalid", 1).await;
    assert!(process.log().contains("private_key: is not the key of the certificate"), "{}", process.log());
    assert!(reaches(&old).await);

    write_certificate(process.folder(), &new.issue());
    process.wait_for_log("server.tls was reloaded", 1).await;
    assert!(reaches(&new).await && !reaches(&old).await);
}
