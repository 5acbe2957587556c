//! The conversation with Matrix42, against a scripted transport.

use super::*;
use crate::adapters::testing::{Scripted, body, judged, map, reply, run_golden};
use crate::record::{Effect, Members};

const DD: &str = "SPSScCategoryClassBase";
const KEY: &str = "7777780d-71a0-df11-708c-000c2968299e";

fn adapter() -> Matrix42 {
    Matrix42::new(&Secret::new("api-token")).expect("an adapter")
}

fn id() -> RecordId {
    RecordId::new(DD, KEY)
}

fn version() -> Version {
    Version::Row([0, 0, 0, 0, 0x46, 0xbb, 0x99, 0x4e])
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

fn rows(numbers: impl IntoIterator<Item = u32>) -> Reply {
    reply(200, &format!("[{}]", numbers.into_iter().map(row).collect::<Vec<_>>().join(",")))
}

fn schema() -> Reply {
    let record = r#"{"ID":"x","TimeStamp":"y","Name":"n","End":1.10}"#;
    reply(200, &format!(r#"{{"Result":{record},"Schema":[{{"ColumnName":"Name"}}]}}"#))
}

#[tokio::test(start_paused = true)]
async fn golden_pairs() {
    run_golden("matrix42", &adapter()).await;
}

#[test]
fn ids_are_written_in_one_way() {
    let adapter = adapter();
    assert_eq!(adapter.key(&KEY.to_uppercase()).as_deref(), Some(KEY));
    for wrong in [
        "",
        "7777780d71a0df11708c000c2968299e",
        "{7777780d-71a0-df11-708c-000c2968299e}",
        "7777780g-71a0-df11-708c-000c2968299e",
        "7777780d-71a0-df11-708c-000c2968299",
    ] {
        assert_eq!(adapter.key(wrong), None, "{wrong}");
    }
    for (name, good) in
        [("Ud_X1", true), ("_a", true), ("1a", false), ("", false), ("a-b", false), ("a/b", false), ("é", false)]
    {
        assert_eq!(adapter.collection(name).is_some(), good, "{name}");
    }
}

#[test]
fn a_fragment_is_shown_without_what_is_the_gateways_in_any_case_of_letters() {
    let text = format!(
        r#"{{"id":"{}","A":12345678901234567890,"timestamp":"AAAAAEa7mU4=","B":1.10,"IDx":1}}"#,
        KEY.to_uppercase()
    );
    let fragment = dialect::read_fragment(text.as_bytes(), None).expect("a fragment");
    assert_eq!(fragment.id.as_deref(), Some(KEY));
    assert_eq!(fragment.stored.version, Some(version()));
    assert_eq!(fragment.stored.fields.as_json(), r#"{"A":12345678901234567890,"B":1.10,"IDx":1}"#);
}

#[tokio::test]
async fn a_fragment_that_cannot_be_told_from_another_state_is_a_protocol_fault() {
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
        let transport = Scripted::new(&adapter, [reply(200, &text)]);
        let fault = adapter.read(&transport, &id()).await.expect_err(&text);
        assert_eq!((fault.kind, fault.effect), (FaultKind::Protocol, Effect::None), "{text}");
    }
}

#[test]
fn an_update_always_carries_its_time_stamp_and_never_the_callers() {
    let adapter = adapter();
    let members = map(r#"{"A":1.10}"#);
    let planned =
        adapter.plan_update(&id(), &Change::Members(&Members::from(&members)), Some(&version())).expect("a plan");
    assert_eq!(body(&planned.call), format!(r#"{{"ID":"{KEY}","TimeStamp":"AAAAAEa7mU4=","A":1.10}}"#));
    assert!(adapter.plan_update(&id(), &Change::Members(&Members::from(&members)), None).is_err());
    assert!(
        adapter.plan_update(&id(), &Change::Members(&Members::from(&members)), Some(&Version::Counter(1))).is_err()
    );
    for own in ["ID", "id", "Id", "TimeStamp", "timestamp", "TIMESTAMP"] {
        let members = map(&format!(r#"{{"{own}":null}}"#));
        assert!(
            adapter.plan_update(&id(), &Change::Members(&Members::from(&members)), Some(&version())).is_err(),
            "{own}"
        );
        assert!(adapter.plan_create(DD, &members).is_err() && adapter.read_only(own), "{own}");
    }
}

#[test]
fn a_conflict_is_told_from_other_failures_by_its_text_and_not_by_a_stack_trace() {
    let adapter = adapter();
    let members = map(r#"{"A":1}"#);
    let put =
        adapter.plan_update(&id(), &Change::Members(&Members::from(&members)), Some(&version())).expect("a plan").call;
    let text = "Concurrency. The object you want to update has been updated by another process.";
    for conflict in [
        text.to_owned(),
        format!(r#""{text}""#),
        format!(r#"{{"Message":"x","InnerException":{{"ExceptionMessage":"{text}"}}}}"#),
    ] {
        assert_eq!(judged(&adapter, &put, 500, &conflict), Some((FaultKind::Conflict, Effect::None)), "{conflict}");
    }
    for other in [
        "",
        "<html><body>500</body></html>",
        r#"{"Message":"An error has occurred.","ExceptionType":"System.ConcurrencyException","StackTrace":"   at System.Collections.Concurrent.Concurrency()"}"#,
        "Wrong reference\r\n   at System.Data.Concurrency.Check()",
        r#"{"Message":"Das Objekt wurde von einem anderen Prozess aktualisiert"}"#,
    ] {
        assert_eq!(judged(&adapter, &put, 500, other), Some((FaultKind::Ambiguous, Effect::Unknown)), "{other}");
    }
    let trace = reply(
        500,
        r#"{"Message":"An error has occurred.","ExceptionType":"System.X","StackTrace":"   at M42.Secret()"}"#,
    );
    let fault = adapter.fault(&put, &trace).expect("a fault");
    assert_eq!(fault.message.as_deref(), Some("An error has occurred."));
    assert_eq!(
        judged(&adapter, &dialect::delete_call(&id()), 500, text),
        Some((FaultKind::Ambiguous, Effect::Unknown))
    );
}

#[test]
fn each_call_knows_its_successes() {
    let adapter = adapter();
    let members = map(r#"{"A":1}"#);
    let put =
        adapter.plan_update(&id(), &Change::Members(&Members::from(&members)), Some(&version())).expect("a plan").call;
    let post = adapter.plan_create(DD, &members).expect("a plan").call;
    let delete = dialect::delete_call(&id());
    for (call, status, text) in [
        (&put, 204, ""),
        (&put, 200, ""),
        (&put, 200, "null"),
        (&delete, 204, ""),
        (&delete, 200, "true"),
        (&post, 201, &format!("\"{KEY}\"")),
    ] {
        assert_eq!(judged(&adapter, call, status, text), None, "{status} {text}");
    }
    for (call, status, text) in [
        (&put, 200, "<html>login</html>"),
        (&put, 200, r#"{"unexpected":[true]}"#),
        (&delete, 200, r#"{"Message":"An error has occurred."}"#),
        (&put, 202, ""),
        (&delete, 200, "<!DOCTYPE html>"),
        (&post, 200, "null"),
        (&post, 200, "<html>"),
        (&put, 302, ""),
    ] {
        assert_eq!(
            judged(&adapter, call, status, text),
            Some((FaultKind::Protocol, Effect::Unknown)),
            "{status} {text}"
        );
    }
    let read = dialect::read_call(CallName::Read, &id());
    assert_eq!(judged(&adapter, &read, 401, ""), Some((FaultKind::TokenRefused, Effect::None)));
    assert_eq!(judged(&adapter, &read, 403, ""), Some((FaultKind::Forbidden, Effect::None)));
    assert_eq!(judged(&adapter, &read, 404, ""), Some((FaultKind::NotFound, Effect::None)));
    assert_eq!(judged(&adapter, &read, 500, "ExpressionParser"), Some((FaultKind::VendorError, Effect::None)));
    assert_eq!(judged(&adapter, &delete, 404, ""), Some((FaultKind::NotFound, Effect::None)));
}

#[tokio::test]
async fn a_list_learns_its_columns_once_and_its_items_are_what_get_shows() {
    let adapter = adapter();
    let transport = Scripted::new(&adapter, [rows([1]), schema(), rows([1, 2]), rows([3])]);
    let page = adapter.list(&transport, DD, 2, None).await.expect("a page");
    assert_eq!(page.items[0].stored.fields.as_json(), r#"{"Name":"n1","End":1.10}"#);
    assert!(page.items.iter().all(|item| !item.partial && item.stored.version == Some(version())));
    let page = adapter.list(&transport, DD, 2, page.next.as_deref()).await.expect("a page");
    assert!(page.items.len() == 1 && page.next.is_none());
    let base = format!("GET /m42Services/api/data/fragments/{DD}");
    let columns = "columns=%5BID%5D%2C%5BTimeStamp%5D";
    assert_eq!(
        transport.sent(),
        [
            format!("{base}?{columns}&sort=ID&pagesize=1&pagenumber=0"),
            format!("{base}/{}/schema-info", guid(1)),
            format!("{base}?{columns}%2C%5BName%5D%2C%5BEnd%5D&sort=ID&pagesize=2&pagenumber=0"),
            format!("{base}?{columns}%2C%5BName%5D%2C%5BEnd%5D&sort=ID&pagesize=2&pagenumber=1"),
        ]
    );
}

#[tokio::test]
async fn a_server_without_schema_info_shows_the_columns_in_a_fragment() {
    let adapter = adapter();
    let fragment = reply(200, &row(1).replace(r#","DisplayString":"x""#, ""));
    let transport = Scripted::new(&adapter, [rows([1]), reply(404, ""), fragment, rows([1])]);
    let page = adapter.list(&transport, DD, 10, None).await.expect("a page");
    assert!(!page.items[0].partial && page.next.is_none());
    assert!(transport.sent()[3].contains("%5BName%5D%2C%5BEnd%5D&"));
}

#[tokio::test]
async fn columns_that_the_vendor_does_not_take_any_more_are_forgotten_and_the_items_are_partial() {
    let adapter = adapter();
    let refused = reply(500, r#"{"Message":"Class X does not contain attribute End"}"#);
    let ids = reply(200, &format!(r#"[{{"ID":"{}","TimeStamp":"AAAAAEa7mU4="}}]"#, guid(1)));
    let transport =
        Scripted::new(&adapter, [rows([1]), schema(), refused.clone(), ids, rows([1]), schema(), rows([1])]);
    let page = adapter.list(&transport, DD, 10, None).await.expect("a page");
    assert!(page.items[0].partial);
    let page = adapter.list(&transport, DD, 10, None).await.expect("a page");
    assert!(!page.items[0].partial);
    assert_eq!(transport.sent().len(), 7);
    let never = Scripted::new(&adapter, [refused.clone(), refused]);
    assert_eq!(adapter.list(&never, DD, 10, None).await.expect_err("a fault").kind, FaultKind::VendorError);
}

#[tokio::test]
async fn a_row_that_lacks_a_column_or_a_time_stamp_is_partial() {
    let adapter = adapter();
    for text in [
        format!(r#"[{{"ID":"{}","TimeStamp":"AAAAAEa7mU4=","Name":"n"}}]"#, guid(1)),
        format!(r#"[{{"ID":"{}","TimeStamp":null,"Name":"n","End":1}}]"#, guid(1)),
        format!(r#"[{{"ID":"{}","Name":"n","End":1}}]"#, guid(1)),
    ] {
        adapter.columns.insert(DD.to_owned(), ["Name".to_owned(), "End".to_owned()].into()).await;
        let page = adapter.list(&Scripted::new(&adapter, [reply(200, &text)]), DD, 10, None).await.expect("a page");
        assert!(page.items[0].partial, "{text}");
    }
}

#[tokio::test]
async fn an_empty_definition_is_an_empty_list_and_an_unknown_one_is_not_found() {
    let adapter = adapter();
    let page = adapter.list(&Scripted::new(&adapter, [rows([]), rows([])]), DD, 10, None).await.expect("a page");
    assert!(page.items.is_empty() && page.next.is_none());
    let unknown = reply(500, r#"{"Message":"Data definition 'X' does not exist"}"#);
    let fault = adapter.list(&Scripted::new(&adapter, [unknown]), DD, 10, None).await.expect_err("unknown");
    assert_eq!(fault.kind, FaultKind::NotFound);
}

#[tokio::test]
async fn pages_that_repeat_or_overlap_end_and_show_nothing_twice() {
    let adapter = adapter();
    adapter.columns.insert(DD.to_owned(), ["Name".to_owned(), "End".to_owned()].into()).await;
    // The second page begins with the last of the first; the third is the second over again.
    let transport = Scripted::new(&adapter, [rows([1, 2]), rows([2, 3]), rows([2, 3])]);
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = adapter.list(&transport, DD, 2, cursor.as_deref()).await.expect("a page");
        seen.extend(page.items.iter().map(|item| item.id.key().to_owned()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [guid(1), guid(2), guid(3)]);
    let too_many = Scripted::new(&adapter, [rows([1, 2, 3])]);
    assert_eq!(adapter.list(&too_many, DD, 2, None).await.expect_err("too many").kind, FaultKind::Protocol);
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let adapter = adapter();
    let cursor = Cursor { page: 1, size: 100, first: guid(1), last: guid(2) }.to_string();
    for (cursor, limit) in [("1", 100), ("x.y.z.w", 100), (cursor.as_str(), 99)] {
        let fault = adapter.list(&Scripted::new(&adapter, []), DD, limit, Some(cursor)).await.expect_err("refused");
        assert_eq!(fault.kind, FaultKind::Rejected, "{cursor}");
    }
}

#[tokio::test]
async fn a_lost_create_is_found_by_its_values_and_no_name_is_put_into_a_query_unchecked() {
    let adapter = adapter();
    let fields = map(r#"{"Name":"n2","End":1.1}"#);
    let transport = Scripted::new(&adapter, [rows([1, 2, 3])]);
    let found = adapter.matching(&transport, DD, &fields).await.expect("a search");
    assert_eq!(found, Some(vec![RecordId::new(DD, &guid(2))]));
    assert!(transport.sent()[0].ends_with("&where=%5BName%5D%20%3D%20%27n2%27"), "{}", transport.sent()[0]);
    let same = map(r#"{"End":1.1}"#);
    let transport = Scripted::new(&adapter, [rows([1, 2])]);
    let both = adapter.matching(&transport, DD, &same).await.expect("a search").expect("all looked at");
    assert_eq!(both.len(), 2);
    let hostile = map(r#"{"Name],[Secret":"x"}"#);
    assert_eq!(adapter.matching(&Scripted::new(&adapter, []), DD, &hostile).await.expect("no search"), None);
}

#[tokio::test]
async fn a_login_page_or_a_broken_answer_is_no_token() {
    let adapter = adapter();
    for (status, text, kind) in [
        (200, "<html>", FaultKind::Protocol),
        (200, " null ", FaultKind::CredentialsRejected),
        (200, "{}", FaultKind::Protocol),
        (401, "", FaultKind::CredentialsRejected),
        (406, "", FaultKind::CredentialsRejected),
        (404, "", FaultKind::Protocol),
        (500, "", FaultKind::VendorError),
    ] {
        let fault = adapter.sign_in(&Scripted::new(&adapter, [reply(status, text)])).await.expect_err("refused");
        assert_eq!((fault.kind, fault.effect), (kind, Effect::None), "{status} {text}");
    }
}

#[test]
fn the_api_token_is_sent_to_the_exchange_alone_and_never_printed() {
    let adapter = adapter();
    let exchange = dialect::sign_in_call(&adapter.api_token);
    assert!(!exchange.signed && !format!("{exchange:?}").contains("api-token"));
    let echo = reply(401, "token api-token is not valid");
    let fault = adapter.fault(&exchange, &echo).expect("a fault");
    assert_eq!(fault.message.as_deref(), Some("token … is not valid"));
}
