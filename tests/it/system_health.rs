//! `GET /systems/{system}`: capabilities, losses and health of a system.

use jiff::Timestamp;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use super::support::{BLUEDOLPHIN, FIXTURES, MATRIX42, TestEnv, VendorFixture, for_each_vendor_with};

for_each_vendor_with!(native:
    a_stale_version_is_no_failure_of_the_vendor_in_the_metrics,
);

async fn read_system(env: &TestEnv) -> Value {
    env.get(&format!("/systems/{}", env.fixture.system)).send().await.assert_status(200).json()
}

fn parse_time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no time"))
}

#[actix_web::test]
async fn health_reports_the_circuit_the_last_results_and_the_token_expiry() {
    let env =
        TestEnv::start_with(&MATRIX42, |config| config.every_system("circuit_failures", 2).every_system("retries", 0));
    let fresh = json!({
        "circuit": "closed", "last_success": null, "last_failure": null, "token_expires": null, "key_expires": null, "in_flight": 0, "queued": 0, "writes_unknown": 0, "oldest_unknown": null,
    });
    assert_eq!(read_system(&env).await["health"], fresh);

    let before = Timestamp::now();
    env.read(env.fixture.key).send().await.assert_status(200);
    let health = read_system(&env).await["health"].clone();
    assert_eq!((&health["circuit"], &health["last_failure"]), (&json!("closed"), &Value::Null));
    assert!(parse_time(&health["last_success"]).as_second() >= before.as_second(), "{health}");
    assert!(parse_time(&health["token_expires"]) > before, "{health}");

    for _ in 0..2 {
        env.inject_once(CallKind::Read, InjectedFault::json(500, r#"{"Message":"the disk is full"}"#));
        env.read(env.fixture.key).send().await.assert_problem(502, "vendor-error");
    }
    env.read(env.fixture.key).send().await.assert_problem(503, "vendor-unavailable");
    let health = read_system(&env).await["health"].clone();
    assert_eq!(health["circuit"], "open");
    assert_eq!(health["last_failure"]["reason"], "the disk is full");
    assert!(parse_time(&health["last_failure"]["at"]) >= parse_time(&health["last_success"]), "{health}");
}

#[actix_web::test]
async fn each_loss_lists_its_actions_and_the_configured_policy() {
    let names = |system: &Value, action: &str| -> Vec<String> {
        let losses = system["losses"].as_array().unwrap().iter();
        let of_action = losses.filter(|loss| loss["actions"].as_array().unwrap().contains(&json!(action)));
        of_action.map(|loss| loss["name"].as_str().unwrap().to_owned()).collect()
    };
    let system = read_system(&TestEnv::start(&BLUEDOLPHIN)).await;
    assert_eq!(names(&system, "update"), ["linked-questions", "source-connections", "property-values"]);
    assert_eq!(names(&system, "delete"), ["dependent-objects"]);
    assert_eq!(system["on_lossy_write"], "refuse");
    let warns = TestEnv::start_with(&BLUEDOLPHIN, |config| config.system("architecture", "on_lossy_write", "warn"));
    assert_eq!(read_system(&warns).await["on_lossy_write"], "warn");
}

async fn a_stale_version_is_no_failure_of_the_vendor_in_the_metrics(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.key).await;
    (fixture.external_touch)(&env.vendors, fixture.key);
    env.set_text(fixture.key, &tag, "stale").send().await.assert_problem(412, "precondition-failed");
    let metrics = env.get("/metrics").send().await.text;
    let conflict =
        format!(r#"vendor_requests_total{{call="update",outcome="conflict",system="{}"}} 1"#, fixture.system);
    assert!(metrics.lines().any(|line| line == conflict), "{metrics}");
    assert!(!metrics.contains(r#"outcome="5xx""#), "{metrics}");
}

#[actix_web::test]
async fn a_caller_sees_only_the_systems_on_which_it_has_a_permission() {
    let callers = [("ada", "key-of-ada", "itsm:ledger"), ("grace", "key-of-grace", "*:read")];
    let env = TestEnv::start_with(&MATRIX42, |config| config.api_keys(&callers));
    let send = |path: &str, key: &str| env.get(path).header("Authorization", &format!("Bearer {key}")).send();
    let list = send("/systems", "key-of-ada").await.assert_status(200).json();
    let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|system| system["name"].clone()).collect();
    assert_eq!(names, ["itsm"]);
    send("/systems/itsm", "key-of-ada").await.assert_status(200);
    send("/systems/crm", "key-of-ada").await.assert_problem(403, "forbidden");
    let all = send("/systems", "key-of-grace").await.assert_status(200).json();
    assert_eq!(all["items"].as_array().unwrap().len(), FIXTURES.len());
}
