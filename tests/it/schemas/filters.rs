//! Lists with conditions (contract 4): by the vendor's own means, and safe against hostile values.

use records_gateway::sandbox::CallKind;
use serde_json::{Value, json};

use crate::support::{BLUEDOLPHIN, DATAVERSE, FIXTURES, MATRIX42, PRETECTUM, TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    a_list_is_filtered_by_a_value,
    a_hostile_value_matches_nothing_and_breaks_nothing,
    a_member_that_lists_cannot_be_filtered_by_is_422,
);

fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"))
}

fn path(fixture: &VendorFixture, filters: &[(&str, &str)]) -> String {
    let filter = |(name, value): &(&str, &str)| ["&filter%5B", &encode(name), "%5D=", &encode(value)].concat();
    let filters: String = filters.iter().map(filter).collect();
    format!("/records/{}?collection={}{filters}", fixture.system, fixture.collection())
}

/// The ids of every page.
async fn ids(env: &TestEnv, filters: &[(&str, &str)]) -> Vec<String> {
    let (mut found, mut next) = (Vec::new(), path(env.fixture, filters));
    loop {
        let response = env.get(&next).send().await;
        let page = response.assert_status(200).json();
        found.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next"].as_str() else { return found };
        next = format!("{}&cursor={}", path(env.fixture, filters), encode(cursor));
    }
}

async fn a_list_is_filtered_by_a_value(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    (fixture.external_write)(&env.vendors, fixture.key, "O'Hara \"Ada\" 100%");
    (fixture.external_write)(&env.vendors, fixture.other_key, "o'hara \"ada\" 100%");
    assert_eq!(ids(&env, &[(fixture.text, "O'Hara \"Ada\" 100%")]).await, [fixture.id(fixture.key)], "case counts");
    assert_eq!(ids(&env, &[(fixture.text, "nobody at all")]).await, Vec::<String>::new());
}

async fn a_hostile_value_matches_nothing_and_breaks_nothing(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    for hostile in
        ["' OR '1'='1", "x' OR [ID] IS NOT NULL OR 'a'='", "\" OR *", "*", "x:* OR NOT x", "a&$filter=b", "\\", "%27"]
    {
        assert_eq!(ids(&env, &[(fixture.text, hostile)]).await, Vec::<String>::new(), "{hostile}");
    }
    assert_eq!(env.write_call_count(), 0);
}

async fn a_member_that_lists_cannot_be_filtered_by_is_422(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let response = env.get(&path(fixture, &[("Unheard' OR 1", "x")])).send().await;
    response.assert_problem(422, "rejected");
    assert_eq!(response.json()["errors"][0]["rule"], "unknown");
    env.get("/records/crm?filter%5B%5D=x").send().await.assert_problem(400, "malformed-request");
    assert_eq!(env.call_count(CallKind::List), 0);
}

#[actix_web::test]
async fn several_conditions_hold_together_and_have_types() {
    let env = TestEnv::start(&PRETECTUM);
    let grace = PRETECTUM.id(PRETECTUM.other_key);
    assert_eq!(ids(&env, &[("Status", "Premium"), ("First Name", "Grace")]).await, [grace.as_str()]);
    assert_eq!(ids(&env, &[("Status", "Premium"), ("First Name", "Ada")]).await, Vec::<String>::new());
    assert_eq!(ids(&env, &[("Credit Limit", "1.1")]).await, [grace.as_str()]);
    let wrong = env.get(&path(&PRETECTUM, &[("Credit Limit", "a lot"), ("Newsletter", "yes")])).send().await;
    let rules: Vec<Value> =
        wrong.json()["errors"].as_array().unwrap().iter().map(|error| error["rule"].clone()).collect();
    assert_eq!((wrong.status, rules), (422, vec![json!("type"), json!("type")]));
    let env = TestEnv::start(&MATRIX42);
    assert_eq!(ids(&env, &[("Position", "2")]).await, [MATRIX42.id(MATRIX42.other_key)]);
    assert!(env.last_call(CallKind::List).query.contains("where="), "{:?}", env.requests());
    // The vendor shows a flag as a flag or as a number.
    let visible = ids(&env, &[("Hidden", "false")]).await;
    assert!(visible.contains(&MATRIX42.id(MATRIX42.key)), "{visible:?}");
    assert_eq!(ids(&env, &[("Hidden", "0")]).await, visible);
}

#[actix_web::test]
async fn a_value_is_found_in_every_spelling() {
    let env = TestEnv::start(&PRETECTUM);
    for number in ["1250.10", "1250.100", "125.01e1", "1250.1"] {
        assert_eq!(ids(&env, &[("Credit Limit", number)]).await, [PRETECTUM.id(PRETECTUM.key)], "{number}");
    }
    let env = TestEnv::start(&MATRIX42);
    let parent = "ABCDEF00-0000-4000-8000-0000000000AA";
    let set = json!({ "Parent": parent.to_lowercase() });
    env.patch(MATRIX42.key).if_match("*").fields(&set).send().await.assert_status(204);
    for spelling in [parent.to_owned(), parent.to_lowercase(), format!("{{{parent}}}")] {
        assert_eq!(ids(&env, &[("Parent", &spelling)]).await, [MATRIX42.id(MATRIX42.key)], "{spelling}");
    }
    let env = TestEnv::start(&DATAVERSE);
    let contact = "55bb55bb-0000-4000-8000-66cc66cc66c2";
    let set = json!({ "_primarycontactid_value": contact });
    env.patch(DATAVERSE.key).if_match("*").fields(&set).send().await.assert_status(204);
    for spelling in [contact.to_uppercase(), format!("contacts:{contact}")] {
        let found = ids(&env, &[("_primarycontactid_value", &spelling)]).await;
        assert!(found.contains(&DATAVERSE.id(DATAVERSE.key)), "{spelling}");
    }
}

#[actix_web::test]
async fn a_time_is_found_with_and_without_a_zone() {
    let env = TestEnv::start(&MATRIX42);
    env.patch(MATRIX42.key)
        .if_match("*")
        .fields(&json!({ "End": "2020-01-01T00:00:00Z" }))
        .send()
        .await
        .assert_status(204);
    for spelling in ["2020-01-01T00:00:00", "2020-01-01T00:00:00Z", "2020-01-01T01:00:00+01:00"] {
        assert_eq!(ids(&env, &[("End", spelling)]).await, [MATRIX42.id(MATRIX42.key)], "{spelling}");
    }
    let env = TestEnv::start(&DATAVERSE);
    let created = env.read(DATAVERSE.key).send().await.json()["fields"]["createdon"].as_str().unwrap().to_owned();
    assert!(ids(&env, &[("createdon", &created)]).await.contains(&DATAVERSE.id(DATAVERSE.key)));
    let query = env.last_call(CallKind::List).query.clone();
    assert!(query.contains("filter=createdon%20eq%20") || query.contains("filter=createdon eq "), "{query}");
}

#[actix_web::test]
async fn a_value_that_no_record_can_have_is_422() {
    let env = TestEnv::start(&MATRIX42);
    for (name, value, rule) in [("Parent", "zzz", "format"), ("End", "tomorrow", "format"), ("Position", "1.5", "type")]
    {
        let refused = env.get(&path(&MATRIX42, &[(name, value)])).send().await;
        let error = refused.assert_problem(422, "rejected").json()["errors"][0].clone();
        assert_eq!((&error["pointer"], &error["rule"]), (&json!(format!("/fields/{name}")), &json!(rule)));
    }
    assert_eq!(env.call_count(CallKind::List), 0);
    let env = TestEnv::start(&DATAVERSE);
    let refused = env.get(&path(&DATAVERSE, &[("_primarycontactid_value", "zzz")])).send().await;
    assert_eq!(refused.assert_problem(422, "rejected").json()["errors"][0]["rule"], "format");
}

#[actix_web::test]
async fn a_field_added_a_second_ago_is_filtered_by() {
    let env = TestEnv::start(&PRETECTUM);
    let by_nickname = path(&PRETECTUM, &[("Nickname", "Countess")]);
    env.get(&by_nickname).send().await.assert_problem(422, "rejected");
    env.vendors.pretectum.state.configure(|settings| settings.added_field = Some("Nickname".to_owned()));
    let listed = env.repeat_refused(|| env.get(&by_nickname), |response| response.status != 422).await;
    listed.assert_status(200);
}

#[actix_web::test]
async fn each_system_shows_what_its_lists_can_be_filtered_by() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    for fixture in FIXTURES {
        let expected = json!(fixture.filters);
        assert_eq!(env.get(&format!("/systems/{}", fixture.system)).send().await.json()["filters"], expected);
    }
    env.get(&path(&BLUEDOLPHIN, &[("status", "active")])).send().await.assert_problem(422, "rejected");
}

#[actix_web::test]
async fn a_cursor_belongs_to_its_conditions() {
    let env = TestEnv::start(&MATRIX42);
    let page = env.get(&(path(&MATRIX42, &[]) + "&limit=1")).send().await.json();
    let cursor = encode(page["next"].as_str().unwrap());
    let other = path(&MATRIX42, &[("Position", "2")]) + "&limit=1&cursor=" + &cursor;
    env.get(&other).send().await.assert_problem(400, "malformed-request");
}
