//! The two patch formats against published test cases: RFC 7396 Appendix A and the public JSON
//! Patch suite.
//!
//! The suite's files are in `tests/json-patch-test-suite` as published (npm `json-patch-test-suite`
//! 1.1.0, Apache-2.0); `JSON_PATCH_SUITE` names another folder. Each case's document becomes the
//! member `doc` of a record's `fields`, and its pointers get the prefix `/fields/doc`: the whole
//! document of a case is one member of the record.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use records_gateway::record::{Patch, PatchError, values_equal};
use serde_json::{Map, Value, json};

const READ_ONLY: fn(&str) -> bool = |_| false;

fn record_with_doc(doc: &Value) -> Map<String, Value> {
    let Value::Object(record) = json!({ "system": "crm", "id": "a:b", "etag": "\"t\"", "fields": { "doc": doc } })
    else {
        unreachable!("an object")
    };
    record
}

fn apply(patch: Result<Patch, PatchError>, doc: &Value) -> Result<Option<Value>, PatchError> {
    Ok(patch?.apply(&record_with_doc(doc), &READ_ONLY)?.get("doc").cloned())
}

#[test]
fn every_case_of_rfc_7396_appendix_a_passes() {
    let cases = [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        // A member that is merged with null is removed (§2); a whole document would become null.
        (r#"{"a":"foo"}"#, "null", ""),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ];
    for (original, patch, merged) in cases {
        let original: Value = serde_json::from_str(original).expect("JSON");
        let body = format!(r#"{{"fields":{{"doc":{patch}}}}}"#);
        let result = apply(Patch::parse_merge_patch(&Bytes::from(body)), &original).expect("a merge patch");
        let expected = (!merged.is_empty()).then(|| serde_json::from_str(merged).expect("JSON"));
        assert_eq!(result, expected, "{original} merged with {patch}");
    }
}

/// Cases 9 to 12 replace a whole document; a whole record is never replaced (contract 4.1).
#[test]
fn a_merge_patch_that_would_replace_the_record_is_rejected() {
    for patch in [r#"["c","d"]"#, "null", r#""bar""#, "1", r#"{"fields":null}"#, r#"{"fields":[1]}"#, r#"{"id":null}"#]
    {
        let result = apply(Patch::parse_merge_patch(&Bytes::from_static(patch.as_bytes())), &json!({}));
        assert!(matches!(result, Err(PatchError::ReadOnly(_))), "{patch}: {result:?}");
    }
}

fn suite_dir() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/json-patch-test-suite");
    std::env::var_os("JSON_PATCH_SUITE").map_or_else(own, PathBuf::from)
}

fn read_cases(file: &str) -> Vec<Value> {
    let path = suite_dir().join(file);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("an array of cases")
}

/// The operations with `/fields/doc` before each pointer.
fn prefix_pointers(patch: &Value) -> Vec<u8> {
    let mut operations = patch.as_array().expect("operations").clone();
    for operation in &mut operations {
        for name in ["path", "from"] {
            if let Some(Value::String(pointer)) = operation.get_mut(name) {
                pointer.insert_str(0, "/fields/doc");
            }
        }
    }
    serde_json::to_vec(&operations).expect("JSON")
}

/// Runs the cases of a file and returns their number. Disabled cases are included, except the two
/// whose error, a duplicate member name, is lost when the file is parsed.
fn run_suite(file: &str) -> usize {
    let cases = read_cases(file);
    let twice = |case: &Value| case["error"].as_str().is_some_and(|error| error.contains("two 'op' members"));
    let mut passed = 0;
    for case in cases.iter().filter(|case| !twice(case)) {
        let result = apply(Patch::parse_json_patch(&prefix_pointers(&case["patch"])), &case["doc"]);
        match (case.get("error"), result) {
            (Some(_), Err(_)) => {}
            (None, Ok(Some(result))) => {
                // A case of `test` operations alone leaves the document unchanged.
                let expected = case.get("expected").unwrap_or(&case["doc"]);
                assert!(values_equal(&result, expected), "{case}: {result}");
            }
            (_, result) => panic!("{case}: {result:?}"),
        }
        passed += 1;
    }
    passed
}

#[test]
fn the_public_json_patch_suite_passes() {
    assert!(run_suite("tests.json") >= 77, "tests.json is incomplete");
    assert!(run_suite("spec_tests.json") >= 16, "spec_tests.json is not whole");
}

#[test]
fn an_operation_with_two_op_members_is_malformed() {
    for twice in [
        r#"[{"op":"add","path":"/fields/doc/baz","value":"qux","op":"remove"}]"#,
        r#"[{"op":"move","path":"/fields/doc/baz","from":"/fields/doc/foo","op":"move"}]"#,
    ] {
        let result = apply(Patch::parse_json_patch(twice.as_bytes()), &json!({ "foo": "bar" }));
        assert!(matches!(result, Err(PatchError::Malformed(_))), "{twice}: {result:?}");
    }
}

/// The suite's whole-document cases without a member around them: a whole record is never replaced.
#[test]
fn a_json_patch_writes_nothing_outside_a_member_of_fields() {
    for file in ["tests.json", "spec_tests.json"] {
        for case in read_cases(file).iter().filter(|case| case["doc"].is_object()) {
            let written = |operation: &Value| operation["op"] != "test";
            let writes = case["patch"].as_array().expect("operations").iter().any(written);
            let body = serde_json::to_vec(&case["patch"]).expect("JSON");
            if writes && case.get("disabled").is_none() {
                let result = apply(Patch::parse_json_patch(&body), &case["doc"]);
                assert!(result.is_err(), "{case}: {result:?}");
            }
        }
    }
}
