//! Numbers keep precision and form in both directions (contract 3).

use actix_web::http::Method;
use records_gateway::sandbox::CallKind;
use records_gateway::sandbox::bluedolphin::NEW_APPLICATION_ID;
use serde_json::Value;

use crate::support::{BLUEDOLPHIN, DATAVERSE, MATRIX42, PRETECTUM, TestEnv, VendorFixture};

const LONG_INTEGER: &str = "12345678901234567890";

/// A record with a decimal that ends in 0 and an integer of 20 digits, in the fields of these
/// names.
async fn assert_numbers_keep_their_form(fixture: &'static VendorFixture, decimal: &str, integer: &str) {
    let env = TestEnv::start(fixture);
    let shown = [format!("\"{decimal}\":1.10"), format!("\"{integer}\":{LONG_INTEGER}")];
    let read = env.read(fixture.other_key).send().await;
    let list = env.get(&format!("/records/{}?collection={}", fixture.system, fixture.collection())).send().await;
    for text in &shown {
        assert!(read.text.contains(text) && list.text.contains(text), "{text} in {} and {}", read.text, list.text);
    }

    let current_etag = env.current_etag(fixture.other_key).await;
    let merge = format!(r#"{{"fields":{{"{decimal}":2.50,"{integer}":98765432109876543210}}}}"#);
    env.patch(fixture.other_key).if_match(&current_etag).merge_patch(&merge).send().await.assert_status(204);
    let sent = env.last_call(CallKind::Update).text();
    assert!(sent.contains(":2.50") && sent.contains(":98765432109876543210"), "{sent}");

    // Through a read and a JSON Patch.
    let patch = format!(
        r#"[{{"op":"test","path":"/fields/{decimal}","value":2.5}},{{"op":"replace","path":"/fields/{decimal}","value":1.10}}]"#
    );
    let request =
        env.patch(fixture.other_key).if_match("*").header("Content-Type", "application/json-patch+json").body(&patch);
    request.send().await.assert_status(204);
    let sent = env.last_call(CallKind::Update).text();
    assert!(sent.contains(":1.10"), "{sent}");

    for number in ["99999999999999999999", "-99999999999999999999", "1E5", "-0"] {
        let patch = format!(r#"[{{"op":"replace","path":"/fields/{integer}","value":{number}}}]"#);
        let request = env.patch(fixture.other_key).if_match("*").header("Content-Type", "application/json-patch+json");
        let response = request.body(&patch).send().await;
        // To Pretectum a whole number with an exponent is no integer, and the record says so.
        let is_unusual = fixture.system == PRETECTUM.system && number == "1E5";
        response.assert_status(if is_unusual { 200 } else { 204 });
        assert_eq!(is_unusual, response.text.contains("\"invalid-field\""), "{response:?}");
        let sent = env.last_call(CallKind::Update).text();
        assert!(sent.contains(&format!(":{number}")), "{sent}");
    }

    // Another form of the same value is a change.
    let form = format!(r#"[{{"op":"replace","path":"/fields/{decimal}","value":1.1}}]"#);
    let request =
        env.patch(fixture.other_key).if_match("*").header("Content-Type", "application/json-patch+json").body(&form);
    request.send().await.assert_status(204);
    assert!(env.read(fixture.other_key).send().await.text.contains(&format!("\"{decimal}\":1.1,")));
}

#[actix_web::test]
async fn pretectum_numbers_keep_their_form() {
    assert_numbers_keep_their_form(&PRETECTUM, "Credit Limit", "Loyalty Points").await;
}

#[actix_web::test]
async fn matrix42_numbers_keep_their_form() {
    assert_numbers_keep_their_form(&MATRIX42, "Costs", "ExternalNumber").await;
}

#[actix_web::test]
async fn bluedolphin_numbers_keep_their_form() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let kind: Value = serde_json::from_str(&format!(r#"{{"weight":1.10,"count":{LONG_INTEGER}}}"#)).unwrap();
    let state = &env.vendors.bluedolphin.state;
    assert!(state.write(NEW_APPLICATION_ID, |definition| definition.kind = kind));
    let read = env.read(BLUEDOLPHIN.key).send().await.text;
    let list = env.get("/records/architecture").send().await.text;
    for text in ["\"weight\":1.10", &format!("\"count\":{LONG_INTEGER}")] {
        assert!(read.contains(text) && list.contains(text), "{text} in {read} and {list}");
    }
}

/// Its whole numbers have at most 32 bits, so that no form of theirs can be lost.
#[actix_web::test]
async fn dataverse_decimals_keep_their_form() {
    let env = TestEnv::start(&DATAVERSE);
    let read = env.read(DATAVERSE.other_key).send().await;
    let list = env.get(&format!("/records/sales?collection={}", DATAVERSE.collection())).send().await;
    assert!(read.text.contains("\"revenue\":1.10") && list.text.contains("\"revenue\":1.10"), "{read:?} {list:?}");
    for (number, tag) in [("2.50", read.etag()), ("1.10", "*"), ("1.1", "*"), ("100000000000.0000", "*")] {
        let merge = format!(r#"{{"fields":{{"revenue":{number}}}}}"#);
        env.patch(DATAVERSE.other_key).if_match(tag).merge_patch(&merge).send().await.assert_status(204);
        let sent = env.last_call(CallKind::Update).text();
        assert!(sent.contains(&format!("\"revenue\":{number}}}")), "{sent}");
    }
}

#[actix_web::test]
async fn a_new_record_keeps_the_form_of_its_numbers() {
    let numbers = format!("7.10,\"Loyalty Points\":{LONG_INTEGER}");
    for (fixture, field, number) in
        [(&PRETECTUM, "Credit Limit", numbers.as_str()), (&MATRIX42, "Costs", "7.10"), (&DATAVERSE, "revenue", "7.10")]
    {
        let env = TestEnv::start(fixture);
        let fields = (fixture.new_record)("N").to_string();
        let fields = format!("{},\"{field}\":{number}}}", fields.strip_suffix('}').unwrap());
        let body = format!(r#"{{"collection":"{}","fields":{fields}}}"#, fixture.collection());
        let post = env.request(Method::POST, &format!("/records/{}", fixture.system));
        let response = post.header("Content-Type", "application/json").body(&body).send().await;
        response.assert_status(201);
        let sent = env.last_call(CallKind::Create).text();
        let text = format!("\"{field}\":{number}");
        assert!(sent.contains(&text), "{text} in {sent}");
        assert!(response.text.contains(&format!("\"{field}\":7.10")), "{}", response.text);
        assert!(fixture.system != "crm" || response.text.contains(LONG_INTEGER), "{}", response.text);
    }
}
