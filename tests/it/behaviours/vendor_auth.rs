//! The gateway's own credentials: their faults are never the caller's (contract 4.7 and 5.7).

use futures_util::future::join_all;
use records_gateway::sandbox::{CallKind, InjectedFault, Sandbox};

use crate::support::{TestEnv, VendorFixture, for_each_native_vendor, for_each_vendor};

for_each_vendor!(
    credentials_that_the_vendor_rejects_are_502,
    a_vendor_that_rejects_every_token_is_502_after_a_few_calls,
    an_action_that_the_vendor_account_lacks_is_vendor_forbidden,
    no_header_of_the_caller_reaches_the_vendor,
);
for_each_native_vendor!(
    an_expired_token_is_refreshed_and_the_write_is_done_once,
    a_burst_of_unauthorized_calls_triggers_one_sign_in,
    concurrent_first_requests_share_one_sign_in,
    a_sign_in_page_instead_of_a_token_is_502,
);

fn expire_tokens(vendors: &Sandbox) {
    vendors.pretectum.state.expire_all_tokens();
    vendors.matrix42.state.expire_all_tokens();
}

async fn credentials_that_the_vendor_rejects_are_502(bench: &'static VendorFixture) {
    let section = format!("systems.{}", bench.system);
    let key = match bench.system {
        "crm" => "client_secret",
        "architecture" => "api_key",
        _ => "api_token",
    };
    let house = TestEnv::start_with(bench, &[(&section, key, "\"wrong-secret\"")]).await;
    let read = house.read(bench.key).send().await;
    read.assert_problem(502, "vendor-credentials-rejected");
    assert_eq!(read.header("www-authenticate"), None);
    let write = house.set_text(bench.key, "\"x\"", "mine").send().await;
    write.assert_problem(502, "vendor-credentials-rejected");
    let create = house.create("new").send().await;
    create.assert_problem(502, "vendor-credentials-rejected");
    for answer in [read, write, create] {
        assert!(!answer.text.contains("wrong-secret"), "{answer:?}");
    }
    assert!(!house.read_ledger().await.text.contains("wrong-secret"));
}

async fn a_vendor_that_rejects_every_token_is_502_after_a_few_calls(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.current_etag(bench.key).await;
    house.faults().always(bench.read_call_kind, InjectedFault::status(401));
    house.read(bench.key).send().await.assert_problem(502, "vendor-credentials-rejected");
    assert!(
        house.call_count(bench.read_call_kind) <= 2 && house.call_count(CallKind::SignIn) <= 1,
        "{:?}",
        house.requests()
    );
}

async fn an_action_that_the_vendor_account_lacks_is_vendor_forbidden(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    for kind in [bench.read_call_kind, CallKind::Update, CallKind::Create] {
        house.inject_once(kind, InjectedFault::json(403, r#"{"message":"no"}"#));
    }
    house.read(bench.key).send().await.assert_problem(403, "vendor-forbidden");
    let before = (house.vendor_value(bench.key), house.record_count());
    let refused = house.set_text(bench.key, &current_etag, "mine").send().await;
    refused.assert_problem(403, "vendor-forbidden");
    assert_eq!(house.wait_for_operation(&refused).await["state"], "not-applied");
    house.create("new").send().await.assert_problem(403, "vendor-forbidden");
    assert_eq!((house.vendor_value(bench.key), house.record_count()), before);
    assert_eq!((house.call_count(CallKind::Update), house.call_count(CallKind::Create)), (1, 1));
}

async fn no_header_of_the_caller_reaches_the_vendor(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let request = house
        .set_text(bench.key, &current_etag, "new")
        .header("X-Secret", "callers-own")
        .header("Cookie", "a=callers-own");
    let request = request.header("Authorization", "Bearer callers-own").header("X-Api-Key", "callers-own");
    request.send().await.assert_status(bench.patch_status);
    let sent = house.last_call(CallKind::Update);
    assert!(!format!("{:?}", sent.headers).contains("callers-own"), "{:?}", sent.headers);
    assert!(
        sent.header("if-match").is_none() && sent.header("accept-loss").is_none() && sent.header("prefer").is_none()
    );
    assert!(sent.header("via").is_some_and(|via| via.contains("records-gateway")), "{:?}", sent.headers);
}

async fn an_expired_token_is_refreshed_and_the_write_is_done_once(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    expire_tokens(&house.vendors);
    house.set_text(bench.key, &current_etag, "with a new token").send().await.assert_status(bench.patch_status);
    assert_eq!(
        (house.call_count(CallKind::SignIn), house.call_count(CallKind::Update)),
        (1, 2),
        "{:?}",
        house.requests()
    );
    assert_eq!(house.vendor_value(bench.key).unwrap(), "with a new token");

    let (tag, before) = (house.current_etag(bench.deletable_key).await, house.record_count());
    expire_tokens(&house.vendors);
    house.create("new").send().await.assert_status(201);
    expire_tokens(&house.vendors);
    house.delete(bench.deletable_key, &tag).send().await.assert_status(204);
    assert_eq!((house.record_count(), house.vendor_value(bench.deletable_key)), (before, None));
}

async fn a_burst_of_unauthorized_calls_triggers_one_sign_in(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, &[("server", "workers", "4")]).await;
    house.current_etag(bench.key).await;
    expire_tokens(&house.vendors);
    let callers: Vec<_> = (0..4).map(|_| house.second_client()).collect();
    let reads = (0..40).map(|number| callers[number % 4].get(&bench.path(bench.key)).send());
    for answer in join_all(reads).await {
        answer.assert_status(200);
    }
    assert_eq!(house.call_count(CallKind::SignIn), 1);
}

async fn concurrent_first_requests_share_one_sign_in(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, &[("server", "workers", "4")]).await;
    house.inject_once(CallKind::SignIn, InjectedFault::Hold);
    let release = async {
        house.wait_for_calls(CallKind::SignIn, 1).await;
        house.faults().release();
    };
    let reads = join_all((0..20).map(|_| house.read(bench.key).send()));
    let (answers, ()) = futures_util::future::join(reads, release).await;
    for answer in answers {
        answer.assert_status(200);
    }
    assert_eq!(house.call_count(CallKind::SignIn), 1);
}

async fn a_sign_in_page_instead_of_a_token_is_502(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    for fault in
        [InjectedFault::HtmlPage, InjectedFault::WrongJson, InjectedFault::HalfBody, InjectedFault::status(204)]
    {
        house.faults().always(CallKind::SignIn, fault.clone());
        let answer = house.read(bench.key).send().await;
        assert_eq!((answer.status, answer.problem().as_str()), (502, "vendor-protocol-error"), "{fault:?}: {answer:?}");
        house.faults().clear();
    }
    house.read(bench.key).send().await.assert_status(200);
    assert_eq!(house.write_call_count(), 0);
}
