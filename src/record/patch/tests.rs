//! Both formats, applied to one record.

use super::*;

fn record(fields: &str) -> Map<String, Value> {
    let text =
        format!(r#"{{"system":"itsm","id":"A:1","etag":"\"t\"","fields":{fields},"read_only":["/fields/type"]}}"#);
    serde_json::from_str(&text).expect("a record")
}

fn apply_patch(patch: Result<Patch, PatchError>, fields: &str) -> Result<String, PatchError> {
    let read_only = |name: &str| name == "type";
    patch?.apply(&record(fields), &read_only).map(|fields| Value::Object(fields).to_string())
}

fn apply_merge_patch(body: &str, fields: &str) -> Result<String, PatchError> {
    apply_patch(Patch::parse_merge_patch(&Bytes::copy_from_slice(body.as_bytes())), fields)
}

fn apply_json_patch(body: &str, fields: &str) -> Result<String, PatchError> {
    apply_patch(Patch::parse_json_patch(body.as_bytes()), fields)
}

#[test]
fn numbers_keep_their_format_through_both_patch_types() {
    let fields = r#"{"a":12345678901234567890,"b":1.10}"#;
    assert_eq!(
        apply_merge_patch(r#"{"fields":{"c":2.50}}"#, fields).expect("merged"),
        r#"{"a":12345678901234567890,"b":1.10,"c":2.50}"#
    );
    let patch = r#"[{"op":"add","path":"/fields/c","value":2.50},{"op":"test","path":"/fields/b","value":1.1}]"#;
    assert_eq!(apply_json_patch(patch, fields).expect("patched"), r#"{"a":12345678901234567890,"b":1.10,"c":2.50}"#);
    for number in [
        "99999999999999999999",
        "-99999999999999999999",
        "340282366920938463463374607431768211457",
        "1e400",
        "1E5",
        "-0",
    ] {
        let patched = format!(r#"{{"a":[{{"b":{number}}}]}}"#);
        let add = format!(
            r#"[{{"op":"add","path":"/fields/a","value":[{{"b":{number}}}],"x":{number}}},
                              {{"op":"test","path":"/fields/a/0/b","value":{number}}}]"#
        );
        assert_eq!(apply_json_patch(&add, "{}").expect("patched"), patched);
        assert_eq!(apply_merge_patch(&format!(r#"{{"fields":{patched}}}"#), "{}").expect("merged"), patched);
    }
}

#[test]
fn a_patch_may_repeat_the_record_identity_but_not_change_it() {
    let same = r#"{"id":"A:1","system":"itsm","etag":"\"t\"","warnings":[],"read_only":[],"pending_operation":"x","fields":{"a":2}}"#;
    assert_eq!(apply_merge_patch(same, r#"{"a":1}"#).expect("merged"), r#"{"a":2}"#);
    for wrong in [
        r#"{"id":"A:2"}"#,
        r#"{"etag":null}"#,
        r#"{"system":"crm"}"#,
        r#"{"fields":null}"#,
        r#"{"fields":[1]}"#,
        r#"{"other":1}"#,
        r#"{"fields":{"type":1}}"#,
        "[1]",
        "null",
    ] {
        assert!(matches!(apply_merge_patch(wrong, r#"{"a":1}"#), Err(PatchError::ReadOnly(_))), "{wrong}");
    }
}

#[test]
fn a_patch_that_can_never_apply_is_rejected_without_the_record() {
    let read_only = |name: &str| name == "type";
    let check = |patch: Result<Patch, PatchError>| patch?.validate("itsm", "A:1", &read_only);
    for fine in [
        r#"{"fields":{"a":{"b":null}},"etag":"any","id":"A:1","system":"itsm","warnings":1}"#,
        r#"{"fields":{}}"#,
        "{}",
    ] {
        assert_eq!(check(Patch::parse_merge_patch(&Bytes::from_static(fine.as_bytes()))), Ok(()), "{fine}");
    }
    for wrong in [r#"{"etag":null}"#, r#"{"id":"A:2"}"#, r#"{"fields":{"type":1}}"#, r#"{"fields":null}"#] {
        assert!(
            matches!(
                check(Patch::parse_merge_patch(&Bytes::from_static(wrong.as_bytes()))),
                Err(PatchError::ReadOnly(_))
            ),
            "{wrong}"
        );
    }
    let fine = r#"[{"op":"test","path":"/id","value":1},{"op":"copy","from":"/id","path":"/fields/zzz/y"}]"#;
    assert_eq!(check(Patch::parse_json_patch(fine.as_bytes())), Ok(()));
    let wrong = r#"[{"op":"move","from":"/id","path":"/fields/a"}]"#;
    assert!(matches!(check(Patch::parse_json_patch(wrong.as_bytes())), Err(PatchError::ReadOnly(_))));
}

#[test]
fn json_patch_writes_only_below_fields_and_tests_anywhere() {
    for wrong in [
        r#"[{"op":"replace","path":"","value":{}}]"#,
        r#"[{"op":"replace","path":"/fields","value":{}}]"#,
        r#"[{"op":"remove","path":"/id"}]"#,
        r#"[{"op":"add","path":"/fields/type/x","value":1}]"#,
        r#"[{"op":"move","from":"/etag","path":"/fields/a"}]"#,
        r#"[{"op":"move","from":"/fields/type","path":"/fields/a"}]"#,
    ] {
        assert!(matches!(apply_json_patch(wrong, r#"{"a":1,"type":{}}"#), Err(PatchError::ReadOnly(_))), "{wrong}");
    }
    let tested = r#"[{"op":"test","path":"/system","value":"itsm"},{"op":"copy","from":"/id","path":"/fields/a"}]"#;
    assert_eq!(apply_json_patch(tested, r#"{"a":1}"#).expect("patched"), r#"{"a":"A:1"}"#);
}

#[test]
fn a_failed_test_a_missing_path_and_a_malformed_patch_are_distinct() {
    let test = r#"[{"op":"test","path":"/fields/a","value":"1"}]"#;
    assert!(matches!(apply_json_patch(test, r#"{"a":1}"#), Err(PatchError::TestFailed(_))));
    for missing in [
        r#"[{"op":"remove","path":"/fields/zzz"}]"#,
        r#"[{"op":"replace","path":"/fields/l/01","value":1}]"#,
        r#"[{"op":"add","path":"/fields/l/9","value":1}]"#,
        r#"[{"op":"test","path":"/fields/zzz","value":1}]"#,
        r#"[{"op":"move","from":"/fields/a","path":"/fields/a/b"}]"#,
    ] {
        assert!(matches!(apply_json_patch(missing, r#"{"a":{},"l":[1,2]}"#), Err(PatchError::Failed(_))), "{missing}");
    }
    for malformed in [
        "{}",
        r#""x""#,
        "",
        r#"[{"op":"spread","path":"/fields/a"}]"#,
        r#"[{"op":"add","path":"/fields/a"}]"#,
        r#"[{"op":"add","path":"fields/a","value":1}]"#,
        r#"[{"op":"add","path":"/fields/~2","value":1}]"#,
        r#"[{"op":"add","op":"remove","path":"/fields/a","value":1}]"#,
        r#"[{"path":"/fields/a","value":1}]"#,
        r#"[{"op":"move","path":"/fields/a"}]"#,
        r#"[["remove","/fields/a"]]"#,
        r#"[["add","/fields/a",1]]"#,
        "[[]]",
        "[null]",
    ] {
        assert!(matches!(apply_json_patch(malformed, "{}"), Err(PatchError::Malformed(_))), "{malformed}");
    }
}

#[test]
fn a_path_with_a_reserved_member_name_is_malformed() {
    for name in ["$serde_json::private::Number", "$serde_json::private::RawValue/a"] {
        for operation in [
            format!(r#""op":"add","path":"/fields/a/{name}","value":"1""#),
            format!(r#""op":"copy","path":"/fields/{name}","from":"/fields/a""#),
            format!(r#""op":"move","path":"/fields/a","from":"/fields/{name}""#),
            format!(r#""op":"test","path":"/fields/a/{name}","value":1"#),
        ] {
            let patched = apply_json_patch(&format!("[{{{operation}}}]"), r#"{"a":{}}"#);
            let Err(PatchError::Malformed(detail)) = patched else { panic!("{operation}: {patched:?}") };
            assert!(detail.starts_with("operation 0: the member name \"$serde_json::private::"), "{detail}");
        }
    }
}

#[test]
fn a_path_that_is_not_there_is_named_with_the_member_that_was_meant() {
    let fields = r#"{"Name":"n","l":[1,2],"Address":{"Street":"s"}}"#;
    for (operation, pointer, detail, nearest) in [
        (
            r#"{"op":"remove","path":"/fields/Naem"}"#,
            "/fields/Naem",
            "the record has no value here; did you mean \"Name\"?",
            Some("Name"),
        ),
        (
            r#"{"op":"test","path":"/fields/Adress/Street","value":1}"#,
            "/fields/Adress/Street",
            "the record has no value here; did you mean \"Address\"?",
            Some("Address"),
        ),
        (
            r#"{"op":"copy","from":"/fields/Address/Sreet","path":"/fields/a"}"#,
            "/fields/Address/Sreet",
            "the record has no value here; did you mean \"Street\"?",
            Some("Street"),
        ),
        (
            r#"{"op":"move","from":"/fields/other","path":"/fields/a"}"#,
            "/fields/other",
            "the record has no value here",
            None,
        ),
        (
            r#"{"op":"add","path":"/fields/l/9","value":1}"#,
            "/fields/l/9",
            "the record has no value here: the array has no element \"9\"",
            None,
        ),
        (
            r#"{"op":"replace","path":"/fields/Name/first","value":1}"#,
            "/fields/Name/first",
            "the record has no value here: \"first\" would be in a value that is no object or array",
            None,
        ),
        (
            r#"{"op":"move","from":"/fields/Address","path":"/fields/Address/a"}"#,
            "/fields/Address/a",
            "a value cannot be moved into itself",
            None,
        ),
    ] {
        let Err(PatchError::Failed(error)) = apply_json_patch(&format!("[{operation}]"), fields) else {
            panic!("{operation} is applied");
        };
        assert_eq!((error.pointer.as_str(), error.nearest.as_deref()), (pointer, nearest), "{operation}");
        assert_eq!(error.detail, format!("operation 0: {detail}"), "{operation}");
    }
}

#[test]
fn errors_of_an_operation_are_reported_in_plain_words() {
    for (operation, detail) in [
        ("1", "it must be an object such as {\"op\":\"remove\",\"path\":\"/fields/Name\"}"),
        (r#"{"path":"/fields/a"}"#, "it has no op"),
        (r#"{"op":"spread","path":"/a"}"#, "its op is \"spread\"; it must be add, remove, replace, move, copy or test"),
        (r#"{"op":1}"#, "its op is 1; it must be add, remove, replace, move, copy or test"),
        (r#"{"op":"add","value":1}"#, "it has no path"),
        (r#"{"op":"add","path":"/fields/a"}"#, "it has no value"),
        (r#"{"op":"copy","path":"/fields/a"}"#, "it has no from"),
        (r#"{"op":"remove","path":1}"#, "its path must be a string such as \"/fields/Name\""),
        (
            r#"{"op":"remove","path":"fields/a"}"#,
            "its path must begin with / and may have ~ only in ~0 and ~1, such as /fields/Name (RFC 6901 §3)",
        ),
    ] {
        let expected = format!("operation 0 is not an operation of RFC 6902: {detail}");
        let patch = format!("[{operation}]");
        assert_eq!(apply_json_patch(&patch, "{}"), Err(PatchError::Malformed(expected)), "{operation}");
    }
}

#[test]
fn a_patch_cannot_nest_a_record_deeper_than_it_can_be_read() {
    let nest = |copies: usize| {
        let copy = r#",{"op":"copy","from":"/fields/a","path":"/fields/a/b"}"#.repeat(copies);
        apply_json_patch(&format!(r#"[{{"op":"add","path":"/fields/a","value":{{"b":1}}}}{copy}]"#), "{}")
    };
    assert!(nest(6).is_ok());
    assert!(matches!(nest(70), Err(PatchError::Failed(_))));
}

#[test]
fn copy_operations_cannot_exhaust_memory() {
    let doubling: Vec<String> =
        (0..64).map(|step| format!(r#"{{"op":"copy","from":"/fields/a","path":"/fields/a/{step}"}}"#)).collect();
    let patch = format!("[{}]", doubling.join(","));
    assert!(matches!(apply_json_patch(&patch, r#"{"a":{"seed":"0123456789"}}"#), Err(PatchError::Failed(_))));
}

#[test]
fn a_patch_cannot_exhaust_the_cpu() {
    let steps: Vec<_> = (0..1500)
        .map(|_| r#"{"op":"add","path":"/fields/l/0","value":1},{"op":"remove","path":"/fields/l/0"}"#)
        .collect();
    let patch = format!("[{}]", steps.join(","));
    let long = format!(r#"{{"l":[{}]}}"#, vec!["0"; 1000].join(","));
    assert!(matches!(apply_json_patch(&patch, &long), Err(PatchError::Failed(_))));
    let short = format!(r#"{{"l":[{}]}}"#, vec!["0"; 300].join(","));
    assert!(apply_json_patch(&patch, &short).is_ok());
}

#[test]
fn a_merge_patch_is_flat_only_without_nested_objects() {
    let identity = RecordIdentity { system: "itsm", id: "A:1", etag: "\"t\"" };
    let is_flat = |body: &'static str| {
        let patch = Patch::parse_merge_patch(&Bytes::from_static(body.as_bytes())).expect("a patch");
        patch.as_flat_changes(&identity, None, &|_| false).expect("allowed").is_some()
    };
    assert!(is_flat(r#"{"fields":{"a":1,"b":null,"c":[{}]}}"#));
    assert!(!is_flat(r#"{"fields":{"a":{"b":1}}}"#));
    assert!(!is_flat(r#"{"fields":{}}"#));
    assert!(!is_flat("{}"));
}
