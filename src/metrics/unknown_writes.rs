//! The writes whose outcome is not known: those that this process reconciles, which it counts
//! itself, and those that the store has besides.

use std::sync::{Mutex, PoisonError};

use prometheus::{IntGauge, IntGaugeVec};

/// The writes to one system whose outcome is not known, and when the oldest began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnknownWriteCounts {
    /// Those that this process reconciles.
    own: i64,
    /// Those that other replicas reconcile.
    reconciled_by_others: i64,
    /// Those that ended `unknown` and that nobody has resolved.
    ended: i64,
    /// When the oldest of all began, in seconds since 1970.
    pub oldest: Option<i64>,
}

impl UnknownWriteCounts {
    /// What the store has besides those that this process reconciles.
    #[must_use]
    pub fn stored(reconciled_by_others: i64, ended: i64, oldest: i64) -> Self {
        Self { own: 0, reconciled_by_others, ended, oldest: Some(oldest) }
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.own + self.reconciled_by_others + self.ended
    }
}

/// The gauges of one system.
pub(super) struct UnknownWriteGauges {
    counts: Mutex<UnknownWriteCounts>,
    total: IntGauge,
    oldest: IntGaugeVec,
    system: String,
}

impl UnknownWriteGauges {
    pub(super) fn new(total: &IntGaugeVec, oldest: &IntGaugeVec, system: &str) -> Self {
        let total = total.with_label_values(&[system]);
        Self { counts: Mutex::default(), total, oldest: oldest.clone(), system: system.to_owned() }
    }

    pub(super) fn counts(&self) -> UnknownWriteCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to those that this process reconciles.
    pub(super) fn add_own(&self, by: i64) {
        let now = jiff::Timestamp::now().as_second();
        self.change(|counts| {
            counts.own += by;
            counts.oldest.get_or_insert(now);
        });
    }

    /// Adds to those that ended, until the store's number replaces this one.
    pub(super) fn add_ended(&self, by: i64) {
        let now = jiff::Timestamp::now().as_second();
        self.change(|counts| {
            counts.ended = (counts.ended + by).max(0);
            counts.oldest.get_or_insert(now);
        });
    }

    /// Sets what the store has; the default if it has none.
    pub(super) fn set_stored(&self, stored: UnknownWriteCounts) {
        self.change(|counts| {
            let oldest = stored.oldest.or(counts.oldest);
            *counts = UnknownWriteCounts { own: counts.own, oldest, ..stored };
        });
    }

    fn change(&self, act: impl FnOnce(&mut UnknownWriteCounts)) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut counts);
        let total = counts.total();
        if total == 0 {
            counts.oldest = None;
        }
        self.total.set(total);
        match counts.oldest {
            Some(oldest) => self.oldest.with_label_values(&[&self.system]).set(oldest),
            // The series may be absent already.
            None => drop(self.oldest.remove_label_values(&[&self.system])),
        }
    }
}
