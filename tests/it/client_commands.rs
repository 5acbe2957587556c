//! The client in the binary: what it prints, and its exit codes.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use records_gateway::sandbox::{CallKind, InjectedFault, bluedolphin, matrix42};
use serde_json::Value;

use super::support::{PROGRAM, TestProcess};

fn record() -> String {
    format!("{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID)
}

/// Runs the program with this input.
fn run_with(process: &TestProcess, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).args(["--url", &process.base_url()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn run(process: &TestProcess, arguments: &[&str]) -> Output {
    run_with(process, arguments, "")
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) -> (Value, String) {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{err}");
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), err)
}

fn start() -> TestProcess {
    TestProcess::start_with(|config| config.every_system("retries", 0).every_system("timeout", "500ms"))
}

#[actix_web::test]
async fn a_record_is_read_changed_and_found_stale_by_its_tag() {
    let process = start();
    let (shown, err) = assert_exit(&run(&process, &["get", "itsm", &record()]), 0);
    let tag = shown["etag"].as_str().unwrap().to_owned();
    assert!(err.contains(&format!("ETag: {tag}")), "{err}");
    let patch = ["patch", "itsm", &record(), "--if-match", &tag, "-f", "Description=Facilities"];
    let (changed, _) = assert_exit(&run(&process, &patch), 0);
    assert_eq!(changed["fields"]["Description"], "Facilities");
    let (nothing, err) = assert_exit(&run(&process, &patch), 3);
    assert!(nothing.is_null() && err.contains("412 precondition-failed"), "{err}");
    let current = ["patch", "itsm", &record(), "--if-match-current"];
    let json_patch = r#"[{"op":"replace","path":"/fields/Description","value":"Again"}]"#;
    let (changed, _) = assert_exit(&run_with(&process, &current, json_patch), 0);
    assert_eq!(changed["fields"]["Description"], "Again");
}

#[actix_web::test]
async fn a_queued_write_is_followed_to_its_end() {
    let process = start();
    let id = format!("object-definitions:{}", bluedolphin::NEW_APPLICATION_ID);
    let patch = ["patch", "architecture", &id, "--if-match", "*", "-f", "/properties/Supplier/value=Contoso"];
    let (_, err) = assert_exit(&run(&process, &patch), 4);
    assert!(err.contains("409 lossy-write"), "{err}");
    let accepted: Vec<&str> =
        patch.into_iter().chain(["--accept-loss", "linked-questions, source-connections"]).collect();
    let (changed, _) = assert_exit(&run(&process, &accepted), 0);
    assert_eq!(changed["fields"]["properties"]["Supplier"]["value"], "Contoso");
}

#[actix_web::test]
async fn a_list_is_a_page_and_a_deleted_record_is_gone() {
    let process = start();
    let collection = ["--collection", matrix42::CATEGORY_CLASS];
    let list: Vec<&str> = ["list", "itsm", "--limit", "1"].into_iter().chain(collection).collect();
    let (page, _) = assert_exit(&run(&process, &list), 0);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let id = page["items"][0]["id"].as_str().unwrap().to_owned();
    assert_exit(&run(&process, &["delete", "itsm", &id]), 4);
    assert_exit(&run(&process, &["delete", "itsm", &id, "--if-match-current"]), 0);
    let (_, err) = assert_exit(&run(&process, &["get", "itsm", &id]), 4);
    assert!(err.contains("404 record-not-found"), "{err}");
}

#[actix_web::test]
async fn an_unknown_outcome_has_its_own_exit_code() {
    let process = TestProcess::start_with(|config| {
        config.server("deadline", "2s").every_system("retries", 0).every_system("timeout", "300ms")
    });
    let faults = &process.vendors.matrix42.faults;
    faults.always(CallKind::Read, InjectedFault::Hang);
    assert_exit(&run(&process, &["get", "itsm", &record()]), 5);
    faults.always(CallKind::Update, InjectedFault::HangAfter);
    let patch = ["patch", "itsm", &record(), "--if-match", &sample_tag(), "-f", "Description=x"];
    let (_, err) = assert_exit(&run(&process, &patch), 6);
    assert!(err.contains("504 outcome-unknown") && err.contains("follow: /operations/"), "{err}");
    faults.clear();
    for (url, exit) in [("http://127.0.0.1:1", 5), ("garbage", 2), ("ftp://127.0.0.1", 2)] {
        let mut command = Command::new(PROGRAM);
        let output = command.args(["get", "itsm", &record(), "--url", url]).output().unwrap();
        assert_exit(&output, exit);
    }
}

/// The tag of the sample record: the state is not read first.
fn sample_tag() -> String {
    "\"rAAAAAEa7mU4.T2c3qwZj82eV\"".to_owned()
}

#[actix_web::test]
async fn bad_arguments_exit_with_2_and_send_nothing() {
    let process = start();
    let record = record();
    for arguments in [
        &["patch", "itsm", &record][..],
        &["patch", "itsm", &record, "-f", "Description"],
        &["patch", "itsm", &record, "-f", "a=b", "--if-match", "*", "--if-match-current"],
        &["patch", "itsm", &record, "-f", "a=b", "--if-match", "a\nb"],
        &["get", "itsm", &record, "--key-file", "/nowhere/at/all"],
        &["get", "itsm"],
    ] {
        assert_exit(&run(&process, arguments), 2);
    }
    assert_eq!(process.vendors.matrix42.log.request_lines(), Vec::<String>::new());
}

#[test]
fn completions_name_every_command_of_the_client() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(PROGRAM).args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && ["patch", "if-match-current"].iter().all(|word| script.contains(word)));
    }
}
