//! The gateway's own credentials: their errors are not the caller's (contract 4.7 and 5.7).

use futures_util::future::join_all;
use records_gateway::sandbox::{CallKind, InjectedFault};

use crate::support::{TestEnv, VendorFixture, for_each_vendor, for_each_vendor_with};

for_each_vendor!(
    credentials_that_the_vendor_rejects_are_502,
    a_vendor_that_rejects_every_token_is_502_after_a_few_calls,
    an_action_that_the_vendor_account_lacks_is_vendor_forbidden,
    no_header_of_the_caller_reaches_the_vendor,
);
for_each_vendor_with!(tokens:
    an_expired_token_is_refreshed_and_the_write_is_done_once,
    a_burst_of_unauthorized_calls_triggers_one_sign_in,
    concurrent_first_requests_share_one_sign_in,
    a_sign_in_page_instead_of_a_token_is_502,
);

async fn credentials_that_the_vendor_rejects_are_502(fixture: &'static VendorFixture) {
    let env =
        TestEnv::start_with(fixture, |config| config.system(fixture.system, fixture.secret_key(), "wrong-secret"));
    let read = env.read(fixture.key).send().await;
    read.assert_problem(502, "vendor-credentials-rejected");
    assert_eq!(read.header("www-authenticate"), None);
    let write = env.set_text(fixture.key, "\"x\"", "mine").send().await;
    write.assert_problem(502, "vendor-credentials-rejected");
    let create = env.create("new").send().await;
    create.assert_problem(502, "vendor-credentials-rejected");
    for response in [read, write, create] {
        assert!(!response.text.contains("wrong-secret"), "{response:?}");
    }
    assert!(!env.read_ledger().await.text.contains("wrong-secret"));
}

async fn a_vendor_that_rejects_every_token_is_502_after_a_few_calls(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.current_etag(fixture.key).await;
    env.faults().always(fixture.read_call_kind, InjectedFault::status(401));
    env.read(fixture.key).send().await.assert_problem(502, "vendor-credentials-rejected");
    assert!(
        env.call_count(fixture.read_call_kind) <= 2 && env.call_count(CallKind::SignIn) <= 1,
        "{:?}",
        env.requests()
    );
}

async fn an_action_that_the_vendor_account_lacks_is_vendor_forbidden(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    for kind in [fixture.read_call_kind, CallKind::Update, CallKind::Create] {
        env.inject_once(kind, InjectedFault::json(403, r#"{"message":"no"}"#));
    }
    env.read(fixture.key).send().await.assert_problem(403, "vendor-forbidden");
    let before = (env.vendor_value(fixture.key), env.record_count());
    let rejected = env.set_text(fixture.key, &current_etag, "mine").send().await;
    rejected.assert_problem(403, "vendor-forbidden");
    assert_eq!(env.wait_for_operation(&rejected).await["state"], "not-applied");
    env.create("new").send().await.assert_problem(403, "vendor-forbidden");
    assert_eq!((env.vendor_value(fixture.key), env.record_count()), before);
    assert_eq!((env.call_count(CallKind::Update), env.call_count(CallKind::Create)), (1, 1));
}

async fn no_header_of_the_caller_reaches_the_vendor(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let request = env
        .set_text(fixture.key, &current_etag, "new")
        .header("X-Secret", "callers-own")
        .header("Cookie", "a=callers-own");
    let request = request.header("Authorization", "Bearer callers-own").header("X-Api-Key", "callers-own");
    request.send().await.assert_status(fixture.patch_status);
    let sent = env.last_call(CallKind::Update);
    assert!(!format!("{:?}", sent.headers).contains("callers-own"), "{:?}", sent.headers);
    assert!(sent.header("accept-loss").is_none() && sent.header("prefer").is_none(), "{:?}", sent.headers);
    // Some vendors compare versions in a header, which holds their own and not the caller's tag.
    let tag = current_etag.trim_matches('"');
    assert!(!format!("{:?}", sent.headers).contains(tag), "{:?}", sent.headers);
    assert!(sent.header("via").is_some_and(|via| via.contains("records-gateway")), "{:?}", sent.headers);
}

async fn an_expired_token_is_refreshed_and_the_write_is_done_once(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.every_system("validate", "off"));
    let current_etag = env.current_etag(fixture.key).await;
    fixture.expire_tokens(&env.vendors);
    env.set_text(fixture.key, &current_etag, "with a new token").send().await.assert_status(fixture.patch_status);
    assert_eq!((env.call_count(CallKind::SignIn), env.call_count(CallKind::Update)), (1, 2), "{:?}", env.requests());
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "with a new token");

    let (tag, before) = (env.current_etag(fixture.deletable_key).await, env.record_count());
    fixture.expire_tokens(&env.vendors);
    env.create("new").send().await.assert_status(201);
    fixture.expire_tokens(&env.vendors);
    env.delete(fixture.deletable_key, &tag).send().await.assert_status(204);
    assert_eq!((env.record_count(), env.vendor_value(fixture.deletable_key)), (before, None));
}

async fn a_burst_of_unauthorized_calls_triggers_one_sign_in(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.server("workers", 4));
    env.current_etag(fixture.key).await;
    fixture.expire_tokens(&env.vendors);
    let callers: Vec<_> = (0..4).map(|_| env.second_client()).collect();
    let reads = (0..40).map(|number| callers[number % 4].get(&fixture.path(fixture.key)).send());
    for response in join_all(reads).await {
        response.assert_status(200);
    }
    assert_eq!(env.call_count(CallKind::SignIn), 1);
}

async fn concurrent_first_requests_share_one_sign_in(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.server("workers", 4));
    env.inject_once(CallKind::SignIn, InjectedFault::Hold);
    let release = async {
        env.wait_for_calls(CallKind::SignIn, 1).await;
        env.faults().release();
    };
    let reads = join_all((0..20).map(|_| env.read(fixture.key).send()));
    let (responses, ()) = futures_util::future::join(reads, release).await;
    for response in responses {
        response.assert_status(200);
    }
    assert_eq!(env.call_count(CallKind::SignIn), 1);
}

async fn a_sign_in_page_instead_of_a_token_is_502(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    for fault in
        [InjectedFault::HtmlPage, InjectedFault::WrongJson, InjectedFault::HalfBody, InjectedFault::status(204)]
    {
        env.faults().always(CallKind::SignIn, fault.clone());
        let response = env.read(fixture.key).send().await;
        assert_eq!(
            (response.status, response.problem().as_str()),
            (502, "vendor-protocol-error"),
            "{fault:?}: {response:?}"
        );
        env.faults().clear();
    }
    env.read(fixture.key).send().await.assert_status(200);
    assert_eq!(env.write_call_count(), 0);
}
