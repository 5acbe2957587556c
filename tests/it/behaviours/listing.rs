//! Lists and their cursors (contract 4).

use std::collections::BTreeSet;

use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::Value;

use crate::support::{FIXTURES, MATRIX42, TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    a_list_item_equals_the_get_response_or_is_marked_partial,
    paging_to_the_end_finds_every_record_once,
    the_next_page_is_linked,
    a_list_cursor_is_valid_only_for_its_own_query,
    bad_queries_are_400_and_nothing_is_sent,
);

fn list_path(fixture: &VendorFixture, query: &str) -> String {
    format!("/records/{}?collection={}{query}", fixture.system, fixture.collection())
}

async fn read_all_pages(env: &TestEnv, limit: usize) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    for _ in 0..100 {
        let page =
            env.get(&list_path(env.fixture, &format!("&limit={limit}{cursor}"))).send().await.assert_status(200).json();
        let found = page["items"].as_array().unwrap();
        assert!(found.len() <= limit, "{page}");
        items.extend(found.iter().cloned());
        let Some(next) = page["next"].as_str() else { return items };
        cursor = format!("&cursor={next}");
    }
    panic!("the list does not end");
}

async fn a_list_item_equals_the_get_response_or_is_marked_partial(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    for item in read_all_pages(&env, 100).await {
        let id = item["id"].as_str().unwrap();
        let record = env.get(&format!("/records/{}/{id}", fixture.system)).send().await.assert_status(200).json();
        if item.get("partial") == Some(&Value::Bool(true)) {
            assert!(item["etag"].is_null(), "{item}");
            for (name, value) in item["fields"].as_object().unwrap() {
                assert_eq!(record["fields"].get(name), Some(value), "{name} of {id}");
            }
        } else {
            assert_eq!(item, record);
        }
        assert_eq!(item.get("partial").is_some(), fixture.partial_lists, "{item}");
    }
}

/// No page of the vendor documents `TimeStamp` as a column.
#[actix_web::test]
async fn matrix42_list_items_without_versions_are_partial_without_etags() {
    let env = TestEnv::start(&MATRIX42);
    env.vendors.matrix42.state.configure(|settings| settings.unlisted_time_stamp = true);
    for _ in 0..2 {
        let items = read_all_pages(&env, 100).await;
        assert_eq!(items.len(), env.record_count());
        for item in items {
            assert_eq!((&item["partial"], &item["etag"]), (&Value::Bool(true), &Value::Null), "{item}");
            let id = item["id"].as_str().unwrap();
            let record = env.get(&format!("/records/itsm/{id}")).send().await.assert_status(200).json();
            assert_eq!(item["fields"], record["fields"]);
        }
    }
    let rejected = env.requests().iter().filter(|line| line.contains("TimeStamp")).count();
    assert_eq!(rejected, 1, "the gateway remembers that versions are not listed");
    // A lost create is found without versions too.
    env.inject_once(CallKind::Create, InjectedFault::ResetAfter);
    env.create("without versions").send().await.assert_status(201);
}

async fn paging_to_the_end_finds_every_record_once(fixture: &'static VendorFixture) {
    for limit in [1, 2, 3, 1000] {
        let env = TestEnv::start(fixture);
        let items = read_all_pages(&env, limit).await;
        let ids: BTreeSet<&str> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!((items.len(), ids.len()), (env.record_count(), env.record_count()), "limit {limit}");
        assert!(ids.contains(fixture.id(fixture.deletable_key).as_str()), "disabled records are listed too");
    }
}

async fn the_next_page_is_linked(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let response = env.get(&list_path(fixture, "&limit=1")).send().await;
    let link = response.header("link").unwrap();
    let target = link.strip_prefix('<').unwrap().split_once('>').unwrap();
    assert!(target.1.contains("rel=\"next\""), "{link}");
    let second = env.get(target.0).send().await;
    second.assert_status(200);
    assert_ne!(second.json()["items"], response.json()["items"]);
}

async fn a_list_cursor_is_valid_only_for_its_own_query(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let page = env.get(&list_path(fixture, "&limit=1")).send().await.json();
    let cursor = page["next"].as_str().unwrap();
    env.forget_calls();
    let mut tampered = cursor.to_owned();
    let changed = if tampered.ends_with('A') { 'B' } else { 'A' };
    tampered.pop();
    tampered.push(changed);
    for query in [
        "&limit=1&cursor=nonsense".to_owned(),
        format!("&limit=1&cursor={tampered}"),
        format!("&limit=1&cursor={}", &cursor[..cursor.len() / 2]),
        format!("&limit=2&cursor={cursor}"),
    ] {
        env.get(&list_path(fixture, &query)).send().await.assert_problem(400, "malformed-request");
    }
    for other in FIXTURES.iter().filter(|other| other.system != fixture.system) {
        let system = other.system;
        let response = env
            .get(&format!("/records/{system}?collection={}&limit=1&cursor={cursor}", fixture.collection()))
            .send()
            .await;
        assert!(matches!(response.status, 400 | 422), "{response:?}");
    }
    env.assert_nothing_sent();
}

async fn bad_queries_are_400_and_nothing_is_sent(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    for query in ["&limit=0", "&limit=1001", "&limit=x", "&limit=-1", "&limit=1&limit=2", "&unknown=1"] {
        env.get(&list_path(fixture, query)).send().await.assert_problem(400, "malformed-request");
    }
    env.assert_nothing_sent();
}
