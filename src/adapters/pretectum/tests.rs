//! The conversation with Pretectum, against a scripted transport.

use serde_json::json;

use super::*;
use crate::adapters::testing::{Scripted, body, judged, map, reply, reply_later, run_golden};
use crate::record::{Effect, Members, Retry, WarningCode};

const BA: &str = "20240115103000123a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5";
const KEY: &str = "20240601120000321d1e2f3g4h5i6j7k8l9m0n1o2p3q4r5";

fn adapter() -> Pretectum {
    let credentials = Credentials {
        client_id: "gateway".to_owned(),
        client_secret: Secret::new("s3cret"),
        token_path: "/v1/oauth2/token".to_owned(),
    };
    Pretectum::new(credentials).expect("an adapter")
}

fn collection() -> String {
    format!("{BA}:{BA}:{BA}")
}

fn id() -> RecordId {
    RecordId::new(&collection(), KEY)
}

fn page(keys: &[&str], next: Option<&str>) -> Reply {
    let items: Vec<_> =
        keys.iter().map(|key| json!({"_dataObjectId": key, "_version": 3, "_errors": [], "A": 1})).collect();
    reply(200, &json!({"items": items, "nextPageKey": next}).to_string())
}

fn key(number: usize) -> String {
    format!("2024060112000032100000000000{number:04}")
}

fn page_keys(transport: &Scripted<'_>) -> Vec<String> {
    let query = |path: String| path.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
    transport.sent().into_iter().map(query).collect()
}

#[tokio::test(start_paused = true)]
async fn golden_pairs() {
    run_golden("pretectum", &adapter()).await;
}

#[test]
fn ids_have_the_vendors_form_and_keep_their_case() {
    let adapter = adapter();
    assert_eq!(adapter.collection(&collection()), Some(collection()));
    assert_eq!(adapter.key(KEY).as_deref(), Some(KEY));
    for wrong in [
        "",
        BA,
        &format!("{BA}:{BA}"),
        &format!("{BA}:{BA}:{BA}:{BA}"),
        &format!("{BA}:{BA}:"),
        &format!("{BA}:../x:{BA}"),
    ] {
        assert_eq!(adapter.collection(wrong), None, "{wrong}");
    }
    for wrong in [
        "1234567890123456789",
        &"1".repeat(65),
        "20240601120000321d1e2f3g4h5i6j7k8l9m0n1o2p3q4r/",
        "2024060112000032é000000",
    ] {
        assert_eq!(adapter.key(wrong), None, "{wrong}");
    }
}

#[tokio::test]
async fn a_read_goes_through_empty_pages_to_the_end_before_it_says_not_found() {
    let adapter = adapter();
    let pages = [page(&[&key(1)], Some("p2")), page(&[], Some("p3")), page(&[&key(2)], None)];
    let transport = Scripted::new(&adapter, pages);
    let fault = adapter.read(&transport, &id()).await.expect_err("missing");
    assert_eq!((fault.kind, fault.effect), (FaultKind::NotFound, Effect::None));
    assert_eq!(page_keys(&transport), ["", "pageKey=p2", "pageKey=p3"]);
}

#[tokio::test]
async fn the_next_read_begins_where_the_record_was_last_seen_and_falls_back_to_a_whole_scan() {
    let adapter = adapter();
    let found = [page(&[], Some("p2")), page(&[KEY], Some("p3"))];
    let seen_again = [page(&[KEY], Some("p3"))];
    let moved = [page(&[&key(1)], Some("p3")), page(&[KEY], None)];
    let transport = Scripted::new(&adapter, found.into_iter().chain(seen_again).chain(moved));
    for _ in 0..3 {
        assert_eq!(adapter.read(&transport, &id()).await.expect("found").version, Some(Version::Counter(3)));
    }
    assert_eq!(page_keys(&transport), ["", "pageKey=p2", "pageKey=p2", "pageKey=p2", ""]);
}

#[tokio::test]
async fn a_remembered_page_key_that_the_vendor_refuses_costs_a_scan_and_no_fault() {
    let adapter = adapter();
    let refused = reply(400, r#"{"message":"invalid pageKey"}"#);
    let transport = Scripted::new(&adapter, [page(&[], Some("p2")), page(&[KEY], None), refused, page(&[KEY], None)]);
    for _ in 0..2 {
        adapter.read(&transport, &id()).await.expect("found");
    }
    assert_eq!(page_keys(&transport), ["", "pageKey=p2", "pageKey=p2", ""]);
}

#[tokio::test]
async fn a_list_that_goes_in_circles_is_a_protocol_fault() {
    let adapter = adapter();
    let circle = [page(&[], Some("a")), page(&[], Some("b")), page(&[], Some("a"))];
    let fault = adapter.read(&Scripted::new(&adapter, circle), &id()).await.expect_err("a circle");
    assert_eq!(fault.kind, FaultKind::Protocol);
    let again = Scripted::new(&adapter, [page(&[], Some("a"))]);
    let fault = adapter.list(&again, &collection(), 10, Some("0..a")).await.expect_err("a circle");
    assert_eq!(fault.kind, FaultKind::Protocol);
}

#[tokio::test]
async fn absent_null_and_empty_page_keys_all_end_the_list() {
    let adapter = adapter();
    for last in [r#"{"items":[]}"#, r#"{"items":[],"nextPageKey":null}"#, r#"{"items":[],"nextPageKey":""}"#] {
        let transport = Scripted::new(&adapter, [reply(200, last)]);
        let page = adapter.list(&transport, &collection(), 10, None).await.expect("a page");
        assert!(page.next.is_none() && page.items.is_empty(), "{last}");
    }
}

#[tokio::test]
async fn a_vendors_page_longer_than_the_limit_is_given_out_in_parts_by_the_last_record() {
    let adapter = adapter();
    let keys: Vec<String> = (0..5).map(key).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    // Between the calls the first record has gone: nothing is skipped.
    let pages = [page(&keys, Some("p2")), page(&keys[1..], Some("p2")), page(&keys[1..], Some("p2"))];
    let transport = Scripted::new(&adapter, pages);
    let (mut cursor, mut seen) = (None, Vec::new());
    for _ in 0..3 {
        let page = adapter.list(&transport, &collection(), 2, cursor.as_deref()).await.expect("a page");
        assert!(page.items.len() <= 2);
        seen.extend(page.items.into_iter().map(|item| item.id.key().to_owned()));
        cursor = page.next;
    }
    assert_eq!(seen, keys);
    assert_eq!(cursor.as_deref(), Some("0..p2"));
    let foreign = adapter.list(&transport, &collection(), 2, Some("x")).await.expect_err("refused");
    assert_eq!(foreign.kind, FaultKind::Rejected);
}

#[test]
fn numbers_and_unknown_members_come_out_as_they_were_and_the_vendors_own_are_left_out() {
    let text = r#"{"_dataObjectId":"k","A":12345678901234567890,"_version":7,"B":1.10,"_note":"x","_errors":null}"#;
    let (key, stored) = dialect::read_record(text.as_bytes()).expect("a record");
    assert_eq!((key.as_str(), stored.fields.as_json()), ("k", r#"{"A":12345678901234567890,"B":1.10,"_note":"x"}"#));
    assert!(stored.warnings.is_empty());
}

#[test]
fn a_record_without_a_whole_number_as_version_is_a_protocol_fault() {
    for version in ["", r#","_version":null"#, r#","_version":"7""#, r#","_version":7.0"#, r#","_version":-1"#] {
        let text = format!(r#"{{"_dataObjectId":"k"{version}}}"#);
        assert_eq!(dialect::read_record(text.as_bytes()).expect_err(version).kind, FaultKind::Protocol);
    }
    let twice = r#"{"_dataObjectId":"k","_version":1,"A":1,"A":2}"#;
    assert_eq!(dialect::read_record(twice.as_bytes()).expect_err("twice").kind, FaultKind::Protocol);
}

#[test]
fn errors_of_any_shape_become_warnings() {
    let shapes = [
        (r#"[{"name":"E/m","errors":["bad","worse"]}]"#, vec![("/fields/E~1m", "bad; worse")]),
        (r#"[{"name":"A","errors":[{"message":"deep"}]}]"#, vec![("/fields/A", "deep")]),
        (r#"["just text"]"#, vec![("/fields", "just text")]),
        (r#"{"A":["x"],"B":"y"}"#, vec![("/fields/A", "x"), ("/fields/B", "y")]),
        (r#""one text""#, vec![("/fields", "one text")]),
        ("[]", vec![]),
        ("{}", vec![]),
        (r#""""#, vec![]),
    ];
    for (errors, expected) in shapes {
        let text = format!(r#"{{"_dataObjectId":"k","_version":1,"_errors":{errors}}}"#);
        let (_, stored) = dialect::read_record(text.as_bytes()).expect("a record");
        let told: Vec<_> = stored.warnings.iter().map(|one| (one.pointer.as_str(), one.detail.as_str())).collect();
        assert_eq!(told, expected, "{errors}");
        assert!(stored.warnings.iter().all(|one| one.code == WarningCode::InvalidField));
    }
}

#[test]
fn an_update_is_never_written_without_its_version_or_with_the_vendors_own_members() {
    let adapter = adapter();
    let members = map(r#"{"A":1}"#);
    let members = Members::from(&members);
    let change = Change::Members(&members);
    assert!(adapter.plan_update(&id(), &change, None).is_err());
    assert!(adapter.plan_update(&id(), &change, Some(&Version::Row([0; 8]))).is_err());
    for reserved in ["_version", "_dataObjectId", "_errors", "_new"] {
        let members = map(&format!(r#"{{"{reserved}":null}}"#));
        let found = adapter
            .plan_update(&id(), &Change::Members(&Members::from(&members)), Some(&Version::Counter(1)))
            .expect_err(reserved);
        assert_eq!(found[0].pointer, format!("/fields/{reserved}"));
        assert!(adapter.plan_create(&collection(), &members).is_err() && adapter.read_only(reserved));
    }
}

#[test]
fn the_body_of_an_update_keeps_the_form_of_numbers() {
    let members = map(r#"{"A":1.10,"B":12345678901234567890,"C \"":[1e+3]}"#);
    let planned = adapter()
        .plan_update(&id(), &Change::Members(&Members::from(&members)), Some(&Version::Counter(u64::MAX)))
        .expect("a plan");
    let expected = r#"{"_version":18446744073709551615,"A":1.10,"B":12345678901234567890,"C \"":[1e+3]}"#;
    assert_eq!(body(&planned.call), expected);
}

#[test]
fn only_the_documented_success_is_one() {
    let adapter = adapter();
    let members = map(r#"{"A":1}"#);
    let put = adapter
        .plan_update(&id(), &Change::Members(&Members::from(&members)), Some(&Version::Counter(1)))
        .expect("a plan")
        .call;
    let post = adapter.plan_create(&collection(), &members).expect("a plan").call;
    let get = dialect::list_call(CallName::Read, &collection(), None);
    assert_eq!(judged(&adapter, &put, 204, ""), None);
    for (status, text) in [(200, "<html>login</html>"), (202, ""), (302, ""), (304, ""), (206, "{}")] {
        assert_eq!(judged(&adapter, &put, status, text), Some((FaultKind::Protocol, Effect::Unknown)), "{status}");
    }
    for (status, text) in [(200, "<html>"), (200, ""), (200, "null"), (204, ""), (301, "")] {
        assert_eq!(judged(&adapter, &get, status, text), Some((FaultKind::Protocol, Effect::None)), "{status} {text}");
    }
    assert_eq!(judged(&adapter, &post, 200, "{}"), None);
    assert_eq!(judged(&adapter, &post, 201, ""), Some((FaultKind::Protocol, Effect::Unknown)));
}

#[test]
fn the_shared_rows_tell_effect_and_retry() {
    let adapter = adapter();
    let write = dialect::delete_call(&id());
    let read = dialect::list_call(CallName::Read, &collection(), None);
    let judge = |call: &Call, reply: Reply| adapter.fault(call, &reply).map(|one| (one.kind, one.effect, one.retry));
    let after = Retry::After(std::time::Duration::from_secs(9));
    assert_eq!(judge(&write, reply_later(429, 9)), Some((FaultKind::RateLimited, Effect::None, after)));
    assert_eq!(judge(&write, reply(429, "")), Some((FaultKind::RateLimited, Effect::None, Retry::Soon)));
    assert_eq!(judge(&write, reply_later(503, 9)), Some((FaultKind::Unavailable, Effect::None, after)));
    assert_eq!(judge(&write, reply(503, "")), Some((FaultKind::Unavailable, Effect::Unknown, Retry::Soon)));
    assert_eq!(judge(&read, reply(503, "")), Some((FaultKind::Unavailable, Effect::None, Retry::Soon)));
    for status in [500, 502, 504, 408] {
        assert_eq!(judge(&write, reply(status, "")).map(|one| one.1), Some(Effect::Unknown), "{status}");
        assert_eq!(judge(&read, reply(status, "")).map(|one| one.1), Some(Effect::None), "{status}");
    }
    assert_eq!(judge(&write, reply(418, "")).map(|one| one.0), Some(FaultKind::Rejected));
    assert_eq!(judge(&read, reply(418, "")), Some((FaultKind::VendorError, Effect::None, Retry::Never)));
}

#[tokio::test]
async fn an_unknown_token_path_makes_the_other_one_be_tried() {
    let adapter = adapter();
    for status in [403, 404] {
        let missing = reply(status, r#"{"message":"Missing Authentication Token"}"#);
        let token = reply(200, r#"{"access_token":"abc","expires_in":"60"}"#);
        let transport = Scripted::new(&adapter, [missing.clone(), token]);
        assert_eq!(adapter.sign_in(&transport).await.expect("a token").secret, "abc");
        assert_eq!(transport.sent(), ["POST /v1/oauth2/token", "POST /oauth2/token"]);
        let neither = Scripted::new(&adapter, [missing, reply(404, "")]);
        let fault = adapter.sign_in(&neither).await.expect_err("neither");
        assert_eq!(fault.status, Some(status));
        assert!(matches!(fault.kind, FaultKind::CredentialsRejected | FaultKind::Protocol), "{fault:?}");
    }
}

#[tokio::test]
async fn refused_credentials_are_not_tried_elsewhere() {
    let adapter = adapter();
    let transport = Scripted::new(&adapter, [reply(401, "")]);
    assert_eq!(adapter.sign_in(&transport).await.expect_err("refused").kind, FaultKind::CredentialsRejected);
    let transport = Scripted::new(&adapter, [reply(200, r#"{"message":"no such client"}"#)]);
    assert_eq!(adapter.sign_in(&transport).await.expect_err("refused").kind, FaultKind::CredentialsRejected);
}

#[test]
fn the_life_of_a_token_is_believed_within_reason() {
    for (body, seconds) in [
        (r#"{"access_token":"a","expires_in":3600}"#, 3600),
        (r#"{"access_token":"a"}"#, 300),
        (r#"{"access_token":"a","expires_in":-5}"#, 0),
        (r#"{"access_token":"a","expires_in":1e300}"#, 86400),
    ] {
        assert_eq!(dialect::read_token(body.as_bytes()).expect("a token").1.as_secs(), seconds, "{body}");
    }
}

#[test]
fn no_secret_is_printed_or_repeated_in_a_vendors_words() {
    let adapter = adapter();
    let sign_in = dialect::sign_in_call(&adapter.credentials, "/oauth2/token");
    assert!(!format!("{sign_in:?} {:?}", adapter.credentials).contains("s3cret"));
    let echo = reply(401, r#"{"message":"no client with secret s3cret"}"#);
    assert!(!format!("{:?}", adapter.fault(&sign_in, &echo)).contains("s3cret"));
    let mut call = dialect::delete_call(&id());
    let (secret, _) = dialect::read_token(br#"{"access_token":"tok-123"}"#).expect("a token");
    adapter.sign(&mut call, &Token { secret, expires: None });
    let echo = reply(403, r#"{"message":"'tok-123' not a valid key=value pair in Authorization header"}"#);
    let fault = adapter.fault(&call, &echo).expect("a fault");
    assert!(!format!("{fault:?} {call:?}").contains("tok-123"));
}

#[test]
fn a_create_whose_answer_names_no_record_is_unknown() {
    let adapter = adapter();
    for text in ["{}", r#"{"_dataObjectId":"short"}"#, "[]"] {
        let fault = adapter.created(&collection(), &reply(201, text)).expect_err(text);
        assert_eq!((fault.kind, fault.effect), (FaultKind::Protocol, Effect::Unknown));
    }
    let versionless = reply(201, &format!(r#"{{"_dataObjectId":"{KEY}"}}"#));
    let created = adapter.created(&collection(), &versionless).expect("created");
    assert!(created.id == id() && created.stored.is_none());
}

#[tokio::test]
async fn a_lost_create_is_found_only_if_exactly_one_record_fits() {
    let adapter = adapter();
    let record = |number: usize, amount: &str| {
        format!(r#"{{"_dataObjectId":"{}","_version":1,"Name":"n","Amount":{amount},"Other":1}}"#, key(number))
    };
    let fields = map(r#"{"Name":"n","Amount":1.10,"Gone":null}"#);
    for (items, expected) in [
        (format!("{},{}", record(1, "1.1"), record(2, "2")), vec![key(1)]),
        (format!("{},{}", record(1, "1.1"), record(2, "1.100")), vec![key(1), key(2)]),
        (record(2, "2"), vec![]),
    ] {
        let last = reply(200, &format!(r#"{{"items":[{items}]}}"#));
        let transport = Scripted::new(&adapter, [page(&[], Some("p2")), last]);
        let found =
            adapter.matching(&transport, &collection(), &fields).await.expect("a search").expect("all looked at");
        let keys: Vec<String> = found.iter().map(|id| id.key().to_owned()).collect();
        assert_eq!(keys, expected, "{items}");
    }
}
