//! TLS between the gateway and vendors: which certificates are trusted.

use actix_web::dev::ServerHandle;
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use records_gateway::sandbox::CallKind;

use super::support::{MATRIX42, TestProcess};
use super::tls::{IssuedCertificate, TestCa};

/// A TLS proxy in front of a fake vendor.
struct TlsVendorProxy {
    base_url: String,
    server: ServerHandle,
}

impl TlsVendorProxy {
    fn start(vendor: String, identity: &IssuedCertificate) -> Self {
        let app = move || App::new().app_data(Data::new(vendor.clone())).default_service(web::to(forward));
        let server = HttpServer::new(app).workers(1).disable_signals();
        let server = server.bind_rustls_0_23(("127.0.0.1", 0), identity.server_config()).unwrap();
        let base_url = format!("https://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { base_url, server: handle }
    }
}

async fn forward(request: HttpRequest, body: Bytes, vendor: Data<String>) -> HttpResponse {
    let client = awc::Client::builder().disable_redirects().finish();
    let mut call = client.request(request.method().clone(), format!("{}{}", **vendor, request.uri())).no_decompress();
    for name in [AUTHORIZATION, CONTENT_TYPE] {
        if let Some(value) = request.headers().get(&name) {
            call = call.insert_header((name, value.clone()));
        }
    }
    call = call.insert_header(("Explicit-Language", "en"));
    let mut response = call.send_body(body).await.unwrap();
    let body = response.body().await.unwrap();
    HttpResponse::build(response.status()).content_type("application/json").body(body)
}

/// A gateway that reaches Matrix42 through a TLS proxy with this certificate. `public` is the only
/// authority among the system's roots, `private` the one configured for the system.
fn start_gateway(
    identity: &IssuedCertificate,
    private: Option<&TestCa>,
    public: &TestCa,
) -> (TestProcess, ServerHandle) {
    let builder = TestProcess::builder();
    let proxy = TlsVendorProxy::start(builder.vendors().matrix42.base_url(), identity);
    let write = |name: &str, authority: &TestCa| {
        let path = builder.folder().join(name).display().to_string();
        std::fs::write(&path, authority.pem()).unwrap();
        path
    };
    let roots = write("roots.pem", public);
    let private = private.map(|private| write("private.pem", private));
    let builder = builder.configure(|config| {
        let config = config.server("deadline", "3s").system("itsm", "base_url", proxy.base_url);
        let config = config.system("itsm", "retries", 0);
        match private {
            Some(private) => config.system("itsm", "ca_certificate", private),
            None => config,
        }
    });
    (builder.log_as_json().environment(&[("SSL_CERT_FILE", &roots)]).start(), proxy.server)
}

#[actix_web::test]
async fn a_vendor_certificate_signed_by_the_configured_ca_is_trusted() {
    let (private, public) = (TestCa::new(), TestCa::new());
    let identity = private.issue();
    let (process, proxy) = start_gateway(&identity, Some(&private), &public);
    let path = MATRIX42.path(MATRIX42.key);
    process.client().get(&path).send().await.assert_status(200);
    let patch = process.client().request(Method::PATCH, &path).if_match("*").fields(&MATRIX42.text_patch("over TLS"));
    patch.send().await.assert_status(204);
    assert_eq!((MATRIX42.read_text)(&process.vendors, MATRIX42.key).as_deref(), Some("over TLS"));
    proxy.stop(false).await;
}

#[actix_web::test]
async fn the_system_roots_are_trusted_unless_a_private_ca_replaces_them() {
    let (private, public) = (TestCa::new(), TestCa::new());
    let identity = public.issue();
    let path = MATRIX42.path(MATRIX42.key);
    let (process, proxy) = start_gateway(&identity, None, &public);
    process.client().get(&path).send().await.assert_status(200);
    drop(process);
    proxy.stop(false).await;
    let (process, proxy) = start_gateway(&identity, Some(&private), &public);
    process.client().get(&path).send().await.assert_problem(503, "vendor-unavailable");
    proxy.stop(false).await;
}

#[actix_web::test]
async fn an_untrusted_vendor_certificate_is_503_and_its_reason_is_logged() {
    let (private, public) = (TestCa::new(), TestCa::new());
    let identity = private.issue();
    let (process, proxy) = start_gateway(&identity, None, &public);
    let response = process.client().get(&MATRIX42.path(MATRIX42.key)).send().await;
    response.assert_problem(503, "vendor-unavailable");
    assert!(response.json()["detail"].as_str().unwrap().contains("invalid peer certificate"), "{response:?}");
    assert_eq!(process.vendors.matrix42.log.count(CallKind::SignIn), 0, "no secret was sent");
    let log = process.stop_and_read_log();
    let failures =
        log.lines().filter(|line| line.contains("request failed") && line.contains("invalid peer certificate"));
    assert_eq!(failures.count(), 1, "{log}");
    proxy.stop(false).await;
}
