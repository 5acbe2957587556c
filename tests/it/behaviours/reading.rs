//! GET and HEAD of one record (contract 3 and 4; http-rules A1 to A3).

use actix_web::http::Method;

use crate::support::{TestEnv, VendorFixture, for_each_vendor, for_each_vendor_with};

for_each_vendor!(
    a_record_is_returned_with_its_etag,
    the_same_state_has_the_same_etag_on_every_gateway,
    another_state_has_another_etag,
    head_is_get_without_the_body,
    a_matching_if_none_match_is_304,
    if_match_on_get_is_evaluated,
    a_missing_record_is_404,
    an_externally_deleted_record_is_404,
    a_malformed_id_is_404_and_nothing_is_sent,
    the_configured_collection_may_be_omitted,
);
for_each_vendor_with!(spellings:
    an_id_is_accepted_in_another_spelling_and_returned_in_its_own,
);

async fn a_record_is_returned_with_its_etag(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let response = env.read(fixture.key).send().await;
    response.assert_status(200);
    let record = response.json();
    assert_eq!((&record["system"], &record["id"]), (&fixture.system.into(), &fixture.id(fixture.key).into()));
    assert_eq!(record["etag"], response.etag());
    assert!(response.etag().starts_with('"') && response.etag().ends_with('"'), "{}", response.etag());
    assert_eq!(record["fields"][fixture.text], env.vendor_value(fixture.key).unwrap());
    let own = record["fields"].as_object().unwrap().keys().find(|name| fixture.is_hidden(name));
    assert_eq!(own, None);
    assert_eq!(response.header("cache-control"), Some("private, no-cache, no-transform"));
    let vary = response.header("vary").unwrap().to_ascii_lowercase();
    assert!(vary.contains("authorization") && vary.contains("prefer"), "{vary}");
    assert!(record.get("warnings").is_none() && record.get("pending_operation").is_none(), "{record}");
}

async fn the_same_state_has_the_same_etag_on_every_gateway(fixture: &'static VendorFixture) {
    let mut env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.key).await;
    assert_eq!(env.current_etag(fixture.key).await, tag);
    let second = env.start_second_gateway();
    assert_eq!(second.client().get(&fixture.path(fixture.key)).send().await.etag(), tag);
    env.restart().await;
    assert_eq!(env.current_etag(fixture.key).await, tag);
}

async fn another_state_has_another_etag(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.key).await;
    (fixture.external_touch)(&env.vendors, fixture.key);
    assert_ne!(env.current_etag(fixture.key).await, tag);
    assert_ne!(env.current_etag(fixture.other_key).await, tag);
}

async fn head_is_get_without_the_body(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let get = env.read(fixture.key).send().await;
    let head = env.request(Method::HEAD, &fixture.path(fixture.key)).send().await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    for name in ["etag", "content-type", "cache-control", "vary", "content-length"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    let missing = env.request(Method::HEAD, &fixture.path(fixture.missing_key)).send().await;
    assert_eq!((missing.status, missing.text.as_str()), (404, ""));
}

async fn a_matching_if_none_match_is_304(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.key).await;
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let response = env.read(fixture.key).header("If-None-Match", &known).send().await;
        assert_eq!((response.status, response.text.as_str()), (304, ""), "{known}");
        assert_eq!(response.etag(), tag);
    }
    let other_etag = env.current_etag(fixture.other_key).await;
    env.read(fixture.key).header("If-None-Match", &other_etag).send().await.assert_status(200);
    (fixture.external_touch)(&env.vendors, fixture.key);
    env.read(fixture.key).header("If-None-Match", &tag).send().await.assert_status(200);
}

async fn if_match_on_get_is_evaluated(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    env.read(fixture.key).if_match(&current_etag).send().await.assert_status(200);
    for wrong in ["\"nope\"".to_owned(), format!("W/{current_etag}")] {
        env.read(fixture.key).if_match(&wrong).send().await.assert_problem(412, "precondition-failed");
    }
    let counted = format!("precondition_failures_total{{detected_by=\"gateway\",system=\"{}\"}} 2", fixture.system);
    let metrics = env.get("/metrics").send().await.text;
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    env.read(fixture.missing_key).if_match(&current_etag).send().await.assert_problem(404, "record-not-found");
}

async fn a_missing_record_is_404(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let response = env.read(fixture.missing_key).send().await;
    response.assert_problem(404, "record-not-found");
    assert_eq!(response.json()["system"], fixture.system);
    assert!(!env.requests().is_empty(), "only the vendor knows");
}

async fn an_externally_deleted_record_is_404(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.read(fixture.deletable_key).send().await.assert_status(200);
    (fixture.external_delete)(&env.vendors, fixture.deletable_key);
    env.read(fixture.deletable_key).send().await.assert_problem(404, "record-not-found");
}

async fn a_malformed_id_is_404_and_nothing_is_sent(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    for id in fixture.malformed_ids {
        let path = format!("/records/{}/{id}", fixture.system);
        let response = env.get(&path).send().await;
        response.assert_problem(404, "record-not-found");
        assert!(response.json()["detail"].as_str().unwrap().contains(" has the form "), "{response:?}");
        let change = env.request(Method::PATCH, &path).if_match("*").fields(&fixture.text_patch("new"));
        change.send().await.assert_problem(404, "record-not-found");
        env.request(Method::DELETE, &path).if_match("*").send().await.assert_problem(404, "record-not-found");
    }
    env.assert_nothing_sent();
}

async fn the_configured_collection_may_be_omitted(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.system(fixture.system, "collection", fixture.collection()));
    let tag = env.current_etag(fixture.key).await;
    let short = format!("/records/{}/{}", fixture.system, fixture.key);
    let response = env.get(&short).send().await;
    assert_eq!(response.etag(), tag);
    assert_eq!(response.json()["id"], fixture.id(fixture.key));
}

async fn an_id_is_accepted_in_another_spelling_and_returned_in_its_own(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let spelling = fixture.other_spelling.unwrap();
    let current_etag = env.current_etag(fixture.key).await;
    let read = env.read(spelling).send().await;
    assert_eq!(read.etag(), current_etag);
    assert_eq!(read.json()["id"], fixture.id(fixture.key));
    let patch = env.set_text(spelling, &current_etag, "by another spelling");
    patch.send().await.assert_status(fixture.patch_status);
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "by another spelling");
}
