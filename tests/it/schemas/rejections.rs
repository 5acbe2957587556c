//! What is refused before anything is sent, and what is not.

use actix_web::http::Method;
use records_gateway::sandbox::CallKind;
use serde_json::{Value, json};

use crate::support::{BLUEDOLPHIN, MATRIX42, PRETECTUM, TestEnv, TestResponse, VendorFixture, for_each_vendor};

for_each_vendor!(
    an_unknown_member_is_refused_and_not_sent,
    a_create_with_an_unknown_member_is_refused_and_nothing_is_sent,
    lenient_handling_sends_what_strict_handling_refuses,
    without_validation_the_vendor_judges,
    a_value_of_another_type_breaks_the_same_rule_everywhere,
);

fn errors(response: &TestResponse) -> Vec<Value> {
    response.json()["errors"].as_array().cloned().unwrap_or_default()
}

/// A name that is one slip away from that of the text field.
fn mistyped(fixture: &VendorFixture) -> String {
    fixture.text[..fixture.text.len() - 1].to_owned()
}

async fn an_unknown_member_is_refused_and_not_sent(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.key).await;
    let name = mistyped(fixture);
    for (tag, preference) in [(tag.as_str(), "return=minimal"), ("*", "return=representation"), ("*", "respond-async")]
    {
        let patch = env.patch(fixture.key).without_prefer().if_match(tag).prefer(preference);
        let response = patch.fields(&json!({ name.clone(): "x" })).send().await;
        response.assert_problem(422, "rejected");
        let detail = format!("there is no such member; did you mean {:?}?", fixture.text);
        let expected = json!({
            "pointer": format!("/fields/{name}"), "detail": detail, "nearest": fixture.text, "rule": "unknown"
        });
        assert_eq!(errors(&response), [expected]);
    }
    let json_patch = json!([{ "op": "add", "path": format!("/fields/{name}"), "value": "x" }]);
    let response = env.patch(fixture.key).if_match("*").json_patch(&json_patch).send().await;
    assert_eq!(errors(response.assert_problem(422, "rejected"))[0]["rule"], "unknown");
    env.assert_nothing_sent();
    assert_eq!(env.list_operations().await, Vec::<Value>::new());
}

async fn a_create_with_an_unknown_member_is_refused_and_nothing_is_sent(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let mut fields = (fixture.new_record)("new");
    fields[mistyped(fixture)] = json!("x");
    env.current_etag(fixture.key).await;
    let body = json!({ "collection": fixture.collection(), "fields": fields });
    let response = env.request(Method::POST, &format!("/records/{}", fixture.system)).json(&body).send().await;
    assert_eq!(errors(response.assert_problem(422, "rejected"))[0]["rule"], "unknown");
    env.assert_nothing_sent();
}

async fn lenient_handling_sends_what_strict_handling_refuses(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.every_system("validate", "warn"));
    let before = env.vendor_value(fixture.key);
    let wrong = json!({ fixture.text: "kept", "Unheard": "x" });
    let patch = || env.patch(fixture.key).if_match("*").fields(&wrong);
    patch().prefer("handling=strict").send().await.assert_problem(422, "rejected");
    assert_eq!(env.write_call_count(), 0);
    let sent = patch().prefer("handling=lenient").send().await;
    if !fixture.ignores_unknown {
        // The adapter cannot put it into words, or the vendor refuses it.
        sent.assert_status(422);
        assert_eq!(env.vendor_value(fixture.key), before);
        return;
    }
    let applied = sent.assert_status(200).header("preference-applied");
    assert_eq!(applied, Some("handling=lenient"));
    let codes: Vec<Value> = sent.json()["warnings"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    assert_eq!(codes, ["schema", "not-applied"], "{sent:?}");
    assert_eq!(env.wait_for_operation(&sent).await["warnings"][0]["code"], "schema");
    assert_eq!(env.vendor_value(fixture.key).as_deref(), Some("kept"));
}

async fn without_validation_the_vendor_judges(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.every_system("validate", "off"));
    env.set_text(fixture.key, "*", "mine").prefer("handling=strict").send().await.assert_status(fixture.patch_status);
    assert_eq!(env.call_count(CallKind::Schema), 0);
    // The vendor sees the same bytes as with validation.
    let validating = TestEnv::start(fixture);
    validating.set_text(fixture.key, "*", "mine").send().await.assert_status(fixture.patch_status);
    let (plain, checked) = (env.last_call(CallKind::Update), validating.last_call(CallKind::Update));
    assert_eq!((plain.path.as_str(), plain.text()), (checked.path.as_str(), checked.text()));
    // What the vendor drops is reported, with the record in the response or without it.
    if fixture.ignores_unknown {
        for prefer in ["return=minimal", "return=representation"] {
            for tag in [env.current_etag(fixture.key).await, "*".to_owned()] {
                let patch = env.patch(fixture.key).if_match(&tag).fields(&json!({ "Unheard": "x" })).prefer(prefer);
                let response = patch.send().await;
                response.assert_problem(422, "rejected");
                assert_eq!(env.wait_for_operation(&response).await["state"], "not-applied");
            }
        }
    }
}

#[actix_web::test]
async fn without_validation_a_write_is_the_same_and_read_back_once() {
    for fixture in [&PRETECTUM, &MATRIX42] {
        let mut seen = Vec::new();
        for validate in ["off", "refuse"] {
            let env = TestEnv::start_with(fixture, |config| config.every_system("validate", validate));
            let tag = env.current_etag(fixture.key).await;
            let counts = || (env.call_count(fixture.read_call_kind), env.call_count(CallKind::Update));
            let (reads, updates) = counts();
            let response = env.set_text(fixture.key, &tag, "mine").send().await;
            let (read, written) = (counts().0 - reads, counts().1 - updates);
            let call = env.last_call(CallKind::Update);
            seen.push((read, written, response.status, response.text.clone(), call.path.clone(), call.text()));
        }
        let [off, refuse] = seen.as_mut_slice() else { panic!("{seen:?}") };
        assert_eq!((off.0, refuse.0), (1, 0), "{}", fixture.system);
        off.0 = 0;
        assert_eq!(off, refuse);
    }
}

async fn a_value_of_another_type_breaks_the_same_rule_everywhere(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.current_etag(fixture.key).await;
    for value in [json!(["a"]), json!({ "a": 1 })] {
        let patch = env.patch(fixture.key).if_match("*").fields(&json!({ fixture.text: value }));
        let found = errors(patch.send().await.assert_problem(422, "rejected"));
        let pointer = format!("/fields/{}", fixture.text);
        assert_eq!((&found[0]["rule"], &found[0]["pointer"]), (&json!("type"), &json!(pointer)), "{found:?}");
        assert_eq!(found.len(), 1);
    }
    assert_eq!(env.write_call_count(), 0);
}

#[actix_web::test]
async fn a_text_that_is_too_short_breaks_the_rule_length() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    for fields in [json!({ "name": "" }), json!({ "properties": { "Supplier": { "value": "" } } })] {
        let response = env.patch(BLUEDOLPHIN.key).if_match("*").fields(&fields).send().await;
        assert_eq!(errors(response.assert_problem(422, "rejected"))[0]["rule"], "length", "{fields}");
    }
    let reset = env.patch(BLUEDOLPHIN.key).if_match("*").fields(&json!({ "name": null })).send().await;
    assert_eq!(errors(reset.assert_problem(422, "rejected"))[0]["rule"], "required");
    assert_eq!(env.write_call_count(), 0);
}

#[actix_web::test]
async fn every_fault_is_reported_at_once_with_its_rule() {
    let env = TestEnv::start(&PRETECTUM);
    let tag = env.current_etag(PRETECTUM.key).await;
    let wrong = json!({
        "Status": "Gold", "Newsletter": "yes", "First Name": "", "Email": "nobody", "Loyalty Points": 1.5,
        "Customer Since": "2019-12-09", "email": "ada@example.com", "Last Name": null, "Phone": "+44 1",
    });
    let response = env.patch(PRETECTUM.key).if_match(&tag).fields(&wrong).send().await;
    response.assert_problem(422, "rejected");
    let found: Vec<(String, String)> = errors(&response)
        .iter()
        .map(|error| (error["pointer"].as_str().unwrap().to_owned(), error["rule"].as_str().unwrap().to_owned()))
        .collect();
    let expected = [
        ("/fields/Status", "enum"),
        ("/fields/Newsletter", "type"),
        ("/fields/First Name", "length"),
        ("/fields/Email", "format"),
        ("/fields/Loyalty Points", "type"),
        ("/fields/Customer Since", "format"),
        ("/fields/email", "unknown"),
        ("/fields/Last Name", "required"),
    ];
    let found: Vec<(&str, &str)> = found.iter().map(|(pointer, rule)| (pointer.as_str(), rule.as_str())).collect();
    assert_eq!(found, expected);
    env.assert_nothing_sent();
    let metrics = env.get("/metrics").send().await.text;
    assert!(metrics.contains("schema_refusals_total{rule=\"format\",system=\"crm\"} 2"), "{metrics}");
}

#[actix_web::test]
async fn a_create_without_a_required_field_is_refused() {
    let env = TestEnv::start(&PRETECTUM);
    env.current_etag(PRETECTUM.key).await;
    let body = json!({ "collection": PRETECTUM.collection(), "fields": { "First Name": "Ada" } });
    let response = env.request(Method::POST, "/records/crm").json(&body).send().await;
    let pointers: Vec<Value> =
        errors(response.assert_problem(422, "rejected")).iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(pointers, ["/fields/Email", "/fields/Last Name"]);
    env.assert_nothing_sent();
}

#[actix_web::test]
async fn two_spellings_of_one_name_are_refused_with_both_pointers() {
    for validate in ["refuse", "off"] {
        let env = TestEnv::start_with(&MATRIX42, |config| config.system("itsm", "validate", validate));
        let twice = json!({ "Description": "A", "description": "B" });
        let response = env.patch(MATRIX42.key).if_match("*").fields(&twice).send().await;
        let mut pointers: Vec<String> = errors(response.assert_problem(422, "rejected"))
            .iter()
            .map(|error| error["pointer"].as_str().unwrap().to_owned())
            .collect();
        pointers.sort();
        assert_eq!(pointers, ["/fields/Description", "/fields/description"], "{validate}");
        assert_eq!(env.write_call_count(), 0);
    }
}

#[actix_web::test]
async fn another_case_of_a_member_is_refused_whatever_is_preferred() {
    for (validate, preference) in [("refuse", "handling=lenient"), ("warn", "wait=5"), ("off", "wait=5")] {
        let env = TestEnv::start_with(&MATRIX42, |config| config.system("itsm", "validate", validate));
        let stale = env.current_etag(MATRIX42.key).await;
        (MATRIX42.external_write)(&env.vendors, MATRIX42.key, "theirs");
        let current = env.current_etag(MATRIX42.key).await;
        for (tag, preference, value) in [
            ("*", preference.to_owned(), json!("mine")),
            ("*", preference.to_owned(), json!("theirs")),
            ("*", preference.to_owned(), Value::Null),
            (current.as_str(), preference.to_owned(), json!({ "nested": 1 })),
            (current.as_str(), preference.to_owned(), json!("mine")),
            (current.as_str(), format!("{preference}, return=representation"), json!("mine")),
            (current.as_str(), format!("{preference}, respond-async"), json!("mine")),
        ] {
            let patch = env.patch(MATRIX42.key).if_match(tag).prefer(&preference);
            let refused = patch.fields(&json!({ "description": value })).send().await;
            let error = &errors(refused.assert_problem(422, "rejected"))[0];
            assert_eq!(error["nearest"], "Description", "{validate} {tag} {value}");
        }
        let removed = json!([{ "op": "remove", "path": "/fields/DESCRIPTION" }]);
        let refused = env.patch(MATRIX42.key).if_match("*").prefer(preference).json_patch(&removed).send().await;
        refused.assert_problem(422, "patch-failed");
        assert_eq!(env.write_call_count(), 0);
        let patch = env.patch(MATRIX42.key).if_match(&stale).prefer(&format!("{preference}, rebase=disjoint"));
        let refused = patch.fields(&json!({ "description": "mine" })).send().await;
        assert_eq!(errors(refused.assert_problem(422, "rejected"))[0]["nearest"], "Description");
        assert_eq!((env.write_call_count(), env.vendor_value(MATRIX42.key).as_deref()), (0, Some("theirs")));
    }
}

#[actix_web::test]
async fn a_value_of_unusual_form_has_one_verdict_whatever_is_preferred() {
    for (name, value) in [
        ("Email", json!("a@b")),
        ("Email", json!("a@b@c.de")),
        ("Phone", json!("030/123")),
        ("Phone", json!("tel:+1")),
        ("Loyalty Points", serde_json::from_str("1.0").unwrap()),
        ("Loyalty Points", serde_json::from_str("1e3").unwrap()),
    ] {
        for preference in ["return=minimal", "return=representation"] {
            let env = TestEnv::start(&PRETECTUM);
            let tag = env.current_etag(PRETECTUM.key).await;
            let patch = env.patch(PRETECTUM.key).if_match(&tag).fields(&json!({ name: value })).prefer(preference);
            let response = patch.send().await;
            let warnings = response.assert_status(200).json()["warnings"].clone();
            assert_eq!(warnings[0]["code"], "invalid-field", "{name} {value} {preference}");
        }
    }
}

#[actix_web::test]
async fn a_field_added_a_second_ago_is_accepted() {
    let env = TestEnv::start(&PRETECTUM);
    let set = |value: &str| env.patch(PRETECTUM.key).if_match("*").fields(&json!({ "Nickname": value }));
    set("x").send().await.assert_problem(422, "rejected");
    env.vendors.pretectum.state.configure(|settings| settings.added_field = Some("Nickname".to_owned()));
    let accepted = env.repeat_refused(|| set("Countess"), |response| response.status != 422).await;
    accepted.assert_status(204);
    let fields = env.vendors.pretectum.state.object(PRETECTUM.key).unwrap().fields;
    assert_eq!(fields["Nickname"], "Countess");
}

#[actix_web::test]
async fn a_record_with_a_wrong_value_can_be_sent_back_whole() {
    let env = TestEnv::start(&PRETECTUM);
    let key = records_gateway::sandbox::pretectum::ALAN_ID;
    let read = env.read(key).send().await;
    let mut whole = read.json();
    whole["fields"]["Phone"] = json!("+44 20 7946 0002");
    // Through a tag that the gateway has shown, and through one that only the vendor can explain.
    for tag in [read.etag(), "*"] {
        let mut body = whole.clone();
        body.as_object_mut().unwrap().remove("etag");
        let response = env.patch(key).if_match(tag).merge_patch(&body.to_string()).send().await;
        assert!(response.status < 300, "{response:?}");
    }
    assert_eq!(env.vendors.pretectum.state.object(key).unwrap().fields["Phone"], "+44 20 7946 0002");
    let changed = env.patch(key).if_match("*").fields(&json!({ "Email": "still wrong" })).send().await;
    changed.assert_problem(422, "rejected");
}

#[actix_web::test]
async fn what_a_json_patch_makes_of_a_value_is_checked() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let long = "x".repeat(256);
    let operations = json!([{ "op": "replace", "path": "/fields/properties/Supplier/value", "value": long }]);
    let response = env.patch(BLUEDOLPHIN.key).if_match("*").json_patch(&operations).send().await;
    let error = errors(response.assert_problem(422, "rejected"))[0].clone();
    assert_eq!((&error["pointer"], &error["rule"]), (&json!("/fields/properties/Supplier/value"), &json!("length")));
    assert_eq!(env.write_call_count(), 0);
}

#[actix_web::test]
async fn a_refusal_by_the_schema_is_not_stored_under_its_key() {
    let env = TestEnv::start(&PRETECTUM);
    let patch = || {
        let patch = env.patch(PRETECTUM.key).if_match("*").idempotency_key("a-key");
        patch.fields(&json!({ "Nickname": "Countess" }))
    };
    patch().send().await.assert_problem(422, "rejected");
    env.vendors.pretectum.state.configure(|settings| settings.added_field = Some("Nickname".to_owned()));
    let written = env.repeat_refused(patch, |response| response.status != 422).await;
    assert_eq!(written.assert_status(204).header("idempotency-replayed"), None);
}
