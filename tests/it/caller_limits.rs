//! The limits of callers: requests per second and requests in flight.

use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;
use toml::{Table, Value};

use super::support::{MATRIX42, PRETECTUM, Request, TestConfig, TestEnv, TestResponse};

fn limits(rate: i64, burst: i64, in_flight: i64) -> Value {
    let entries = [("rate", rate), ("burst", burst), ("in_flight", in_flight)];
    Value::Table(entries.map(|(key, value)| (key.to_owned(), Value::from(value))).into_iter().collect::<Table>())
}

/// Two callers; only one of them has limits.
fn start(limited: Value) -> TestEnv {
    TestEnv::start_with(&MATRIX42, |config| {
        config
            .api_keys(&[("limited", "key-of-limited", "*:*"), ("other", "key-of-other", "*:*")])
            .caller("limited", "limits", limited)
            .metrics("caller_label", true)
    })
}

fn authorized(request: Request, caller: &str) -> Request {
    request.header("Authorization", &format!("Bearer key-of-{caller}"))
}

async fn read(gateway: &TestEnv, caller: &str) -> TestResponse {
    authorized(gateway.read(MATRIX42.key), caller).send().await
}

/// Sends a request as the limited caller until it is refused, and returns the refusal. A
/// slow machine gains a request meanwhile.
async fn use_up(gateway: &TestEnv, request: impl Fn() -> Request) -> TestResponse {
    for _ in 0..200 {
        let calls = gateway.requests().len();
        let response = authorized(request(), "limited").send().await;
        if response.status == 429 {
            assert_eq!(gateway.requests().len(), calls, "nothing was sent");
            return response;
        }
    }
    panic!("the limited caller is never refused");
}

#[actix_web::test]
async fn a_caller_over_its_rate_gets_429_and_others_are_served() {
    let gateway = start(limits(1, 3, 0));
    let response = read(&gateway, "limited").await;
    response.assert_status(200);
    assert_eq!(response.header("ratelimit-policy"), Some(r#""rate";q=3;w=3"#));
    assert_eq!(response.header("ratelimit"), Some(r#""rate";r=2;t=1"#));
    let refused = use_up(&gateway, || gateway.read(MATRIX42.key)).await;
    refused.assert_problem(429, "quota-exceeded");
    assert_eq!(refused.json()["violated_policies"], serde_json::json!(["rate"]));
    assert_eq!(refused.json()["retryable"], true);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let limit = refused.header("ratelimit").unwrap();
    assert!([r#""rate";r=0;t=2"#, r#""rate";r=0;t=3"#].contains(&limit), "{limit}");
    for _ in 0..5 {
        let response = read(&gateway, "other").await;
        response.assert_status(200);
        assert_eq!(response.header("ratelimit"), None);
    }
    for path in ["/healthz", "/readyz", "/docs/", "/openapi.json", "/problems/quota-exceeded", "/"] {
        authorized(gateway.get(path), "limited").send().await.assert_status(200);
    }
    let metrics = gateway.get("/metrics").send().await.text;
    for line in [
        r#"quota_refusals_total{policy="rate"} 1"#,
        r#"quota_refusals_total{policy="in-flight"} 0"#,
        r#"caller_quota_refusals_total{caller="limited",policy="rate"} 1"#,
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} not in\n{metrics}");
    }
    // As `Retry-After` said.
    tokio::time::sleep(Duration::from_secs(1)).await;
    read(&gateway, "limited").await.assert_status(200);
}

#[actix_web::test]
async fn the_limit_comes_after_401_and_before_404_and_the_body() {
    let gateway = start(limits(1, 1, 0));
    gateway.get("/records/nowhere/x").header("Authorization", "Bearer x").send().await.assert_status(401);
    let no_patch = || gateway.request(Method::PATCH, "/records/itsm/x").header("Content-Type", "text/plain").body("{");
    for refused in [
        use_up(&gateway, || gateway.get("/records/nowhere/x")).await,
        use_up(&gateway, no_patch).await,
        use_up(&gateway, || gateway.get("/systems")).await,
    ] {
        refused.assert_problem(429, "quota-exceeded");
    }
    use_up(&gateway, || gateway.read(MATRIX42.key)).await;
    authorized(gateway.get("/nowhere"), "limited").send().await.assert_problem(404, "not-found");
    authorized(gateway.request(Method::PUT, "/systems"), "limited").send().await.assert_status(405);
}

#[actix_web::test]
async fn requests_in_flight_are_limited_and_freed_when_they_end() {
    let gateway = start(limits(0, 0, 1));
    gateway.faults().once(CallKind::Read, InjectedFault::Hold);
    let first = actix_web::rt::spawn(authorized(gateway.read(MATRIX42.key), "limited").send());
    gateway.wait_for_calls(CallKind::Read, 1).await;
    let refused = read(&gateway, "limited").await;
    refused.assert_problem(429, "quota-exceeded");
    assert_eq!(refused.json()["violated_policies"], serde_json::json!(["in-flight"]));
    read(&gateway, "other").await.assert_status(200);
    gateway.faults().release();
    first.await.unwrap().assert_status(200);
    read(&gateway, "limited").await.assert_status(200);
}

#[actix_web::test]
async fn items_of_a_batch_wait_for_a_place_in_flight() {
    for in_flight in [1, 2] {
        let gateway = start(limits(0, 0, in_flight));
        let get = |key: &str| json!({"method": "GET", "path": MATRIX42.path(key)});
        let items: Vec<_> = [MATRIX42.key, MATRIX42.other_key].repeat(3).into_iter().map(get).collect();
        let batch = gateway.request(Method::POST, "/batch").json(&json!({"items": items}));
        let response = authorized(batch, "limited").send().await;
        response.assert_status(200);
        assert_eq!(response.json()["summary"]["ok"], 6, "{response:?}");
        assert_eq!(gateway.call_count(CallKind::Read), 6);
        read(&gateway, "limited").await.assert_status(200);
    }
}

#[actix_web::test]
async fn each_item_of_a_batch_counts_against_the_rate() {
    let gateway = start(limits(1, 4, 0));
    let get = json!({"method": "GET", "path": MATRIX42.path(MATRIX42.key)});
    let batch = gateway.request(Method::POST, "/batch").json(&json!({"items": vec![get; 60]}));
    let document = authorized(batch, "limited").send().await.assert_status(207).json();
    let refused = document["items"].as_array().expect("items").iter().filter(|item| item["status"] == 429);
    let refused: Vec<_> = refused.map(|item| &item["body"]["type"]).collect();
    assert!(refused.iter().all(|problem| **problem == "/problems/quota-exceeded"), "{document}");
    let ok = document["summary"]["ok"].as_u64().expect("a number");
    assert!(ok >= 3 && ok + refused.len() as u64 == 60 && refused.len() > 10, "{}", document["summary"]);
}

#[actix_web::test]
async fn a_batch_larger_than_the_burst_is_completed_by_repeating_it() {
    let gateway = start(limits(5, 3, 0));
    let before = gateway.record_count();
    let create = |n: usize| {
        json!({"method": "POST", "path": "/records/itsm",
            "body": {"collection": MATRIX42.collection(), "fields": (MATRIX42.new_record)(&format!("text {n}"))}})
    };
    let batch = json!({"items": (0..12).map(create).collect::<Vec<_>>()});
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        let request = gateway.request(Method::POST, "/batch").header("Idempotency-Key", "\"larger\"").json(&batch);
        let response = authorized(request, "limited").send().await;
        if response.status == 200 {
            assert_eq!(response.json()["summary"]["ok"], 12);
            break;
        }
        assert!(Instant::now() < until, "{response:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(gateway.record_count(), before + 12);
}

#[actix_web::test]
async fn a_batch_of_as_many_items_as_the_burst_is_allowed() {
    let gateway = start(limits(1, 4, 0));
    let get = json!({"method": "GET", "path": MATRIX42.path(MATRIX42.key)});
    let batch = gateway.request(Method::POST, "/batch").json(&json!({"items": vec![get; 4]}));
    authorized(batch, "limited").send().await.assert_status(200);
}

#[actix_web::test]
async fn a_stored_batch_keeps_to_its_callers_rate_and_ends() {
    let gateway = start(limits(20, 2, 1));
    let get = json!({"method": "GET", "path": MATRIX42.path(MATRIX42.key)});
    let batch = json!({"items": vec![get; 22]});
    let begun = Instant::now();
    // The request that waits does not count against the limit that its items need.
    let request = gateway.request(Method::POST, "/batch").prefer("respond-async").prefer("wait=4").json(&batch);
    let response = authorized(request, "limited").send().await;
    let mut batch = response.json();
    if response.status == 202 {
        let path = response.header("location").expect("a path");
        while batch["finished_at"].is_null() {
            assert!(begun.elapsed() < Duration::from_mins(1), "{batch}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            batch = authorized(gateway.get(path), "other").send().await.assert_status(200).json();
        }
    }
    assert_eq!(batch["summary"]["ok"], 22, "{batch}");
    assert!(begun.elapsed() > Duration::from_millis(900), "20 items a second: {:?}", begun.elapsed());
}

#[actix_web::test]
async fn default_limits_apply_to_callers_without_their_own() {
    let configure = |config: TestConfig| {
        config
            .api_keys(&[("limited", "key-of-limited", "*:*"), ("other", "key-of-other", "*:*")])
            .access("default_limits", limits(1, 1, 0))
            .caller("other", "limits", limits(1, 2, 0))
    };
    let gateway = TestEnv::start_with(&MATRIX42, configure);
    for (caller, policy) in [("limited", r#""rate";q=1;w=1"#), ("other", r#""rate";q=2;w=2"#)] {
        let response = read(&gateway, caller).await;
        assert_eq!(response.assert_status(200).header("ratelimit-policy"), Some(policy));
    }
    use_up(&gateway, || gateway.read(MATRIX42.key)).await.assert_problem(429, "quota-exceeded");
}

#[actix_web::test]
async fn items_that_wait_for_their_caller_keep_no_other_item_from_running() {
    for (in_flight, concurrency) in [(1, 1), (1, 8), (2, 8)] {
        let gateway = TestEnv::start_with(&PRETECTUM, |config| {
            let config = config.server("deadline", "5s").api_keys(&[("limited", "key-of-limited", "*:*")]);
            config.caller("limited", "limits", limits(0, 0, in_flight))
        });
        let missing = |n: usize| format!("20240601090000009z9z9z9z9z9z9z9z9z9z9z9z9{n:06}");
        let mut items = vec![json!({"method": "GET", "path": PRETECTUM.path(PRETECTUM.key)})];
        items.extend((1..12).map(|n| json!({"method": "GET", "path": PRETECTUM.path(&missing(n))})));
        let request =
            gateway.request(Method::POST, "/batch").json(&json!({"items": items, "concurrency": concurrency}));
        let batch = authorized(request, "limited").send().await.assert_status(207).json();
        let statuses: Vec<u64> =
            batch["items"].as_array().unwrap().iter().filter_map(|one| one["status"].as_u64()).collect();
        assert_eq!((statuses[0], &statuses[1..]), (200, [404; 11].as_slice()), "{in_flight} {concurrency}");
    }
}
