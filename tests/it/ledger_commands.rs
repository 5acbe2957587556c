//! `ledger export` and `ledger cut` of the program (contract 1).

use std::process::Output;

use records_gateway::sandbox::Sandbox;

use crate::support::{MATRIX42, ProcessBuilder};

const FUTURE: &str = "2999-01-01T00:00:00Z";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[actix_web::test]
async fn the_ledger_is_exported_beside_a_gateway_and_cut_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let builder = ProcessBuilder::new(Sandbox::start().unwrap(), folder.path());
    let process = builder.clone().start();
    for number in 0..3 {
        let patch = process.client().request(actix_web::http::Method::PATCH, &MATRIX42.path(MATRIX42.key));
        let fields = MATRIX42.text_patch(&number.to_string());
        patch.if_match("*").fields(&fields).send().await.assert_status(204);
    }
    let file = folder.path().join("ledger.jsonl").display().to_string();
    let head = assert_exit(&builder.run(&["ledger", "export", "--until", FUTURE, "--to", &file]), 0);
    assert!(head.starts_with("6 "), "{head}");
    let exported = std::fs::read_to_string(&file).unwrap();
    assert_eq!(exported.lines().count(), 7);
    assert_exit(&builder.run(&["ledger", "export", "--until", FUTURE, "--to", &file]), 1);
    let in_use = builder.run(&["ledger", "cut", "--until", FUTURE, "--exported", &file]);
    assert_exit(&in_use, 1);
    assert!(text(&in_use.stderr).contains("only while no gateway uses it"), "{}", text(&in_use.stderr));
    drop(process);
    assert_eq!(assert_exit(&builder.run(&["ledger", "cut", "--until", FUTURE, "--exported", &file]), 0), head);
    assert_exit(&builder.run(&["ledger", "verify"]), 0);
    let hash = head.trim().rsplit(' ').next().unwrap();
    assert_exit(&builder.run(&["ledger", "verify", "--head", hash]), 0);
    let process = builder.clone().start();
    let ledger = process.client().get("/ledger").send().await.assert_status(200).json();
    let items = ledger["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{ledger}");
    assert_eq!(
        (&items[0]["event"], &items[0]["cut"]["seq"], items[0]["cut"]["hash"].as_str()),
        (&serde_json::json!("cut"), &serde_json::json!(6), Some(hash))
    );
}
