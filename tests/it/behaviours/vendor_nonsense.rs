//! Vendors that answer nonsense: a caller gets a 502, and nobody else notices.

use records_gateway::sandbox::{CallKind, Fault};

use crate::support::{Answer, Bench, House, for_each_vendor};

for_each_vendor!(
    a_read_that_brings_nonsense_is_502,
    a_list_that_brings_nonsense_is_502,
    no_redirect_is_followed,
    a_slow_answer_is_taken,
    one_that_fails_for_a_moment_is_asked_again,
);

const SMALL: &[(&str, &str, &str)] = &[("vendor", "max_vendor_body", "65536"), ("vendor", "retries", "1")];

fn nonsense() -> Vec<Fault> {
    vec![
        Fault::HtmlPage,
        Fault::WrongJson,
        Fault::HalfBody,
        Fault::HugeBody { bytes: 200_000 },
        Fault::Redirect { location: "http://127.0.0.1:1/".to_owned() },
        Fault::status(200),
        Fault::status(204),
        Fault::status(304),
        Fault::json(200, "{"),
        Fault::json(200, "7"),
        Fault::json(200, "[7]"),
        Fault::json(200, r#"{"items":[7],"nextPageKey":7}"#),
        Fault::json(200, format!("{{\"items\":{}", "[".repeat(20_000))),
        Fault::json(200, "{\"ID\":\"\u{0}\",\"items\":null,\"id\":7}"),
    ]
}

async fn a_read_that_brings_nonsense_is_502(bench: &'static Bench) {
    let house = House::with(bench, SMALL).await;
    for fault in nonsense() {
        house.faults().always(bench.reading, fault.clone());
        let answer = house.read(bench.key).send().await;
        assert_eq!((answer.status, answer.problem().as_str()), (502, "vendor-protocol-error"), "{fault:?}: {answer:?}");
        says_what_status_it_had(&fault, &answer);
        house.faults().clear();
        house.read(bench.key).send().await.is_done(200);
    }
}

async fn a_list_that_brings_nonsense_is_502(bench: &'static Bench) {
    let house = House::with(bench, SMALL).await;
    for fault in nonsense() {
        house.faults().always(CallKind::List, fault.clone());
        let path = format!("/records/{}?collection={}", bench.system, bench.collection());
        let answer = house.get(&path).send().await;
        assert_eq!((answer.status, answer.problem().as_str()), (502, "vendor-protocol-error"), "{fault:?}: {answer:?}");
        says_what_status_it_had(&fault, &answer);
        house.faults().clear();
        house.get(&path).send().await.is_done(200);
    }
}

/// An answer that came whole.
fn says_what_status_it_had(fault: &Fault, answer: &Answer) {
    if let Fault::Answer { status, .. } = fault {
        assert_eq!(answer.json()["vendor"]["status"], *status, "{fault:?}: {answer:?}");
    }
}

/// Not even to the vendor itself: it would come with the gateway's credentials.
async fn no_redirect_is_followed(bench: &'static Bench) {
    let house = House::start(bench).await;
    let there = House::start(bench).await;
    let elsewhere = match bench.system {
        "crm" => there.vendors.pretectum.base_url(),
        "architecture" => there.vendors.bluedolphin.base_url(),
        _ => there.vendors.matrix42.base_url(),
    };
    for kind in [bench.reading, CallKind::List] {
        house.faults().always(kind, Fault::Redirect { location: format!("{elsewhere}/v1/elsewhere") });
    }
    house.read(bench.key).send().await.is(502, "vendor-protocol-error");
    there.nothing_was_sent();
    assert!(house.lines().iter().all(|line| !line.contains("elsewhere")));
}

async fn a_slow_answer_is_taken(bench: &'static Bench) {
    let house = House::start(bench).await;
    house.once(bench.reading, Fault::SlowDrip { pause: std::time::Duration::ZERO });
    house.read(bench.key).send().await.is_done(200);
}

async fn one_that_fails_for_a_moment_is_asked_again(bench: &'static Bench) {
    let house = House::start(bench).await;
    house.read(bench.other).send().await.is_done(200);
    for fault in [Fault::status(500), Fault::status(502), Fault::ResetBefore, Fault::HalfBody] {
        house.faults().next(bench.reading, 2, fault.clone());
        let answer = house.read(bench.key).send().await;
        assert_eq!(answer.status, 200, "{fault:?}: {answer:?}");
    }
    house.faults().always(bench.reading, Fault::status(500));
    house.forget_calls();
    house.read(bench.key).send().await.is(502, "vendor-error");
    assert_eq!(house.calls(bench.reading), 3, "two repeats and no more");
}
