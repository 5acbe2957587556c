//! TLS towards vendors: whom the gateway believes to be the vendor.

use std::path::Path;

use actix_web::dev::ServerHandle;
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use records_gateway::sandbox::{CallKind, Sandbox};

use super::gateway_program::{GatewayProgram, configuration};
use super::support::MATRIX42;
use super::tls::{IssuedCertificate, TestCa};

const OPEN_ACCESS: &str = "mode = \"open\"\n";

/// A fake vendor behind TLS.
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

/// A gateway whose Matrix42 is there; the system's roots are those of `system`.
fn start_gateway(
    vendors: &Sandbox,
    folder: &Path,
    vendor: &TlsVendorProxy,
    private: Option<&TestCa>,
    system: &TestCa,
) -> GatewayProgram {
    let place = |name: &str, authority: &TestCa| {
        let path = folder.join(name).display().to_string();
        std::fs::write(&path, authority.pem()).unwrap();
        path
    };
    let roots = place("roots.pem", system);
    let key = private.map(|private| format!("ca_certificate = \"{}\"\n", place("private.pem", private)));
    let text = configuration(vendors, folder, "deadline = \"3s\"", OPEN_ACCESS);
    let text = text.replace(&vendors.matrix42.base_url(), &vendor.base_url);
    let text = text.replace("[systems.itsm]\n", &format!("[systems.itsm]\nretries = 0\n{}", key.unwrap_or_default()));
    let environment = [("SSL_CERT_FILE", roots.as_str())];
    GatewayProgram::serve_with(folder, &text, "info", &["--log-format", "json"], &environment)
}

#[actix_web::test]
async fn a_vendor_certificate_signed_by_the_configured_ca_is_trusted() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let (private, public) = (TestCa::new(), TestCa::new());
    let vendor = TlsVendorProxy::start(vendors.matrix42.base_url(), &private.issue());
    let program = start_gateway(&vendors, folder.path(), &vendor, Some(&private), &public);
    let path = MATRIX42.path(MATRIX42.key);
    program.client().get(&path).send().await.assert_status(200);
    let patch = program.client().request(Method::PATCH, &path).if_match("*").fields(&MATRIX42.text_patch("over TLS"));
    patch.send().await.assert_status(204);
    assert_eq!((MATRIX42.read_text)(&vendors, MATRIX42.key).as_deref(), Some("over TLS"));
    vendor.server.stop(false).await;
}

#[actix_web::test]
async fn the_system_roots_are_trusted_unless_a_private_ca_replaces_them() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let (private, public) = (TestCa::new(), TestCa::new());
    let vendor = TlsVendorProxy::start(vendors.matrix42.base_url(), &public.issue());
    let path = MATRIX42.path(MATRIX42.key);
    let program = start_gateway(&vendors, folder.path(), &vendor, None, &public);
    program.client().get(&path).send().await.assert_status(200);
    drop(program);
    let program = start_gateway(&vendors, folder.path(), &vendor, Some(&private), &public);
    program.client().get(&path).send().await.assert_problem(503, "vendor-unavailable");
    vendor.server.stop(false).await;
}

#[actix_web::test]
async fn an_untrusted_vendor_certificate_is_503_and_its_reason_is_logged() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let (private, public) = (TestCa::new(), TestCa::new());
    let vendor = TlsVendorProxy::start(vendors.matrix42.base_url(), &private.issue());
    let program = start_gateway(&vendors, folder.path(), &vendor, None, &public);
    let response = program.client().get(&MATRIX42.path(MATRIX42.key)).send().await;
    response.assert_problem(503, "vendor-unavailable");
    assert!(response.json()["detail"].as_str().unwrap().contains("invalid peer certificate"), "{response:?}");
    assert_eq!(vendors.matrix42.log.count(CallKind::SignIn), 0, "no secret was sent");
    let log = program.stop_and_read_log();
    let told = log.lines().filter(|line| line.contains("request failed") && line.contains("invalid peer certificate"));
    assert_eq!(told.count(), 1, "{log}");
    vendor.server.stop(false).await;
}
