//! `GET /systems/{system}`: what a system can do, what its writes may destroy, and how it is doing.

use jiff::Timestamp;
use records_gateway::sandbox::{CallKind, Fault};
use serde_json::{Value, json};

use super::support::{BLUEDOLPHIN, House, MATRIX42};

async fn shown(house: &House) -> Value {
    house.get(&format!("/systems/{}", house.bench.system)).send().await.is_done(200).json()
}

fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no time"))
}

#[actix_web::test]
async fn health_tells_the_circuit_the_last_success_the_last_failure_and_the_tokens_expiry() {
    let house = House::with(&MATRIX42, &[("vendor", "circuit_failures", "2"), ("vendor", "retries", "0")]).await;
    let fresh = json!({ "circuit": "closed", "last_success": null, "last_failure": null, "token_expires": null });
    assert_eq!(shown(&house).await["health"], fresh);

    let before = Timestamp::now();
    house.read(house.bench.key).send().await.is_done(200);
    let health = shown(&house).await["health"].clone();
    assert_eq!((&health["circuit"], &health["last_failure"]), (&json!("closed"), &Value::Null));
    assert!(time(&health["last_success"]).as_second() >= before.as_second(), "{health}");
    assert!(time(&health["token_expires"]) > before, "{health}");

    for _ in 0..2 {
        house.once(CallKind::Read, Fault::json(500, r#"{"Message":"the disk is full"}"#));
        house.read(house.bench.key).send().await.is(502, "vendor-error");
    }
    house.read(house.bench.key).send().await.is(503, "overloaded");
    let health = shown(&house).await["health"].clone();
    assert_eq!(health["circuit"], "open");
    assert_eq!(health["last_failure"]["reason"], "the disk is full");
    assert!(time(&health["last_failure"]["at"]) >= time(&health["last_success"]), "{health}");
}

#[actix_web::test]
async fn each_loss_names_the_actions_it_belongs_to_and_what_is_done_about_it() {
    let names = |system: &Value, action: &str| -> Vec<String> {
        let losses = system["losses"].as_array().unwrap().iter();
        let of_it = losses.filter(|loss| loss["actions"].as_array().unwrap().contains(&json!(action)));
        of_it.map(|loss| loss["name"].as_str().unwrap().to_owned()).collect()
    };
    let system = shown(&House::start(&BLUEDOLPHIN).await).await;
    assert_eq!(names(&system, "update"), ["linked-questions", "source-connections"]);
    assert_eq!(names(&system, "delete"), ["dependent-objects"]);
    assert_eq!(system["on_lossy_write"], "refuse");
    let warns = House::with(&BLUEDOLPHIN, &[("systems.architecture", "on_lossy_write", "\"warn\"")]).await;
    assert_eq!(shown(&warns).await["on_lossy_write"], "warn");
}
