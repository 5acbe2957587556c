//! The truth table: one line for each case that the evidence can make.

use serde_json::{Map, Value, json};

use super::Resolution::{Applied, NotApplied, Open};
use super::SendResult::{Ambiguous, Conflict, ConflictStatus, Lost, LostThenRefused, Success};
use super::*;
use crate::record::{Action, OperationId};
use crate::record::{FieldChange, RawObject};
use crate::system::Guarantee;
use crate::transport::{VendorRequest, VendorRequestKind};
use crate::writes::command::Prefer;
use crate::writes::intent::{ExpectedState, StoredFieldChange};
use crate::writes::stored_request::StoredRequest;

const UNKNOWN_EFFECT: SendResult = Ambiguous(SideEffect::Unknown);
const NO_EFFECT: SendResult = Ambiguous(SideEffect::None);
const EXPECTED: Resolution = Resolution::Unknown(Some(ObservedState::Expected));
const OTHER: Resolution = Resolution::Unknown(Some(ObservedState::Other));
const UNCHANGED: Resolution = Resolution::Unknown(Some(ObservedState::Unchanged));

/// The write of `a` and `b` from 1 to 2.
#[derive(Clone, Copy, Debug)]
enum Write {
    /// The vendor compares versions that count, from v1 to v2.
    Counted,
    /// The same, and the old values are not known.
    Blind,
    /// The vendor compares versions whose next one is not known.
    Native,
    /// The vendor compares nothing.
    Guarded,
    /// The same, for long enough unchanged.
    Stable,
}

fn intent(guarantee: Guarantee, expected: ExpectedState) -> WriteIntent {
    WriteIntent {
        operation: OperationId::new(),
        request_id: "r".into(),
        system: "crm".into(),
        tenant_fingerprint: "".into(),
        record: Some(RecordId::new("c", "k")),
        action: Action::Update,
        guarantee,
        expected,
        etag_before: Some("v1".to_owned()),
        etag_after: None,
        resendable_request: None,
        losses: Vec::new(),
        is_queued: false,
        is_async: false,
        rebased: None,
        has_if_plan: false,
        if_match_any: false,
        has_idempotency_key: false,
        claims_plan: false,
        prefer: Prefer::default(),
        begun_ms: 0,
        deadline_ms: None,
        schema_warnings: Vec::new(),
        needs_read_back: false,
    }
}

fn change(name: &str, is_blind: bool) -> FieldChange {
    let old_value = (!is_blind).then(|| json!(1));
    FieldChange { old_value, ..FieldChange::for_member(name, Some(json!(2))) }
}

fn update_intent(write: Write) -> WriteIntent {
    let request =
        || StoredRequest::new(VendorRequest::new(VendorRequestKind::Update, actix_web::http::Method::PUT, "/"));
    let values = || ExpectedState::Values(["a", "b"].map(|name| StoredFieldChange::from(change(name, false))).into());
    match write {
        Write::Guarded | Write::Stable => intent(Guarantee::Guarded, values()),
        Write::Native => WriteIntent { resendable_request: Some(request()), ..intent(Guarantee::Native, values()) },
        Write::Counted | Write::Blind => {
            let members = RawObject::from(&fields("2 2"));
            let expected = if matches!(write, Write::Blind) { ExpectedState::Members(members) } else { values() };
            WriteIntent {
                resendable_request: Some(request()),
                etag_after: Some("v2".to_owned()),
                ..intent(Guarantee::Native, expected)
            }
        }
    }
}

/// `fields` with these values of `a` and `b`.
fn fields(values: &str) -> Map<String, Value> {
    let values = values.split(' ').map(|value| value.parse::<u8>().expect("a digit"));
    ["a", "b"].into_iter().zip(values).map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

/// `-` = no record; else its ETag and the values of `a` and `b`.
fn seen(text: &str) -> ObservedRecord {
    text.split_once(' ')
        .map_or(ObservedRecord::Absent, |(etag, values)| ObservedRecord::Record(etag.to_owned(), fields(values)))
}

/// The ledger's other writes by name.
fn others(names: &str) -> ConcurrentWrites {
    ConcurrentWrites {
        another_applied: names.contains("applied"),
        another_unresolved: names.contains("unresolved"),
        later_writer: names.contains("later"),
    }
}

fn judge(
    write: Write,
    send_result: SendResult,
    shown: &str,
    ledger: &str,
    decide: fn(&Evidence<'_>) -> Resolution,
) -> Resolution {
    let intent = update_intent(write);
    let is_blind = matches!(write, Write::Blind);
    decide(&Evidence {
        intent: &intent,
        changes: &["a", "b"].map(|name| change(name, is_blind)),
        old_values_known: !is_blind,
        send_result,
        seen: &seen(shown),
        concurrent: others(ledger),
        version_is_sequence: matches!(write, Write::Counted | Write::Blind),
        is_stable: matches!(write, Write::Stable),
    })
}

/// Nothing distinguishes the values of another write from those of this one.
#[test]
fn values_are_no_proof_once_others_could_write_the_record() {
    let writers = ["applied", "unresolved", "later"];
    for (write, shown) in [(Write::Guarded, "v3 2 2"), (Write::Stable, "v3 2 1")] {
        for ledger in writers {
            assert_eq!(judge(write, Lost, shown, ledger, resolve), Open, "{write:?} [{shown}] [{ledger}]");
        }
    }
}

#[test]
fn each_evidence_of_an_update_has_its_resolution() {
    use Write::{Blind, Counted, Guarded, Native, Stable};
    let conflict = NotApplied(NotAppliedReason::Conflict);
    #[rustfmt::skip]
    let rows = [
        // A success is disproved only by a read that shows nothing of the write.
        (Counted, Success,         "v2 2 2", "",           Applied),
        (Counted, Success,         "v2 2 1", "",           Applied),
        (Counted, Success,         "v2 1 1", "",           NotApplied(NotAppliedReason::NoEffect)),
        (Counted, Success,         "v2 1 1", "unresolved", Applied),
        (Counted, Success,         "v2 1 1", "later",      Applied),
        (Counted, Success,         "v3 1 1", "",           Applied),
        (Counted, Success,         "v1 1 1", "",           NotApplied(NotAppliedReason::NoEffect)),
        (Blind,   Success,         "v2 1 1", "",           Applied),
        (Native,  Success,         "v3 1 1", "",           NotApplied(NotAppliedReason::NoEffect)),
        (Guarded, Success,         "v1 1 2", "",           NotApplied(NotAppliedReason::NoEffect)),
        (Guarded, Success,         "-",      "",           Applied),
        // The vendor says that it compared: a failed precondition if the record has moved.
        (Native,  Conflict,        "v3 9 9", "",           conflict),
        (Native,  Conflict,        "v3 2 2", "",           conflict),
        (Native,  Conflict,        "v1 1 1", "",           conflict),
        (Native,  ConflictStatus,  "v3 9 9", "",           conflict),
        (Native,  ConflictStatus,  "v1 1 1", "",           NotApplied(NotAppliedReason::Busy)),
        (Native,  Conflict,        "-",      "",           NotApplied(NotAppliedReason::NotFound)),
        // The vendor says that it did nothing, and not why.
        (Counted, NO_EFFECT,       "v2 9 9", "",           conflict),
        (Counted, NO_EFFECT,       "v1 1 1", "",           NotApplied(NotAppliedReason::Rejected)),
        (Counted, NO_EFFECT,       "-",      "",           NotApplied(NotAppliedReason::NotFound)),
        // The vendor may have committed before it failed: only the ledger proves who wrote.
        (Native,  UNKNOWN_EFFECT,  "v1 1 1", "",           NotApplied(NotAppliedReason::Rejected)),
        (Native,  UNKNOWN_EFFECT,  "v3 2 2", "",           EXPECTED),
        (Native,  UNKNOWN_EFFECT,  "v3 9 9", "",           OTHER),
        (Native,  UNKNOWN_EFFECT,  "v3 1 1", "",           OTHER),
        (Native,  UNKNOWN_EFFECT,  "v3 9 9", "applied",    conflict),
        (Native,  UNKNOWN_EFFECT,  "v3 9 9", "later",      OTHER),
        (Native,  UNKNOWN_EFFECT,  "-",      "",           NotApplied(NotAppliedReason::NotFound)),
        // Lost, and bound to a version: once the version has moved, nothing more can arrive.
        (Counted, Lost,            "v1 1 1", "",           Open),
        (Counted, LostThenRefused, "v1 1 1", "",           Open),
        (Counted, LostThenRefused, "v2 2 2", "",           Applied),
        (Counted, LostThenRefused, "v2 2 2", "unresolved", Open),
        (Counted, LostThenRefused, "v2 2 2", "applied",    conflict),
        (Counted, LostThenRefused, "v2 1 1", "",           conflict),
        (Blind,   LostThenRefused, "v2 1 1", "",           OTHER),
        (Counted, LostThenRefused, "v2 2 1", "",           EXPECTED),
        (Counted, LostThenRefused, "v2 9 9", "",           OTHER),
        (Counted, LostThenRefused, "v3 2 2", "",           EXPECTED),
        (Counted, LostThenRefused, "v3 1 1", "",           OTHER),
        (Native,  LostThenRefused, "v3 2 2", "",           Applied),
        (Native,  LostThenRefused, "v3 2 1", "",           OTHER),
        (Native,  Lost,            "v3 9 9", "",           OTHER),
        (Native,  Lost,            "v3 9 9", "applied",    conflict),
        (Native,  Lost,            "-",      "",           Open),
        (Native,  LostThenRefused, "-",      "",           OTHER),
        // Lost, or queued, and bound to nothing: only the values show the effect.
        (Guarded, Lost,            "v1 1 1", "",           Open),
        (Guarded, Lost,            "v3 2 2", "",           Applied),
        (Guarded, Lost,            "v3 2 1", "",           Open),
        (Stable,  Lost,            "v3 2 1", "",           Applied),
        (Stable,  Lost,            "v3 2 9", "",           Open),
        (Stable,  Lost,            "v3 1 1", "",           Open),
        (Guarded, Lost,            "-",      "",           Open),
    ];
    for (write, sent, shown, ledger, expected) in rows {
        assert_eq!(judge(write, sent, shown, ledger, resolve), expected, "{write:?} {sent:?} [{shown}] [{ledger}]");
    }
}

#[test]
fn what_is_open_when_the_time_is_over_ends_unknown() {
    #[rustfmt::skip]
    let rows = [
        (Write::Guarded, Lost,            "v1 1 1", "",           UNCHANGED),
        (Write::Guarded, Lost,            "v3 2 1", "",           OTHER),
        (Write::Guarded, Lost,            "-",      "",           OTHER),
        (Write::Counted, LostThenRefused, "v1 1 1", "",           UNCHANGED),
        (Write::Counted, LostThenRefused, "v2 2 2", "unresolved", EXPECTED),
        (Write::Guarded, Lost,            "v3 2 2", "",           Applied),
        (Write::Guarded, Lost,            "v3 2 2", "applied",    EXPECTED),
        (Write::Guarded, Lost,            "v3 2 2", "later",      EXPECTED),
    ];
    for (write, send_result, shown, ledger, expected) in rows {
        let resolution = judge(write, send_result, shown, ledger, resolve_finally);
        assert_eq!(resolution, expected, "{write:?} {send_result:?} [{shown}] [{ledger}]");
    }
}

fn judge_other(
    guarantee: Guarantee,
    expected: ExpectedState,
    send_result: SendResult,
    seen: &ObservedRecord,
) -> Resolution {
    let intent = intent(guarantee, expected);
    resolve(&Evidence {
        intent: &intent,
        changes: &[],
        old_values_known: true,
        send_result,
        seen,
        concurrent: ConcurrentWrites::default(),
        version_is_sequence: false,
        is_stable: false,
    })
}

#[test]
fn the_truth_table_of_deletes_holds() {
    #[rustfmt::skip]
    let rows = [
        (Success,         "-",      Applied),
        (Lost,            "-",      Applied),
        (UNKNOWN_EFFECT,  "-",      Applied),
        (NO_EFFECT,       "-",      NotApplied(NotAppliedReason::NotFound)),
        (Conflict,        "-",      NotApplied(NotAppliedReason::NotFound)),
        (Lost,            "v1 1 1", Open),
        (Lost,            "v3 1 1", Open),
        (Conflict,        "v3 1 1", NotApplied(NotAppliedReason::Conflict)),
        (ConflictStatus,  "v3 1 1", NotApplied(NotAppliedReason::Conflict)),
        (ConflictStatus,  "v1 1 1", NotApplied(NotAppliedReason::Busy)),
        (UNKNOWN_EFFECT,  "v1 1 1", NotApplied(NotAppliedReason::Rejected)),
    ];
    for (send_result, shown, expected) in rows {
        let resolution = judge_other(Guarantee::Guarded, ExpectedState::Deleted, send_result, &seen(shown));
        assert_eq!(resolution, expected, "{send_result:?} [{shown}]");
    }
    for (send_result, shown, expected) in [
        (Lost, "v1 1 1", Open),
        (Lost, "v3 1 1", NotApplied(NotAppliedReason::Conflict)),
        (Lost, "-", Applied),
        (Conflict, "v3 1 1", NotApplied(NotAppliedReason::Conflict)),
    ] {
        let resolution = judge_other(Guarantee::Native, ExpectedState::Deleted, send_result, &seen(shown));
        assert_eq!(resolution, expected, "native: {send_result:?} [{shown}]");
    }
}

#[test]
fn a_record_that_is_gone_was_deleted_by_one_write_only() {
    let native = intent(Guarantee::Native, ExpectedState::Deleted);
    let guarded = intent(Guarantee::Guarded, ExpectedState::Deleted);
    let judge = |delete, send_result, concurrent| {
        let evidence = Evidence {
            intent: delete,
            changes: &[],
            old_values_known: true,
            send_result,
            seen: &ObservedRecord::Absent,
            concurrent,
            version_is_sequence: false,
            is_stable: false,
        };
        (resolve(&evidence), resolve_finally(&evidence))
    };
    let applied = ConcurrentWrites { another_applied: true, ..ConcurrentWrites::default() };
    let unresolved = ConcurrentWrites { another_unresolved: true, ..ConcurrentWrites::default() };
    for delete in [&native, &guarded] {
        for send_result in [Lost, LostThenRefused, UNKNOWN_EFFECT] {
            assert!(needs_ledger(delete, &delete.field_changes(), false, send_result, &ObservedRecord::Absent));
            assert_eq!(judge(delete, send_result, ConcurrentWrites::default()).0, Applied, "{send_result:?}");
            assert_eq!(
                judge(delete, send_result, applied).0,
                NotApplied(NotAppliedReason::NotFound),
                "{send_result:?}"
            );
            assert_eq!(judge(delete, send_result, unresolved), (Open, OTHER), "{send_result:?}");
        }
        assert_eq!(judge(delete, Success, applied).0, Applied, "the vendor reports success");
    }
    assert!(
        !needs_ledger(&guarded, &guarded.field_changes(), true, Lost, &ObservedRecord::Absent),
        "its lease keeps others away"
    );
}

#[test]
fn the_truth_table_of_creates_holds() {
    let made =
        |count: usize| ObservedRecord::NewMatches((0..count).map(|key| RecordId::new("c", &key.to_string())).collect());
    #[rustfmt::skip]
    let rows = [
        (Lost,           1, Applied),
        (Lost,           0, Open),
        (Lost,           2, Open),
        (UNKNOWN_EFFECT, 0, NotApplied(NotAppliedReason::Rejected)),
        (UNKNOWN_EFFECT, 1, Applied),
        (UNKNOWN_EFFECT, 2, Open),
    ];
    for (send_result, count, expected) in rows {
        let state = ExpectedState::Created { collection: "c".into(), fields: Map::new(), preexisting_ids: None };
        assert_eq!(
            judge_other(Guarantee::Guarded, state, send_result, &made(count)),
            expected,
            "{send_result:?} {count}"
        );
    }
}

#[test]
fn the_ledger_is_read_only_where_it_can_make_a_difference() {
    let native = update_intent(Write::Native);
    let guarded = update_intent(Write::Guarded);
    let moved = seen("v3 2 2");
    assert!(
        needs_ledger(&native, &native.field_changes(), false, Lost, &moved)
            && needs_ledger(&native, &native.field_changes(), false, UNKNOWN_EFFECT, &moved)
    );
    assert!(needs_ledger(&guarded, &guarded.field_changes(), true, Success, &seen("v3 1 1")));
    assert!(needs_ledger(&guarded, &guarded.field_changes(), false, Lost, &moved), "its lease has ended");
    #[rustfmt::skip]
    let rows = [
        (&guarded, true,  Success,  "v3 2 2"),
        (&guarded, true,  Lost,     "v3 2 2"),
        (&guarded, false, Lost,     "v1 1 1"),
        (&native,  false, Conflict, "v3 2 2"),
        (&native,  false, Lost,     "v1 1 1"),
        (&native,  false, Lost,     "-"),
    ];
    for (intent, is_exclusive, send_result, shown) in rows {
        assert!(
            !needs_ledger(intent, &intent.field_changes(), is_exclusive, send_result, &seen(shown)),
            "{send_result:?} [{shown}]"
        );
    }
}
