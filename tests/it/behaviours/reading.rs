//! GET and HEAD of one record (contract 3 and 4; http-rules A1 to A3).

use actix_web::http::Method;
use records_gateway::sandbox::matrix42::FACILITY_ID;

use crate::support::{Bench, House, MATRIX42, for_each_vendor};

for_each_vendor!(
    a_record_is_shown_whole_with_its_tag,
    the_same_state_has_the_same_tag_on_every_gateway,
    another_state_has_another_tag,
    head_is_get_without_the_body,
    a_caller_who_has_the_present_state_gets_304,
    if_match_on_get_is_evaluated,
    a_missing_record_is_404,
    a_record_deleted_elsewhere_is_404,
    an_id_without_the_vendors_form_is_404_and_nothing_is_sent,
    the_configured_collection_may_be_left_out,
);

async fn a_record_is_shown_whole_with_its_tag(bench: &'static Bench) {
    let house = House::start(bench).await;
    let answer = house.read(bench.key).send().await;
    answer.is_done(200);
    let record = answer.json();
    assert_eq!((&record["system"], &record["id"]), (&bench.system.into(), &bench.id(bench.key).into()));
    assert_eq!(record["etag"], answer.etag());
    assert!(answer.etag().starts_with('"') && answer.etag().ends_with('"'), "{}", answer.etag());
    assert_eq!(record["fields"][bench.text], house.held(bench.key).unwrap());
    let fields = record["fields"].as_object().unwrap();
    for own in ["_version", "_dataObjectId", "_errors", "ID", "TimeStamp", "id"] {
        assert!(!fields.contains_key(own), "{own}");
    }
    assert_eq!(answer.header("cache-control"), Some("private, no-cache, no-transform"));
    let vary = answer.header("vary").unwrap().to_ascii_lowercase();
    assert!(vary.contains("authorization") && vary.contains("prefer"), "{vary}");
    assert!(record.get("warnings").is_none() && record.get("pending_operation").is_none(), "{record}");
}

async fn the_same_state_has_the_same_tag_on_every_gateway(bench: &'static Bench) {
    let mut house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    assert_eq!(house.tag(bench.key).await, tag);
    let second = house.second_gateway();
    assert_eq!(second.caller().get(&bench.path(bench.key)).send().await.etag(), tag);
    house.restart().await;
    assert_eq!(house.tag(bench.key).await, tag);
}

async fn another_state_has_another_tag(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    (bench.touch)(&house.vendors, bench.key);
    assert_ne!(house.tag(bench.key).await, tag);
    assert_ne!(house.tag(bench.other).await, tag);
}

async fn head_is_get_without_the_body(bench: &'static Bench) {
    let house = House::start(bench).await;
    let get = house.read(bench.key).send().await;
    let head = house.request(Method::HEAD, &bench.path(bench.key)).send().await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    for name in ["etag", "content-type", "cache-control", "vary", "content-length"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    let missing = house.request(Method::HEAD, &bench.path(bench.missing)).send().await;
    assert_eq!((missing.status, missing.text.as_str()), (404, ""));
}

async fn a_caller_who_has_the_present_state_gets_304(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let answer = house.read(bench.key).header("If-None-Match", &known).send().await;
        assert_eq!((answer.status, answer.text.as_str()), (304, ""), "{known}");
        assert_eq!(answer.etag(), tag);
    }
    let other = house.tag(bench.other).await;
    house.read(bench.key).header("If-None-Match", &other).send().await.is_done(200);
    (bench.touch)(&house.vendors, bench.key);
    house.read(bench.key).header("If-None-Match", &tag).send().await.is_done(200);
}

async fn if_match_on_get_is_evaluated(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    house.read(bench.key).if_match(&tag).send().await.is_done(200);
    for wrong in ["\"nope\"".to_owned(), format!("W/{tag}")] {
        house.read(bench.key).if_match(&wrong).send().await.is(412, "precondition-failed");
    }
    let counted = format!("precondition_failures_total{{detected_by=\"gateway\",system=\"{}\"}} 2", bench.system);
    let metrics = house.get("/metrics").send().await.text;
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    house.read(bench.missing).if_match(&tag).send().await.is(404, "record-not-found");
}

async fn a_missing_record_is_404(bench: &'static Bench) {
    let house = House::start(bench).await;
    let answer = house.read(bench.missing).send().await;
    answer.is(404, "record-not-found");
    assert_eq!(answer.json()["system"], bench.system);
    assert!(!house.lines().is_empty(), "only the vendor can tell");
}

async fn a_record_deleted_elsewhere_is_404(bench: &'static Bench) {
    let house = House::start(bench).await;
    house.read(bench.doomed).send().await.is_done(200);
    (bench.remove)(&house.vendors, bench.doomed);
    house.read(bench.doomed).send().await.is(404, "record-not-found");
}

async fn an_id_without_the_vendors_form_is_404_and_nothing_is_sent(bench: &'static Bench) {
    let house = House::start(bench).await;
    for id in bench.formless {
        let path = format!("/records/{}/{id}", bench.system);
        let answer = house.get(&path).send().await;
        answer.is(404, "record-not-found");
        assert!(answer.json()["detail"].as_str().unwrap().contains(" has the form "), "{answer:?}");
        let change = house.request(Method::PATCH, &path).if_match("*").fields(&bench.text_is("new"));
        change.send().await.is(404, "record-not-found");
        house.request(Method::DELETE, &path).if_match("*").send().await.is(404, "record-not-found");
    }
    house.nothing_was_sent();
}

async fn the_configured_collection_may_be_left_out(bench: &'static Bench) {
    let collection = format!("\"{}\"", bench.collection());
    let section = format!("systems.{}", bench.system);
    let house = House::with(bench, &[(&section, "collection", &collection)]).await;
    let tag = house.tag(bench.key).await;
    let short = format!("/records/{}/{}", bench.system, bench.key);
    let answer = house.get(&short).send().await;
    assert_eq!(answer.etag(), tag);
    assert_eq!(answer.json()["id"], bench.id(bench.key));
}

#[actix_web::test]
async fn matrix42_takes_guids_in_any_case_and_gives_them_in_lower_case() {
    let house = House::start(&MATRIX42).await;
    let tag = house.tag(MATRIX42.key).await;
    let upper = house.read(&FACILITY_ID.to_uppercase()).send().await;
    assert_eq!(upper.etag(), tag);
    assert_eq!(upper.json()["id"], MATRIX42.id(MATRIX42.key));
    house.set_text(&FACILITY_ID.to_uppercase(), &tag, "by another spelling").send().await.is_done(204);
    assert_eq!(house.held(MATRIX42.key).unwrap(), "by another spelling");
}
