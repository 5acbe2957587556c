//! The adapter of Matrix42 against a scripted transport.

use super::*;
use crate::record::{RawObject, SideEffect, VendorErrorKind};
use crate::vendors::testing::{ScriptedTransport, body, classify_response, map, response, run_golden};

const DD: &str = "SPSScCategoryClassBase";
const KEY: &str = "7777780d-71a0-df11-708c-000c2968299e";

fn adapter() -> Matrix42 {
    Matrix42::new(&Secret::new("api-token")).expect("an adapter")
}

fn id() -> RecordId {
    RecordId::new(DD, KEY)
}

fn version() -> Version {
    Version::RowVersion([0, 0, 0, 0, 0x46, 0xbb, 0x99, 0x4e])
}

fn guid(number: u32) -> String {
    format!("{number:08x}-71a0-df11-708c-000c2968299e")
}

fn row(number: u32) -> String {
    format!(
        r#"{{"ID":"{}","TimeStamp":"AAAAAEa7mU4=","Name":"n{number}","End":1.10,"DisplayString":"x"}}"#,
        guid(number)
    )
}

fn rows(numbers: impl IntoIterator<Item = u32>) -> VendorResponse {
    response(200, &format!("[{}]", numbers.into_iter().map(row).collect::<Vec<_>>().join(",")))
}

fn schema() -> VendorResponse {
    let record = r#"{"ID":"x","TimeStamp":"y","Name":"n","End":1.10}"#;
    response(200, &format!(r#"{{"Result":{record},"Schema":[{{"ColumnName":"Name"}}]}}"#))
}

#[tokio::test(start_paused = true)]
async fn requests_and_outcomes_match_the_golden_files() {
    run_golden("matrix42", &adapter()).await;
}

#[test]
fn ids_have_one_canonical_form() {
    let adapter = adapter();
    assert_eq!(adapter.parse_key(&KEY.to_uppercase()).as_deref(), Some(KEY));
    for wrong in [
        "",
        "7777780d71a0df11708c000c2968299e",
        "{7777780d-71a0-df11-708c-000c2968299e}",
        "7777780g-71a0-df11-708c-000c2968299e",
        "7777780d-71a0-df11-708c-000c2968299",
    ] {
        assert_eq!(adapter.parse_key(wrong), None, "{wrong}");
    }
    for (name, is_valid) in
        [("Ud_X1", true), ("_a", true), ("1a", false), ("", false), ("a-b", false), ("a/b", false), ("é", false)]
    {
        assert_eq!(adapter.parse_collection(name).is_some(), is_valid, "{name}");
    }
}

#[test]
fn a_fragment_omits_reserved_members_in_any_letter_case() {
    let text = format!(
        r#"{{"id":"{}","A":12345678901234567890,"timestamp":"AAAAAEa7mU4=","B":1.10,"IDx":1}}"#,
        KEY.to_uppercase()
    );
    let fragment = fragment::parse_fragment(&text.into()).expect("a fragment");
    assert_eq!(fragment.id.as_deref(), Some(KEY));
    assert_eq!(fragment.record.version, Some(version()));
    assert_eq!(fragment.record.fields.to_json(), r#"{"A":12345678901234567890,"B":1.10,"IDx":1}"#);
}

#[tokio::test]
async fn a_fragment_without_a_usable_id_and_version_is_an_invalid_response() {
    let adapter = adapter();
    for text in [
        format!(r#"{{"ID":"{KEY}"}}"#),
        format!(r#"{{"ID":"{KEY}","TimeStamp":null}}"#),
        format!(r#"{{"ID":"{KEY}","TimeStamp":"AAAA"}}"#),
        format!(r#"{{"ID":"{KEY}","TimeStamp":"AAAAAEa7mU4=","timestamp":"AAAAAEa7mU4="}}"#),
        format!(r#"{{"ID":"{}","TimeStamp":"AAAAAEa7mU4="}}"#, guid(1)),
        format!(r#"{{"ID":"{KEY}","TimeStamp":"AAAAAEa7mU4=","A":1,"A":2}}"#),
        r#"{"ID":"#.to_owned(),
    ] {
        let transport = ScriptedTransport::new(&adapter, [response(200, &text)]);
        let fault = adapter.read(&transport, &id()).await.expect_err(&text);
        assert_eq!((fault.kind, fault.effect), (VendorErrorKind::InvalidResponse, SideEffect::None), "{text}");
    }
}

#[test]
fn an_update_always_sends_its_own_time_stamp_never_the_callers() {
    let adapter = adapter();
    let members = map(r#"{"A":1.10}"#);
    let planned = adapter
        .plan_update(&id(), &UpdateInput::Members(&RawObject::from(&members)), &UpdateTerms::bound_to(&version()))
        .expect("a plan");
    assert_eq!(body(&planned.request), format!(r#"{{"ID":"{KEY}","TimeStamp":"AAAAAEa7mU4=","A":1.10}}"#));
    assert!(
        adapter.plan_update(&id(), &UpdateInput::Members(&RawObject::from(&members)), &UpdateTerms::default()).is_err()
    );
    assert!(
        adapter
            .plan_update(
                &id(),
                &UpdateInput::Members(&RawObject::from(&members)),
                &UpdateTerms::bound_to(&Version::Sequence(1))
            )
            .is_err()
    );
    for own in ["ID", "id", "Id", "TimeStamp", "timestamp", "TIMESTAMP"] {
        let members = map(&format!(r#"{{"{own}":null}}"#));
        assert!(
            adapter
                .plan_update(
                    &id(),
                    &UpdateInput::Members(&RawObject::from(&members)),
                    &UpdateTerms::bound_to(&version())
                )
                .is_err(),
            "{own}"
        );
        assert!(adapter.plan_create(DD, &members).is_err() && adapter.is_reserved(DD, own), "{own}");
    }
}

#[test]
fn a_conflict_is_recognized_by_its_text_and_not_by_a_stack_trace() {
    let adapter = adapter();
    let members = map(r#"{"A":1}"#);
    let put = adapter
        .plan_update(&id(), &UpdateInput::Members(&RawObject::from(&members)), &UpdateTerms::bound_to(&version()))
        .expect("a plan")
        .request;
    let text = "Concurrency. The object you want to update has been updated by another process.";
    for conflict in [
        text.to_owned(),
        format!(r#""{text}""#),
        format!(r#"{{"Message":"x","InnerException":{{"ExceptionMessage":"{text}"}}}}"#),
    ] {
        assert_eq!(
            classify_response(&adapter, &put, 500, &conflict),
            Some((VendorErrorKind::Conflict, SideEffect::None)),
            "{conflict}"
        );
    }
    for other in [
        "",
        "<html><body>500</body></html>",
        r#"{"Message":"An error has occurred.","ExceptionType":"System.ConcurrencyException","StackTrace":"   at System.Collections.Concurrent.Concurrency()"}"#,
        "Wrong reference\r\n   at System.Data.Concurrency.Check()",
        r#"{"Message":"Das Objekt wurde von einem anderen Prozess aktualisiert"}"#,
    ] {
        assert_eq!(
            classify_response(&adapter, &put, 500, other),
            Some((VendorErrorKind::Ambiguous, SideEffect::Unknown)),
            "{other}"
        );
    }
    let trace = response(
        500,
        r#"{"Message":"An error has occurred.","ExceptionType":"System.X","StackTrace":"   at M42.Secret()"}"#,
    );
    let fault = adapter.classify(&put, &trace).expect("an error");
    assert_eq!(fault.message.as_deref(), Some("An error has occurred."));
    assert_eq!(
        classify_response(&adapter, &protocol::delete_request(&id()), 500, text),
        Some((VendorErrorKind::Ambiguous, SideEffect::Unknown))
    );
}

#[test]
fn each_request_accepts_only_its_documented_successes() {
    let adapter = adapter();
    let members = map(r#"{"A":1}"#);
    let put = adapter
        .plan_update(&id(), &UpdateInput::Members(&RawObject::from(&members)), &UpdateTerms::bound_to(&version()))
        .expect("a plan")
        .request;
    let post = adapter.plan_create(DD, &members).expect("a plan").request;
    let delete = protocol::delete_request(&id());
    for (call, status, text) in [
        (&put, 204, ""),
        (&put, 200, ""),
        (&put, 200, "null"),
        (&delete, 204, ""),
        (&delete, 200, "true"),
        (&put, 201, ""),
        (&delete, 205, ""),
        (&post, 201, &format!("\"{KEY}\"")),
        (&post, 203, &format!("\"{KEY}\"")),
        (&protocol::read_request(VendorRequestKind::Read, &id()), 203, "{}"),
    ] {
        assert_eq!(classify_response(&adapter, call, status, text), None, "{status} {text}");
    }
    for (call, status, text) in [
        (&put, 200, "<html>login</html>"),
        (&put, 200, r#"{"unexpected":[true]}"#),
        (&delete, 200, r#"{"Message":"An error has occurred."}"#),
        (&put, 202, ""),
        (&delete, 207, ""),
        (&delete, 200, "<!DOCTYPE html>"),
        (&post, 200, "null"),
        (&post, 200, "<html>"),
        (&put, 302, ""),
    ] {
        assert_eq!(
            classify_response(&adapter, call, status, text),
            Some((VendorErrorKind::InvalidResponse, SideEffect::Unknown)),
            "{status} {text}"
        );
    }
    let read = protocol::read_request(VendorRequestKind::Read, &id());
    assert_eq!(classify_response(&adapter, &read, 401, ""), Some((VendorErrorKind::TokenRejected, SideEffect::None)));
    assert_eq!(classify_response(&adapter, &read, 403, ""), Some((VendorErrorKind::Forbidden, SideEffect::None)));
    assert_eq!(classify_response(&adapter, &read, 404, ""), Some((VendorErrorKind::NotFound, SideEffect::None)));
    assert_eq!(
        classify_response(&adapter, &read, 500, "ExpressionParser"),
        Some((VendorErrorKind::ServerError, SideEffect::None))
    );
    assert_eq!(classify_response(&adapter, &delete, 404, ""), Some((VendorErrorKind::NotFound, SideEffect::None)));
}

#[tokio::test]
async fn a_list_loads_its_columns_once_and_its_items_match_get() {
    let adapter = adapter();
    let transport = ScriptedTransport::new(&adapter, [rows([1]), schema(), rows([1, 2]), rows([3])]);
    let page = adapter.list(&transport, DD, &[], 2, None).await.expect("a page");
    assert_eq!(page.items[0].record.fields.to_json(), r#"{"Name":"n1","End":1.10}"#);
    assert!(page.items.iter().all(|item| !item.partial && item.record.version == Some(version())));
    let page = adapter.list(&transport, DD, &[], 2, page.next.as_deref()).await.expect("a page");
    assert!(page.items.len() == 1 && page.next.is_none());
    let base = format!("GET /m42Services/api/data/fragments/{DD}");
    let columns = "columns=%5BID%5D%2C%5BTimeStamp%5D";
    assert_eq!(
        transport.request_lines(),
        [
            format!("{base}?{columns}&sort=ID&pagesize=1&pagenumber=0"),
            format!("{base}/{}/schema-info", guid(1)),
            format!("{base}?{columns}%2C%5BName%5D%2C%5BEnd%5D&sort=ID&pagesize=2&pagenumber=0"),
            format!("{base}?{columns}%2C%5BName%5D%2C%5BEnd%5D&sort=ID&pagesize=2&pagenumber=1"),
        ]
    );
}

#[tokio::test]
async fn columns_come_from_a_fragment_if_the_server_has_no_schema_info() {
    let adapter = adapter();
    let fragment = response(200, &row(1).replace(r#","DisplayString":"x""#, ""));
    let transport = ScriptedTransport::new(&adapter, [rows([1]), response(404, ""), fragment, rows([1])]);
    let page = adapter.list(&transport, DD, &[], 10, None).await.expect("a page");
    assert!(!page.items[0].partial && page.next.is_none());
    assert!(transport.request_lines()[3].contains("%5BName%5D%2C%5BEnd%5D&"));
}

#[tokio::test]
async fn rejected_columns_leave_the_cache_and_the_items_are_partial() {
    let adapter = adapter();
    let rejected = response(500, r#"{"Message":"Class X does not contain attribute End"}"#);
    let ids = response(200, &format!(r#"[{{"ID":"{}","TimeStamp":"AAAAAEa7mU4="}}]"#, guid(1)));
    let transport =
        ScriptedTransport::new(&adapter, [rows([1]), schema(), rejected.clone(), ids, rows([1]), schema(), rows([1])]);
    let page = adapter.list(&transport, DD, &[], 10, None).await.expect("a page");
    assert!(page.items[0].partial);
    let page = adapter.list(&transport, DD, &[], 10, None).await.expect("a page");
    assert!(!page.items[0].partial);
    assert_eq!(transport.request_lines().len(), 7);
    let never = ScriptedTransport::new(&adapter, [rejected.clone(), rejected]);
    assert_eq!(adapter.list(&never, DD, &[], 10, None).await.expect_err("an error").kind, VendorErrorKind::ServerError);
}

#[tokio::test]
async fn a_row_that_lacks_a_column_or_a_time_stamp_is_partial() {
    let adapter = adapter();
    for text in [
        format!(r#"[{{"ID":"{}","TimeStamp":"AAAAAEa7mU4=","Name":"n"}}]"#, guid(1)),
        format!(r#"[{{"ID":"{}","TimeStamp":null,"Name":"n","End":1}}]"#, guid(1)),
        format!(r#"[{{"ID":"{}","Name":"n","End":1}}]"#, guid(1)),
    ] {
        adapter.columns.insert(DD, ["Name", "End"]).await;
        let page = adapter
            .list(&ScriptedTransport::new(&adapter, [response(200, &text)]), DD, &[], 10, None)
            .await
            .expect("a page");
        assert!(page.items[0].partial, "{text}");
    }
}

#[tokio::test]
async fn an_empty_definition_is_an_empty_list_and_an_unknown_one_is_not_found() {
    let adapter = adapter();
    let page =
        adapter.list(&ScriptedTransport::new(&adapter, [rows([]), rows([])]), DD, &[], 10, None).await.expect("a page");
    assert!(page.items.is_empty() && page.next.is_none());
    let unknown = response(500, r#"{"Message":"Data definition 'X' does not exist"}"#);
    let fault =
        adapter.list(&ScriptedTransport::new(&adapter, [unknown]), DD, &[], 10, None).await.expect_err("unknown");
    assert_eq!(fault.kind, VendorErrorKind::NotFound);
}

#[tokio::test]
async fn repeated_or_overlapping_pages_end_the_list_without_duplicates() {
    let adapter = adapter();
    adapter.columns.insert(DD, ["Name", "End"]).await;
    // The second page begins with the last record of the first; the third repeats the second.
    let transport = ScriptedTransport::new(&adapter, [rows([1, 2]), rows([2, 3]), rows([2, 3])]);
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = adapter.list(&transport, DD, &[], 2, cursor.as_deref()).await.expect("a page");
        seen.extend(page.items.iter().map(|item| item.id.key().to_owned()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [guid(1), guid(2), guid(3)]);
    let too_many = ScriptedTransport::new(&adapter, [rows([1, 2, 3])]);
    assert_eq!(
        adapter.list(&too_many, DD, &[], 2, None).await.expect_err("too many").kind,
        VendorErrorKind::InvalidResponse
    );
}

#[tokio::test]
async fn a_cursor_of_another_list_is_rejected() {
    let adapter = adapter();
    let cursor = Cursor { page: 1, size: 100, first: guid(1), last: guid(2) }.to_string();
    for (cursor, limit) in [("1", 100), ("x.y.z.w", 100), (cursor.as_str(), 99)] {
        let fault = adapter
            .list(&ScriptedTransport::new(&adapter, []), DD, &[], limit, Some(cursor))
            .await
            .expect_err("an error");
        assert_eq!(fault.kind, VendorErrorKind::Rejected, "{cursor}");
    }
}

#[tokio::test]
async fn a_lost_create_is_found_by_value_and_unsafe_names_are_never_queried() {
    let adapter = adapter();
    let fields = map(r#"{"Name":"n2","End":1.1}"#);
    let transport = ScriptedTransport::new(&adapter, [rows([1, 2, 3])]);
    let found = adapter.find_matching(&transport, DD, &fields).await.expect("a search");
    assert_eq!(found, Some(vec![RecordId::new(DD, &guid(2))]));
    assert!(
        transport.request_lines()[0].ends_with("&where=%5BName%5D%20%3D%20%27n2%27"),
        "{}",
        transport.request_lines()[0]
    );
    let same = map(r#"{"End":1.1}"#);
    let transport = ScriptedTransport::new(&adapter, [rows([1, 2])]);
    let both = adapter.find_matching(&transport, DD, &same).await.expect("a search").expect("a complete search");
    assert_eq!(both.len(), 2);
    let hostile = map(r#"{"Name],[Secret":"x"}"#);
    assert_eq!(
        adapter.find_matching(&ScriptedTransport::new(&adapter, []), DD, &hostile).await.expect("no search"),
        None
    );
}

#[tokio::test]
async fn a_login_page_or_a_malformed_response_is_not_a_token() {
    let adapter = adapter();
    for (status, text, kind) in [
        (200, "<html>", VendorErrorKind::InvalidResponse),
        (200, " null ", VendorErrorKind::CredentialsRejected),
        (200, "{}", VendorErrorKind::InvalidResponse),
        (401, "", VendorErrorKind::CredentialsRejected),
        (406, "", VendorErrorKind::CredentialsRejected),
        (404, "", VendorErrorKind::InvalidResponse),
        (500, "", VendorErrorKind::ServerError),
    ] {
        let fault =
            adapter.sign_in(&ScriptedTransport::new(&adapter, [response(status, text)])).await.expect_err("an error");
        assert_eq!((fault.kind, fault.effect), (kind, SideEffect::None), "{status} {text}");
    }
}

#[test]
fn the_api_token_is_sent_only_to_the_exchange_and_never_printed() {
    let adapter = adapter();
    let exchange = protocol::sign_in_request(&adapter.api_token);
    assert!(!exchange.needs_auth && !format!("{exchange:?}").contains("api-token"));
    let echo = response(401, "token api-token is not valid");
    let fault = adapter.classify(&exchange, &echo).expect("an error");
    assert_eq!(fault.message.as_deref(), Some("token … is not valid"));
}
