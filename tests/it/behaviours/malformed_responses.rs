//! Vendors that answer nonsense: a caller gets a 502, and nobody else notices.

use records_gateway::sandbox::{CallKind, InjectedFault};

use crate::support::{TestEnv, TestResponse, VendorFixture, for_each_vendor};

for_each_vendor!(
    a_malformed_read_response_is_502,
    a_malformed_list_response_is_502,
    no_redirect_is_followed,
    a_slow_response_is_accepted,
    a_transiently_failing_vendor_is_retried,
);

const SMALL_BODY_LIMIT: &[(&str, &str, &str)] = &[("vendor", "max_vendor_body", "65536"), ("vendor", "retries", "1")];

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

async fn a_malformed_read_response_is_502(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, SMALL_BODY_LIMIT).await;
    for fault in malformed_response_faults() {
        house.faults().always(bench.read_call_kind, fault.clone());
        let answer = house.read(bench.key).send().await;
        assert_eq!((answer.status, answer.problem().as_str()), (502, "vendor-protocol-error"), "{fault:?}: {answer:?}");
        assert_vendor_status_is_reported(&fault, &answer);
        house.faults().clear();
        house.read(bench.key).send().await.assert_status(200);
    }
}

async fn a_malformed_list_response_is_502(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, SMALL_BODY_LIMIT).await;
    for fault in malformed_response_faults() {
        house.faults().always(CallKind::List, fault.clone());
        let path = format!("/records/{}?collection={}", bench.system, bench.collection());
        let answer = house.get(&path).send().await;
        assert_eq!((answer.status, answer.problem().as_str()), (502, "vendor-protocol-error"), "{fault:?}: {answer:?}");
        assert_vendor_status_is_reported(&fault, &answer);
        house.faults().clear();
        house.get(&path).send().await.assert_status(200);
    }
}

/// An answer that came whole.
fn assert_vendor_status_is_reported(fault: &InjectedFault, answer: &TestResponse) {
    if let InjectedFault::Response { status, .. } = fault {
        assert_eq!(answer.json()["vendor"]["status"], *status, "{fault:?}: {answer:?}");
    }
}

/// Not even to the vendor itself: it would come with the gateway's credentials.
async fn no_redirect_is_followed(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let there = TestEnv::start(bench).await;
    let elsewhere = match bench.system {
        "crm" => there.vendors.pretectum.base_url(),
        "architecture" => there.vendors.bluedolphin.base_url(),
        _ => there.vendors.matrix42.base_url(),
    };
    for kind in [bench.read_call_kind, CallKind::List] {
        house.faults().always(kind, InjectedFault::Redirect { location: format!("{elsewhere}/v1/elsewhere") });
    }
    house.read(bench.key).send().await.assert_problem(502, "vendor-protocol-error");
    there.assert_nothing_sent();
    assert!(house.requests().iter().all(|line| !line.contains("elsewhere")));
}

async fn a_slow_response_is_accepted(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.inject_once(bench.read_call_kind, InjectedFault::SlowDrip { pause: std::time::Duration::ZERO });
    house.read(bench.key).send().await.assert_status(200);
}

async fn a_transiently_failing_vendor_is_retried(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.read(bench.other_key).send().await.assert_status(200);
    for fault in
        [InjectedFault::status(500), InjectedFault::status(502), InjectedFault::ResetBefore, InjectedFault::HalfBody]
    {
        house.faults().next(bench.read_call_kind, 2, fault.clone());
        let answer = house.read(bench.key).send().await;
        assert_eq!(answer.status, 200, "{fault:?}: {answer:?}");
    }
    house.faults().always(bench.read_call_kind, InjectedFault::status(500));
    house.forget_calls();
    house.read(bench.key).send().await.assert_problem(502, "vendor-error");
    assert_eq!(house.call_count(bench.read_call_kind), 3, "two repeats and no more");
}
