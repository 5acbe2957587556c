//! The writes whose outcome is not known: those that this process reconciles, which it counts itself,
//! and those that the store has besides.

use std::sync::{Mutex, PoisonError};

use prometheus::{IntGauge, IntGaugeVec};

use super::{Metrics, SystemIndex};

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

    fn counts(&self) -> UnknownWriteCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Metrics {
    /// Adds to the writes with an unknown outcome that this process reconciles; `by` may be
    /// negative.
    pub fn unknown_writes_reconciled(&self, system: SystemIndex, by: i64) {
        let now = jiff::Timestamp::now().as_second();
        self.change_unknown_writes(system, |counts| {
            counts.own += by;
            counts.oldest.get_or_insert(now);
        });
    }

    /// Adds to the writes that ended `unknown` and that nobody has resolved; `by` may be negative.
    /// The store's number replaces this one.
    pub fn unknown_writes_ended(&self, system: SystemIndex, by: i64) {
        let now = jiff::Timestamp::now().as_second();
        self.change_unknown_writes(system, |counts| {
            counts.ended = (counts.ended + by).max(0);
            counts.oldest.get_or_insert(now);
        });
    }

    /// Sets what the store has; the default if it has none.
    pub fn unknown_writes_stored(&self, system: SystemIndex, stored: UnknownWriteCounts) {
        self.change_unknown_writes(system, |counts| {
            let oldest = stored.oldest.or(counts.oldest);
            *counts = UnknownWriteCounts { own: counts.own, oldest, ..stored };
        });
    }

    /// The writes to a system whose outcome is not known.
    #[must_use]
    pub fn unknown_writes(&self, system: SystemIndex) -> UnknownWriteCounts {
        self.system_metrics(system).map_or_else(UnknownWriteCounts::default, |row| row.vendor.unknown_writes.counts())
    }

    fn change_unknown_writes(&self, system: SystemIndex, act: impl FnOnce(&mut UnknownWriteCounts)) {
        self.with_vendor_series(system, |vendor| vendor.unknown_writes.change(act));
    }
}
