//! What a record is allowed to look like to its callers: a register with compare-and-swap, judged by a linearizability
//! checker that knows nothing of the gateway.

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

/// One thing that somebody did to one record. Values are unique, so a value stands for a state.
#[derive(Clone, Debug)]
pub(crate) enum RegisterOp {
    /// A read saw this.
    Read(u32),
    /// A write was done: on top of `expected`, or of anything.
    CompareAndSwap {
        /// The state its tag stood for.
        expected: Option<u32>,
        /// Whether a state made past the gateway may have been there instead (guarded writes).
        or_external: bool,
        /// The state it made.
        value: u32,
    },
    /// A write was refused because the state was not this one.
    PreconditionFailed(u32),
    /// Somebody wrote past the gateway.
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
            RegisterOp::CompareAndSwap { expected, or_external: or_foreign, value } => {
                let foreign = *or_foreign && *state >= FIRST_EXTERNAL_VALUE;
                (foreign || expected.is_none_or(|expected| expected == *state), *value)
            }
            RegisterOp::PreconditionFailed(expected) => (state != expected, *state),
            RegisterOp::ExternalWrite(value) => (true, *value),
        }
    }
}

/// The checker's patience with one record.
const CHECK_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(1);

/// Whether one order explains everything that happened to one record; times are of one clock.
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
    let refused = [(0, 1, RegisterOp::Read(0)), (2, 3, RegisterOp::PreconditionFailed(0)), (4, 5, swapped(0, 1))];
    assert!(!is_linearizable(&refused));
    let past = [
        (0, 1, RegisterOp::ExternalWrite(FIRST_EXTERNAL_VALUE)),
        (2, 3, RegisterOp::CompareAndSwap { expected: Some(0), or_external: true, value: 1 }),
    ];
    assert!(is_linearizable(&past));
}
