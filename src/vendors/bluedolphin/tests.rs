//! The adapter of BlueDolphin against a scripted transport.

use super::*;
use crate::record::{SideEffect, VendorErrorKind};
use crate::vendors::testing::{
    ScriptedTransport, body, classify_response, map, response, run_golden, unversioned_record,
};

const KEY: &str = "640b3d7d4a28b925fcf8b9a2";
const Q: &str = "58edcaf2829327621cecc9e5";

fn adapter() -> BlueDolphin {
    let credentials = Credentials { tenant: "mytenant".to_owned(), api_key: Secret::new("s3cret-key") };
    BlueDolphin::new(&credentials).expect("an adapter")
}

fn id() -> RecordId {
    RecordId::new("object-definitions", KEY)
}

/// What callers see of a definition as the vendor shows it.
fn to_fields(text: &str, complete: bool) -> Result<(Option<String>, RawObject), VendorError> {
    response_mapping::to_fields(&parse_object(&text.to_owned().into())?, complete)
}

fn fields_before() -> Map<String, Value> {
    map(&format!(
        r#"{{"name":"App","type":{{"id":"t"}},"status":"active",
            "properties":{{"Supplier":{{"value":"Microsoft","locked":false}},"Owner":{{"value":"Ann","locked":true}},
                           "Empty":{{"value":null,"locked":false}}}},
            "questionnaires":{{"{Q}":{{"name":"Risk"}}}}}}"#
    ))
}

/// Plans the update that a merge patch of the fields makes.
fn plan_patch(patch: &str) -> Result<PlannedRequest, Vec<FieldError>> {
    let mut after = Value::Object(fields_before());
    json_patch::merge(&mut after, &serde_json::from_str(patch).expect("JSON"));
    let after = after.as_object().cloned().expect("an object");
    adapter().plan_update(
        &id(),
        &UpdateInput::FullRecord { before: &fields_before(), after: &after },
        &UpdateTerms::default(),
    )
}

fn invalid_pointers(patch: &str) -> Vec<String> {
    plan_patch(patch).expect_err(patch).into_iter().map(|one| one.pointer).collect()
}

#[tokio::test(start_paused = true)]
async fn requests_and_outcomes_match_the_golden_files() {
    run_golden("bluedolphin", &adapter()).await;
}

#[test]
fn ids_have_the_vendors_form() {
    let adapter = adapter();
    assert!(adapter.parse_collection("object-definitions").is_some() && adapter.parse_collection("objects").is_none());
    // One of the vendor's own samples is not hexadecimal.
    assert!(adapter.parse_key("644779a07470b332c82b8dg0").is_some());
    for wrong in [
        "",
        "640B3D7D4A28B925FCF8B9A2",
        "640b3d7d4a28b925fcf8b9a",
        "640b3d7d4a28b925fcf8b9a2a",
        "640b3d7d4a28b925fcf8b9a/",
    ] {
        assert!(adapter.parse_key(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn a_definition_keeps_the_vendors_member_order_and_number_format() {
    let text = r#"{"id":"640b3d7d4a28b925fcf8b9a2","future":{"n":1.10},"status":1,"related_boem":[{"id":"b","name":"B"},{"id":"a"}],
                   "object_properties":[{"name":"Z","value":"1","is_mandatory":true,"id":"x"},{"name":"A"}],"name":"N"}"#;
    let (id, fields) = to_fields(text, true).expect("a definition");
    assert_eq!(id.as_deref(), Some(KEY));
    let expected = r#"{"future":{"n":1.10},"status":"disabled","questionnaires":{"b":{"name":"B"},"a":{}},"properties":{"Z":{"value":"1","locked":true},"A":{"value":null,"locked":false}},"name":"N"}"#;
    assert_eq!(fields.to_json(), expected);
}

#[test]
fn an_update_sends_untouched_numbers_as_the_vendor_wrote_them() {
    let text = r#"{"name":"N","object_properties":[{"name":"A","value":1E5},{"name":"B","value":{"c":[1e5,-0]}}]}"#;
    let before = to_fields(text, true).expect("a definition").1.to_map();
    let mut after = before.clone();
    after.insert("name".to_owned(), "M".into());
    let change = UpdateInput::FullRecord { before: &before, after: &after };
    let planned = adapter().plan_update(&id(), &change, &UpdateTerms::default()).expect("a request");
    let sent = String::from_utf8(planned.request.body.expect("a body").to_vec()).expect("text");
    assert!(sent.contains(r#""value":1E5,"#) && sent.contains(r#""value":{"c":[1e5,-0]},"#), "{sent}");
}

#[test]
fn an_entry_with_an_unreadable_name_is_marked() {
    let text = r#"{"name":"N","object_properties":[{"name":"A\uFFfd","value":"1"}]}"#;
    let fields = to_fields(text, true).expect("a definition").1;
    let record = VendorRecord { fields, version: None, warnings: Vec::new() };
    let found: Vec<_> = record.unreadable_texts().into_iter().map(|one| one.pointer).collect();
    assert_eq!(found, ["/fields/properties/A\u{fffd}"]);
}

#[test]
fn empty_and_missing_lists_are_one_state() {
    let version = |text: &str| Version::from_fields(&to_fields(text, true).expect("a definition").1.to_map());
    let empty = version(r#"{"name":"N","object_properties":[],"related_boem":[]}"#);
    assert_eq!(version(r#"{"name":"N"}"#), empty);
    assert_eq!(version(r#"{"name":"N","object_properties":null,"related_boem":null}"#), empty);
    assert!(to_fields(r#"{"name":"N"}"#, false).expect("an item").1.get("properties").is_none());
}

#[test]
fn duplicate_entry_names_are_an_invalid_response_and_never_merged() {
    for text in [
        r#"{"object_properties":[{"name":"A","value":"1"},{"name":"A","value":"2"}]}"#,
        r#"{"related_boem":[{"id":"a"},{"id":"a"}]}"#,
        r#"{"object_properties":[],"properties":{}}"#,
        r#"{"object_properties":[{"value":"1"}]}"#,
        r#"{"object_properties":[{"name":"A","is_mandatory":"yes"}]}"#,
        r#"{"object_properties":{}}"#,
        r#"{"name":"a","name":"b"}"#,
    ] {
        assert_eq!(to_fields(text, true).expect_err(text).kind, VendorErrorKind::InvalidResponse, "{text}");
    }
}

#[test]
fn a_put_omits_unchanged_locked_properties_and_empty_values() {
    let planned = plan_patch(r#"{"properties":{"Supplier":{"value":"Contoso"}}}"#).expect("a plan");
    let expected = format!(
        r#"{{"id":"{KEY}","name":"App","object_properties":[{{"name":"Supplier","value":"Contoso","is_mandatory":false}},{{"name":"Empty","is_mandatory":false}}],"related_boem":[{{"id":"{Q}"}}]}}"#
    );
    assert_eq!(body(&planned.request), expected);
    assert!(planned.completion == Completion::Queued && !planned.idempotent);
    assert_eq!(planned.losses, [LINKED_QUESTIONS, SOURCE_CONNECTIONS]);
}

#[test]
fn a_changed_locked_property_is_sent_as_mandatory() {
    let planned = plan_patch(r#"{"properties":{"Owner":{"value":"Bob"}}}"#).expect("a plan");
    assert!(body(&planned.request).contains(r#"{"name":"Owner","value":"Bob","is_mandatory":true}"#));
    let cleared = plan_patch(r#"{"properties":{"Owner":{"value":null}}}"#).expect("a plan");
    assert!(body(&cleared.request).contains(r#"{"name":"Owner","is_mandatory":true}"#));
}

#[test]
fn a_property_can_be_locked_but_never_unlocked() {
    let planned = plan_patch(r#"{"properties":{"Supplier":{"locked":true}}}"#).expect("a plan");
    assert!(body(&planned.request).contains(r#"{"name":"Supplier","value":"Microsoft","is_mandatory":true}"#));
    assert_eq!(invalid_pointers(r#"{"properties":{"Owner":{"locked":false}}}"#), ["/fields/properties/Owner"]);
    assert_eq!(invalid_pointers(r#"{"properties":{"Owner":{"locked":null}}}"#), ["/fields/properties/Owner"]);
    assert_eq!(invalid_pointers(r#"{"properties":{"Owner":null}}"#), ["/fields/properties/Owner"]);
    assert_eq!(invalid_pointers(r#"{"properties":null}"#), ["/fields/properties/Owner"]);
}

#[test]
fn entries_are_added_and_removed_one_by_one_in_the_existing_order() {
    let planned = plan_patch(
        r#"{"properties":{"Supplier":null,"New":{"value":"x"}},"questionnaires":{"a23456789012345678901234":{}}}"#,
    );
    let text = body(&planned.expect("a plan").request).to_owned();
    assert!(text.contains(r#""object_properties":[{"name":"Empty","is_mandatory":false},{"name":"New","value":"x","is_mandatory":false}]"#), "{text}");
    assert!(
        text.contains(&format!(r#""related_boem":[{{"id":"{Q}"}},{{"id":"a23456789012345678901234"}}]"#)),
        "{text}"
    );
    let removed = plan_patch(&format!(r#"{{"questionnaires":{{"{Q}":null}}}}"#)).expect("a plan");
    assert!(body(&removed.request).contains(r#""related_boem":[]"#));
}

#[test]
fn values_that_the_vendor_would_reject_or_ignore_fail_validation() {
    let long = "x".repeat(256);
    for (patch, pointer) in [
        (r#"{"name":""}"#.to_owned(), "/fields/name"),
        (r#"{"name":null}"#.to_owned(), "/fields/name"),
        (r#"{"name":7}"#.to_owned(), "/fields/name"),
        (format!(r#"{{"name":"{long}"}}"#), "/fields/name"),
        (r#"{"type":{"id":"u"}}"#.to_owned(), "/fields/type"),
        (r#"{"other":1}"#.to_owned(), "/fields/other"),
        (r#"{"roles":["r"]}"#.to_owned(), "/fields/roles"),
        (r#"{"properties":[]}"#.to_owned(), "/fields/properties"),
        (r#"{"properties":{"Supplier":"x"}}"#.to_owned(), "/fields/properties/Supplier"),
        (r#"{"properties":{"Supplier":{"value":1}}}"#.to_owned(), "/fields/properties/Supplier/value"),
        (format!(r#"{{"properties":{{"Supplier":{{"value":"{long}"}}}}}}"#), "/fields/properties/Supplier/value"),
        (r#"{"properties":{"Supplier":{"locked":"yes"}}}"#.to_owned(), "/fields/properties/Supplier/locked"),
        (r#"{"properties":{"Supplier":{"color":"red"}}}"#.to_owned(), "/fields/properties/Supplier"),
        (r#"{"properties":{"":{"value":"x"}}}"#.to_owned(), "/fields/properties/"),
        (r#"{"questionnaires":{"short":{}}}"#.to_owned(), "/fields/questionnaires/short"),
        (
            r#"{"questionnaires":{"a23456789012345678901234":{"x":1}}}"#.to_owned(),
            "/fields/questionnaires/a23456789012345678901234",
        ),
        (
            format!(r#"{{"questionnaires":{{"{Q}":{{"name":"Other"}}}}}}"#),
            "/fields/questionnaires/58edcaf2829327621cecc9e5",
        ),
        (r#"{"status":"gone"}"#.to_owned(), "/fields/status"),
        (r#"{"status":null}"#.to_owned(), "/fields/status"),
        (r#"{"status":"disabled","name":"N"}"#.to_owned(), "/fields/status"),
        ("{}".to_owned(), ""),
    ] {
        let found = invalid_pointers(&patch);
        assert!(found.contains(&pointer.to_owned()), "{patch}: {found:?}");
    }
}

#[test]
fn a_name_is_measured_in_characters_and_not_in_bytes() {
    let patch = format!(r#"{{"name":"{}"}}"#, "é".repeat(255));
    assert!(plan_patch(&patch).is_ok());
}

#[test]
fn every_member_that_no_update_can_change_is_read_only() {
    let adapter = adapter();
    for member in ["type", "id", "object_properties", "related_boem", "object_template_id", "roles", "future"] {
        assert!(adapter.is_read_only("object-definitions", member), "{member}");
    }
    for member in ["name", "properties", "questionnaires", "status"] {
        assert!(!adapter.is_read_only("object-definitions", member), "{member}");
    }
}

#[test]
fn a_delete_requires_a_disabled_definition_and_accepted_losses() {
    let adapter = adapter();
    assert!(adapter.plan_delete(&id(), Some(&unversioned_record(&fields_before())), None).is_err());
    let mut disabled = fields_before();
    disabled.insert("status".to_owned(), "disabled".into());
    let planned = adapter.plan_delete(&id(), Some(&unversioned_record(&disabled)), None).expect("a plan");
    assert!(planned.idempotent && planned.losses.iter().all(|loss| loss.caller_must_accept));
}

#[test]
fn the_error_text_of_a_400_is_classified_in_any_body_format() {
    let adapter = adapter();
    let put = plan_patch(r#"{"name":"N"}"#).expect("a plan").request;
    let get = protocol::read_request(&id());
    let post = adapter.plan_create("object-definitions", &map(r#"{"name":"N"}"#)).expect("a plan").request;
    let classify =
        |call: &VendorRequest, text: &str| classify_response(&adapter, call, 400, text).map(|(kind, _)| kind);
    let busy = "There might be an ongoing update in progress. Please try again later.";
    for text in [
        busy.to_owned(),
        format!(r#""{busy}""#),
        format!(r#"{{"detail":"{busy}"}}"#),
        format!(r#"{{"errors":{{"a":["x","{busy}"]}}}}"#),
        format!("<html>{busy}</html>"),
    ] {
        assert_eq!(classify(&put, &text), Some(VendorErrorKind::Busy), "{text}");
    }
    assert_eq!(classify(&get, r#"{"detail":"Object definition cannot be found"}"#), Some(VendorErrorKind::NotFound));
    assert_eq!(
        classify(&get, r#"{"errors":{"id":["'x' is not a valid 24 digit hex string."]}}"#),
        Some(VendorErrorKind::NotFound)
    );
    assert_eq!(classify(&get, r#"{"title":"'take' must be greater"}"#), Some(VendorErrorKind::ServerError));
    assert_eq!(classify(&put, r#"{"detail":"questionnaire could not be found"}"#), Some(VendorErrorKind::Rejected));
    assert_eq!(classify(&post, r#"{"detail":"Template could not be found"}"#), Some(VendorErrorKind::Rejected));
    let either = r#"{"detail":"Object definition is built-in or non-existing"}"#;
    assert_eq!(classify(&put, either), Some(VendorErrorKind::Ambiguous));
    assert_eq!(classify(&post, either), Some(VendorErrorKind::Rejected));
    assert_eq!(classify(&put, ""), Some(VendorErrorKind::Rejected));
}

#[test]
fn every_success_that_may_mean_done_counts() {
    let adapter = adapter();
    let put = plan_patch(r#"{"name":"N"}"#).expect("a plan").request;
    let disable = plan_patch(r#"{"status":"disabled"}"#).expect("a plan").request;
    let delete = protocol::delete_request(&id());
    for call in [&put, &disable, &delete] {
        for (status, text) in [(200, r#"{"result":"OK"}"#), (201, r#"{"result":"ok"}"#), (204, "")] {
            assert_eq!(classify_response(&adapter, call, status, text), None, "{status} {text}");
        }
    }
    // The vendor queues the update of a definition, so that 202 is its success.
    assert_eq!(classify_response(&adapter, &put, 202, r#"{"result":"OK"}"#), None);
    assert_eq!(classify_response(&adapter, &put, 202, ""), None);
    assert_eq!(classify_response(&adapter, &put, 200, ""), None);
    assert_eq!(classify_response(&adapter, &protocol::read_request(&id()), 203, "{}"), None);
    for (call, status, text) in [
        (&put, 202, "<html>"),
        (&put, 202, r#"{"result":"FAILED"}"#),
        (&disable, 200, r#"{"unexpected":[true]}"#),
        (&put, 302, ""),
        (&disable, 202, r#"{"result":"OK"}"#),
        (&disable, 206, r#"{"result":"OK"}"#),
        (&disable, 200, ""),
        (&delete, 200, ""),
        (&delete, 202, ""),
        (&delete, 207, r#"{"result":"OK"}"#),
    ] {
        assert_eq!(
            classify_response(&adapter, call, status, text),
            Some((VendorErrorKind::InvalidResponse, SideEffect::Unknown)),
            "{status} {text}"
        );
    }
    assert_eq!(
        classify_response(&adapter, &protocol::read_request(&id()), 200, "[]"),
        Some((VendorErrorKind::InvalidResponse, SideEffect::None))
    );
}

#[tokio::test]
async fn a_read_that_returns_another_definition_is_an_invalid_response() {
    let adapter = adapter();
    let other = response(200, r#"{"id":"000000000000000000000000","name":"N"}"#);
    let fault = adapter.read(&ScriptedTransport::new(&adapter, [other]), &id()).await.expect_err("another");
    assert_eq!((fault.kind, fault.effect), (VendorErrorKind::InvalidResponse, SideEffect::None));
}

#[tokio::test]
async fn a_list_ends_at_the_total_or_at_a_page_without_items() {
    let adapter = adapter();
    let item = format!(r#"{{"id":"{KEY}","name":"N"}}"#);
    for (text, cursor, next) in [
        (format!(r#"{{"total_items":3,"items":[{item}]}}"#), None, Some("1")),
        (format!(r#"{{"total_items":3,"items":[{item}]}}"#), Some("2"), None),
        (r#"{"total_items":3,"items":[]}"#.to_owned(), Some("1"), None),
        (format!(r#"{{"items":[{item}]}}"#), Some("1"), Some("2")),
    ] {
        let transport = ScriptedTransport::new(&adapter, [response(200, &text)]);
        let page = adapter.list(&transport, "object-definitions", &[], 1, cursor).await.expect("a page");
        assert_eq!(page.next.as_deref(), next, "{text}");
        assert!(page.items.iter().all(|item| item.partial));
    }
    let too_many = response(200, &format!(r#"{{"total_items":2,"items":[{item},{item}]}}"#));
    let transport = ScriptedTransport::new(&adapter, [too_many]);
    assert!(adapter.list(&transport, "object-definitions", &[], 1, None).await.is_err());
    assert_eq!(
        adapter.list(&transport, "object-definitions", &[], 1, Some("-1")).await.expect_err("bad").kind,
        VendorErrorKind::Rejected
    );
}

#[tokio::test]
async fn a_lost_create_is_found_by_its_unique_name() {
    let adapter = adapter();
    let items = |names: [&str; 2]| {
        let item = |(index, name)| format!(r#"{{"id":"{index}40b3d7d4a28b925fcf8b9a2","name":"{name}"}}"#);
        let items: Vec<String> = names.iter().enumerate().map(item).collect();
        response(200, &format!(r#"{{"total_items":2,"items":[{}]}}"#, items.join(",")))
    };
    let fields = map(r#"{"name":"N","roles":["r"]}"#);
    for (names, found) in [(["N", "M"], 1), (["N", "N"], 2), (["n", "M"], 0)] {
        let transport = ScriptedTransport::new(&adapter, [items(names)]);
        let matching = adapter.find_matching(&transport, "object-definitions", &fields).await.expect("a search");
        assert_eq!(matching.map(|all| all.len()), Some(found), "{names:?}");
    }
}

#[test]
fn a_create_requires_a_name_and_accepts_only_creatable_members() {
    let adapter = adapter();
    for wrong in ["{}", r#"{"name":""}"#, r#"{"name":"N","status":"active"}"#, r#"{"name":"N","properties":{}}"#] {
        assert!(adapter.plan_create("object-definitions", &map(wrong)).is_err(), "{wrong}");
    }
    for text in ["{}", r#"{"id":"short"}"#, "[]"] {
        let fault = adapter.parse_created("object-definitions", &response(201, text)).expect_err(text);
        assert_eq!((fault.kind, fault.effect), (VendorErrorKind::InvalidResponse, SideEffect::Unknown));
    }
}

#[tokio::test]
async fn the_api_key_is_never_printed() {
    let adapter = adapter();
    let transport = ScriptedTransport::new(&adapter, []);
    let token = adapter.sign_in(&transport).await.expect("a token");
    let mut call = protocol::read_request(&id());
    adapter.sign(&mut call, &token);
    adapter.sign(&mut call, &token);
    assert_eq!(call.headers.iter().filter(|(name, _)| *name == API_KEY).count(), 1);
    assert!(!format!("{call:?} {token:?}").contains("s3cret"));
}
