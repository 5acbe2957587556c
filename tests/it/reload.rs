//! A configuration that changes while the gateway runs.

use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::sandbox::{CallKind, InjectedFault, matrix42};

use super::support::{Request, TestConfig, TestProcess};

const LOG_RELOADED: &str = "the configuration was reloaded and is in force";
const LOG_REJECTED: &str = "the changed configuration is invalid";

/// The caller's key is `key-of-` and its name.
fn with_caller(config: TestConfig, name: &str, allow: &str) -> TestConfig {
    config.api_keys(&[(name, &format!("key-of-{name}"), allow)])
}

fn start_for_ada() -> TestProcess {
    TestProcess::start_with(|config| with_caller(config, "ada", "*:*"))
}

fn record_path(system: &str) -> String {
    format!("/records/{system}/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID)
}

async fn read_status(process: &TestProcess, caller: &str, system: &str) -> u16 {
    let key = format!("Bearer key-of-{caller}");
    process.client().get(&record_path(system)).header("Authorization", &key).send().await.status
}

#[actix_web::test]
async fn a_reload_applies_at_once_and_running_requests_finish_unchanged() {
    let process = start_for_ada();
    assert_eq!(
        (read_status(&process, "ada", "itsm").await, read_status(&process, "grace", "helpdesk").await),
        (200, 401)
    );

    process.vendors.matrix42.faults.once(CallKind::Read, InjectedFault::Hold);
    let request = process.client().get(&record_path("itsm")).header("Authorization", "Bearer key-of-ada");
    let running = actix_web::rt::spawn(request.send());
    process.vendors.matrix42.log.wait_for(CallKind::Read, 2).await;

    let after = with_caller(process.config(), "grace", "*:*").rename_system("itsm", "helpdesk");
    process.write_config(&after.system("helpdesk", "require_if_match", false));
    process.signal("-HUP");
    process.wait_for_log(LOG_RELOADED, 1).await;
    assert_eq!(
        (read_status(&process, "grace", "helpdesk").await, read_status(&process, "grace", "itsm").await),
        (200, 404)
    );
    assert_eq!(read_status(&process, "ada", "helpdesk").await, 401);
    let shown = process.client().get("/systems/helpdesk").header("Authorization", "Bearer key-of-grace").send().await;
    assert_eq!(shown.json()["require_if_match"], false);

    process.vendors.matrix42.faults.release();
    running.await.unwrap().assert_status(200);
    let metrics = process.client().get("/metrics").send().await.text;
    for line in [
        r#"config_reloads_total{outcome="ok",what="configuration"} 1"#,
        r#"gateway_requests_total{action="read",outcome="ok",system="helpdesk"} 1"#,
        r#"gateway_requests_total{action="read",outcome="ok",system="itsm"} 2"#,
        r#"gateway_in_flight{system="itsm"} 0"#,
        r#"vendor_circuit_state{system="helpdesk"} 0"#,
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} not in\n{metrics}");
    }
    assert_eq!(process.terminate(), Some(0));
}

#[actix_web::test]
async fn an_invalid_file_changes_nothing_and_every_error_is_logged() {
    let process = start_for_ada();
    let good = process.config();
    process.write_config(&good.clone().access("mode", "kees").system("crm", "zzz", 1));
    process.wait_for_log(LOG_REJECTED, 1).await;
    let log = process.log();
    assert!(log.contains("access.mode") && log.contains("systems.crm.zzz"), "{log}");
    assert_eq!(read_status(&process, "ada", "itsm").await, 200);

    // Another vendor under the same name would reconcile writes of the former one.
    let exchanged = good.clone().rename_system("itsm", "x").rename_system("crm", "itsm").rename_system("x", "crm");
    process.write_config(&exchanged);
    process.wait_for_log(LOG_REJECTED, 2).await;
    assert!(process.log().contains("another vendor under the same name"), "{}", process.log());
    assert_eq!(read_status(&process, "ada", "itsm").await, 200);

    process.write_config(&with_caller(good, "ada", "itsm:delete"));
    process.wait_for_log(LOG_RELOADED, 1).await;
    assert_eq!(read_status(&process, "ada", "itsm").await, 403);
    let metrics = process.client().get("/metrics").send().await.text;
    assert!(metrics.contains(r#"config_reloads_total{outcome="refused",what="configuration"} 2"#), "{metrics}");
}

#[actix_web::test]
async fn a_secret_of_the_same_length_in_its_file_is_taken_over() {
    let builder = TestProcess::builder();
    let file = builder.folder().join("token");
    std::fs::write(&file, matrix42::API_TOKEN).unwrap();
    let token: toml::Table = [("file".to_owned(), file.display().to_string().into())].into_iter().collect();
    let process =
        builder.configure(|config| with_caller(config, "ada", "*:*").system("itsm", "api_token", token)).start();
    assert_eq!(read_status(&process, "ada", "itsm").await, 200);
    let time = std::fs::metadata(&file).unwrap().modified().unwrap();
    std::fs::write(&file, "x".repeat(matrix42::API_TOKEN.len())).unwrap();
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    process.wait_for_log(LOG_RELOADED, 1).await;
    assert_eq!(read_status(&process, "ada", "itsm").await, 502, "the new token is unknown to the vendor");
}

#[actix_web::test]
async fn a_write_is_resolved_although_its_system_has_vanished() {
    let process = TestProcess::start_with(|config| {
        with_caller(config, "ada", "*:*").server("deadline", "1s").system("itsm", "timeout", "300ms")
    });
    let authorized = |request: Request| request.header("Authorization", "Bearer key-of-ada");
    let read = authorized(process.client().get(&record_path("itsm"))).send().await;
    let faults = &process.vendors.matrix42.faults;
    faults.always(CallKind::Update, InjectedFault::HangAfter);
    faults.always(CallKind::Read, InjectedFault::Hang);
    let patch = process.client().request(Method::PATCH, &record_path("itsm")).if_match(read.etag());
    let patch = authorized(patch.merge_patch("{\"fields\":{\"Description\":\"applied\"}}")).send().await;
    patch.assert_problem(504, "outcome-unknown");
    process.write_config(&process.config().rename_system("itsm", "helpdesk"));
    process.wait_for_log(LOG_RELOADED, 1).await;
    assert_eq!(read_status(&process, "ada", "itsm").await, 404);
    faults.clear();
    let path = patch.header("operation").unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let operation = authorized(process.client().get(path)).send().await.assert_status(200).json();
        if operation["state"] != "running" {
            break assert_eq!(operation["state"], "applied", "{operation}");
        }
        assert!(Instant::now() < until, "{operation}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[actix_web::test]
async fn settings_that_need_a_restart_are_logged_and_the_rest_applies() {
    let process = start_for_ada();
    let elsewhere = tempfile::tempdir().unwrap();
    let changed = process.config().server("ops_bind", "127.0.0.1:0").server("workers", 7).server("max_body", 10);
    process.write_config(&with_caller(changed.sqlite(&elsewhere.path().join("store.db")), "grace", "*:*"));
    process.wait_for_log("server.ops_bind, server.workers, store", 1).await;
    assert_eq!(read_status(&process, "grace", "itsm").await, 200);
    assert_eq!(process.client().get("/healthz").send().await.status, 200, "the address is unchanged");
    let long = process.client().request(Method::PATCH, &record_path("itsm")).if_match("*");
    let long = long.merge_patch("{\"fields\":{\"Description\":\"x\"}}").header("Authorization", "Bearer key-of-grace");
    long.send().await.assert_problem(413, "body-too-large");
    assert!(std::fs::read_dir(elsewhere.path()).unwrap().next().is_none(), "the store is unchanged");
}

#[actix_web::test]
async fn a_system_that_did_not_change_keeps_its_token() {
    let process = start_for_ada();
    assert_eq!(read_status(&process, "ada", "itsm").await, 200);
    assert_eq!(process.vendors.matrix42.log.count(CallKind::SignIn), 1);
    process.write_config(&process.config().system("crm", "retries", 1));
    process.wait_for_log(LOG_RELOADED, 1).await;
    assert_eq!(read_status(&process, "ada", "itsm").await, 200);
    assert_eq!(process.vendors.matrix42.log.count(CallKind::SignIn), 1);
    process.write_config(&process.config().system("crm", "retries", 1).system("itsm", "retries", 1));
    process.wait_for_log(LOG_RELOADED, 2).await;
    assert_eq!(read_status(&process, "ada", "itsm").await, 200);
    assert_eq!(process.vendors.matrix42.log.count(CallKind::SignIn), 2);
}
