//! The gateway's own credentials: their faults are never the caller's (contract 4.7 and 5.7).

use futures_util::future::join_all;
use records_gateway::sandbox::{CallKind, Fault, Sandbox};

use crate::support::{Bench, House, for_each_native_vendor, for_each_vendor};

for_each_vendor!(
    credentials_that_the_vendor_refuses_are_502,
    a_vendor_that_refuses_every_token_is_502_after_a_few_calls,
    what_the_account_may_not_do_is_vendor_forbidden,
    no_header_of_the_caller_reaches_the_vendor,
);
for_each_native_vendor!(
    a_token_that_dies_on_the_way_is_replaced_once_and_the_write_is_done_once,
    a_burst_of_refused_calls_makes_one_sign_in,
    the_first_callers_share_one_sign_in,
    a_sign_in_page_instead_of_a_token_is_502,
);

fn expire(vendors: &Sandbox) {
    vendors.pretectum.state.expire_all_tokens();
    vendors.matrix42.state.expire_all_tokens();
}

async fn credentials_that_the_vendor_refuses_are_502(bench: &'static Bench) {
    let section = format!("systems.{}", bench.system);
    let key = match bench.system {
        "crm" => "client_secret",
        "architecture" => "api_key",
        _ => "api_token",
    };
    let house = House::with(bench, &[(&section, key, "\"wrong-secret\"")]).await;
    let read = house.read(bench.key).send().await;
    read.is(502, "vendor-credentials-rejected");
    assert_eq!(read.header("www-authenticate"), None);
    let write = house.set_text(bench.key, "\"x\"", "mine").send().await;
    write.is(502, "vendor-credentials-rejected");
    let create = house.create("new").send().await;
    create.is(502, "vendor-credentials-rejected");
    for answer in [read, write, create] {
        assert!(!answer.text.contains("wrong-secret"), "{answer:?}");
    }
    assert!(!house.ledger().await.text.contains("wrong-secret"));
}

async fn a_vendor_that_refuses_every_token_is_502_after_a_few_calls(bench: &'static Bench) {
    let house = House::start(bench).await;
    house.tag(bench.key).await;
    house.faults().always(bench.reading, Fault::status(401));
    house.read(bench.key).send().await.is(502, "vendor-credentials-rejected");
    assert!(house.calls(bench.reading) <= 2 && house.calls(CallKind::SignIn) <= 1, "{:?}", house.lines());
}

async fn what_the_account_may_not_do_is_vendor_forbidden(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    for kind in [bench.reading, CallKind::Update, CallKind::Create] {
        house.once(kind, Fault::json(403, r#"{"message":"no"}"#));
    }
    house.read(bench.key).send().await.is(403, "vendor-forbidden");
    let before = (house.held(bench.key), house.count());
    let refused = house.set_text(bench.key, &tag, "mine").send().await;
    refused.is(403, "vendor-forbidden");
    assert_eq!(house.settled(&refused).await["state"], "not-applied");
    house.create("new").send().await.is(403, "vendor-forbidden");
    assert_eq!((house.held(bench.key), house.count()), before);
    assert_eq!((house.calls(CallKind::Update), house.calls(CallKind::Create)), (1, 1));
}

async fn no_header_of_the_caller_reaches_the_vendor(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let request =
        house.set_text(bench.key, &tag, "new").header("X-Secret", "callers-own").header("Cookie", "a=callers-own");
    let request = request.header("Authorization", "Bearer callers-own").header("X-Api-Key", "callers-own");
    request.send().await.is_done(bench.patched);
    let sent = house.last(CallKind::Update);
    assert!(!format!("{:?}", sent.headers).contains("callers-own"), "{:?}", sent.headers);
    assert!(
        sent.header("if-match").is_none() && sent.header("accept-loss").is_none() && sent.header("prefer").is_none()
    );
    assert!(sent.header("via").is_some_and(|via| via.contains("records-gateway")), "{:?}", sent.headers);
}

async fn a_token_that_dies_on_the_way_is_replaced_once_and_the_write_is_done_once(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    expire(&house.vendors);
    house.set_text(bench.key, &tag, "with a new token").send().await.is_done(bench.patched);
    assert_eq!((house.calls(CallKind::SignIn), house.calls(CallKind::Update)), (1, 2), "{:?}", house.lines());
    assert_eq!(house.held(bench.key).unwrap(), "with a new token");

    let (tag, before) = (house.tag(bench.doomed).await, house.count());
    expire(&house.vendors);
    house.create("new").send().await.is_done(201);
    expire(&house.vendors);
    house.delete(bench.doomed, &tag).send().await.is_done(204);
    assert_eq!((house.count(), house.held(bench.doomed)), (before, None));
}

async fn a_burst_of_refused_calls_makes_one_sign_in(bench: &'static Bench) {
    let house = House::with(bench, &[("server", "workers", "4")]).await;
    house.tag(bench.key).await;
    expire(&house.vendors);
    let callers: Vec<_> = (0..4).map(|_| house.second_caller()).collect();
    let reads = (0..40).map(|number| callers[number % 4].get(&bench.path(bench.key)).send());
    for answer in join_all(reads).await {
        answer.is_done(200);
    }
    assert_eq!(house.calls(CallKind::SignIn), 1);
}

async fn the_first_callers_share_one_sign_in(bench: &'static Bench) {
    let house = House::with(bench, &[("server", "workers", "4")]).await;
    house.once(CallKind::SignIn, Fault::Hold);
    let release = async {
        house.received(CallKind::SignIn, 1).await;
        house.faults().release();
    };
    let reads = join_all((0..20).map(|_| house.read(bench.key).send()));
    let (answers, ()) = futures_util::future::join(reads, release).await;
    for answer in answers {
        answer.is_done(200);
    }
    assert_eq!(house.calls(CallKind::SignIn), 1);
}

async fn a_sign_in_page_instead_of_a_token_is_502(bench: &'static Bench) {
    let house = House::start(bench).await;
    for fault in [Fault::HtmlPage, Fault::WrongJson, Fault::HalfBody, Fault::status(204)] {
        house.faults().always(CallKind::SignIn, fault.clone());
        let answer = house.read(bench.key).send().await;
        assert_eq!((answer.status, answer.problem().as_str()), (502, "vendor-protocol-error"), "{fault:?}: {answer:?}");
        house.faults().clear();
    }
    house.read(bench.key).send().await.is_done(200);
    assert_eq!(house.writes(), 0);
}
