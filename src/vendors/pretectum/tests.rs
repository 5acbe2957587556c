//! The conversation with Pretectum, against a scripted transport.

use serde_json::json;

use super::*;
use crate::record::{RawObject, Retry, Secret, SideEffect, WarningCode};
use crate::vendors::testing::{
    ScriptedTransport, body, classify_response, map, response, response_with_retry_after, run_golden,
};

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

fn page(keys: &[&str], next: Option<&str>) -> VendorResponse {
    let items: Vec<_> =
        keys.iter().map(|key| json!({"_dataObjectId": key, "_version": 3, "_errors": [], "A": 1})).collect();
    response(200, &json!({"items": items, "nextPageKey": next}).to_string())
}

fn key(number: usize) -> String {
    format!("2024060112000032100000000000{number:04}")
}

fn parse_record(text: &str) -> Result<(String, VendorRecord), VendorError> {
    protocol::parse_record(&text.to_owned().into())
}

fn page_keys(transport: &ScriptedTransport<'_>) -> Vec<String> {
    let query = |path: String| path.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
    transport.request_lines().into_iter().map(query).collect()
}

#[tokio::test(start_paused = true)]
async fn requests_and_outcomes_match_the_golden_files() {
    run_golden("pretectum", &adapter()).await;
}

#[test]
fn ids_have_the_vendors_form_and_keep_their_case() {
    let adapter = adapter();
    assert_eq!(adapter.parse_collection(&collection()), Some(collection()));
    assert_eq!(adapter.parse_key(KEY).as_deref(), Some(KEY));
    for wrong in [
        "",
        BA,
        &format!("{BA}:{BA}"),
        &format!("{BA}:{BA}:{BA}:{BA}"),
        &format!("{BA}:{BA}:"),
        &format!("{BA}:../x:{BA}"),
    ] {
        assert_eq!(adapter.parse_collection(wrong), None, "{wrong}");
    }
    for wrong in [
        "1234567890123456789",
        &"1".repeat(65),
        "20240601120000321d1e2f3g4h5i6j7k8l9m0n1o2p3q4r/",
        "2024060112000032é000000",
    ] {
        assert_eq!(adapter.parse_key(wrong), None, "{wrong}");
    }
}

#[tokio::test]
async fn a_read_scans_every_page_before_it_returns_not_found() {
    let adapter = adapter();
    let pages = || [page(&[&key(1)], Some("p2")), page(&[], Some("p3")), page(&[&key(2)], None)];
    let transport = ScriptedTransport::new(&adapter, [pages(), pages()].concat());
    let fault = adapter.read(&transport, &id()).await.expect_err("missing");
    assert_eq!((fault.kind, fault.effect), (VendorErrorKind::NotFound, SideEffect::None));
    assert_eq!(page_keys(&transport), ["", "pageKey=p2", "pageKey=p3"].repeat(2));
}

#[tokio::test]
async fn a_list_of_one_page_is_read_once_and_a_changing_one_at_most_four_times() {
    let adapter = adapter();
    let transport = ScriptedTransport::new(&adapter, [page(&[&key(1)], None)]);
    assert_eq!(adapter.read(&transport, &id()).await.expect_err("missing").kind, VendorErrorKind::NotFound);
    let changing = (0..4).flat_map(|scan| [page(&[&key(scan)], Some("p2")), page(&[&key(9)], None)]);
    let transport = ScriptedTransport::new(&adapter, changing);
    assert_eq!(adapter.read(&transport, &id()).await.expect_err("missing").kind, VendorErrorKind::NotFound);
    assert_eq!(page_keys(&transport).len(), 8);
}

#[tokio::test]
async fn a_read_starts_at_the_cached_page_and_falls_back_to_a_full_scan() {
    let adapter = adapter();
    let found = [page(&[], Some("p2")), page(&[KEY], Some("p3"))];
    let seen_again = [page(&[KEY], Some("p3"))];
    let moved = [page(&[&key(1)], Some("p3")), page(&[KEY], None)];
    let transport = ScriptedTransport::new(&adapter, found.into_iter().chain(seen_again).chain(moved));
    for _ in 0..3 {
        assert_eq!(adapter.read(&transport, &id()).await.expect("found").version, Some(Version::Sequence(3)));
    }
    assert_eq!(page_keys(&transport), ["", "pageKey=p2", "pageKey=p2", "pageKey=p2", ""]);
}

#[tokio::test]
async fn a_rejected_cached_page_key_causes_a_scan_and_no_error() {
    let adapter = adapter();
    let rejected = response(400, r#"{"message":"invalid pageKey"}"#);
    let transport =
        ScriptedTransport::new(&adapter, [page(&[], Some("p2")), page(&[KEY], None), rejected, page(&[KEY], None)]);
    for _ in 0..2 {
        adapter.read(&transport, &id()).await.expect("found");
    }
    assert_eq!(page_keys(&transport), ["", "pageKey=p2", "pageKey=p2", ""]);
}

#[tokio::test]
async fn a_cyclic_list_is_an_invalid_response() {
    let adapter = adapter();
    let circle = [page(&[], Some("a")), page(&[], Some("b")), page(&[], Some("a"))];
    let fault = adapter.read(&ScriptedTransport::new(&adapter, circle), &id()).await.expect_err("a circle");
    assert_eq!(fault.kind, VendorErrorKind::InvalidResponse);
    let again = ScriptedTransport::new(&adapter, [page(&[], Some("a"))]);
    let fault = adapter.list(&again, &collection(), &[], 10, Some("0..a")).await.expect_err("a circle");
    assert_eq!(fault.kind, VendorErrorKind::InvalidResponse);
}

#[tokio::test]
async fn absent_null_and_empty_page_keys_all_end_the_list() {
    let adapter = adapter();
    for last in [r#"{"items":[]}"#, r#"{"items":[],"nextPageKey":null}"#, r#"{"items":[],"nextPageKey":""}"#] {
        let transport = ScriptedTransport::new(&adapter, [response(200, last)]);
        let page = adapter.list(&transport, &collection(), &[], 10, None).await.expect("a page");
        assert!(page.next.is_none() && page.items.is_empty(), "{last}");
    }
}

#[tokio::test]
async fn a_vendor_page_longer_than_the_limit_is_split_after_the_last_record() {
    let adapter = adapter();
    let keys: Vec<String> = (0..5).map(key).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    // The first record is deleted between the calls; the list skips no other.
    let pages = [page(&keys, Some("p2")), page(&keys[1..], Some("p2")), page(&keys[1..], Some("p2"))];
    let transport = ScriptedTransport::new(&adapter, pages);
    let (mut cursor, mut seen) = (None, Vec::new());
    for _ in 0..3 {
        let page = adapter.list(&transport, &collection(), &[], 2, cursor.as_deref()).await.expect("a page");
        assert!(page.items.len() <= 2);
        seen.extend(page.items.into_iter().map(|item| item.id.key().to_owned()));
        cursor = page.next;
    }
    assert_eq!(seen, keys);
    assert_eq!(cursor.as_deref(), Some("0..p2"));
    let foreign = adapter.list(&transport, &collection(), &[], 2, Some("x")).await.expect_err("an error");
    assert_eq!(foreign.kind, VendorErrorKind::Rejected);
}

#[test]
fn a_record_keeps_unknown_members_and_omits_reserved_ones() {
    let text = r#"{"_dataObjectId":"k","A":12345678901234567890,"_version":7,"B":1.10,"_note":"x","_errors":null}"#;
    let (key, record) = parse_record(text).expect("a record");
    let expected = r#"{"A":12345678901234567890,"B":1.10,"_note":"x"}"#;
    assert_eq!((key.as_str(), record.fields.to_json().as_str()), ("k", expected));
    assert!(record.warnings.is_empty());
}

#[test]
fn a_record_without_an_integer_version_is_an_invalid_response() {
    for version in ["", r#","_version":null"#, r#","_version":"7""#, r#","_version":7.0"#, r#","_version":-1"#] {
        let text = format!(r#"{{"_dataObjectId":"k"{version}}}"#);
        assert_eq!(parse_record(&text).expect_err(version).kind, VendorErrorKind::InvalidResponse);
    }
    let twice = r#"{"_dataObjectId":"k","_version":1,"A":1,"A":2}"#;
    assert_eq!(parse_record(twice).expect_err("twice").kind, VendorErrorKind::InvalidResponse);
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
        let (_, record) = parse_record(&text).expect("a record");
        let warnings: Vec<_> = record.warnings.iter().map(|one| (one.pointer.as_str(), one.detail.as_str())).collect();
        assert_eq!(warnings, expected, "{errors}");
        assert!(record.warnings.iter().all(|one| one.code == WarningCode::InvalidField));
    }
}

#[test]
fn an_update_requires_a_version_and_rejects_reserved_members() {
    let adapter = adapter();
    let members = map(r#"{"A":1}"#);
    let members = RawObject::from(&members);
    let change = UpdateInput::Members(&members);
    assert!(adapter.plan_update(&id(), &change, &UpdateTerms::default()).is_err());
    assert!(adapter.plan_update(&id(), &change, &UpdateTerms::bound_to(&Version::RowVersion([0; 8]))).is_err());
    for reserved in ["_version", "_dataObjectId", "_errors", "_new"] {
        let members = map(&format!(r#"{{"{reserved}":null}}"#));
        let found = adapter
            .plan_update(
                &id(),
                &UpdateInput::Members(&RawObject::from(&members)),
                &UpdateTerms::bound_to(&Version::Sequence(1)),
            )
            .expect_err(reserved);
        assert_eq!(found[0].pointer, format!("/fields/{reserved}"));
        assert!(adapter.plan_create(&collection(), &members).is_err() && adapter.is_reserved(&collection(), reserved));
    }
}

#[test]
fn the_body_of_an_update_keeps_the_format_of_numbers() {
    let members = map(r#"{"A":1.10,"B":12345678901234567890,"C \"":[1e+3]}"#);
    let planned = adapter()
        .plan_update(
            &id(),
            &UpdateInput::Members(&RawObject::from(&members)),
            &UpdateTerms::bound_to(&Version::Sequence(u64::MAX)),
        )
        .expect("a plan");
    let expected = r#"{"_version":18446744073709551615,"A":1.10,"B":12345678901234567890,"C \"":[1e+3]}"#;
    assert_eq!(body(&planned.request), expected);
}

#[test]
fn only_documented_responses_are_successes() {
    let adapter = adapter();
    let members = map(r#"{"A":1}"#);
    let put = adapter
        .plan_update(
            &id(),
            &UpdateInput::Members(&RawObject::from(&members)),
            &UpdateTerms::bound_to(&Version::Sequence(1)),
        )
        .expect("a plan")
        .request;
    let post = adapter.plan_create(&collection(), &members).expect("a plan").request;
    let get = protocol::list_request(VendorRequestKind::Read, &collection(), None);
    let record = format!(r#"{{"_dataObjectId":"{KEY}","_version":2,"A":1}}"#);
    let delete = protocol::delete_request(&id());
    for (call, status, text) in [
        (&put, 204, ""),
        (&put, 200, ""),
        (&put, 200, &*record),
        (&put, 201, ""),
        (&delete, 200, ""),
        (&get, 203, "{}"),
    ] {
        assert_eq!(classify_response(&adapter, call, status, text), None, "{status} {text}");
    }
    for (status, text) in
        [(200, r#"{"message":"no"}"#), (200, "<html>login</html>"), (202, ""), (302, ""), (304, ""), (206, "{}")]
    {
        assert_eq!(
            classify_response(&adapter, &put, status, text),
            Some((VendorErrorKind::InvalidResponse, SideEffect::Unknown)),
            "{status}"
        );
    }
    for (status, text) in [(200, "<html>"), (200, ""), (200, "null"), (204, ""), (301, "")] {
        assert_eq!(
            classify_response(&adapter, &get, status, text),
            Some((VendorErrorKind::InvalidResponse, SideEffect::None)),
            "{status} {text}"
        );
    }
    assert_eq!(classify_response(&adapter, &post, 200, "{}"), None);
    assert_eq!(
        classify_response(&adapter, &post, 201, ""),
        Some((VendorErrorKind::InvalidResponse, SideEffect::Unknown))
    );
}

#[test]
fn a_common_status_determines_the_side_effect_and_the_retry() {
    let adapter = adapter();
    let write = protocol::delete_request(&id());
    let read = protocol::list_request(VendorRequestKind::Read, &collection(), None);
    let classify = |call: &VendorRequest, response: VendorResponse| {
        adapter.classify(call, &response).map(|one| (one.kind, one.effect, one.retry))
    };
    let after = Retry::After(std::time::Duration::from_secs(9));
    assert_eq!(
        classify(&write, response_with_retry_after(429, 9)),
        Some((VendorErrorKind::RateLimited, SideEffect::None, after))
    );
    assert_eq!(
        classify(&write, response(429, "")),
        Some((VendorErrorKind::RateLimited, SideEffect::None, Retry::Soon))
    );
    assert_eq!(
        classify(&write, response_with_retry_after(503, 9)),
        Some((VendorErrorKind::Unavailable, SideEffect::None, after))
    );
    assert_eq!(
        classify(&write, response(503, "")),
        Some((VendorErrorKind::Unavailable, SideEffect::Unknown, Retry::Soon))
    );
    assert_eq!(classify(&read, response(503, "")), Some((VendorErrorKind::Unavailable, SideEffect::None, Retry::Soon)));
    for status in [500, 502, 504, 408] {
        assert_eq!(classify(&write, response(status, "")).map(|one| one.1), Some(SideEffect::Unknown), "{status}");
        assert_eq!(classify(&read, response(status, "")).map(|one| one.1), Some(SideEffect::None), "{status}");
    }
    assert_eq!(classify(&write, response(418, "")).map(|one| one.0), Some(VendorErrorKind::Rejected));
    assert_eq!(
        classify(&read, response(418, "")),
        Some((VendorErrorKind::ServerError, SideEffect::None, Retry::Never))
    );
}

#[tokio::test]
async fn an_unknown_token_path_falls_back_to_the_other_one() {
    let adapter = adapter();
    for status in [403, 404] {
        let missing = response(status, r#"{"message":"Missing Authentication Token"}"#);
        let token = response(200, r#"{"access_token":"abc","expires_in":"60"}"#);
        let transport = ScriptedTransport::new(&adapter, [missing.clone(), token]);
        assert_eq!(adapter.sign_in(&transport).await.expect("a token").secret, "abc");
        assert_eq!(transport.request_lines(), ["POST /v1/oauth2/token", "POST /oauth2/token"]);
        let neither = ScriptedTransport::new(&adapter, [missing, response(404, "")]);
        let fault = adapter.sign_in(&neither).await.expect_err("neither");
        assert_eq!(fault.status, Some(status));
        assert!(
            matches!(fault.kind, VendorErrorKind::CredentialsRejected | VendorErrorKind::InvalidResponse),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn rejected_credentials_are_not_tried_at_the_other_path() {
    let adapter = adapter();
    let transport = ScriptedTransport::new(&adapter, [response(401, "")]);
    assert_eq!(adapter.sign_in(&transport).await.expect_err("an error").kind, VendorErrorKind::CredentialsRejected);
    let transport = ScriptedTransport::new(&adapter, [response(200, r#"{"message":"no such client"}"#)]);
    assert_eq!(adapter.sign_in(&transport).await.expect_err("an error").kind, VendorErrorKind::CredentialsRejected);
}

#[test]
fn the_token_lifetime_is_clamped_to_a_sane_range() {
    for (body, seconds) in [
        (r#"{"access_token":"a","expires_in":3600}"#, 3600),
        (r#"{"access_token":"a"}"#, 300),
        (r#"{"access_token":"a","expires_in":-5}"#, 0),
        (r#"{"access_token":"a","expires_in":1e300}"#, 86400),
    ] {
        assert_eq!(parse_token_response(body.as_bytes(), "").expect("a token").1.as_secs(), seconds, "{body}");
    }
}

#[test]
fn no_secret_appears_in_debug_output_or_vendor_messages() {
    let adapter = adapter();
    let sign_in = protocol::sign_in_request(&adapter.credentials, "/oauth2/token");
    assert!(!format!("{sign_in:?} {:?}", adapter.credentials).contains("s3cret"));
    let echo = response(401, r#"{"message":"no client with secret s3cret"}"#);
    assert!(!format!("{:?}", adapter.classify(&sign_in, &echo)).contains("s3cret"));
    let mut call = protocol::delete_request(&id());
    let (secret, _) = parse_token_response(br#"{"access_token":"tok-123"}"#, "").expect("a token");
    adapter.sign(&mut call, &Token { secret, expires: None });
    let echo = response(403, r#"{"message":"'tok-123' not a valid key=value pair in Authorization header"}"#);
    let fault = adapter.classify(&call, &echo).expect("an error");
    assert!(!format!("{fault:?} {call:?}").contains("tok-123"));
}

#[test]
fn a_create_response_without_an_id_has_an_unknown_side_effect() {
    let adapter = adapter();
    for text in ["{}", r#"{"_dataObjectId":"short"}"#, "[]"] {
        let fault = adapter.parse_created(&collection(), &response(201, text)).expect_err(text);
        assert_eq!((fault.kind, fault.effect), (VendorErrorKind::InvalidResponse, SideEffect::Unknown));
    }
    let versionless = response(201, &format!(r#"{{"_dataObjectId":"{KEY}"}}"#));
    let created = adapter.parse_created(&collection(), &versionless).expect("created");
    assert!(created.id == id() && created.record.is_none());
}

#[tokio::test]
async fn a_lost_create_is_found_among_the_records_that_match() {
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
        let last = response(200, &format!(r#"{{"items":[{items}]}}"#));
        let transport = ScriptedTransport::new(&adapter, [page(&[], Some("p2")), last]);
        let found = adapter
            .find_matching(&transport, &collection(), &fields)
            .await
            .expect("a search")
            .expect("a complete search");
        let keys: Vec<String> = found.iter().map(|id| id.key().to_owned()).collect();
        assert_eq!(keys, expected, "{items}");
    }
}
