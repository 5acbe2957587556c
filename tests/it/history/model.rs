//! What a record is allowed to look like to its callers: a register with compare-and-swap, judged by a linearizability
//! checker that knows nothing of the gateway.

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

/// One thing that somebody did to one record. Values are unique, so a value stands for a state.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A read saw this.
    Saw(u32),
    /// A write was done: on top of `expected`, or of anything.
    Swapped {
        /// The state its tag stood for.
        expected: Option<u32>,
        /// Whether a state made past the gateway may have been there instead (guarded writes).
        or_foreign: bool,
        /// The state it made.
        value: u32,
    },
    /// A write was refused because the state was not this one.
    Stale(u32),
    /// Somebody wrote past the gateway.
    Forced(u32),
}

/// Values from here on were written past the gateway.
pub(crate) const FOREIGN: u32 = 1_000_000;

#[derive(Clone, Debug)]
struct Register;

impl Model for Register {
    type State = u32;
    type Op = Op;
    type Metadata = ();

    fn init() -> u32 {
        0
    }

    fn step(state: &u32, op: &Op) -> (bool, u32) {
        match op {
            Op::Saw(value) => (state == value, *state),
            Op::Swapped { expected, or_foreign, value } => {
                let foreign = *or_foreign && *state >= FOREIGN;
                (foreign || expected.is_none_or(|expected| expected == *state), *value)
            }
            Op::Stale(expected) => (state != expected, *state),
            Op::Forced(value) => (true, *value),
        }
    }
}

/// The checker's patience with one record.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);

/// Whether one order explains everything that happened to one record; times are of one clock.
pub(crate) fn is_linearizable(history: &[(i64, i64, Op)]) -> bool {
    let operation = |(call, back, op): &(i64, i64, Op)| Operation::<Register> {
        client_id: None,
        call_time: *call,
        return_time: *back,
        op: op.clone(),
        metadata: None,
    };
    let operations: Vec<_> = history.iter().map(operation).collect();
    check_operations_timeout(&operations, PATIENCE) == CheckResult::Ok
}

#[test]
fn the_checker_sees_a_lost_update_a_stale_read_and_a_false_refusal() {
    let swapped = |expected, value| Op::Swapped { expected: Some(expected), or_foreign: false, value };
    let good = [(0, 9, swapped(0, 1)), (1, 8, Op::Stale(0)), (2, 3, Op::Saw(0)), (4, 20, swapped(1, 2))];
    assert!(is_linearizable(&good));
    let lost = [(0, 9, swapped(0, 1)), (1, 8, swapped(0, 2))];
    assert!(!is_linearizable(&lost));
    let stale = [(0, 1, swapped(0, 1)), (2, 3, Op::Saw(0))];
    assert!(!is_linearizable(&stale));
    let refused = [(0, 1, Op::Saw(0)), (2, 3, Op::Stale(0)), (4, 5, swapped(0, 1))];
    assert!(!is_linearizable(&refused));
    let past = [(0, 1, Op::Forced(FOREIGN)), (2, 3, Op::Swapped { expected: Some(0), or_foreign: true, value: 1 })];
    assert!(is_linearizable(&past));
}
