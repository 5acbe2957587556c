//! The adapter of Pretectum against a scripted transport.

#[path = "tests/protocol.rs"]
mod protocol_messages;

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
