//! The faults and the control endpoint on the wire, tested with the vendor of the shortest
//! responses.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::client::{receive_response, send_request};
use super::{CallKind, InjectedFault, SandboxVendor};
use crate::sandbox::Sandbox;
use crate::sandbox::bluedolphin::{API_KEY, NEW_APPLICATION_ID, RETIRED_SERVER_ID, TENANT, Vendor};

const KEYS: &[(&str, &str)] = &[("x-api-key", API_KEY), ("tenant", TENANT), ("content-type", "application/json")];

fn enable_request() -> String {
    format!("POST /v1/object-definitions/{RETIRED_SERVER_ID}/enable")
}

fn read_request() -> String {
    format!("GET /v1/object-definitions/{NEW_APPLICATION_ID}")
}

fn is_enabled(vendor: &Vendor) -> bool {
    !vendor.state.definition(RETIRED_SERVER_ID).unwrap().disabled
}

#[test]
fn a_reset_before_sends_no_byte_and_has_no_effect() {
    let vendor = Vendor::start().unwrap();
    vendor.faults.once(CallKind::Update, InjectedFault::ResetBefore);
    assert_eq!(vendor.call(&enable_request(), KEYS, None).status, 0);
    assert!(!is_enabled(&vendor));
    assert_eq!(vendor.call(&enable_request(), KEYS, None).status, 200, "the fault was for one call");
}

#[test]
fn a_reset_after_sends_no_byte_but_takes_effect() {
    let vendor = Vendor::start().unwrap();
    vendor.faults.once(CallKind::Update, InjectedFault::ResetAfter);
    assert_eq!(vendor.call(&enable_request(), KEYS, None).status, 0);
    assert!(is_enabled(&vendor));
}

#[test]
fn apply_then_500_takes_effect_and_returns_500() {
    let vendor = Vendor::start().unwrap();
    vendor.faults.once(None, InjectedFault::ApplyThen500);
    assert_eq!(vendor.call(&enable_request(), KEYS, None).status, 500);
    assert!(is_enabled(&vendor));
}

#[test]
fn half_body_sends_fewer_bytes_than_its_content_length() {
    let vendor = Vendor::start().unwrap();
    vendor.faults.once(CallKind::Read, InjectedFault::HalfBody);
    let response = vendor.call(&read_request(), KEYS, None);
    let (_, length) = response.head.split_once("content-length: ").unwrap();
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.body.len(), length / 2);
}

#[test]
fn a_huge_body_has_the_requested_size() {
    let vendor = Vendor::start().unwrap();
    vendor.faults.once(CallKind::Read, InjectedFault::HugeBody { bytes: 300_000 });
    let response = vendor.call(&read_request(), KEYS, None);
    assert!(response.body.matches(' ').count() >= 300_000);
}

#[test]
fn a_slow_drip_delivers_the_whole_body() {
    let vendor = Vendor::start().unwrap();
    vendor.faults.once(None, InjectedFault::SlowDrip { pause: Duration::ZERO });
    assert_eq!(vendor.call(&enable_request(), KEYS, None).body, r#"{"result":"OK"}"#);
}

#[test]
fn injected_responses_replace_the_vendors_response() {
    let vendor = Vendor::start().unwrap();
    vendor.faults.once(None, InjectedFault::retry_after(429, "7"));
    vendor.faults.once(None, InjectedFault::HtmlPage);
    vendor.faults.once(None, InjectedFault::WrongJson);
    vendor.faults.once(None, InjectedFault::Redirect { location: "http://127.0.0.1:1/".to_owned() });
    let response = vendor.call(&enable_request(), KEYS, None);
    assert!(response.status == 429 && response.head.contains("retry-after: 7"));
    assert!(vendor.call(&enable_request(), KEYS, None).body.contains("<html>"));
    assert_eq!(vendor.call(&enable_request(), KEYS, None).json(), json!({ "unexpected": [true] }));
    let response = vendor.call(&enable_request(), KEYS, None);
    assert!(response.status == 302 && response.head.contains("location: http://127.0.0.1:1/"));
    assert!(!is_enabled(&vendor));
}

#[test]
fn a_fault_can_skip_calls_and_affects_only_its_kind() {
    let vendor = Vendor::start().unwrap();
    vendor.faults.add(CallKind::Read, InjectedFault::status(503), 1, Some(1));
    let statuses: Vec<u16> = [read_request(), enable_request(), read_request(), read_request()]
        .iter()
        .map(|c| vendor.call(c, KEYS, None).status)
        .collect();
    assert_eq!(statuses, [200, 200, 503, 200]);
}

#[actix_web::test]
async fn a_held_write_takes_effect_after_its_client_disconnects() {
    let vendor = Vendor::start().unwrap();
    vendor.faults.once(CallKind::Update, InjectedFault::Hold);
    let client = send_request(vendor.address(), &enable_request(), KEYS, None);
    vendor.log.wait_for(CallKind::Update, 1).await;
    drop(client);
    assert!(!is_enabled(&vendor));
    vendor.faults.release();
    while !is_enabled(&vendor) {
        std::thread::yield_now();
    }
}

#[actix_web::test]
async fn a_hanging_call_is_logged_and_gets_no_response() {
    let vendor = Vendor::start().unwrap();
    vendor.faults.once(CallKind::Update, InjectedFault::Hang);
    let mut waiting = send_request(vendor.address(), &enable_request(), KEYS, None);
    vendor.log.wait_for(CallKind::Update, 1).await;
    waiting.set_nonblocking(true).unwrap();
    assert_eq!(waiting.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    vendor.stop().await;
    waiting.set_nonblocking(false).unwrap();
    assert_eq!(receive_response(waiting).status, 0, "stopping the vendor closes the connection");
}

#[actix_web::test]
async fn a_paused_vendor_resumes_on_its_port_with_its_state() {
    let vendor = Vendor::start().unwrap();
    let idle = TcpStream::connect(vendor.address()).unwrap();
    vendor.call(&enable_request(), KEYS, None);
    vendor.pause().await;
    assert!(TcpStream::connect(vendor.address()).is_err(), "refused");
    assert_eq!(receive_response(idle).status, 0, "open connections are closed");
    vendor.resume().unwrap();
    vendor.resume().unwrap();
    assert_eq!(vendor.call(&read_request(), KEYS, None).status, 200);
    assert!(is_enabled(&vendor));
}

#[actix_web::test]
async fn several_sandboxes_run_in_parallel() {
    let (one, other) = (Sandbox::start().unwrap(), Sandbox::start().unwrap());
    assert_ne!(one.pretectum.base_url(), other.pretectum.base_url());
    assert_ne!(one.matrix42.base_url(), one.bluedolphin.base_url());
    assert_eq!(one.bluedolphin.call("GET /liveness", &[], None).body, "Healthy");
    for vendor in one.vendors() {
        let system = vendor.system();
        assert!(system.to_toml().starts_with(&format!("[systems.{}]\nvendor = \"{}\"\n", system.name, system.vendor)));
    }
    // The address is the one that the request was sent to.
    let system = one.dataverse.call("GET /_sandbox/system", &[], None).body;
    let shown = one.dataverse.system().to_toml().replace(&one.dataverse.base_url(), "http://vendor");
    assert_eq!(system, shown);
    one.stop().await;
    assert!(TcpStream::connect(one.matrix42.address()).is_err());
    assert_eq!(other.bluedolphin.call("GET /liveness", &[], None).body, "Healthy");
}

#[test]
fn a_dropped_vendor_releases_its_port() {
    let vendor = Vendor::start().unwrap();
    let address = vendor.address();
    drop(vendor);
    while TcpStream::connect(address).is_ok() {
        std::thread::yield_now();
    }
}

#[test]
fn the_log_records_requests_in_order_and_can_be_disabled() {
    let vendor = Vendor::start().unwrap();
    vendor.call("GET /v1/object-definitions?take=1&start=0", KEYS, None);
    vendor.call(&format!("PUT /v1/object-definitions/{NEW_APPLICATION_ID}"), KEYS, Some(r#"{"name":"x"}"#));
    vendor.log.set_enabled(false);
    vendor.call(&read_request(), KEYS, None);
    let put = format!("PUT /v1/object-definitions/{NEW_APPLICATION_ID}");
    assert_eq!(vendor.log.request_lines(), ["GET /v1/object-definitions?take=1&start=0", put.as_str()]);
    let put = vendor.log.last(CallKind::Update).unwrap();
    assert_eq!((put.json(), put.header("tenant")), (json!({ "name": "x" }), Some(TENANT)));
    vendor.log.clear();
    assert!(vendor.log.all().is_empty());
}

#[test]
fn the_control_endpoint_injects_faults_and_exposes_state() {
    let vendor = Vendor::start().unwrap();
    let fault = r#"{"call":"update","fault":"answer","status":429,"retry_after":"2","times":1}"#;
    assert_eq!(vendor.call("POST /_sandbox/faults", &[], Some(fault)).status, 204);
    assert_eq!(vendor.call(&enable_request(), KEYS, None).status, 429);
    assert_eq!(vendor.call(&enable_request(), KEYS, None).status, 200);
    let always = r#"{"fault":"delay","ms":0}"#;
    assert_eq!(vendor.call("POST /_sandbox/faults", &[], Some(always)).status, 204);
    assert_eq!(vendor.call("DELETE /_sandbox/faults", &[], None).status, 204);
    for invalid in [r#"{"fault":"explode"}"#, r#"{"fault":"delay"}"#, r#"{"call":"x","fault":"hang"}"#, "not JSON"] {
        assert_eq!(vendor.call("POST /_sandbox/faults", &[], Some(invalid)).status, 400, "{invalid}");
    }
    let path = format!("PUT /_sandbox/records/{NEW_APPLICATION_ID}");
    let update = r#"{"properties":{"Supplier":"IBM","Owner":null}}"#;
    assert_eq!(vendor.call(&path, &[], Some(update)).status, 204);
    assert_eq!(vendor.call("PUT /_sandbox/records/unknown", &[], Some("{}")).status, 404);
    assert_eq!(vendor.state.definition(NEW_APPLICATION_ID).unwrap().property("Supplier"), Some("IBM"));
    assert_eq!(vendor.call("PUT /_sandbox/settings", &[], Some(r#"{"queue_delay_ms":null}"#)).status, 204);
    assert_eq!(vendor.call("PUT /_sandbox/settings", &[], Some(r#"{"no_such":1}"#)).status, 400);
    assert_eq!(
        vendor.call("GET /_sandbox/records", &[], None).json()["definitions"][0]["source_connections"][0],
        "cmdb"
    );
    assert_eq!(
        vendor.call("GET /_sandbox/log", &[], None).json().as_array().unwrap().len(),
        2,
        "control calls are not logged"
    );
    assert_eq!(vendor.call("DELETE /_sandbox/log", &[], None).status, 204);
    assert!(vendor.log.all().is_empty());
}
