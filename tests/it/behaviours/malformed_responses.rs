//! Malformed vendor responses: the caller gets a 502, and other requests are not affected.

use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use crate::support::{
    BLUEDOLPHIN, MATRIX42, PRETECTUM, TestConfig, TestEnv, TestResponse, VendorFixture, for_each_vendor,
};

for_each_vendor!(
    a_malformed_read_response_is_502,
    a_malformed_list_response_is_502,
    no_redirect_is_followed,
    a_slow_response_is_accepted,
    a_transiently_failing_vendor_is_retried,
    half_of_a_character_is_shown_and_can_be_mended,
    an_odd_record_does_not_spoil_its_page,
);

fn with_small_body_limit(config: TestConfig) -> TestConfig {
    config.every_system("max_vendor_body", 65_536).every_system("retries", 1)
}

fn malformed_response_faults() -> Vec<InjectedFault> {
    vec![
        InjectedFault::HtmlPage,
        InjectedFault::WrongJson,
        InjectedFault::HalfBody,
        InjectedFault::HugeBody { bytes: 200_000 },
        InjectedFault::Redirect { location: "http://127.0.0.1:1/".to_owned() },
        InjectedFault::status(200),
        InjectedFault::status(204),
        InjectedFault::status(304),
        InjectedFault::json(200, "{"),
        InjectedFault::json(200, "7"),
        InjectedFault::json(200, "[7]"),
        InjectedFault::json(200, r#"{"items":[7],"nextPageKey":7}"#),
        InjectedFault::json(200, format!("{{\"items\":{}", "[".repeat(20_000))),
        InjectedFault::json(200, "{\"ID\":\"\u{0}\",\"items\":null,\"id\":7}"),
    ]
}

async fn a_malformed_read_response_is_502(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, with_small_body_limit);
    for fault in malformed_response_faults() {
        env.faults().always(fixture.read_call_kind, fault.clone());
        let response = env.read(fixture.key).send().await;
        assert_eq!(
            (response.status, response.problem().as_str()),
            (502, "vendor-protocol-error"),
            "{fault:?}: {response:?}"
        );
        assert_vendor_status_is_reported(&fault, &response);
        env.faults().clear();
        env.read(fixture.key).send().await.assert_status(200);
    }
}

async fn a_malformed_list_response_is_502(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, with_small_body_limit);
    for fault in malformed_response_faults() {
        env.faults().always(CallKind::List, fault.clone());
        let path = format!("/records/{}?collection={}", fixture.system, fixture.collection());
        let response = env.get(&path).send().await;
        assert_eq!(
            (response.status, response.problem().as_str()),
            (502, "vendor-protocol-error"),
            "{fault:?}: {response:?}"
        );
        assert_vendor_status_is_reported(&fault, &response);
        env.faults().clear();
        env.get(&path).send().await.assert_status(200);
    }
}

/// Where the response was complete.
fn assert_vendor_status_is_reported(fault: &InjectedFault, response: &TestResponse) {
    if let InjectedFault::Response { status, .. } = fault {
        assert_eq!(response.json()["vendor"]["status"], *status, "{fault:?}: {response:?}");
    }
}

/// Not even to the vendor itself: the request would carry the gateway's credentials.
async fn no_redirect_is_followed(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let there = TestEnv::start(fixture);
    let elsewhere = fixture.vendor(&there.vendors).base_url();
    for kind in [fixture.read_call_kind, CallKind::List] {
        env.faults().always(kind, InjectedFault::Redirect { location: format!("{elsewhere}/v1/elsewhere") });
    }
    env.read(fixture.key).send().await.assert_problem(502, "vendor-protocol-error");
    there.assert_nothing_sent();
    assert!(env.requests().iter().all(|line| !line.contains("elsewhere")));
}

async fn a_slow_response_is_accepted(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.inject_once(fixture.read_call_kind, InjectedFault::SlowDrip { pause: std::time::Duration::ZERO });
    env.read(fixture.key).send().await.assert_status(200);
}

async fn a_transiently_failing_vendor_is_retried(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.read(fixture.other_key).send().await.assert_status(200);
    for fault in
        [InjectedFault::status(500), InjectedFault::status(502), InjectedFault::ResetBefore, InjectedFault::HalfBody]
    {
        env.faults().next(fixture.read_call_kind, 2, fault.clone());
        let response = env.read(fixture.key).send().await;
        assert_eq!(response.status, 200, "{fault:?}: {response:?}");
    }
    env.faults().always(fixture.read_call_kind, InjectedFault::status(500));
    env.forget_calls();
    env.read(fixture.key).send().await.assert_problem(502, "vendor-error");
    assert_eq!(env.call_count(fixture.read_call_kind), 3, "two retries and no more");
}

/// The vendor sends `to` where it holds the text `MARK`.
fn rewritten(to: &str) -> InjectedFault {
    InjectedFault::Rewrite { from: "MARK".to_owned(), to: to.to_owned() }
}

/// The only item of a list with this key, and how many other items there are.
async fn list_with(env: &TestEnv, key: &str) -> (Value, usize) {
    let path = format!("/records/{}?collection={}", env.fixture.system, env.fixture.collection());
    let list = env.get(&path).send().await.assert_status(200).json();
    let items = list["items"].as_array().unwrap();
    let (found, others): (Vec<_>, Vec<_>) = items.iter().partition(|item| item["id"] == env.fixture.id(key));
    assert_eq!(found.len(), 1, "{list}");
    let is_whole = |item: &&Value| item["fields"] != json!({}) && !item.to_string().contains("unreadable");
    assert!(others.iter().all(is_whole), "{list}");
    (found[0].clone(), others.len())
}

async fn half_of_a_character_is_shown_and_can_be_mended(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    (fixture.external_write)(&env.vendors, fixture.key, "Name MARK");
    for kind in [fixture.read_call_kind, CallKind::List] {
        env.faults().always(kind, rewritten("\\ud83d"));
    }
    let read = env.read(fixture.key).send().await;
    let record = read.assert_status(200).json();
    assert_eq!(record["fields"][fixture.text], "Name \u{fffd}");
    let warning = &record["warnings"][0];
    let pointer = format!("/fields/{}", fixture.text);
    assert_eq!((&warning["code"], &warning["pointer"]), (&json!("unreadable"), &json!(pointer)), "{record}");
    let (item, others) = list_with(&env, fixture.key).await;
    assert_eq!((&item["partial"], &item["etag"]), (&json!(true), &Value::Null), "{item}");
    assert_eq!(item["warnings"][0]["code"], "unreadable");
    assert!(others > 0);
    env.set_text(fixture.key, read.etag(), "Name").send().await.assert_status(fixture.patch_status);
    assert_eq!(env.vendor_value(fixture.key).as_deref(), Some("Name"));
    assert!(env.read(fixture.key).send().await.assert_status(200).json()["warnings"].is_null());
}

/// The vendor would get U+FFFD for a value that the patch does not touch.
#[actix_web::test]
async fn half_of_a_character_is_never_sent_back() {
    for fixture in [&MATRIX42, &PRETECTUM] {
        assert_half_is_not_sent_back(fixture).await;
    }
}

async fn assert_half_is_not_sent_back(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    (fixture.external_write)(&env.vendors, fixture.key, "MARK");
    let object = InjectedFault::Rewrite { from: "\"MARK\"".to_owned(), to: r#"{"a":["\ud83d"],"b":1}"#.to_owned() };
    env.faults().always(fixture.read_call_kind, object);
    let patch = |operation: &str, path: &str| {
        let path = format!("/fields/{}/{path}", fixture.text);
        let request = env.patch(fixture.key).if_match("*").prefer("handling=lenient");
        request.json_patch(&json!([{ "op": operation, "path": path, "value": "whole" }])).send()
    };
    let refused = patch("add", "c").await;
    let errors = refused.assert_problem(422, "rejected").json()["errors"].clone();
    assert_eq!(errors[0]["pointer"], format!("/fields/{}/a/0", fixture.text), "{errors}");
    assert_eq!(env.write_call_count(), 0);
    patch("replace", "a").await;
    let sent = env.last_call(CallKind::Update).json();
    assert_eq!(sent[fixture.text], json!({ "a": "whole", "b": 1 }));
}

#[actix_web::test]
async fn bluedolphin_replaces_no_definition_that_it_could_damage() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    env.vendors.bluedolphin.state.write(BLUEDOLPHIN.key, |definition| {
        let supplier = definition.properties.iter_mut().find(|property| property.name == "Supplier").unwrap();
        supplier.value = Some("MARK".to_owned());
    });
    let mut tags = Vec::new();
    for shown in ["\\udc01", "\u{fffd}", "\\ud83d"] {
        env.faults().clear();
        env.faults().always(CallKind::Read, rewritten(shown));
        tags.push(env.current_etag(BLUEDOLPHIN.key).await);
    }
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    let refused = env.set_text(BLUEDOLPHIN.key, &tags[2], "Renamed").send().await;
    let errors = refused.assert_problem(422, "rejected").json()["errors"].clone();
    assert_eq!(errors[0]["pointer"], "/fields/properties/Supplier/value", "{errors}");
    assert_eq!(env.write_call_count(), 0);
    let mended = json!({ "name": "Renamed", "properties": { "Supplier": { "value": "Contoso" } } });
    env.patch(BLUEDOLPHIN.key).if_match(&tags[2]).fields(&mended).send().await.assert_status(200);
    let definition = env.vendors.bluedolphin.state.definition(BLUEDOLPHIN.key).unwrap();
    assert_eq!((definition.name.as_str(), definition.property("Supplier")), ("Renamed", Some("Contoso")));
}

async fn an_odd_record_does_not_spoil_its_page(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    (fixture.external_write)(&env.vendors, fixture.key, "MARK");
    env.faults().always(
        CallKind::List,
        InjectedFault::Rewrite { from: "\"MARK\"".to_owned(), to: r#"{"a":1,"a":2}"#.to_owned() },
    );
    let (item, others) = list_with(&env, fixture.key).await;
    assert_eq!((&item["partial"], &item["etag"], &item["fields"]), (&json!(true), &Value::Null, &json!({})), "{item}");
    let warning = &item["warnings"][0];
    assert!(warning["code"] == "unreadable" && warning["detail"].as_str().unwrap().contains("twice"), "{item}");
    assert!(others > 0);
}
