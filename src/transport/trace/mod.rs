//! W3C Trace Context: the caller's trace is continued towards the vendor (http-rules 181 to 184).

mod otlp;
mod sampling;
mod spans;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use opentelemetry::trace::SpanId;

pub use otlp::OtelEnvError;
use spans::SampledContext;
pub(super) use spans::{CallAttributes, PeerAttributes};
pub use spans::{RequestAttributes, RequestSpan, Tracer};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Trace Context §3.3.1.1: more list members than this need not be passed on.
const MAX_STATE_MEMBERS: usize = 32;
/// Longer lists are dropped whole: §3.3.1.5 asks for 512 at least.
const MAX_STATE_LEN: usize = 4096;

/// The trace a request belongs to, and the time that its vendor calls have taken.
#[derive(Debug)]
pub struct TraceContext {
    /// 32 lower-case hexadecimal digits, not all zero.
    trace_id: String,
    /// Bit 0 sampled, bit 1 random trace id (level 2); all others 0.
    flags: u8,
    /// The caller's list, unchanged but for empty members; empty if there is none.
    state: String,
    /// The caller's own id in the trace.
    parent_id: Option<u64>,
    /// In microseconds.
    vendor_micros: AtomicU64,
    /// Where its spans go, if it is recorded.
    sampled: Option<SampledContext>,
}

impl TraceContext {
    /// Continues the caller's trace, or begins one if `traceparent` is absent, repeated or invalid.
    /// `traceparent` and `tracestate` are the field lines as they came.
    #[must_use]
    pub fn from_headers(traceparent: &[&str], tracestate: &[&str]) -> Self {
        let parent = match traceparent {
            [only] => parse_traceparent(only),
            _ => None,
        };
        let (trace_id, caller, flags, state) = match parent {
            Some(TraceParent { trace_id, parent_id: caller, flags }) => {
                (trace_id.to_owned(), Some(caller), flags, join_tracestate(tracestate).unwrap_or_default())
            }
            // Not sampled: whether to record is the operator's decision at the vendor's end, not an accident of the caller's.
            None => (const_hex::encode(random_bytes::<16>()), None, 0b10, String::new()),
        };
        Self { trace_id, flags, state, parent_id: caller, vendor_micros: AtomicU64::new(0), sampled: None }
    }

    /// A trace that nobody has begun: for what the gateway does on its own account.
    #[must_use]
    pub fn new_root() -> Arc<Self> {
        Arc::new(Self::from_headers(&[], &[]))
    }

    /// `traceparent` (with a new parent id) and `tracestate` for one vendor call.
    fn headers_for_call(&self) -> Vec<(HeaderName, HeaderValue)> {
        // Of the flags only the lowest two are ever set.
        let flags = match self.flags {
            0b00 => "-00",
            0b01 => "-01",
            0b10 => "-02",
            _ => "-03",
        };
        let parent = ["00-", &self.trace_id, "-", &new_parent_id(), flags].concat();
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

    /// The trace id, for logs: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// How long the calls of this request have been on the wire so far, all together: neither queues nor pauses.
    #[must_use]
    pub fn vendor_time(&self) -> Duration {
        Duration::from_micros(self.vendor_micros.load(Ordering::Relaxed))
    }
}

/// The place of one vendor call in the trace of its request. The default belongs to none, and nothing is sent for it.
#[derive(Clone, Debug, Default)]
pub struct CallTrace {
    context: Option<Arc<TraceContext>>,
    /// How often the call has been sent before.
    resend_count: u32,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl CallTrace {
    /// A new call of this request.
    #[must_use]
    pub fn child_of(context: &Arc<TraceContext>) -> Self {
        Self { context: Some(Arc::clone(context)), resend_count: 0, headers: context.headers_for_call() }
    }

    /// Gives a call that is sent once more a parent id of its own (http-rules 182).
    pub(super) fn next_attempt(&mut self) {
        if let Some(context) = &self.context {
            self.headers = context.headers_for_call();
            self.resend_count += 1;
        }
    }

    /// The request that the call is made for.
    pub(super) fn context(&self) -> Option<&Arc<TraceContext>> {
        self.context.as_ref()
    }

    /// What is sent with the call.
    pub(super) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// The call has ended: counts as the request's [`vendor_time`](TraceContext::vendor_time), and is a span if the trace is
    /// recorded.
    pub(super) fn finish<'c>(&self, took: Duration, called: impl FnOnce() -> CallAttributes<'c>) {
        let Some(context) = &self.context else { return };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        context.vendor_micros.fetch_add(micros, Ordering::Relaxed);
        if context.sampled.is_some() {
            spans::record_call(context, self.span_id(), self.resend_count, took, called());
        }
    }

    /// The id that the vendor was sent.
    fn span_id(&self) -> SpanId {
        let sent = self.headers.first().and_then(|(_, parent)| parent.to_str().ok()).and_then(parse_traceparent);
        sent.map_or(SpanId::INVALID, |sent| SpanId::from(sent.parent_id))
    }
}

/// What a `traceparent` holds.
struct TraceParent<'l> {
    trace_id: &'l str,
    /// The id of the span that the sender is in.
    parent_id: u64,
    /// Those that are passed on.
    flags: u8,
}

/// Reads a `traceparent` (§3.2). A version above 00 may have more fields after the first four.
fn parse_traceparent(line: &str) -> Option<TraceParent<'_>> {
    let line = line.trim_matches([' ', '\t']);
    let mut fields = line.splitn(5, '-');
    let (version, trace_id, parent, flags, rest) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next());
    let hex =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let something = |text: &str| text.bytes().any(|byte| byte != b'0');
    let well_formed = hex(version, 2) && hex(trace_id, 32) && hex(parent, 16) && hex(flags, 2);
    let of_a_known_shape = version != "ff" && (version != "00" || rest.is_none());
    if !(well_formed && of_a_known_shape && something(trace_id) && something(parent)) {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some(TraceParent { trace_id, parent_id: u64::from_str_radix(parent, 16).ok()?, flags: flags & 0b11 })
}

/// All lines as one list, or nothing if it is not a list that may be passed on (§3.3).
fn join_tracestate(lines: &[&str]) -> Option<String> {
    let members: Vec<&str> = lines
        .iter()
        .flat_map(|line| line.split(','))
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
        .collect();
    let sound = members.len() <= MAX_STATE_MEMBERS
        && members.iter().all(|member| {
            member.split_once('=').is_some_and(|(key, value)| is_state_key(key) && is_state_value(value))
        });
    let joined = members.join(",");
    (sound && joined.len() <= MAX_STATE_LEN).then_some(joined)
}

fn is_state_key(key: &str) -> bool {
    let starts_well = key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    starts_well && key.len() <= 256 && key.bytes().all(allowed)
}

fn is_state_value(value: &str) -> bool {
    !value.is_empty() && value.len() <= 256 && value.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'=')
}

fn new_parent_id() -> String {
    const_hex::encode(random_bytes::<8>())
}

/// Trace ids are names, not secrets: a fast generator will do (§7.1 asks for randomness, not for secrecy).
fn random_bytes<const N: usize>() -> [u8; N] {
    loop {
        let mut bytes = [0; N];
        fastrand::fill(&mut bytes);
        if bytes != [0; N] {
            return bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn propagate(traceparent: &[&str], tracestate: &[&str]) -> (String, Option<String>) {
        let headers = TraceContext::from_headers(traceparent, tracestate).headers_for_call();
        let value = |wanted: HeaderName| {
            headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_str().expect("text").to_owned())
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

    #[test]
    fn a_retried_call_has_its_own_parent_id() {
        let mut call = CallTrace::child_of(&Arc::new(TraceContext::from_headers(&[PARENT], &["a=1"])));
        let before = call.headers().to_vec();
        call.next_attempt();
        let headers = call.headers();
        assert_ne!(headers[0].1, before[0].1);
        assert!(headers[0].1.to_str().expect("text").starts_with(&format!("00-{ID}-")));
        assert_eq!(headers[1], before[1]);
    }

    #[test]
    fn the_vendor_time_of_a_request_is_the_sum_of_its_calls() {
        let context = TraceContext::new_root();
        CallTrace::child_of(&context).finish(Duration::from_millis(20), || unreachable!("not recorded"));
        CallTrace::child_of(&context).finish(Duration::from_micros(22_001), || unreachable!("not recorded"));
        assert_eq!(context.vendor_time(), Duration::from_micros(42_001));
    }
}
