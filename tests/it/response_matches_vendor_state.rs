//! The response to a write agrees with the state at the vendor, also after unusual vendor
//! responses.

use std::time::Duration;

use records_gateway::sandbox::{CallKind, InjectedFault, bluedolphin};

use crate::raw_http::{ADA, FACILITY, ada_path, request_head, request_with_body, start_server, start_server_with};

const MERGE: &str = "Content-Type: application/merge-patch+json\r\n";

fn block_on(waiting: impl Future<Output = ()>) {
    let bounded = async { actix_web::rt::time::timeout(Duration::from_secs(20), waiting).await };
    actix_web::rt::System::new().block_on(bounded).expect("the call arrives");
}

#[test]
fn a_conflict_after_202_ends_that_operation_without_a_resend() {
    let server = start_server();
    let crm = &server.vendors.pretectum;
    crm.faults.once(CallKind::Update, InjectedFault::Hold);
    let fields = format!("If-Match: *\r\nPrefer: respond-async\r\n{MERGE}");
    let accepted = server.exchange(request_with_body(
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
        let seen = server.exchange(request_head(&format!("GET {operation}"), "")).json();
        (seen["state"] != "running").then_some(seen)
    });
    assert_eq!(ended.expect("the operation ends")["state"], "not-applied");
    let all = server.exchange(request_head("GET /operations", "")).json();
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1), "{all}");
    assert_eq!(crm.log.count(CallKind::Update), 1);
    assert_eq!(crm.state.object(ADA).expect("there").fields["Status"], "Standard");
}

#[test]
fn a_queued_write_that_the_vendor_never_accepted_is_not_202() {
    let server = start_server_with(|config| config.server("deadline", "2s"));
    server.vendors.bluedolphin.faults.once(CallKind::Update, InjectedFault::ResetBefore);
    let fields = format!("If-Match: *\r\nAccept-Loss: linked-questions, source-connections\r\n{MERGE}");
    let body = r#"{"fields":{"properties":{"Supplier":{"value":"Contoso"}}}}"#;
    let path = format!("/records/architecture/object-definitions:{}", bluedolphin::NEW_APPLICATION_ID);
    let response = server.exchange(request_with_body(&format!("PATCH {path}"), &fields, body));
    assert_eq!((response.status, &response.json()["type"]), (504, &"/problems/outcome-unknown".into()));
    assert_eq!(server.vendors.bluedolphin.log.count(CallKind::Update), 1, "it is not sent again");
    assert!(server.exchange(request_head(&format!("GET {path}"), "")).json()["pending_operation"].is_string());
}

#[test]
fn an_undocumented_success_counts_only_once_a_read_confirms_it() {
    let server = start_server();
    server.vendors.matrix42.faults.once(CallKind::Update, InjectedFault::WrongJson);
    let path = format!("/records/itsm/SPSScCategoryClassBase:{FACILITY}");
    let fields = format!("If-Match: *\r\n{MERGE}");
    let response =
        server.exchange(request_with_body(&format!("PATCH {path}"), &fields, r#"{"fields":{"Description":"new"}}"#));
    assert_eq!(response.status, 204);
    assert_eq!(server.exchange(request_head(&format!("GET {path}"), "")).json()["fields"]["Description"], "new");
}
