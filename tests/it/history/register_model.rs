//! What callers may see of a record: a register with compare-and-swap, checked by a linearizability
//! checker that knows nothing of the gateway.

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

/// One operation on one record. Values are unique, so a value stands for a state.
#[derive(Clone, Debug)]
pub(crate) enum RegisterOp {
    /// A read returned this value.
    Read(u32),
    /// A write took effect on `expected`, or on any value.
    CompareAndSwap {
        /// The value its ETag stood for.
        expected: Option<u32>,
        /// Whether it may have overwritten a write past the gateway (guarded writes).
        or_external: bool,
        /// The value it set.
        value: u32,
    },
    /// A write was rejected because the value was not this one.
    PreconditionFailed(u32),
    /// A write past the gateway.
    ExternalWrite(u32),
}

/// Values from here on were written past the gateway.
pub(crate) const FIRST_EXTERNAL_VALUE: u32 = 1_000_000;

#[derive(Clone, Debug)]
struct Register;

impl Model for Register {
    type State = u32;
    type Op = RegisterOp;
    type Metadata = ();

    fn init() -> u32 {
        0
    }

    fn step(state: &u32, op: &RegisterOp) -> (bool, u32) {
        match op {
            RegisterOp::Read(value) => (state == value, *state),
            RegisterOp::CompareAndSwap { expected, or_external, value } => {
                let external = *or_external && *state >= FIRST_EXTERNAL_VALUE;
                (external || expected.is_none_or(|expected| expected == *state), *value)
            }
            RegisterOp::PreconditionFailed(expected) => (state != expected, *state),
            RegisterOp::ExternalWrite(value) => (true, *value),
        }
    }
}

/// Longest time for the check of one record.
const CHECK_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(1);

/// Whether one order explains all operations on one record; times are of one clock.
pub(crate) fn is_linearizable(history: &[(i64, i64, RegisterOp)]) -> bool {
    let operation = |(call, back, op): &(i64, i64, RegisterOp)| Operation::<Register> {
        client_id: None,
        call_time: *call,
        return_time: *back,
        op: op.clone(),
        metadata: None,
    };
    let operations: Vec<_> = history.iter().map(operation).collect();
    check_operations_timeout(&operations, CHECK_TIMEOUT) == CheckResult::Ok
}

#[test]
fn the_checker_detects_lost_updates_stale_reads_and_false_412s() {
    let swapped = |expected, value| RegisterOp::CompareAndSwap { expected: Some(expected), or_external: false, value };
    let good = [
        (0, 9, swapped(0, 1)),
        (1, 8, RegisterOp::PreconditionFailed(0)),
        (2, 3, RegisterOp::Read(0)),
        (4, 20, swapped(1, 2)),
    ];
    assert!(is_linearizable(&good));
    let lost = [(0, 9, swapped(0, 1)), (1, 8, swapped(0, 2))];
    assert!(!is_linearizable(&lost));
    let stale = [(0, 1, swapped(0, 1)), (2, 3, RegisterOp::Read(0))];
    assert!(!is_linearizable(&stale));
    let rejected = [(0, 1, RegisterOp::Read(0)), (2, 3, RegisterOp::PreconditionFailed(0)), (4, 5, swapped(0, 1))];
    assert!(!is_linearizable(&rejected));
    let past = [
        (0, 1, RegisterOp::ExternalWrite(FIRST_EXTERNAL_VALUE)),
        (2, 3, RegisterOp::CompareAndSwap { expected: Some(0), or_external: true, value: 1 }),
    ];
    assert!(is_linearizable(&past));
}
