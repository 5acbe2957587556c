//! The two times of a group of commands: the clock as it is, for the ledger, and a clock that never
//! goes back, for leases and heartbeats.

use std::time::Instant;

/// A step back of less than this (milliseconds) is not worth a mark in the ledger.
const MIN_STEP_MS: i64 = 1000;

/// Times in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// What the clock showed.
    pub(super) wall_ms: i64,
    /// Never decreases, and advances while the clock is behind it.
    pub(super) steady_ms: i64,
    measured: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { wall_ms: 0, steady_ms: 0, measured: Instant::now() }
    }

    /// Takes what the clock shows now. `floor_ms` is what another replica has seen already.
    pub(super) fn set(&mut self, wall_ms: i64, floor_ms: i64) {
        let elapsed = i64::try_from(self.measured.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.measured = Instant::now();
        self.wall_ms = wall_ms;
        self.steady_ms = self.steady_ms.saturating_add(elapsed).max(wall_ms).max(floor_ms);
    }
}

/// The time of a ledger entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryTime {
    /// Not earlier than the entry before.
    At(i64),
    /// The clock went back to this.
    Step(i64),
}

impl EntryTime {
    /// The time of an entry after one at `last_ms`.
    pub(super) fn after(last_ms: i64, wall_ms: i64) -> Self {
        if wall_ms >= last_ms {
            Self::At(wall_ms)
        } else if last_ms.saturating_sub(wall_ms) < MIN_STEP_MS {
            Self::At(last_ms)
        } else {
            Self::Step(wall_ms)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_time_as_it_is_unless_the_clock_trembled() {
        for (last, wall, expected) in [
            (1000, 1000, EntryTime::At(1000)),
            (1000, 2000, EntryTime::At(2000)),
            (1999, 1000, EntryTime::At(1999)),
            (2000, 1000, EntryTime::Step(1000)),
            (i64::MIN, 5, EntryTime::At(5)),
        ] {
            assert_eq!(EntryTime::after(last, wall), expected, "{last} {wall}");
        }
    }

    #[test]
    fn the_steady_clock_never_goes_back() {
        let mut clock = Clock::new();
        clock.set(10_000, 0);
        clock.set(1000, 0);
        assert!(clock.steady_ms >= 10_000 && clock.wall_ms == 1000);
        clock.set(1000, 50_000);
        assert!((50_000..60_000).contains(&clock.steady_ms));
    }
}
