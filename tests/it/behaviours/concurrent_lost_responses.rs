//! A write whose response is lost, beside another one that does the same: what the record shows may be the other's work.

use futures_util::future::join;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::support::{MATRIX42, PRETECTUM, TestEnv, VendorFixture, for_each_native_vendor, for_each_vendor};

const SHORT_TIMEOUTS: &[(&str, &str, &str)] = &[
    ("server", "deadline", "\"5s\""),
    ("vendor", "timeout", "\"1500ms\""),
    ("vendor", "connect_timeout", "\"1500ms\""),
    ("vendor", "completion_timeout", "\"6s\""),
];

for_each_vendor!(
    a_lost_create_does_not_claim_another_creates_record,
    an_async_write_with_a_stale_etag_is_412_and_not_202,
);
for_each_native_vendor!(
    of_two_identical_writes_with_one_etag_only_one_succeeds,
    two_identical_lost_writes_with_one_etag_are_both_unknown,
    a_lost_write_does_not_claim_a_partial_duplicate_with_its_etag,
    a_lost_write_succeeds_despite_an_earlier_unresolved_star_write,
    of_a_lost_write_and_a_star_write_on_one_version_one_succeeds,
);

async fn a_lost_create_does_not_claim_another_creates_record(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, SHORT_TIMEOUTS).await;
    let before = env.record_count();
    env.inject_once(CallKind::Create, InjectedFault::Hang);
    let other = async {
        env.wait_for_calls(CallKind::Create, 1).await;
        env.create("made once").send().await
    };
    let (lost, made) = join(env.create("made once").send(), other).await;
    made.assert_status(201);
    lost.assert_problem(504, "outcome-unknown");
    let operation = env.wait_for_operation(&lost).await;
    assert_eq!((&operation["state"], &operation["record"]), (&json!("unknown"), &json!(null)), "{operation}");
    assert_eq!(env.record_count(), before + 1);
}

async fn of_two_identical_writes_with_one_etag_only_one_succeeds(fixture: &'static VendorFixture) {
    assert_only_one_succeeds(fixture, |tag| tag).await;
}

async fn of_a_lost_write_and_a_star_write_on_one_version_one_succeeds(fixture: &'static VendorFixture) {
    assert_only_one_succeeds(fixture, |_| "*").await;
}

/// A write that never arrives, beside one with this precondition that does.
async fn assert_only_one_succeeds(fixture: &'static VendorFixture, precondition: fn(&str) -> &str) {
    let env = TestEnv::start_with(fixture, SHORT_TIMEOUTS).await;
    let current_etag = env.current_etag(fixture.key).await;
    env.inject_once(CallKind::Update, InjectedFault::Hang);
    let other = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        env.set_text(fixture.key, precondition(&current_etag), "wanted by both").send().await
    };
    let (lost, done) = join(env.set_text(fixture.key, &current_etag, "wanted by both").send(), other).await;
    done.assert_status(204);
    lost.assert_problem(412, "precondition-failed");
    assert_eq!(env.wait_for_operation(&lost).await["state"], "not-applied");
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "wanted by both");
}

/// One of them was done, and nobody can tell which.
async fn two_identical_lost_writes_with_one_etag_are_both_unknown(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, SHORT_TIMEOUTS).await;
    let current_etag = env.current_etag(fixture.key).await;
    env.inject_once(CallKind::Update, InjectedFault::HangAfter);
    let other = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        env.inject_once(CallKind::Update, InjectedFault::Hang);
        env.set_text(fixture.key, &current_etag, "wanted by both").send().await
    };
    let (first, second) = join(env.set_text(fixture.key, &current_etag, "wanted by both").send(), other).await;
    for response in [first, second] {
        response.assert_problem(504, "outcome-unknown");
        let operation = env.wait_for_operation(&response).await;
        assert_eq!((&operation["state"], &operation["observed"]), (&json!("unknown"), &json!("other")), "{operation}");
    }
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "wanted by both");
}

/// The rest of what it wants was there before.
async fn a_lost_write_does_not_claim_a_partial_duplicate_with_its_etag(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, SHORT_TIMEOUTS).await;
    let read = env.read(fixture.key).send().await;
    let mut fields = fixture.text_patch("wanted by both");
    let names = (fixture.new_record)("").as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let name = names.iter().find(|name| *name != fixture.text).unwrap();
    fields[name] = read.json()["fields"][name].clone();
    assert!(fields[name].is_string(), "{fields}");
    env.inject_once(CallKind::Update, InjectedFault::HangAfter);
    let other = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        env.inject_once(CallKind::Update, InjectedFault::Hang);
        env.patch(fixture.key).if_match(read.etag()).fields(&fields).send().await
    };
    let (done, lost) = join(env.set_text(fixture.key, read.etag(), "wanted by both").send(), other).await;
    // Nobody can tell which of them it was.
    for response in [done, lost] {
        response.assert_problem(504, "outcome-unknown");
        assert_eq!(env.wait_for_operation(&response).await["state"], "unknown");
    }
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "wanted by both");
}

/// What `*` met is known: a version before the one that the lost write is bound to.
async fn a_lost_write_succeeds_despite_an_earlier_unresolved_star_write(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture).await;
    env.inject_once(CallKind::Update, InjectedFault::HoldAfter);
    let lost = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        let current_etag = env.current_etag(fixture.key).await;
        env.inject_once(CallKind::Update, InjectedFault::ResetAfter);
        let response = env.set_text(fixture.key, &current_etag, "wanted").send().await;
        env.faults().release();
        response
    };
    let (first, lost) = join(env.set_text(fixture.key, "*", "before it").send(), lost).await;
    lost.assert_status(204);
    first.assert_status(204);
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "wanted");
}

async fn an_async_write_with_a_stale_etag_is_412_and_not_202(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture).await;
    let current_etag = env.current_etag(fixture.key).await;
    (fixture.external_write)(&env.vendors, fixture.key, "somebody else's");
    let late =
        env.set_text(fixture.key, &current_etag, "too late").without_prefer().prefer("respond-async").send().await;
    late.assert_problem(412, "precondition-failed");
    assert_eq!((env.write_call_count(), env.vendor_value(fixture.key).unwrap().as_str()), (0, "somebody else's"));
}

/// That the version has moved by one and that something has changed shows that it may have been this one.
#[actix_web::test]
async fn a_partly_applied_lost_write_is_not_reported_as_rejected() {
    for known in ["replace", "add"] {
        let env = TestEnv::start_with(&PRETECTUM, SHORT_TIMEOUTS).await;
        (PRETECTUM.ignore_text)(&env.vendors);
        if known == "add" {
            assert!(env.vendors.pretectum.state.write(PRETECTUM.key, |fields| drop(fields.remove("Phone"))));
        }
        let current_etag = env.current_etag(PRETECTUM.key).await;
        env.inject_once(CallKind::Update, InjectedFault::ResetAfter);
        let patch = json!([
            { "op": known, "path": "/fields/Phone", "value": "+1 555 0100" },
            { "op": "replace", "path": "/fields/Last Name", "value": "Ignored" },
        ]);
        let response = env.patch(PRETECTUM.key).if_match(&current_etag).json_patch(&patch).send().await;
        response.assert_problem(504, "outcome-unknown");
        let object = env.vendors.pretectum.state.object(PRETECTUM.key).unwrap();
        assert_eq!(object.fields["Phone"], "+1 555 0100");
    }
}

/// A write for any state has read before: what it wanted was not there, so it is there by its work.
#[actix_web::test]
async fn a_lost_write_does_not_claim_the_effect_of_a_later_star_write() {
    let env = TestEnv::start_with(&MATRIX42, SHORT_TIMEOUTS).await;
    let current_etag = env.current_etag(MATRIX42.key).await;
    env.inject_once(CallKind::Update, InjectedFault::Hang);
    let other = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        (MATRIX42.external_write)(&env.vendors, MATRIX42.key, "past the gateway");
        env.set_text(MATRIX42.key, "*", "wanted by both").send().await
    };
    let (lost, done) = join(env.set_text(MATRIX42.key, &current_etag, "wanted by both").send(), other).await;
    done.assert_status(204);
    lost.assert_problem(504, "outcome-unknown");
    assert_eq!(env.wait_for_operation(&lost).await["state"], "unknown");
}

/// The vendor may have done it and failed then. Whoever asked for any state is not told of a failed precondition, and what may have
/// been done is not done again.
#[actix_web::test]
async fn a_star_write_that_may_be_applied_and_overwritten_is_not_resent() {
    let env = TestEnv::start_with(&MATRIX42, SHORT_TIMEOUTS).await;
    env.inject_once(CallKind::Update, InjectedFault::ApplyThen500);
    env.faults().add(CallKind::Read, InjectedFault::Hold, 1, Some(1));
    let over = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        env.wait_for_calls(CallKind::Read, 2).await;
        (MATRIX42.external_write)(&env.vendors, MATRIX42.key, "written over");
        env.faults().release();
    };
    let (response, ()) = join(env.set_text(MATRIX42.key, "*", "once").send(), over).await;
    response.assert_problem(504, "outcome-unknown");
    assert_eq!(env.wait_for_operation(&response).await["observed"], "other");
    assert_eq!(
        (env.call_count(CallKind::Update), env.vendor_value(MATRIX42.key).unwrap().as_str()),
        (1, "written over")
    );
}
