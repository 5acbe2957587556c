//! Which traces are sampled (`OTEL_TRACES_SAMPLER`).

use opentelemetry::trace::TraceId;

/// The decision for a trace without a decision of the caller.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Root {
    Always,
    Never,
    /// Samples a trace whose id, as a number below 2^63, is below this threshold.
    Below(u64),
}

/// A sampler of the OpenTelemetry specification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampler {
    root: Root,
    /// Whether the caller's decision takes precedence.
    parent_based: bool,
}

impl Sampler {
    /// The valid names, for error messages.
    pub(super) const NAMES: &str = "parentbased_always_on, parentbased_always_off, parentbased_traceidratio, always_on, always_off \
                                    or traceidratio";

    /// Finds a sampler by its name. `argument` is a ratio from 0 to 1. Returns `None` if either is
    /// invalid.
    pub(super) fn from_env_name(name: &str, argument: Option<&str>) -> Option<Self> {
        let (parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let root = match root {
            "always_on" => Root::Always,
            "always_off" => Root::Never,
            "traceidratio" => Root::Below(ratio_threshold(argument.unwrap_or("1"))?),
            _ => return None,
        };
        Some(Self { root, parent_based })
    }

    /// Whether to sample a trace. `caller` is the caller's decision, if it sent one.
    pub(super) fn should_sample(self, caller: Option<bool>, trace_id: TraceId) -> bool {
        match (caller, self.root) {
            (Some(caller), _) if self.parent_based => caller,
            (_, Root::Always) => true,
            (_, Root::Never) => false,
            (_, Root::Below(threshold)) => {
                let lower = u128::from_be_bytes(trace_id.to_bytes()) & u128::from(u64::MAX);
                lower >> 1 < u128::from(threshold)
            }
        }
    }
}

/// Uses the same threshold as every SDK, so that all services of a trace decide alike.
fn ratio_threshold(ratio: &str) -> Option<u64> {
    const FULL_RANGE: f64 = 9_223_372_036_854_775_808.0;
    let ratio: f64 = ratio.trim().parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction of 2^63")]
    (0.0..=1.0).contains(&ratio).then_some((ratio * FULL_RANGE) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_sampled(name: &str, argument: Option<&str>, caller: Option<bool>, id: u128) -> bool {
        Sampler::from_env_name(name, argument).expect(name).should_sample(caller, TraceId::from(id))
    }

    #[test]
    fn the_callers_decision_counts_only_for_parent_based_samplers() {
        for root in ["always_on", "always_off", "traceidratio"] {
            let name = format!("parentbased_{root}");
            assert!(
                is_sampled(&name, Some("0.5"), Some(true), u128::MAX)
                    && !is_sampled(&name, Some("0.5"), Some(false), 1)
            );
        }
        assert!(is_sampled("always_on", None, Some(false), 1) && !is_sampled("always_off", None, Some(true), 1));
        assert!(
            is_sampled("parentbased_always_on", None, None, 1) && !is_sampled("parentbased_always_off", None, None, 1)
        );
    }

    #[test]
    fn a_ratio_samples_that_share_of_the_trace_ids() {
        let half = u128::from(u64::MAX / 2);
        assert!(
            is_sampled("traceidratio", Some("0.5"), None, half - 2)
                && !is_sampled("traceidratio", Some("0.5"), None, half + 2)
        );
        assert!(is_sampled("traceidratio", None, None, u128::MAX) && !is_sampled("traceidratio", Some("0"), None, 1));
        for invalid in ["2", "-1", "half", "NaN"] {
            assert_eq!(Sampler::from_env_name("traceidratio", Some(invalid)), None, "{invalid}");
        }
        assert_eq!(Sampler::from_env_name("jaeger_remote", None), None);
    }
}
