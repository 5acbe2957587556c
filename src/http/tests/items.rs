//! A request gets the same response alone and as an item of a batch.

use actix_web::http::header::{CONTENT_TYPE, IF_MATCH};
use actix_web::test::TestRequest;
use serde_json::{Value, json};

use super::test_api::{PATCH, TestApi, admin_request};

/// The response to a batch of one item of `admin`: its status, its headers and its body.
async fn respond_to_item(api: &TestApi, path: &str, if_match: Option<&str>) -> Value {
    let headers = if_match.map_or(json!({}), |tag| json!({"If-Match": tag}));
    let body: Value = serde_json::from_str(PATCH).expect("JSON");
    let item = json!({"id": "a", "method": "PATCH", "path": path, "headers": headers, "body": body});
    let response = api.send(batch_request(&json!({"items": [item]}))).await;
    assert!(matches!(response.status, 200 | 207), "{response:?}");
    response.json()["items"][0].clone()
}

fn batch_request(batch: &Value) -> TestRequest {
    admin_request("POST", "/batch").insert_header((CONTENT_TYPE, "application/json")).set_payload(batch.to_string())
}

#[actix_web::test]
async fn a_patch_gets_the_same_response_alone_and_as_an_item() {
    for (if_match, path, status) in [
        (Some("*"), "/records/crm/a:b", 204),
        (Some("\"stale\""), "/records/crm/a:b", 412),
        (None, "/records/crm/a:b", 428),
        (Some("*"), "/records/docs/a:b", 405),
        (Some("*"), "/records/none/a:b", 404),
        (Some("*"), "/records/crm", 405),
        (Some("*"), "/records/crm/a:%zz", 400),
    ] {
        let mut request = admin_request("PATCH", path)
            .insert_header((CONTENT_TYPE, "application/merge-patch+json"))
            .set_payload(PATCH);
        if let Some(if_match) = if_match {
            request = request.insert_header((IF_MATCH, if_match));
        }
        let api = TestApi::start().await;
        let alone = api.send(request).await;
        let api = TestApi::start().await;
        let item = respond_to_item(&api, path, if_match).await;
        assert_eq!((alone.status, item["status"].as_u64()), (status, Some(status.into())), "{path}: {item}");
        if status != 204 {
            assert_eq!(
                (&alone.json()["type"], &alone.json()["detail"]),
                (&item["body"]["type"], &item["body"]["detail"])
            );
        }
        let mut names: Vec<String> = alone.headers.keys().map(ToString::to_string).collect();
        names.sort();
        let of_item: Vec<String> = item["headers"].as_object().expect("headers").keys().cloned().collect();
        assert_eq!(names, of_item, "{path}");
    }
}

#[actix_web::test]
async fn items_are_in_order_and_a_failure_makes_207() {
    let api = TestApi::start().await;
    let get = |id: &str, path: &str| json!({"id": id, "method": "GET", "path": path});
    let batch =
        json!({"items": [get("x", "/records/crm/a:b"), get("y", "/records/none/a:b"), get("z", "/records/crm/a:b")]});
    let response = api.send(batch_request(&batch)).await;
    assert_eq!(response.status, 207);
    let document = response.json();
    let expected = json!({"items": 3, "ok": 2, "failed": 1, "skipped": 0, "running": 0, "unknown": 0});
    assert_eq!(document["summary"], expected);
    let ids: Vec<_> = document["items"].as_array().expect("items").iter().map(|item| item["id"].clone()).collect();
    assert_eq!(ids, ["x", "y", "z"]);
    let all_well = api.send(batch_request(&json!({"items": [get("x", "/records/crm/a:b")]}))).await;
    assert_eq!(all_well.status, 200);
    let counted = api.counted();
    let batches: Vec<_> = counted.iter().filter(|line| line.contains(r#"action="batch""#)).collect();
    assert!(batches.len() == 2 && batches.iter().any(|line| line.contains("partial")), "{counted:?}");
    assert!(!counted.iter().any(|line| line.contains(r#"action="read",outcome="ok""#)), "items are not requests");
}

#[actix_web::test]
async fn a_condition_beside_the_items_is_refused_and_nothing_is_sent() {
    let delete = json!({"items": [{"method": "DELETE", "path": "/records/crm/a:b", "headers": {"If-Match": "*"}}]});
    for name in ["if-match", "if-none-match", "accept-loss", "require-guarantee", "if-plan"] {
        let api = TestApi::start().await;
        let response = api.send(batch_request(&delete).insert_header((name, "*"))).await;
        assert_eq!((response.problem().as_str(), response.status, api.write_count()), ("malformed-request", 400, 0));
        assert!(response.body.contains("belongs to an item"), "{response:?}");
    }
}

#[actix_web::test]
async fn a_batch_is_checked_in_the_order_of_the_contract() {
    let api = TestApi::start().await;
    let good = json!({"items": [{"method": "GET", "path": "/records/crm/a:b"}]});
    let anonymous = TestRequest::post().uri("/batch").insert_header(("accept", "text/html"));
    assert_eq!(api.send(anonymous).await.problem(), "unauthenticated");
    let html = admin_request("POST", "/batch").insert_header(("accept", "text/html")).set_payload("x");
    assert_eq!(api.send(html).await.problem(), "not-acceptable");
    let text = admin_request("POST", "/batch").insert_header((CONTENT_TYPE, "text/plain")).set_payload("x");
    assert_eq!(api.send(text).await.problem(), "unsupported-media-type");
    let long = batch_request(&good).set_payload("x".repeat(100_001));
    assert_eq!(api.send(long).await.problem(), "body-too-large");
    let atomic = json!({"items": [], "atomic": true});
    assert_eq!(api.send(batch_request(&atomic)).await.problem(), "malformed-request");
    assert_eq!(api.send(batch_request(&json!({"items": []}))).await.problem(), "rejected");
}

#[actix_web::test]
async fn a_stream_has_a_line_for_each_item_and_ends_with_the_summary() {
    let api = TestApi::start().await;
    let get = json!({"method": "GET", "path": "/records/crm/a:b"});
    let request = batch_request(&json!({"items": [get, get, get]})).insert_header(("accept", "application/x-ndjson"));
    let response = api.send(request).await;
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/x-ndjson")));
    let lines: Vec<Value> = response.body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().take(3).all(|line| line["status"] == 200), "{lines:?}");
    assert_eq!(lines[3]["summary"]["ok"], 3);
}

/// One of many requests, good and bad ones.
fn random_request(random: &mut fastrand::Rng, api: &TestApi) -> Value {
    let pick = |random: &mut fastrand::Rng, choices: &[&str]| {
        choices.get(random.usize(..choices.len())).copied().unwrap_or_default().to_owned()
    };
    let method = pick(random, &["GET", "PATCH", "PATCH", "DELETE", "POST"]);
    let paths = ["/records/crm/a:b", "/records/crm/a:b", "/records/crm/a", "/records/docs/a:b", "/records/none/a:b"];
    let path = if method == "POST" { "/records/crm".to_owned() } else { pick(random, &paths) };
    let (current, stale) = (api.tag(7), api.tag(3));
    let mut headers = serde_json::Map::new();
    let mut add = |random: &mut fastrand::Rng, name: &str, values: &[&str]| {
        if random.bool() {
            headers.insert(name.to_owned(), pick(random, values).into());
        }
    };
    add(random, "If-Match", &["*", "*", &current, &stale, "W/\"x\"", "no tag"]);
    add(random, "If-None-Match", &["*", &current, "\"x\""]);
    add(random, "Prefer", &["return=representation", "wait=1", "handling=strict", ";;"]);
    add(random, "Require-Guarantee", &["native", "none"]);
    add(random, "Accept-Loss", &["a, b"]);
    add(random, "Content-Type", &["application/json", "application/json-patch+json", "text/plain"]);
    let bodies = [
        r#"{"fields":{"n":2}}"#,
        r#"{"fields":{"n":12345678901234567890}}"#,
        r#"{"collection":"a","fields":{"n":1}}"#,
        r#"{"id":"x"}"#,
        r#"[{"op":"test","path":"/fields/n","value":1}]"#,
        "[]",
        "1",
    ];
    let body: Value = serde_json::from_str(&pick(random, &bodies)).expect("JSON");
    json!({"id": "a", "method": method, "path": path, "headers": headers, "body": body})
}

#[actix_web::test]
async fn any_of_300_random_requests_gets_the_same_response_as_an_item() {
    let mut random = fastrand::Rng::with_seed(20);
    let mut statuses = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let (alone_api, batch_api) = (TestApi::start().await, TestApi::start().await);
        let item = random_request(&mut random, &alone_api);
        let text = |member: &str| item[member].as_str().expect("text").to_owned();
        let mut request = admin_request(&text("method"), &text("path"));
        let headers = item["headers"].as_object().expect("headers");
        for (name, value) in headers {
            request = request.insert_header((name.as_str(), value.as_str().expect("text")));
        }
        let default = match item["method"].as_str() {
            Some("PATCH") => Some("application/merge-patch+json"),
            Some("POST") => Some("application/json"),
            _ => None,
        };
        if let Some(default) = default.filter(|_| !headers.contains_key("Content-Type")) {
            request = request.insert_header((CONTENT_TYPE, default));
        }
        if default.is_some() {
            request = request.set_payload(item["body"].to_string());
        }
        let alone = alone_api.send(request).await;
        let batch = batch_api.send(batch_request(&json!({"items": [item]}))).await;
        let item_response = batch.json()["items"][0].clone();
        assert_eq!(item_response["status"], alone.status, "{item}: {item_response} {alone:?}");
        let of_item: Vec<&String> = item_response["headers"].as_object().expect("headers").keys().collect();
        let left_out = |name: &str| name == "content-length" || (name == "content-type" && alone.status < 300);
        let mut names: Vec<String> = alone.headers.keys().map(ToString::to_string).collect();
        names.retain(|name| !left_out(name));
        names.sort();
        assert_eq!(of_item, names.iter().collect::<Vec<_>>(), "{item}");
        if alone.status >= 400 {
            let (alone, item) = (alone.json(), &item_response["body"]);
            assert_eq!((&alone["type"], &alone["detail"]), (&item["type"], &item["detail"]));
        }
        assert_eq!(alone_api.write_count(), batch_api.write_count(), "{item}");
        statuses.insert(alone.status);
    }
    assert!(statuses.len() >= 8, "{statuses:?}");
}

#[actix_web::test]
async fn a_stream_is_never_silent_for_more_than_5_seconds() {
    let api = TestApi::start().await;
    let get = |id: &str| json!({"method": "GET", "path": format!("/records/crm/a:{id}")});
    let batch = json!({"items": [get("slow"), get("b")]});
    let request = batch_request(&batch).insert_header(("accept", "application/x-ndjson"));
    tokio::time::pause();
    let response = api.send(request).await;
    let lines: Vec<Value> = response.body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| ["progress", "summary", "id"].into_iter().find(|name| line.get(name).is_some()).expect("a line"))
        .collect();
    assert_eq!(kinds, ["id", "progress", "progress", "id", "summary"], "{lines:?}");
    assert_eq!(lines[1]["progress"]["ok"], 1);
}

#[actix_web::test]
async fn the_path_of_a_preview_names_no_record_in_a_batch_either() {
    let draft = r#"{"collection":"a","fields":{"n":1}}"#;
    for (method, path, body, status) in [
        ("GET", "/records/crm/preview", "{}", 405),
        ("PATCH", "/records/crm/preview", PATCH, 405),
        ("DELETE", "/records/crm/preview", "{}", 405),
        ("GET", "/records/crm/a:b/preview", "{}", 405),
        ("POST", "/records/crm/preview", draft, 200),
        ("POST", "/records/crm/a:b/preview", PATCH, 200),
    ] {
        let api = TestApi::start().await;
        let request = admin_request(method, path).insert_header((IF_MATCH, "*"));
        let request = request.insert_header((CONTENT_TYPE, "application/json")).set_payload(body);
        let alone = api.send(request).await;
        let (headers, body): (_, Value) = (json!({"If-Match": "*"}), serde_json::from_str(body).expect("JSON"));
        let item = json!({"method": method, "path": path, "headers": headers, "body": body});
        let response = api.send(batch_request(&json!({"items": [item]}))).await.json();
        let item = &response["items"][0];
        assert_eq!((alone.status, &item["status"]), (status, &json!(status)), "{method} {path}: {alone:?} {item}");
        assert_eq!(alone.header("allow"), item["headers"]["allow"].as_str());
        assert_eq!(alone.json()["calls"], item["body"]["calls"]);
        assert_eq!(api.write_count(), 0);
    }
}

#[actix_web::test]
async fn a_body_nests_as_deep_in_a_batch_as_alone() {
    for levels in 61..=67 {
        let api = TestApi::start_with(|limits| limits.max_body = 1000).await;
        let nested = format!("{}1{}", "[".repeat(levels - 2), "]".repeat(levels - 2));
        let body = format!(r#"{{"fields":{{"n":{nested}}}}}"#);
        let request = admin_request("PATCH", "/records/crm/a:b").insert_header((IF_MATCH, "*"));
        let alone = api.send(request.insert_header((CONTENT_TYPE, "application/json")).set_payload(body.clone())).await;
        let batch = format!(
            r#"{{"items":[{{"method":"PATCH","path":"/records/crm/a:b","headers":{{"If-Match":"*"}},"body":{body}}}]}}"#
        );
        let item = api.send(batch_request(&json!({})).set_payload(batch)).await;
        if levels <= 64 {
            assert_eq!((alone.status, &item.json()["items"][0]["status"]), (204, &json!(204)), "{levels}: {item:?}");
        } else {
            let problems = (alone.problem(), item.problem());
            assert_eq!(problems, ("malformed-request".to_owned(), "malformed-request".to_owned()), "{levels}");
        }
        assert_eq!(api.write_count(), usize::from(levels <= 64), "{levels}: the second one changes nothing");
    }
}
