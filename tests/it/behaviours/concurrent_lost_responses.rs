//! A write with a lost response concurrent with a similar one: the state of the record may be the
//! other's effect.

use futures_util::future::join;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::support::{MATRIX42, PRETECTUM, TestConfig, TestEnv, VendorFixture, for_each_vendor, for_each_vendor_with};

fn with_short_timeouts(config: TestConfig) -> TestConfig {
    config
        .server("deadline", "5s")
        .every_system("timeout", "1500ms")
        .every_system("connect_timeout", "1500ms")
        .every_system("completion_timeout", "6s")
        .every_system("settle_timeout", "6s")
}

for_each_vendor!(
    a_lost_create_does_not_claim_another_creates_record,
    a_lost_create_does_not_claim_the_late_record_of_an_unknown_one,
    an_async_write_with_a_stale_etag_is_412_and_not_202,
);
for_each_vendor_with!(native:
    of_two_identical_writes_with_one_etag_only_one_succeeds,
    two_identical_lost_writes_with_one_etag_are_both_unknown,
    a_lost_write_does_not_claim_a_partial_duplicate_with_its_etag,
    a_lost_write_succeeds_despite_an_earlier_unresolved_star_write,
    of_a_lost_write_and_a_star_write_on_one_version_one_succeeds,
);

async fn a_lost_create_does_not_claim_another_creates_record(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, with_short_timeouts);
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

/// The first one has ended; its request arrives while the second one is looked for.
async fn a_lost_create_does_not_claim_the_late_record_of_an_unknown_one(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| {
        let config = config.server("deadline", "3s").every_system("settle_timeout", "600ms");
        let config = config.every_system("timeout", "500ms").every_system("connect_timeout", "500ms");
        config.every_system("completion_timeout", "600ms").every_system("completion_poll", "20ms")
    });
    let before = env.record_count();
    env.inject_once(CallKind::Create, InjectedFault::Hold);
    let first = env.create("made late").send().await;
    first.assert_problem(504, "outcome-unknown");
    assert_eq!(env.wait_for_operation(&first).await["state"], "unknown");
    env.inject_once(CallKind::Create, InjectedFault::Hang);
    let arrival = async {
        env.wait_for_calls(CallKind::Create, 2).await;
        env.faults().release();
    };
    let (second, ()) = join(env.create("made late").send(), arrival).await;
    assert_eq!(env.record_count(), before + 1);
    second.assert_problem(504, "outcome-unknown");
    let operation = env.wait_for_operation(&second).await;
    assert_eq!((&operation["state"], &operation["record"]), (&json!("unknown"), &json!(null)), "{operation}");
}

async fn of_two_identical_writes_with_one_etag_only_one_succeeds(fixture: &'static VendorFixture) {
    assert_only_one_succeeds(fixture, |tag| tag).await;
}

async fn of_a_lost_write_and_a_star_write_on_one_version_one_succeeds(fixture: &'static VendorFixture) {
    assert_only_one_succeeds(fixture, |_| "*").await;
}

/// A write that never arrives, concurrent with one with this precondition that does.
async fn assert_only_one_succeeds(fixture: &'static VendorFixture, precondition: fn(&str) -> &str) {
    let env = TestEnv::start_with(fixture, with_short_timeouts);
    let current_etag = env.current_etag(fixture.key).await;
    env.inject_once(CallKind::Update, InjectedFault::Hang);
    let other = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        env.set_text(fixture.key, precondition(&current_etag), "set by both").send().await
    };
    let (lost, done) = join(env.set_text(fixture.key, &current_etag, "set by both").send(), other).await;
    done.assert_status(204);
    lost.assert_problem(412, "precondition-failed");
    assert_eq!(env.wait_for_operation(&lost).await["state"], "not-applied");
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "set by both");
}

/// One of them was applied, and nothing shows which.
async fn two_identical_lost_writes_with_one_etag_are_both_unknown(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, with_short_timeouts);
    let current_etag = env.current_etag(fixture.key).await;
    env.inject_once(CallKind::Update, InjectedFault::HangAfter);
    let other = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        env.inject_once(CallKind::Update, InjectedFault::Hang);
        env.set_text(fixture.key, &current_etag, "set by both").send().await
    };
    let (first, second) = join(env.set_text(fixture.key, &current_etag, "set by both").send(), other).await;
    for response in [first, second] {
        response.assert_problem(504, "outcome-unknown");
        let operation = env.wait_for_operation(&response).await;
        assert_eq!((&operation["state"], &operation["observed"]), (&json!("unknown"), &json!("other")), "{operation}");
    }
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "set by both");
}

/// The other field of the partial duplicate had its value before.
async fn a_lost_write_does_not_claim_a_partial_duplicate_with_its_etag(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, with_short_timeouts);
    let read = env.read(fixture.key).send().await;
    let mut fields = fixture.text_patch("set by both");
    let other = (fixture.reset_patch)();
    for name in other.as_object().unwrap().keys() {
        fields[name] = read.json()["fields"][name].clone();
        assert!(!fields[name].is_null(), "{fields}");
    }
    env.inject_once(CallKind::Update, InjectedFault::HangAfter);
    let other = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        env.inject_once(CallKind::Update, InjectedFault::Hang);
        env.patch(fixture.key).if_match(read.etag()).fields(&fields).send().await
    };
    let (done, lost) = join(env.set_text(fixture.key, read.etag(), "set by both").send(), other).await;
    // Nothing shows which of them was applied.
    for response in [done, lost] {
        response.assert_problem(504, "outcome-unknown");
        assert_eq!(env.wait_for_operation(&response).await["state"], "unknown");
    }
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "set by both");
}

/// The `*` write applied to an earlier version than the one the lost write is bound to.
async fn a_lost_write_succeeds_despite_an_earlier_unresolved_star_write(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.inject_once(CallKind::Update, InjectedFault::HoldAfter);
    let lost = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        let current_etag = env.current_etag(fixture.key).await;
        env.inject_once(CallKind::Update, InjectedFault::ResetAfter);
        let response = env.set_text(fixture.key, &current_etag, "lost and applied").send().await;
        env.faults().release();
        response
    };
    let (first, lost) = join(env.set_text(fixture.key, "*", "before it").send(), lost).await;
    lost.assert_status(204);
    first.assert_status(204);
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "lost and applied");
}

async fn an_async_write_with_a_stale_etag_is_412_and_not_202(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    (fixture.external_write)(&env.vendors, fixture.key, "an external write");
    let late =
        env.set_text(fixture.key, &current_etag, "too late").without_prefer().prefer("respond-async").send().await;
    late.assert_problem(412, "precondition-failed");
    assert_eq!((env.write_call_count(), env.vendor_value(fixture.key).unwrap().as_str()), (0, "an external write"));
}

/// One more version and one changed field show that the write may have been applied.
#[actix_web::test]
async fn a_partly_applied_lost_write_is_not_reported_as_rejected() {
    for known in ["replace", "add"] {
        let env = TestEnv::start_with(&PRETECTUM, with_short_timeouts);
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

/// A `*` write reads first: its values were not there before, so their presence is its effect.
#[actix_web::test]
async fn a_lost_write_does_not_claim_the_effect_of_a_later_star_write() {
    let env = TestEnv::start_with(&MATRIX42, with_short_timeouts);
    let current_etag = env.current_etag(MATRIX42.key).await;
    env.inject_once(CallKind::Update, InjectedFault::Hang);
    let other = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        (MATRIX42.external_write)(&env.vendors, MATRIX42.key, "past the gateway");
        env.set_text(MATRIX42.key, "*", "set by both").send().await
    };
    let (lost, done) = join(env.set_text(MATRIX42.key, &current_etag, "set by both").send(), other).await;
    done.assert_status(204);
    lost.assert_problem(504, "outcome-unknown");
    assert_eq!(env.wait_for_operation(&lost).await["state"], "unknown");
}

/// The vendor may have applied it before it failed. A `*` write never ends with a failed
/// precondition, and a write that may have been applied is not sent again.
#[actix_web::test]
async fn a_star_write_that_may_be_applied_and_overwritten_is_not_resent() {
    let env = TestEnv::start_with(&MATRIX42, with_short_timeouts);
    env.inject_once(CallKind::Update, InjectedFault::ApplyThen500);
    env.faults().add(CallKind::Read, InjectedFault::Hold, 1, Some(1));
    let overwrite = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        env.wait_for_calls(CallKind::Read, 2).await;
        (MATRIX42.external_write)(&env.vendors, MATRIX42.key, "written over");
        env.faults().release();
    };
    let (response, ()) = join(env.set_text(MATRIX42.key, "*", "once").send(), overwrite).await;
    response.assert_problem(504, "outcome-unknown");
    assert_eq!(env.wait_for_operation(&response).await["observed"], "other");
    assert_eq!(
        (env.call_count(CallKind::Update), env.vendor_value(MATRIX42.key).unwrap().as_str()),
        (1, "written over")
    );
}
