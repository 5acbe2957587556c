//! The metrics of callers. Their names are labels only where the configuration says so.

use prometheus::{IntCounterVec, IntGaugeVec};

use super::families::{CALLER_KEY_EXPIRES, CALLER_QUOTA_REFUSALS, QUOTA_REFUSALS, Registrar};
use super::labels::QuotaPolicy;
use crate::record::CallerName;

/// What callers with limits and keys cause.
pub struct CallerSeries {
    refusals: IntCounterVec,
    by_caller: Option<ByCaller>,
}

struct ByCaller {
    refusals: IntCounterVec,
    key_expires: IntGaugeVec,
}

impl CallerSeries {
    pub(super) fn new(registrar: &Registrar<'_>, caller_label: bool) -> Result<Self, prometheus::Error> {
        let by_caller = if caller_label {
            Some(ByCaller {
                refusals: registrar.register_counters(&CALLER_QUOTA_REFUSALS)?,
                key_expires: registrar.register_gauges(&CALLER_KEY_EXPIRES)?,
            })
        } else {
            None
        };
        let refusals = registrar.register_counters(&QUOTA_REFUSALS)?;
        for policy in QuotaPolicy::ALL {
            refusals.with_label_values(&[policy.as_str()]);
        }
        Ok(Self { refusals, by_caller })
    }

    /// Counts a request beyond its caller's limits. `caller` is the name of a configured caller.
    pub fn quota_refusal(&self, policy: QuotaPolicy, caller: Option<&CallerName>) {
        self.refusals.with_label_values(&[policy.as_str()]).inc();
        if let (Some(series), Some(caller)) = (&self.by_caller, caller) {
            series.refusals.with_label_values(&[policy.as_str(), &caller.0]).inc();
        }
    }

    /// Sets when the last key of each caller expires, in seconds since 1970.
    pub fn set_key_expiries<'c>(&self, expiries: impl Iterator<Item = (&'c CallerName, i64)>) {
        let Some(series) = &self.by_caller else { return };
        series.key_expires.reset();
        for (caller, seconds) in expiries {
            series.key_expires.with_label_values(&[&*caller.0]).set(seconds);
        }
    }
}
