//! The laws of all codecs, and patches in a model's words.

use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Map, Value};

use super::generate::record;
use super::laws::check_record;
use super::*;
use crate::config::Config;
use crate::record::{
    EntityTag, FieldError, JsonObjectWriter, MappedPatch as _, PatchError, RawObject, RecordId, Version,
};

const CONFIG: &str = r#"
access.mode = "open"
[systems.crm]
vendor = "pretectum"
base_url = "https://crm.example"
client_id = "c"
client_secret = "s"
collection = "20240115101010001abcdef01234567890:20240115101010002abcdef01234567890:20240115101010003abcdef01234567890"
[models.customer]
title = "Customer"
[models.customer.fields]
email = { type = "string", format = "email", max_length = 254 }
tier = { type = "string", enum = ["basic", "gold"] }
level = { type = "string" }
since = { type = "string", format = "date" }
seen = { type = "string", format = "date-time" }
met = { type = "string", format = "date-time" }
credit = { type = "number" }
cost = { type = "number" }
visits = { type = "integer" }
newsletter = { type = "boolean" }
"address.city" = { type = "string" }
"address.zip" = { type = "string", max_length = 10 }
tags = { type = "array", items = "string" }
codes = { type = "array", items = "integer" }
unmapped = { type = "string" }
[models.customer.systems.crm]
create = { "Status" = "Standard" }
[models.customer.systems.crm.map]
email = "Email"
tier = { at = "Status", enum = { Standard = "basic", Premium = "gold", VIP = "gold" } }
level = { at = "Level", enum = { "1" = "low", "2" = "high" } }
since = { at = "Customer Since", date = "MM/dd/yyyy" }
seen = { at = "Seen", datetime = "iso" }
met = { at = "/p/Met/value", datetime = "dd.MM.yyyy HH:mm", zone = "Europe/Berlin" }
credit = { at = "Credit Limit", scale = 2 }
cost = { at = "/p/Cost/value", number = "text" }
visits = "Visits"
newsletter = { at = "Newsletter", boolean = { true = [true, 1], false = [false, 0] } }
"address.city" = { at = "City", none = "" }
"address.zip" = "/p/Zip/value"
tags = { at = "/p/Tags/value", list = ";", none = "-" }
codes = { at = "Codes", list = "," }
"#;

pub(super) fn customer() -> Arc<SystemMap> {
    let config = Config::parse(CONFIG, "test").unwrap_or_else(|errors| panic!("{errors}"));
    Arc::clone(config.models[0].map_of("crm").expect("a map"))
}

fn object(text: &str) -> Map<String, Value> {
    match crate::record::parse_strict(text.as_bytes()).expect("JSON") {
        Value::Object(members) => members,
        other => panic!("{other}"),
    }
}

fn id() -> RecordId {
    RecordId::new("a:b:c", "d")
}

fn record_etag(map: &SystemMap) -> String {
    EntityTag::for_version(&map.system, &id(), &Version::Sequence(7)).to_header()
}

fn apply_to(fields: &str, patch: Result<ModelPatch, PatchError>) -> Result<String, PatchError> {
    let mut document = Map::new();
    document.insert("etag".to_owned(), record_etag(&customer()).into());
    document.insert("fields".to_owned(), Value::Object(object(fields)));
    patch?.apply(&document, &|name| name == "_version").map(|after| Value::Object(after).to_string())
}

fn merge(fields: &str, body: &str) -> Result<String, PatchError> {
    apply_to(fields, ModelPatch::parse_merge_patch(&customer(), &id(), &Bytes::copy_from_slice(body.as_bytes())))
}

fn json_patch(fields: &str, body: &str) -> Result<String, PatchError> {
    apply_to(fields, ModelPatch::parse_json_patch(&customer(), &id(), body.as_bytes()))
}

fn rejected(result: Result<String, PatchError>) -> Vec<(String, String)> {
    match result {
        Err(PatchError::Rejected(errors)) => errors.into_iter().map(|error| (error.pointer, error.detail)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn generated_documents_sent_back_change_no_byte() {
    let map = customer();
    let mut rng = Rng::with_seed(1);
    for _ in 0..values() / 4 {
        let fields = record(&mut rng, &map);
        check_record(&map, &fields).unwrap_or_else(|broken| panic!("{broken}"));
    }
}

/// `tests/nightly` checks a hundred thousand values of each codec.
fn values() -> usize {
    std::env::var("MODEL_VALUES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

#[test]
fn every_codec_keeps_its_laws_over_generated_values() {
    let broken = check_laws(&customer(), values(), values() / 10);
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_codec_with_a_wrong_inverse_breaks_a_law() {
    let mut map = SystemMap::clone(&customer());
    let decode = |value: &Value| Some(Value::from(value.as_str()?.to_uppercase()));
    map.entries[0].codec = Codec::Planted(decode, Value::clone);
    map.entries[0].field.format = None;
    let broken = check_laws(&Arc::new(map), 1000, 0);
    assert_eq!(broken.first().and_then(|one| one.field.as_deref()), Some("email"), "{broken:?}");
}

#[test]
fn a_document_shows_fields_and_the_rest() {
    let fields = object(
        r#"{"Email":"g@e.x","Status":"Odd","Credit Limit":110,"City":"","Phone":null,"p":{"Cost":{"value":"1.10","locked":true}}}"#,
    );
    let (map, record) = (customer(), RawObject::from(&fields));
    let document = Document::new(&map, &record);
    assert_eq!(
        document.write_fields(JsonObjectWriter::new(), false).finish(),
        r#"{"email":"g@e.x","level":null,"since":null,"seen":null,"met":null,"credit":1.1,"cost":1.10,"visits":null,"newsletter":null,"address":{"city":null,"zip":null},"tags":null,"codes":null}"#
    );
    assert_eq!(
        document.write_vendor(JsonObjectWriter::new()).finish(),
        r#"{"Status":"Odd","Phone":null,"p":{"Cost":{"locked":true}}}"#
    );
}

#[test]
fn a_changed_field_changes_its_place_alone() {
    for (fields, body, expected) in [
        (r#"{"Status":"VIP","n":1.10}"#, r#"{"fields":{"tier":"gold"}}"#, r#"{"Status":"VIP","n":1.10}"#),
        (r#"{"Status":"VIP"}"#, r#"{"fields":{"tier":"basic"}}"#, r#"{"Status":"Standard"}"#),
        (r#"{"Status":"Odd"}"#, r#"{"fields":{"tier":"gold"}}"#, r#"{"Status":"Premium"}"#),
        (r#"{"Credit Limit":110.0}"#, r#"{"fields":{"credit":1.10}}"#, r#"{"Credit Limit":110.0}"#),
        (r#"{"Credit Limit":110.0}"#, r#"{"fields":{"credit":1.2}}"#, r#"{"Credit Limit":120}"#),
        (r#"{"City":"Rome"}"#, r#"{"fields":{"address":{"city":null}}}"#, r#"{"City":""}"#),
        (r#"{"City":"Rome"}"#, r#"{"fields":{"address":null}}"#, r#"{"City":""}"#),
        (r#"{"Email":"a@b.c"}"#, r#"{"fields":{"email":null}}"#, r#"{"Email":null}"#),
        ("{}", r#"{"fields":{"cost":1.10}}"#, r#"{"p":{"Cost":{"value":"1.10"}}}"#),
        (r#"{"Phone":"1"}"#, r#"{"vendor":{"Phone":"2"}}"#, r#"{"Phone":"2"}"#),
        (r#"{"Status":"Odd"}"#, r#"{"vendor":{"Status":"VIP"}}"#, r#"{"Status":"VIP"}"#),
        (r#"{"Level":2}"#, r#"{"fields":{"level":"low"}}"#, r#"{"Level":1}"#),
    ] {
        assert_eq!(merge(fields, body).expect("applied"), expected, "{body}");
    }
}

#[test]
fn a_json_patch_speaks_the_words_of_the_model() {
    let fields = r#"{"Status":"VIP","Phone":"1"}"#;
    let patch = r#"[{"op":"test","path":"/fields/tier","value":"gold"},{"op":"replace","path":"/fields/tier","value":"basic"},
                    {"op":"replace","path":"/vendor/Phone","value":"2"}]"#;
    assert_eq!(json_patch(fields, patch).expect("applied"), r#"{"Status":"Standard","Phone":"2"}"#);
    let failing = r#"[{"op":"test","path":"/fields/tier","value":"basic"}]"#;
    match json_patch(fields, failing) {
        Err(PatchError::TestFailed(FieldError { pointer, vendor_pointer, .. })) => {
            assert_eq!((pointer.as_str(), vendor_pointer.as_deref()), ("/fields/tier", Some("/vendor/Status")));
        }
        other => panic!("{other:?}"),
    }
    let removed = json_patch(fields, r#"[{"op":"remove","path":"/fields/tier"}]"#).expect("applied");
    assert_eq!(removed, r#"{"Status":null,"Phone":"1"}"#);
    let outside = json_patch(fields, r#"[{"op":"replace","path":"/id","value":"x"}]"#);
    assert!(matches!(outside, Err(PatchError::ReadOnly(_))), "{outside:?}");
}

#[test]
fn one_place_named_in_fields_and_vendor_is_refused() {
    let fields = r#"{"Status":"VIP","p":{"Cost":{"value":"1"}}}"#;
    for body in [
        r#"{"vendor":{"Status":"Premium"}}"#,
        r#"{"vendor":{"Status":null}}"#,
        r#"{"fields":{"tier":"basic"},"vendor":{"Status":"Standard"}}"#,
        r#"{"vendor":{"p":null}}"#,
        r#"{"vendor":{"p":{"Cost":{"value":"2"}}}}"#,
    ] {
        let found = rejected(merge(fields, body));
        assert!(found[0].0.starts_with("/vendor/"), "{body} {found:?}");
    }
    let odd = r#"{"fields":{"tier":"gold"},"vendor":{"Status":"VIP"}}"#;
    assert_eq!(rejected(merge(r#"{"Status":"Odd"}"#, odd))[0].0, "/vendor/Status");
    assert_eq!(
        rejected(json_patch(fields, r#"[{"op":"add","path":"/vendor/Status","value":"x"}]"#))[0].0,
        "/vendor/Status"
    );
    // The record with all its places, sent back as it was.
    assert!(merge(fields, r#"{"vendor":{"Status":"VIP","p":{"Cost":{"value":"1"}}}}"#).is_ok());
}

#[test]
fn a_place_in_another_case_is_the_place_where_the_system_reads_any_case() {
    let map = Arc::new(SystemMap { ignores_case: true, ..SystemMap::clone(&customer()) });
    let merge = |map: &Arc<SystemMap>, fields: &str, body: &str| {
        apply_to(fields, ModelPatch::parse_merge_patch(map, &id(), &Bytes::copy_from_slice(body.as_bytes())))
    };
    let without_state = |map: &Arc<SystemMap>, body: &'static str| {
        let patch = ModelPatch::parse_merge_patch(map, &id(), &Bytes::from_static(body.as_bytes())).expect("a patch");
        patch.flat_changes(&record_etag(map), None, &|_| false).expect("changes").is_some()
    };
    let body = r#"{"vendor":{"status":"Bogus"}}"#;
    // Another field, and one that no field shows.
    for fields in [r#"{"Status":"Standard"}"#, r#"{"Status":"Odd"}"#] {
        assert_eq!(rejected(merge(&map, fields, body))[0].0, "/vendor/status", "{fields}");
        assert!(merge(&customer(), fields, body).is_ok());
    }
    assert!(!without_state(&map, body) && without_state(&customer(), body));
    let vendor = Value::Object(object(r#"{"status":"Bogus"}"#));
    let errors = |map: &SystemMap| map.encode_new_record(&object(r#"{"tier":"gold"}"#), Some(&vendor)).errors;
    assert_eq!(errors(&map)[0].pointer, "/vendor/Status");
    assert_eq!(errors(&customer()), []);
}

#[test]
fn a_document_without_an_object_around_a_place_is_sent_back_unchanged() {
    let map = customer();
    for fields in
        [r#"{"p":null}"#, r#"{"p":{}}"#, r#"{"p":{"Cost":null}}"#, r#"{"p":"a text"}"#, r#"{"p":{"Cost":[]}}"#]
    {
        check_record(&map, &object(fields)).unwrap_or_else(|broken| panic!("{broken}"));
    }
    // A field can be set in it as well.
    let body = r#"{"fields":{"cost":1.10},"vendor":{"p":null}}"#;
    assert_eq!(merge(r#"{"p":null}"#, body).expect("applied"), r#"{"p":{"Cost":{"value":"1.10"}}}"#);
    assert_eq!(rejected(merge(r#"{"p":null}"#, r#"{"vendor":{"p":{}}}"#))[0].0, "/vendor/p");
}

#[test]
fn all_errors_of_a_patch_are_reported_at_once() {
    let body = r#"{"fields":{"emial":"x","unmapped":"x","tier":"silver","address":{"city":""},"since":"2019-13-01","credit":"1",
                             "tags":["a;b"],"visits":1.5,"codes":[1,"2"]}}"#;
    let found = rejected(merge("{}", body));
    let found: Vec<_> = found.iter().map(|(pointer, detail)| (pointer.as_str(), detail.as_str())).collect();
    assert_eq!(
        found[..2],
        [
            ("/fields/emial", "no such field; nearest: email"),
            ("/fields/unmapped", "customer.unmapped is not kept by crm")
        ]
    );
    let pointers: Vec<_> = found[2..].iter().map(|(pointer, _)| *pointer).collect();
    assert_eq!(
        pointers,
        [
            "/fields/tier",
            "/fields/address/city",
            "/fields/since",
            "/fields/credit",
            "/fields/tags",
            "/fields/visits",
            "/fields/codes"
        ]
    );
}

#[test]
fn a_value_that_means_unset_is_not_sent() {
    let found = rejected(merge("{}", r#"{"fields":{"address":{"city":""}}}"#));
    assert_eq!(found[0].1, "this value means unset here: send null");
}

#[test]
fn a_patch_of_one_plain_field_needs_no_read() {
    let map = customer();
    let etag = record_etag(&map);
    let flat = |body: &str, state: Option<&str>| {
        let patch =
            ModelPatch::parse_merge_patch(&map, &id(), &Bytes::copy_from_slice(body.as_bytes())).expect("a patch");
        let state = state.map(object);
        let changes = patch.flat_changes(&etag, state.as_ref(), &|_| false).expect("allowed");
        (changes.map(|members| members.to_json()), patch.needs_state())
    };
    assert_eq!(flat(r#"{"fields":{"email":"a@b.c"}}"#, None), (Some(r#"{"Email":"a@b.c"}"#.to_owned()), false));
    assert_eq!(flat(r#"{"fields":{"tier":"basic"}}"#, None), (Some(r#"{"Status":"Standard"}"#.to_owned()), false));
    assert_eq!(flat(r#"{"fields":{"tier":"gold"}}"#, None), (None, true));
    assert_eq!(flat(r#"{"fields":{"address":{"city":null}}}"#, None), (None, true));
    let state = Some(r#"{"Status":"Standard","Email":"a@b.c"}"#);
    assert_eq!(flat(r#"{"fields":{"tier":"gold"}}"#, state).0, Some(r#"{"Status":"Premium"}"#.to_owned()));
    assert_eq!(flat(r#"{"fields":{"tier":"basic","email":"a@b.c"}}"#, state).0, None);
    assert_eq!(
        flat(r#"{"fields":{"tier":"gold","email":"a@b.c"}}"#, Some(r#"{"Status":"VIP","Email":"x"}"#)).0,
        Some(r#"{"Email":"a@b.c"}"#.to_owned())
    );
}

#[test]
fn a_patch_may_repeat_the_identity_of_the_document() {
    let map = customer();
    let etag = model_etag(&map, &id(), &record_etag(&map)).expect("a tag");
    let body =
        serde_json::json!({"model":"customer","system":"crm","id":"a:b:c:d","etag":etag,"warnings":[],"fields":{}});
    assert_eq!(merge(r#"{"a":1}"#, &body.to_string()).expect("applied"), r#"{"a":1}"#);
    for wrong in [r#"{"etag":"\"c7.x\""}"#, r#"{"model":"other"}"#, r#"{"fields":null}"#, r#"{"more":1}"#, "[]"] {
        assert!(matches!(merge("{}", wrong), Err(PatchError::ReadOnly(_))), "{wrong}");
    }
    assert!(matches!(merge("{}", r#"{"vendor":{"_version":1}}"#), Err(PatchError::ReadOnly(_))));
}

#[test]
fn the_schema_of_a_model_nests_its_fields() {
    let config = Config::parse(CONFIG, "test").expect("valid");
    let schema = config.models[0].schema();
    assert_eq!(schema["properties"]["address"]["properties"]["zip"]["maxLength"], 10);
    assert_eq!(schema["properties"]["tier"]["enum"], serde_json::json!(["basic", "gold", null]));
    assert_eq!(schema["properties"]["tags"]["items"]["type"], "string");
}
