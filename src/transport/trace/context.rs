//! The trace that a caller's request belongs to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use opentelemetry::trace::TraceId;

use super::traceparent::{
    RANDOM, SAMPLED, TRACEPARENT, TRACESTATE, TraceParent, format_traceparent, join_tracestate, parse_traceparent,
    random_id,
};
use super::tracer::{SampledContext, Tracer};

/// The trace of a request, and the time that its vendor requests have taken.
#[derive(Debug)]
pub struct TraceContext {
    /// 32 lower-case hexadecimal digits, not all zero.
    trace_id: String,
    flags: u8,
    /// The caller's `tracestate` without empty members; empty if there is none.
    state: String,
    /// The caller's span.
    parent_id: Option<u64>,
    vendor_micros: AtomicU64,
    /// Set if spans of this trace are recorded.
    sampled: Option<SampledContext>,
}

impl TraceContext {
    /// Continues the caller's trace. Starts a new one if `traceparent` is absent, repeated or
    /// invalid.
    ///
    /// The arguments are the values of all header lines of that name.
    #[must_use]
    pub fn from_headers(traceparent: &[&str], tracestate: &[&str]) -> Self {
        let parent = match traceparent {
            [only] => parse_traceparent(only),
            _ => None,
        };
        let (trace_id, parent_id, flags, state) = match parent {
            Some(TraceParent { trace_id, parent_id, flags }) => {
                (trace_id.to_owned(), Some(parent_id), flags, join_tracestate(tracestate).unwrap_or_default())
            }
            // Not sampled: the vendor's operator decides what the vendor records.
            None => (const_hex::encode(random_id::<16>()), None, RANDOM, String::new()),
        };
        Self { trace_id, flags, state, parent_id, vendor_micros: AtomicU64::new(0), sampled: None }
    }

    /// Starts a trace without a caller, for the gateway's own work.
    #[must_use]
    pub fn new_root() -> Arc<Self> {
        Arc::new(Self::from_headers(&[], &[]))
    }

    /// `traceparent`, with a new parent id, and `tracestate` for one vendor request.
    pub(super) fn headers_for_call(&self) -> Vec<(HeaderName, HeaderValue)> {
        let parent_id = const_hex::encode(random_id::<8>());
        let parent = format_traceparent(&self.trace_id, &parent_id, self.flags);
        let mut headers = Vec::with_capacity(2);
        if let Ok(value) = HeaderValue::try_from(parent) {
            headers.push((TRACEPARENT, value));
        }
        if !self.state.is_empty()
            && let Ok(value) = HeaderValue::from_str(&self.state)
        {
            headers.push((TRACESTATE, value));
        }
        headers
    }

    /// The trace id for logs: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// The sum of the durations of all vendor attempts so far, without queueing and retry pauses.
    #[must_use]
    pub fn vendor_time(&self) -> Duration {
        Duration::from_micros(self.vendor_micros.load(Ordering::Relaxed))
    }

    pub(super) fn add_vendor_time(&self, elapsed: Duration) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.vendor_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn sampled(&self) -> Option<&SampledContext> {
        self.sampled.as_ref()
    }
}

impl Tracer {
    /// Continues the caller's trace or starts one, decides whether it is sampled, and sets the
    /// sampled flag that vendors receive accordingly.
    #[must_use]
    pub fn trace_from_headers(self: &Arc<Self>, traceparent: &[&str], tracestate: &[&str]) -> TraceContext {
        let mut context = TraceContext::from_headers(traceparent, tracestate);
        let trace_id = TraceId::from_hex(&context.trace_id).unwrap_or(TraceId::INVALID);
        let caller_sampled = context.flags & SAMPLED != 0;
        context.sampled = self.sample(trace_id, context.parent_id.map(|parent_id| (parent_id, caller_sampled)));
        context.flags &= !SAMPLED;
        if context.sampled.is_some() {
            context.flags |= SAMPLED;
        }
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn propagate(traceparent: &[&str], tracestate: &[&str]) -> (String, Option<String>) {
        let headers = TraceContext::from_headers(traceparent, tracestate).headers_for_call();
        let value = |header: HeaderName| {
            headers.iter().find(|(name, _)| *name == header).map(|(_, value)| value.to_str().expect("text").to_owned())
        };
        (value(TRACEPARENT).expect("a parent"), value(TRACESTATE))
    }

    #[test]
    fn a_valid_trace_continues_with_a_new_parent_id() {
        let (parent, state) = propagate(&[PARENT], &["rojo=00f067aa0ba902b7, congo=t61", "", "x=1"]);
        assert!(parent.starts_with(&format!("00-{ID}-")) && parent.ends_with("-01"), "{parent}");
        assert_ne!(parent, PARENT);
        assert_eq!(parent.len(), 55);
        assert_eq!(state.as_deref(), Some("rojo=00f067aa0ba902b7,congo=t61,x=1"));
    }

    #[test]
    fn only_the_two_known_flags_are_passed_on() {
        assert!(propagate(&[&format!("00-{ID}-00f067aa0ba902b7-ff")], &[]).0.ends_with("-03"));
    }

    #[test]
    fn a_later_version_is_continued_as_version_00() {
        for line in [format!("01-{ID}-00f067aa0ba902b7-01-what-the-future"), format!("cc-{ID}-00f067aa0ba902b7-01")] {
            assert!(propagate(&[&line], &[]).0.starts_with(&format!("00-{ID}-")), "{line}");
        }
    }

    #[test]
    fn an_invalid_or_repeated_parent_begins_a_new_trace_without_state() {
        let zeros = "0".repeat(32);
        let bad: Vec<Vec<String>> = vec![
            vec![],
            vec![PARENT.into(), PARENT.into()],
            vec![PARENT.to_uppercase()],
            vec![format!("{PARENT}-more")],
            vec![format!("ff-{ID}-00f067aa0ba902b7-01")],
            vec![format!("00-{zeros}-00f067aa0ba902b7-01")],
            vec![format!("00-{ID}-0000000000000000-01")],
            vec![format!("00-{ID}-00f067aa0ba902b7")],
            vec![String::new()],
        ];
        for lines in bad {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let (parent, state) = propagate(&lines, &["a=1"]);
            assert!(parse_traceparent(&parent).is_some() && !parent.contains(ID), "{lines:?} gave {parent}");
            assert_eq!(state, None);
        }
    }

    #[test]
    fn an_invalid_tracestate_is_dropped_and_the_trace_continues() {
        let many = vec!["a=1"; 33].join(",");
        for state in ["novalue", "UPPER=1", "a=b=c", "=1", many.as_str()] {
            let (parent, kept) = propagate(&[PARENT], &[state]);
            assert!(parent.contains(ID));
            assert_eq!(kept, None, "{state}");
        }
        assert!(propagate(&[PARENT], &[vec!["a=1"; 32].join(",").as_str()]).1.is_some());
    }
}
