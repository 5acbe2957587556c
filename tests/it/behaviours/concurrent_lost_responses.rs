//! A write whose answer is lost, beside another one that does the same: what the record shows may be the other's work.

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

async fn a_lost_create_does_not_claim_another_creates_record(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
    let before = house.record_count();
    house.inject_once(CallKind::Create, InjectedFault::Hang);
    let other = async {
        house.wait_for_calls(CallKind::Create, 1).await;
        house.create("made once").send().await
    };
    let (lost, made) = join(house.create("made once").send(), other).await;
    made.assert_status(201);
    lost.assert_problem(504, "outcome-unknown");
    let operation = house.wait_for_operation(&lost).await;
    assert_eq!((&operation["state"], &operation["record"]), (&json!("unknown"), &json!(null)), "{operation}");
    assert_eq!(house.record_count(), before + 1);
}

async fn of_two_identical_writes_with_one_etag_only_one_succeeds(bench: &'static VendorFixture) {
    assert_only_one_succeeds(bench, |tag| tag).await;
}

async fn of_a_lost_write_and_a_star_write_on_one_version_one_succeeds(bench: &'static VendorFixture) {
    assert_only_one_succeeds(bench, |_| "*").await;
}

/// A write that never arrives, beside one with this precondition that does.
async fn assert_only_one_succeeds(bench: &'static VendorFixture, precondition: fn(&str) -> &str) {
    let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
    let current_etag = house.current_etag(bench.key).await;
    house.inject_once(CallKind::Update, InjectedFault::Hang);
    let other = async {
        house.wait_for_calls(CallKind::Update, 1).await;
        house.set_text(bench.key, precondition(&current_etag), "wanted by both").send().await
    };
    let (lost, done) = join(house.set_text(bench.key, &current_etag, "wanted by both").send(), other).await;
    done.assert_status(204);
    lost.assert_problem(412, "precondition-failed");
    assert_eq!(house.wait_for_operation(&lost).await["state"], "not-applied");
    assert_eq!(house.vendor_value(bench.key).unwrap(), "wanted by both");
}

/// One of them was done, and nobody can tell which.
async fn two_identical_lost_writes_with_one_etag_are_both_unknown(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
    let current_etag = house.current_etag(bench.key).await;
    house.inject_once(CallKind::Update, InjectedFault::HangAfter);
    let other = async {
        house.wait_for_calls(CallKind::Update, 1).await;
        house.inject_once(CallKind::Update, InjectedFault::Hang);
        house.set_text(bench.key, &current_etag, "wanted by both").send().await
    };
    let (first, second) = join(house.set_text(bench.key, &current_etag, "wanted by both").send(), other).await;
    for answer in [first, second] {
        answer.assert_problem(504, "outcome-unknown");
        let operation = house.wait_for_operation(&answer).await;
        assert_eq!((&operation["state"], &operation["observed"]), (&json!("unknown"), &json!("other")), "{operation}");
    }
    assert_eq!(house.vendor_value(bench.key).unwrap(), "wanted by both");
}

/// The rest of what it wants was there before.
async fn a_lost_write_does_not_claim_a_partial_duplicate_with_its_etag(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
    let read = house.read(bench.key).send().await;
    let mut fields = bench.text_patch("wanted by both");
    let names = (bench.new_record)("").as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let name = names.iter().find(|name| *name != bench.text).unwrap();
    fields[name] = read.json()["fields"][name].clone();
    assert!(fields[name].is_string(), "{fields}");
    house.inject_once(CallKind::Update, InjectedFault::HangAfter);
    let other = async {
        house.wait_for_calls(CallKind::Update, 1).await;
        house.inject_once(CallKind::Update, InjectedFault::Hang);
        house.patch(bench.key).if_match(read.etag()).fields(&fields).send().await
    };
    let (done, lost) = join(house.set_text(bench.key, read.etag(), "wanted by both").send(), other).await;
    // Nobody can tell which of them it was.
    for answer in [done, lost] {
        answer.assert_problem(504, "outcome-unknown");
        assert_eq!(house.wait_for_operation(&answer).await["state"], "unknown");
    }
    assert_eq!(house.vendor_value(bench.key).unwrap(), "wanted by both");
}

/// What `*` met is known: a version before the one that the lost write is bound to.
async fn a_lost_write_succeeds_despite_an_earlier_unresolved_star_write(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.inject_once(CallKind::Update, InjectedFault::HoldAfter);
    let lost = async {
        house.wait_for_calls(CallKind::Update, 1).await;
        let current_etag = house.current_etag(bench.key).await;
        house.inject_once(CallKind::Update, InjectedFault::ResetAfter);
        let answer = house.set_text(bench.key, &current_etag, "wanted").send().await;
        house.faults().release();
        answer
    };
    let (first, lost) = join(house.set_text(bench.key, "*", "before it").send(), lost).await;
    lost.assert_status(204);
    first.assert_status(204);
    assert_eq!(house.vendor_value(bench.key).unwrap(), "wanted");
}

async fn an_async_write_with_a_stale_etag_is_412_and_not_202(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    (bench.external_write)(&house.vendors, bench.key, "somebody else's");
    let late =
        house.set_text(bench.key, &current_etag, "too late").without_prefer().prefer("respond-async").send().await;
    late.assert_problem(412, "precondition-failed");
    assert_eq!((house.write_call_count(), house.vendor_value(bench.key).unwrap().as_str()), (0, "somebody else's"));
}

/// That the version has moved by one and that something has changed shows that it may have been this one.
#[actix_web::test]
async fn a_partly_applied_lost_write_is_not_reported_as_rejected() {
    for known in ["replace", "add"] {
        let house = TestEnv::start_with(&PRETECTUM, SHORT_TIMEOUTS).await;
        (PRETECTUM.ignore_text)(&house.vendors);
        if known == "add" {
            assert!(house.vendors.pretectum.state.write(PRETECTUM.key, |fields| drop(fields.remove("Phone"))));
        }
        let current_etag = house.current_etag(PRETECTUM.key).await;
        house.inject_once(CallKind::Update, InjectedFault::ResetAfter);
        let patch = json!([
            { "op": known, "path": "/fields/Phone", "value": "+1 555 0100" },
            { "op": "replace", "path": "/fields/Last Name", "value": "Ignored" },
        ]);
        let answer = house.patch(PRETECTUM.key).if_match(&current_etag).json_patch(&patch).send().await;
        answer.assert_problem(504, "outcome-unknown");
        let object = house.vendors.pretectum.state.object(PRETECTUM.key).unwrap();
        assert_eq!(object.fields["Phone"], "+1 555 0100");
    }
}

/// A write for any state has read before: what it wanted was not there, so it is there by its work.
#[actix_web::test]
async fn a_lost_write_does_not_claim_the_effect_of_a_later_star_write() {
    let house = TestEnv::start_with(&MATRIX42, SHORT_TIMEOUTS).await;
    let current_etag = house.current_etag(MATRIX42.key).await;
    house.inject_once(CallKind::Update, InjectedFault::Hang);
    let other = async {
        house.wait_for_calls(CallKind::Update, 1).await;
        (MATRIX42.external_write)(&house.vendors, MATRIX42.key, "past the gateway");
        house.set_text(MATRIX42.key, "*", "wanted by both").send().await
    };
    let (lost, done) = join(house.set_text(MATRIX42.key, &current_etag, "wanted by both").send(), other).await;
    done.assert_status(204);
    lost.assert_problem(504, "outcome-unknown");
    assert_eq!(house.wait_for_operation(&lost).await["state"], "unknown");
}

/// The vendor may have done it and failed then. Whoever asked for any state is not told of a failed precondition, and what may have
/// been done is not done again.
#[actix_web::test]
async fn a_star_write_that_may_be_applied_and_overwritten_is_not_resent() {
    let house = TestEnv::start_with(&MATRIX42, SHORT_TIMEOUTS).await;
    house.inject_once(CallKind::Update, InjectedFault::ApplyThen500);
    house.faults().add(CallKind::Read, InjectedFault::Hold, 1, Some(1));
    let over = async {
        house.wait_for_calls(CallKind::Update, 1).await;
        house.wait_for_calls(CallKind::Read, 2).await;
        (MATRIX42.external_write)(&house.vendors, MATRIX42.key, "written over");
        house.faults().release();
    };
    let (answer, ()) = join(house.set_text(MATRIX42.key, "*", "once").send(), over).await;
    answer.assert_problem(504, "outcome-unknown");
    assert_eq!(house.wait_for_operation(&answer).await["observed"], "other");
    assert_eq!(
        (house.call_count(CallKind::Update), house.vendor_value(MATRIX42.key).unwrap().as_str()),
        (1, "written over")
    );
}
