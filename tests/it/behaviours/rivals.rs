//! A write whose answer is lost, beside another one that does the same: what the record shows may be the other's work.

use futures_util::future::join;
use records_gateway::sandbox::{CallKind, Fault};
use serde_json::json;

use crate::support::{Bench, House, MATRIX42, PRETECTUM, for_each_native_vendor, for_each_vendor};

const IMPATIENT: &[(&str, &str, &str)] = &[
    ("server", "deadline", "\"5s\""),
    ("vendor", "timeout", "\"1500ms\""),
    ("vendor", "connect_timeout", "\"1500ms\""),
    ("vendor", "completion_timeout", "\"6s\""),
];

for_each_vendor!(a_lost_create_does_not_claim_what_another_create_has_made, a_stale_tag_is_412_and_not_202,);
for_each_native_vendor!(
    of_two_writes_with_one_tag_and_one_value_only_one_is_told_as_done,
    of_two_lost_writes_with_one_tag_and_one_value_neither_is_told_as_done,
    a_lost_write_does_not_claim_what_one_with_its_tag_has_done_in_part,
    a_lost_write_is_told_as_done_although_one_for_any_state_before_it_is_not_settled,
    of_a_lost_write_and_one_for_any_state_on_the_same_version_only_one_is_told_as_done,
);

async fn a_lost_create_does_not_claim_what_another_create_has_made(bench: &'static Bench) {
    let house = House::with(bench, IMPATIENT).await;
    let before = house.count();
    house.once(CallKind::Create, Fault::Hang);
    let other = async {
        house.received(CallKind::Create, 1).await;
        house.create("made once").send().await
    };
    let (lost, made) = join(house.create("made once").send(), other).await;
    made.is_done(201);
    lost.is(504, "outcome-unknown");
    let operation = house.settled(&lost).await;
    assert_eq!((&operation["state"], &operation["record"]), (&json!("unknown"), &json!(null)), "{operation}");
    assert_eq!(house.count(), before + 1);
}

async fn of_two_writes_with_one_tag_and_one_value_only_one_is_told_as_done(bench: &'static Bench) {
    only_one_is_told_as_done(bench, |tag| tag).await;
}

async fn of_a_lost_write_and_one_for_any_state_on_the_same_version_only_one_is_told_as_done(bench: &'static Bench) {
    only_one_is_told_as_done(bench, |_| "*").await;
}

/// A write that never arrives, beside one with this precondition that does.
async fn only_one_is_told_as_done(bench: &'static Bench, precondition: fn(&str) -> &str) {
    let house = House::with(bench, IMPATIENT).await;
    let tag = house.tag(bench.key).await;
    house.once(CallKind::Update, Fault::Hang);
    let other = async {
        house.received(CallKind::Update, 1).await;
        house.set_text(bench.key, precondition(&tag), "wanted by both").send().await
    };
    let (lost, done) = join(house.set_text(bench.key, &tag, "wanted by both").send(), other).await;
    done.is_done(204);
    lost.is(412, "precondition-failed");
    assert_eq!(house.settled(&lost).await["state"], "not-applied");
    assert_eq!(house.held(bench.key).unwrap(), "wanted by both");
}

/// One of them was done, and nobody can tell which.
async fn of_two_lost_writes_with_one_tag_and_one_value_neither_is_told_as_done(bench: &'static Bench) {
    let house = House::with(bench, IMPATIENT).await;
    let tag = house.tag(bench.key).await;
    house.once(CallKind::Update, Fault::HangAfter);
    let other = async {
        house.received(CallKind::Update, 1).await;
        house.once(CallKind::Update, Fault::Hang);
        house.set_text(bench.key, &tag, "wanted by both").send().await
    };
    let (first, second) = join(house.set_text(bench.key, &tag, "wanted by both").send(), other).await;
    for answer in [first, second] {
        answer.is(504, "outcome-unknown");
        let operation = house.settled(&answer).await;
        assert_eq!((&operation["state"], &operation["observed"]), (&json!("unknown"), &json!("other")), "{operation}");
    }
    assert_eq!(house.held(bench.key).unwrap(), "wanted by both");
}

/// The rest of what it wants was there before.
async fn a_lost_write_does_not_claim_what_one_with_its_tag_has_done_in_part(bench: &'static Bench) {
    let house = House::with(bench, IMPATIENT).await;
    let read = house.read(bench.key).send().await;
    let mut fields = bench.text_is("wanted by both");
    let names = (bench.new_record)("").as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let name = names.iter().find(|name| *name != bench.text).unwrap();
    fields[name] = read.json()["fields"][name].clone();
    assert!(fields[name].is_string(), "{fields}");
    house.once(CallKind::Update, Fault::HangAfter);
    let other = async {
        house.received(CallKind::Update, 1).await;
        house.once(CallKind::Update, Fault::Hang);
        house.patch(bench.key).if_match(read.etag()).fields(&fields).send().await
    };
    let (done, lost) = join(house.set_text(bench.key, read.etag(), "wanted by both").send(), other).await;
    // Nobody can tell which of them it was.
    for answer in [done, lost] {
        answer.is(504, "outcome-unknown");
        assert_eq!(house.settled(&answer).await["state"], "unknown");
    }
    assert_eq!(house.held(bench.key).unwrap(), "wanted by both");
}

/// What `*` met is known: a version before the one that the lost write is bound to.
async fn a_lost_write_is_told_as_done_although_one_for_any_state_before_it_is_not_settled(bench: &'static Bench) {
    let house = House::start(bench).await;
    house.once(CallKind::Update, Fault::HoldAfter);
    let lost = async {
        house.received(CallKind::Update, 1).await;
        let tag = house.tag(bench.key).await;
        house.once(CallKind::Update, Fault::ResetAfter);
        let answer = house.set_text(bench.key, &tag, "wanted").send().await;
        house.faults().release();
        answer
    };
    let (first, lost) = join(house.set_text(bench.key, "*", "before it").send(), lost).await;
    lost.is_done(204);
    first.is_done(204);
    assert_eq!(house.held(bench.key).unwrap(), "wanted");
}

async fn a_stale_tag_is_412_and_not_202(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    (bench.write)(&house.vendors, bench.key, "somebody else's");
    let late = house.set_text(bench.key, &tag, "too late").without_prefer().prefer("respond-async").send().await;
    late.is(412, "precondition-failed");
    assert_eq!((house.writes(), house.held(bench.key).unwrap().as_str()), (0, "somebody else's"));
}

/// That the version has moved by one and that something has changed shows that it may have been this one.
#[actix_web::test]
async fn a_lost_write_of_which_the_vendor_ignored_a_part_is_not_told_as_refused() {
    for known in ["replace", "add"] {
        let house = House::with(&PRETECTUM, IMPATIENT).await;
        (PRETECTUM.ignore_text)(&house.vendors);
        if known == "add" {
            assert!(house.vendors.pretectum.state.write(PRETECTUM.key, |fields| drop(fields.remove("Phone"))));
        }
        let tag = house.tag(PRETECTUM.key).await;
        house.once(CallKind::Update, Fault::ResetAfter);
        let patch = json!([
            { "op": known, "path": "/fields/Phone", "value": "+1 555 0100" },
            { "op": "replace", "path": "/fields/Last Name", "value": "Ignored" },
        ]);
        let answer = house.patch(PRETECTUM.key).if_match(&tag).json_patch(&patch).send().await;
        answer.is(504, "outcome-unknown");
        let object = house.vendors.pretectum.state.object(PRETECTUM.key).unwrap();
        assert_eq!(object.fields["Phone"], "+1 555 0100");
    }
}

/// A write for any state has read before: what it wanted was not there, so it is there by its work.
#[actix_web::test]
async fn a_lost_write_does_not_claim_what_a_later_one_for_any_state_has_done() {
    let house = House::with(&MATRIX42, IMPATIENT).await;
    let tag = house.tag(MATRIX42.key).await;
    house.once(CallKind::Update, Fault::Hang);
    let other = async {
        house.received(CallKind::Update, 1).await;
        (MATRIX42.write)(&house.vendors, MATRIX42.key, "past the gateway");
        house.set_text(MATRIX42.key, "*", "wanted by both").send().await
    };
    let (lost, done) = join(house.set_text(MATRIX42.key, &tag, "wanted by both").send(), other).await;
    done.is_done(204);
    lost.is(504, "outcome-unknown");
    assert_eq!(house.settled(&lost).await["state"], "unknown");
}

/// The vendor may have done it and failed then. Whoever asked for any state is not told of a failed precondition, and what may have
/// been done is not done again.
#[actix_web::test]
async fn a_write_for_any_state_that_may_have_been_done_and_written_over_is_not_sent_again() {
    let house = House::with(&MATRIX42, IMPATIENT).await;
    house.once(CallKind::Update, Fault::ApplyThen500);
    house.faults().add(CallKind::Read, Fault::Hold, 1, Some(1));
    let over = async {
        house.received(CallKind::Update, 1).await;
        house.received(CallKind::Read, 2).await;
        (MATRIX42.write)(&house.vendors, MATRIX42.key, "written over");
        house.faults().release();
    };
    let (answer, ()) = join(house.set_text(MATRIX42.key, "*", "once").send(), over).await;
    answer.is(504, "outcome-unknown");
    assert_eq!(house.settled(&answer).await["observed"], "other");
    assert_eq!((house.calls(CallKind::Update), house.held(MATRIX42.key).unwrap().as_str()), (1, "written over"));
}
