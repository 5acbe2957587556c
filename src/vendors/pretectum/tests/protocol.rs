//! Requests and responses by themselves.

use super::*;

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
