//! The adapter of Dataverse against a scripted transport.

use serde_json::json;

use super::*;
use crate::record::{Secret, SideEffect};
use crate::transport::VendorRequestKind;
use crate::vendors::factory::{BASE_URL, Settings};
use crate::vendors::testing::{ScriptedTransport, body, classify_response, map, response, run_golden};

const KEY: &str = "00aa00aa-bb11-cc22-dd33-44ee44ee44ee";
const CONTACT: &str = "55bb55bb-0000-4000-8000-66cc66cc66c1";

fn adapter() -> Dataverse {
    let settings = [
        (BASE_URL, "https://contoso.crm4.dynamics.com"),
        ("authority", "https://login.microsoftonline.com"),
        ("tenant_id", "11aa11aa-0000-4000-8000-22bb22bb22bb"),
        ("client_id", "the-client"),
        ("client_secret", "s+cret/&="),
    ];
    let settings: Settings = settings.into_iter().map(|(key, value)| (key, Secret::new(value))).collect();
    Dataverse::new(&settings).expect("an adapter")
}

fn tables() -> VendorResponse {
    let table = |name: &str, set: &str, key: &str| json!({ "LogicalName": name, "EntitySetName": set, "PrimaryIdAttribute": key, "IsOptimisticConcurrencyEnabled": name != "new_note" });
    let tables = [
        table("account", "accounts", "accountid"),
        table("contact", "contacts", "contactid"),
        table("task", "tasks", "activityid"),
        table("new_note", "new_notes", "new_noteid"),
    ];
    response(200, &json!({ "value": tables }).to_string())
}

fn account_lookups() -> VendorResponse {
    let lookup = |attribute: &str, navigation: &str, target: &str| json!({ "ReferencingAttribute": attribute, "ReferencingEntityNavigationPropertyName": navigation, "ReferencedEntity": target });
    let lookups = [
        lookup("primarycontactid", "primarycontactid", "contact"),
        lookup("parentaccountid", "parentaccountid", "account"),
        lookup("customerid", "customerid_account", "account"),
        lookup("customerid", "customerid_contact", "contact"),
    ];
    response(200, &json!({ "value": lookups }).to_string())
}

/// An adapter that knows the tables and the lookups of accounts.
async fn informed_adapter() -> Dataverse {
    let adapter = adapter();
    let transport = ScriptedTransport::new(&adapter, [tables(), account_lookups()]);
    adapter.tables.load_lookups(&transport, "accounts").await.expect("metadata");
    let lines = transport.request_lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains("EntityDefinitions(LogicalName='account')/ManyToOneRelationships"), "{lines:?}");
    drop(transport);
    adapter
}

fn id() -> RecordId {
    RecordId::new("accounts", KEY)
}

fn version() -> Version {
    Version::Text("W/\"7\"".into())
}

fn plan(adapter: &Dataverse, members: &str) -> Result<PlannedRequest, Vec<FieldError>> {
    let members = RawObject::from(&map(members));
    adapter.plan_update(&id(), &UpdateInput::Members(&members), &UpdateTerms::bound_to(&version()))
}

#[tokio::test(start_paused = true)]
async fn requests_and_outcomes_match_the_golden_files() {
    run_golden("dataverse", &informed_adapter().await).await;
}

#[test]
fn ids_and_sets_have_one_canonical_form() {
    let adapter = adapter();
    assert_eq!(adapter.parse_key(&KEY.to_uppercase()).as_deref(), Some(KEY));
    assert!(adapter.parse_key("00aa00aabb11cc22dd3344ee44ee44ee").is_none());
    for (name, is_valid) in [
        ("accounts", true),
        ("new_notes2", true),
        ("_x", true),
        ("EntityDefinitions", false),
        ("accounts(1)", false),
        ("a/b", false),
        ("", false),
    ] {
        assert_eq!(adapter.parse_collection(name).is_some(), is_valid, "{name}");
    }
}

#[tokio::test]
async fn a_lookup_is_written_under_its_navigation_property() {
    let adapter = informed_adapter().await;
    for (value, expected) in [
        (format!("\"{CONTACT}\""), format!(r#"{{"primarycontactid@odata.bind":"/contacts({CONTACT})"}}"#)),
        (
            format!("\"contacts:{}\"", CONTACT.to_uppercase()),
            format!(r#"{{"primarycontactid@odata.bind":"/contacts({CONTACT})"}}"#),
        ),
        (format!("\"/contacts({CONTACT})\""), format!(r#"{{"primarycontactid@odata.bind":"/contacts({CONTACT})"}}"#)),
        ("null".to_owned(), r#"{"primarycontactid@odata.bind":null}"#.to_owned()),
    ] {
        let planned = plan(&adapter, &format!(r#"{{"_primarycontactid_value":{value}}}"#)).expect("a plan");
        assert_eq!(body(&planned.request), expected);
    }
    let planned = plan(&adapter, &format!(r#"{{"_customerid_value":"contacts:{CONTACT}"}}"#)).expect("a plan");
    assert_eq!(body(&planned.request), format!(r#"{{"customerid_contact@odata.bind":"/contacts({CONTACT})"}}"#));
}

#[tokio::test]
async fn a_lookup_that_cannot_be_written_is_rejected_with_its_pointer() {
    let adapter = informed_adapter().await;
    for value in ["\"x\"", "1", "{}", &format!("\"accounts:{KEY}\"")] {
        let errors = plan(&adapter, &format!(r#"{{"name":"x","_primarycontactid_value":{value}}}"#)).expect_err(value);
        assert_eq!(errors[0].pointer, "/fields/_primarycontactid_value", "{value}");
    }
    let errors = plan(&adapter, &format!(r#"{{"_customerid_value":"{CONTACT}"}}"#)).expect_err("two targets");
    assert!(errors[0].detail.contains("accounts, contacts"), "{}", errors[0].detail);
}

#[tokio::test]
async fn without_metadata_a_lookup_needs_its_entity_set() {
    let adapter = adapter();
    let forbidden = response(403, r#"{"error":{"code":"0x80040220","message":"no privilege"}}"#);
    let transport = ScriptedTransport::new(&adapter, [forbidden]);
    let members = RawObject::from(&map(&format!(r#"{{"_primarycontactid_value":"{CONTACT}"}}"#)));
    let change = UpdateInput::Members(&members);
    assert_eq!(adapter.find_missing_references(&transport, "accounts", &change).await.expect("no fault"), []);
    assert!(plan(&adapter, &members.to_json()).is_err());
    let planned = plan(&adapter, &format!(r#"{{"_primarycontactid_value":"contacts:{CONTACT}"}}"#)).expect("a plan");
    assert_eq!(body(&planned.request), format!(r#"{{"primarycontactid@odata.bind":"/contacts({CONTACT})"}}"#));
}

#[test]
fn a_member_that_is_no_column_is_rejected_before_sending() {
    let adapter = adapter();
    for member in ["name@odata.bind", "@odata.etag", "a.b", "a b", ""] {
        let patch = RawObject::from(&Map::from_iter([(member.to_owned(), json!("x"))]));
        assert_eq!(adapter.validate_patch(&patch).len(), 1, "{member}");
    }
    for value in ["{}", "[1]"] {
        assert!(plan(&adapter, &format!(r#"{{"name":{value}}}"#)).is_err(), "{value}");
    }
    assert!(plan(&adapter, &format!(r#"{{"accountid":"{KEY}"}}"#)).is_err());
    assert!(adapter.is_reserved("accounts", "accountid") && !adapter.is_reserved("accounts", "name"));
}

#[tokio::test]
async fn a_table_that_does_not_compare_versions_is_remembered() {
    let adapter = informed_adapter().await;
    assert!(adapter.compares(Action::Delete, "accounts") && !adapter.compares(Action::Update, "new_notes"));
    assert!(!adapter.compares(Action::Create, "accounts") && adapter.compares(Action::Update, "new_logs"));
    let members = RawObject::from(&map(r#"{"name":"x"}"#));
    let log = RecordId::new("new_logs", KEY);
    let version = version();
    let terms = UpdateTerms::bound_to(&version);
    let call = adapter.plan_update(&log, &UpdateInput::Members(&members), &terms).expect("a plan").request;
    let refusal = r#"{"error":{"code":"0x80060883","message":"not enabled"}}"#;
    let judged = classify_response(&adapter, &call, 400, refusal);
    assert_eq!(judged, Some((VendorErrorKind::NotCompared, SideEffect::None)));
    assert!(!adapter.compares(Action::Update, "new_logs"));
    let planned = adapter.plan_update(&log, &UpdateInput::Members(&members), &UpdateTerms::default()).expect("a plan");
    let if_match = planned.request.headers.iter().find(|(name, _)| name == "if-match").map(|(_, value)| value);
    assert_eq!(if_match.and_then(|value| value.to_str().ok()), Some("*"));
    assert!(!planned.idempotent);
}

#[test]
fn where_versions_are_compared_every_planned_update_has_one() {
    let adapter = adapter();
    let members = RawObject::from(&map(r#"{"name":"x"}"#));
    let change = UpdateInput::Members(&members);
    assert!(adapter.plan_update(&id(), &change, &UpdateTerms::default()).is_err());
    assert!(adapter.plan_update(&id(), &change, &UpdateTerms::bound_to(&Version::Sequence(1))).is_err());
}

#[test]
fn every_success_that_may_mean_done_counts() {
    let adapter = adapter();
    let update = plan(&adapter, r#"{"name":"x"}"#).expect("a plan").request;
    let delete = adapter.plan_delete(&id(), None, Some(&version())).expect("a plan").request;
    let row = r#"{"@odata.etag":"W/\"8\""}"#;
    for (call, status, text) in
        [(&update, 204, ""), (&update, 200, row), (&update, 201, row), (&delete, 204, ""), (&delete, 200, "")]
    {
        assert_eq!(classify_response(&adapter, call, status, text), None, "{status}");
    }
    for (status, text) in [(200, "<html>"), (200, "{}"), (202, ""), (302, "")] {
        let judged = classify_response(&adapter, &update, status, text);
        assert_eq!(judged, Some((VendorErrorKind::InvalidResponse, SideEffect::Unknown)), "{status}");
    }
    let judged = classify_response(&adapter, &update, 503, "<html>Azure Front</html>");
    assert_eq!(judged, Some((VendorErrorKind::Unavailable, SideEffect::Unknown)));
    let judged = classify_response(&adapter, &update, 412, r#"{"error":{"code":"0x80040237","message":"exists"}}"#);
    assert_eq!(judged, Some((VendorErrorKind::Rejected, SideEffect::None)));
}

#[test]
fn the_record_of_an_update_comes_from_its_response() {
    let adapter = adapter();
    let row = format!(r#"{{"@odata.etag":"W/\"8\"","name":"x","accountid":"{KEY}"}}"#);
    let updated = adapter.parse_updated(&id(), &response(200, &row));
    assert_eq!(updated.version, Some(Version::Text("W/\"8\"".into())));
    assert_eq!(updated.record.expect("a record").fields.to_json(), r#"{"name":"x"}"#);
    for nothing in [response(204, ""), response(200, "{}"), response(200, "<html>")] {
        assert!(adapter.parse_updated(&id(), &nothing).record.is_none());
    }
}

#[tokio::test]
async fn without_metadata_the_primary_key_is_found_by_its_name() {
    let adapter = adapter();
    let forbidden = || response(403, "{}");
    for (set, row, expected) in [
        ("accounts", format!(r#"{{"@odata.etag":"W/\"1\"","processid":"{CONTACT}","accountid":"{KEY}"}}"#), "accounts"),
        ("tasks", format!(r#"{{"@odata.etag":"W/\"1\"","processid":"{CONTACT}","activityid":"{KEY}"}}"#), "tasks"),
        ("new_cities", format!(r#"{{"@odata.etag":"W/\"1\"","aid":"{CONTACT}","new_cityid":"{KEY}"}}"#), "new_cities"),
    ] {
        let page = response(200, &format!(r#"{{"value":[{row}]}}"#));
        let transport = ScriptedTransport::new(&adapter, [forbidden(), page]);
        let page = adapter.list(&transport, set, &[], 10, None).await.expect("a page");
        assert_eq!(page.items[0].id.as_str(), format!("{expected}:{KEY}"));
        assert!(!page.items[0].record.fields.names().any(|name| name.starts_with('@') || name == "accountid"));
    }
}

#[tokio::test]
async fn a_next_link_is_followed_only_within_the_list() {
    let adapter = informed_adapter().await;
    for link in [
        "https://contoso.crm4.dynamics.com.evil.example/api/data/v9.2/accounts?x",
        "http://contoso.crm4.dynamics.com/api/data/v9.2/accounts?x",
        "https://contoso.crm4.dynamics.com/api/data/v9.2/contacts?x",
        "https://contoso.crm4.dynamics.com/api/data/v9.2/accounts?a b",
        "/api/data/v9.2/accounts?x",
    ] {
        let page = json!({ "value": [], "@odata.nextLink": link }).to_string();
        let transport = ScriptedTransport::new(&adapter, [response(200, &page)]);
        let fault = adapter.list(&transport, "accounts", &[], 10, None).await.expect_err(link);
        assert_eq!(fault.kind, VendorErrorKind::InvalidResponse, "{link}");
    }
    let transport = ScriptedTransport::new(&adapter, []);
    let fault =
        adapter.list(&transport, "accounts", &[], 10, Some("/api/data/v9.2/contacts?x")).await.expect_err("foreign");
    assert_eq!(fault.kind, VendorErrorKind::Rejected);
}

#[tokio::test]
async fn a_search_quotes_its_values() {
    let adapter = informed_adapter().await;
    let transport = ScriptedTransport::new(&adapter, [response(200, r#"{"value":[]}"#)]);
    let fields = map(&format!(
        r#"{{"name":"O'Brien' or 1 eq 1","revenue":1.10,"_primarycontactid_value":"contacts:{CONTACT}","note":null,"on":"2024-05-01T00:00:00Z"}}"#
    ));
    let found = adapter.find_matching(&transport, "accounts", &fields).await.expect("a search");
    assert_eq!(found, Some(Vec::new()));
    let path = transport.calls.borrow()[0].path.clone();
    let decoded = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned();
    let expected =
        format!("name eq 'O''Brien'' or 1 eq 1' and revenue eq 1.10 and _primarycontactid_value eq {CONTACT}");
    assert!(decoded.ends_with(&expected), "{decoded}");
    assert_eq!(transport.calls.borrow()[0].kind, VendorRequestKind::List);
}
