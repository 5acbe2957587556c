//! What a caller is told of a write is what the vendor's side shows, also when the write took an odd turn.

use std::time::Duration;

use records_gateway::sandbox::{CallKind, InjectedFault, bluedolphin};

use super::raw_http_server::{ADA, FACILITY, TestServer, ada_path, request_head, request_with_body};

const MERGE: &str = "Content-Type: application/merge-patch+json\r\n";

fn block_on(waiting: impl Future<Output = ()>) {
    let bounded = async { actix_web::rt::time::timeout(Duration::from_secs(20), waiting).await };
    actix_web::rt::System::new().block_on(bounded).expect("it happens");
}

#[test]
fn a_conflict_after_202_ends_that_operation_without_a_resend() {
    let gateway = TestServer::start();
    let crm = &gateway.vendors.pretectum;
    crm.faults.once(CallKind::Update, InjectedFault::Hold);
    let fields = format!("If-Match: *\r\nPrefer: respond-async\r\n{MERGE}");
    let accepted = gateway.request(request_with_body(
        &format!("PATCH {}", ada_path()),
        &fields,
        r#"{"fields":{"Status":"Premium"}}"#,
    ));
    assert_eq!(accepted.status, 202);
    block_on(crm.log.wait_for(CallKind::Update, 1));
    assert!(crm.state.write(ADA, |fields| _ = fields.insert("Phone".into(), "another writer".into())));
    crm.faults.release();
    let operation = accepted.header("operation").expect("an operation");
    let ended = (0..2000).find_map(|_| {
        let seen = gateway.request(request_head(&format!("GET {operation}"), "")).json();
        (seen["state"] != "running").then_some(seen)
    });
    assert_eq!(ended.expect("it ends")["state"], "not-applied");
    let all = gateway.request(request_head("GET /operations", "")).json();
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1), "{all}");
    assert_eq!(crm.log.count(CallKind::Update), 1);
    assert_eq!(crm.state.object(ADA).expect("there").fields["Status"], "Standard");
}

#[test]
fn a_queued_write_that_the_vendor_never_accepted_is_not_202() {
    let gateway = TestServer::start_with("deadline = \"2s\"");
    gateway.vendors.bluedolphin.faults.once(CallKind::Update, InjectedFault::ResetBefore);
    let fields = format!("If-Match: *\r\nAccept-Loss: linked-questions, source-connections\r\n{MERGE}");
    let body = r#"{"fields":{"properties":{"Supplier":{"value":"Contoso"}}}}"#;
    let path = format!("/records/architecture/object-definitions:{}", bluedolphin::NEW_APPLICATION_ID);
    let response = gateway.request(request_with_body(&format!("PATCH {path}"), &fields, body));
    assert_eq!((response.status, &response.json()["type"]), (504, &"/problems/outcome-unknown".into()));
    assert_eq!(gateway.vendors.bluedolphin.log.count(CallKind::Update), 1, "and it is never sent again");
    assert!(gateway.request(request_head(&format!("GET {path}"), "")).json()["pending_operation"].is_string());
}

#[test]
fn an_undocumented_success_counts_only_once_a_read_confirms_it() {
    let gateway = TestServer::start();
    gateway.vendors.matrix42.faults.once(CallKind::Update, InjectedFault::WrongJson);
    let path = format!("/records/itsm/SPSScCategoryClassBase:{FACILITY}");
    let fields = format!("If-Match: *\r\n{MERGE}");
    let response =
        gateway.request(request_with_body(&format!("PATCH {path}"), &fields, r#"{"fields":{"Description":"new"}}"#));
    assert_eq!(response.status, 204);
    assert_eq!(gateway.request(request_head(&format!("GET {path}"), "")).json()["fields"]["Description"], "new");
}
