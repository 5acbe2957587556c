//! GET and HEAD of one record (contract 3 and 4; http-rules A1 to A3).

use actix_web::http::Method;
use records_gateway::sandbox::matrix42::FACILITY_ID;

use crate::support::{MATRIX42, TestEnv, VendorFixture, for_each_vendor};

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

async fn a_record_is_returned_with_its_etag(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let answer = house.read(bench.key).send().await;
    answer.assert_status(200);
    let record = answer.json();
    assert_eq!((&record["system"], &record["id"]), (&bench.system.into(), &bench.id(bench.key).into()));
    assert_eq!(record["etag"], answer.etag());
    assert!(answer.etag().starts_with('"') && answer.etag().ends_with('"'), "{}", answer.etag());
    assert_eq!(record["fields"][bench.text], house.vendor_value(bench.key).unwrap());
    let fields = record["fields"].as_object().unwrap();
    for own in ["_version", "_dataObjectId", "_errors", "ID", "TimeStamp", "id"] {
        assert!(!fields.contains_key(own), "{own}");
    }
    assert_eq!(answer.header("cache-control"), Some("private, no-cache, no-transform"));
    let vary = answer.header("vary").unwrap().to_ascii_lowercase();
    assert!(vary.contains("authorization") && vary.contains("prefer"), "{vary}");
    assert!(record.get("warnings").is_none() && record.get("pending_operation").is_none(), "{record}");
}

async fn the_same_state_has_the_same_etag_on_every_gateway(bench: &'static VendorFixture) {
    let mut house = TestEnv::start(bench).await;
    let tag = house.current_etag(bench.key).await;
    assert_eq!(house.current_etag(bench.key).await, tag);
    let second = house.start_second_gateway();
    assert_eq!(second.client().get(&bench.path(bench.key)).send().await.etag(), tag);
    house.restart().await;
    assert_eq!(house.current_etag(bench.key).await, tag);
}

async fn another_state_has_another_etag(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let tag = house.current_etag(bench.key).await;
    (bench.external_touch)(&house.vendors, bench.key);
    assert_ne!(house.current_etag(bench.key).await, tag);
    assert_ne!(house.current_etag(bench.other_key).await, tag);
}

async fn head_is_get_without_the_body(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let get = house.read(bench.key).send().await;
    let head = house.request(Method::HEAD, &bench.path(bench.key)).send().await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    for name in ["etag", "content-type", "cache-control", "vary", "content-length"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    let missing = house.request(Method::HEAD, &bench.path(bench.missing_key)).send().await;
    assert_eq!((missing.status, missing.text.as_str()), (404, ""));
}

async fn a_matching_if_none_match_is_304(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let tag = house.current_etag(bench.key).await;
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let answer = house.read(bench.key).header("If-None-Match", &known).send().await;
        assert_eq!((answer.status, answer.text.as_str()), (304, ""), "{known}");
        assert_eq!(answer.etag(), tag);
    }
    let other_key = house.current_etag(bench.other_key).await;
    house.read(bench.key).header("If-None-Match", &other_key).send().await.assert_status(200);
    (bench.external_touch)(&house.vendors, bench.key);
    house.read(bench.key).header("If-None-Match", &tag).send().await.assert_status(200);
}

async fn if_match_on_get_is_evaluated(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    house.read(bench.key).if_match(&current_etag).send().await.assert_status(200);
    for wrong in ["\"nope\"".to_owned(), format!("W/{current_etag}")] {
        house.read(bench.key).if_match(&wrong).send().await.assert_problem(412, "precondition-failed");
    }
    let counted = format!("precondition_failures_total{{detected_by=\"gateway\",system=\"{}\"}} 2", bench.system);
    let metrics = house.get("/metrics").send().await.text;
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    house.read(bench.missing_key).if_match(&current_etag).send().await.assert_problem(404, "record-not-found");
}

async fn a_missing_record_is_404(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let answer = house.read(bench.missing_key).send().await;
    answer.assert_problem(404, "record-not-found");
    assert_eq!(answer.json()["system"], bench.system);
    assert!(!house.requests().is_empty(), "only the vendor can tell");
}

async fn an_externally_deleted_record_is_404(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.read(bench.deletable_key).send().await.assert_status(200);
    (bench.external_delete)(&house.vendors, bench.deletable_key);
    house.read(bench.deletable_key).send().await.assert_problem(404, "record-not-found");
}

async fn a_malformed_id_is_404_and_nothing_is_sent(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    for id in bench.malformed_ids {
        let path = format!("/records/{}/{id}", bench.system);
        let answer = house.get(&path).send().await;
        answer.assert_problem(404, "record-not-found");
        assert!(answer.json()["detail"].as_str().unwrap().contains(" has the form "), "{answer:?}");
        let change = house.request(Method::PATCH, &path).if_match("*").fields(&bench.text_patch("new"));
        change.send().await.assert_problem(404, "record-not-found");
        house.request(Method::DELETE, &path).if_match("*").send().await.assert_problem(404, "record-not-found");
    }
    house.assert_nothing_sent();
}

async fn the_configured_collection_may_be_omitted(bench: &'static VendorFixture) {
    let collection = format!("\"{}\"", bench.collection());
    let section = format!("systems.{}", bench.system);
    let house = TestEnv::start_with(bench, &[(&section, "collection", &collection)]).await;
    let tag = house.current_etag(bench.key).await;
    let short = format!("/records/{}/{}", bench.system, bench.key);
    let answer = house.get(&short).send().await;
    assert_eq!(answer.etag(), tag);
    assert_eq!(answer.json()["id"], bench.id(bench.key));
}

#[actix_web::test]
async fn matrix42_guids_are_accepted_in_any_case_and_returned_lower_case() {
    let house = TestEnv::start(&MATRIX42).await;
    let current_etag = house.current_etag(MATRIX42.key).await;
    let upper = house.read(&FACILITY_ID.to_uppercase()).send().await;
    assert_eq!(upper.etag(), current_etag);
    assert_eq!(upper.json()["id"], MATRIX42.id(MATRIX42.key));
    house.set_text(&FACILITY_ID.to_uppercase(), &current_etag, "by another spelling").send().await.assert_status(204);
    assert_eq!(house.vendor_value(MATRIX42.key).unwrap(), "by another spelling");
}
