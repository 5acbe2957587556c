//! The access log, and what the program prints at its start.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use actix_web::http::Method;
use records_gateway::sandbox::matrix42;
use serde_json::{Value, json};

use super::support::{PROGRAM, TestProcess};

fn record_path() -> String {
    format!("/records/itsm/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID)
}

#[actix_web::test]
async fn with_access_log_every_request_is_one_line_without_ids() {
    for is_enabled in [true, false] {
        let builder = TestProcess::builder().log_as_json().log_level("warn");
        let process = builder.configure(|config| config.server("access_log", is_enabled)).start();
        let get = |path: &str| process.client().get(path).header("X-Request-Id", "the-request").send();
        let read = get(&record_path()).await;
        get("/records/nowhere/secret-id").await.assert_status(404);
        let log = process.stop_and_read_log();
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let lines: Vec<&Value> = lines.iter().filter(|line| line["target"] == "access").collect();
        assert_eq!(lines.len(), if is_enabled { 2 } else { 0 }, "{log}");
        assert!(!log.contains(matrix42::FACILITY_ID) && !log.contains("secret-id"), "{log}");
        let Some(first) = lines.first() else { continue };
        for (member, expected) in [
            ("request_id", Value::from("the-request")),
            ("caller", "anonymous".into()),
            ("method", "GET".into()),
            ("route", "/records/{system}/{id}".into()),
            ("system", "itsm".into()),
            ("status", 200.into()),
            ("outcome", "ok".into()),
            ("bytes", read.text.len().into()),
        ] {
            assert_eq!(first[member], expected, "{first}");
        }
        assert!(first["ms"].is_u64() && first["vendor_ms"].is_u64() && first["timestamp"].is_string(), "{first}");
        assert_eq!((&lines[1]["outcome"], &lines[1]["system"]), (&"system-not-found".into(), &"none".into()));
    }
}

#[actix_web::test]
async fn a_stream_is_logged_with_its_time_and_bytes_when_it_ends() {
    let builder = TestProcess::builder().log_as_json().log_level("warn");
    let process = builder.configure(|config| config.server("access_log", true)).start();
    let mut stream = process.client().get("/changes").open_stream().await;
    let opened = Instant::now();
    let patch = process.client().request(Method::PATCH, &record_path()).if_match("*");
    patch.fields(&json!({ "Description": "streamed" })).send().await.assert_status(204);
    let mut received = 0;
    loop {
        let lines = stream.next().await.expect("an event");
        received += lines.iter().map(String::len).sum::<usize>();
        if lines.iter().any(|line| line.starts_with("data: ")) {
            break;
        }
    }
    let (held, received) = (u64::try_from(opened.elapsed().as_millis()).unwrap(), u64::try_from(received).unwrap());
    drop(stream);
    let log = process.stop_and_read_log();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = lines.iter().find(|line| line["route"] == "/changes").unwrap_or_else(|| panic!("{log}"));
    assert!(line["ms"].as_u64() >= Some(held) && line["bytes"].as_u64() > Some(received), "{line}");
    assert_eq!((&line["status"], &line["outcome"]), (&200.into(), &"ok".into()));
}

#[test]
fn the_start_names_addresses_store_and_systems() {
    let mut command = Command::new(PROGRAM);
    command.args(["sandbox", "--bind", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let lines: Vec<String> = lines.take(4).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let address = lines[0].strip_prefix("listening on ").unwrap();
    assert_eq!(lines[1], format!("  Swagger UI {address}/docs/, metrics {address}/metrics, health {address}/readyz"));
    assert!(lines[2].starts_with("  store sqlite:"), "{lines:?}");
    assert!(
        lines[3].starts_with("  systems crm (pretectum), architecture (bluedolphin), itsm (matrix42)"),
        "{lines:?}"
    );
}

#[test]
fn the_version_names_the_revision() {
    let output = Command::new(PROGRAM).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let revision = option_env!("GIT_REVISION").unwrap_or("unknown");
    assert_eq!(text, format!("records-gateway {} (revision {revision})\n", env!("CARGO_PKG_VERSION")));
}
