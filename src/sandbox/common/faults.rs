//! Fault injection: what networks and failing servers do to a request.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::call_kind::CallKind;
use super::lock::lock;

/// A fault. Each variant states whether the request still takes effect at the vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// Sends this response. No effect.
    Response {
        /// HTTP status.
        status: u16,
        /// Headers, including `Content-Type` if there is to be one.
        headers: Vec<(String, String)>,
        /// Body.
        body: String,
    },
    /// Responds 200 with an HTML login page. No effect.
    HtmlPage,
    /// Responds 200 with JSON of another shape. No effect.
    WrongJson,
    /// Takes effect, then sends half of the body with a `Content-Length` for all of it, and closes.
    HalfBody,
    /// Takes effect, then sends the body followed by this many blanks, chunked, without a length.
    HugeBody {
        /// Number of blanks.
        bytes: u64,
    },
    /// Responds 302 with this `Location`. No effect.
    Redirect {
        /// The target.
        location: String,
    },
    /// Never responds. No effect.
    Hang,
    /// Takes effect and never responds.
    HangAfter,
    /// Takes effect, then sends the body with another text in the place of each of this one.
    Rewrite {
        /// What to look for.
        from: String,
        /// What to send instead, byte for byte.
        to: String,
    },
    /// Takes effect, then sends the body one byte at a time.
    SlowDrip {
        /// Pause before each byte.
        pause: Duration,
    },
    /// Waits, then takes effect and responds, even if the client has disconnected by then.
    Delay {
        /// How long to wait.
        pause: Duration,
    },
    /// Waits for [`Faults::release`], then takes effect and responds, even if the client has
    /// disconnected.
    Hold,
    /// Takes effect at once and responds after [`Faults::release`].
    HoldAfter,
    /// Closes the connection without sending a byte. No effect.
    ResetBefore,
    /// Takes effect and closes the connection without sending a byte.
    ResetAfter,
    /// Takes effect and responds 500.
    ApplyThen500,
}

impl InjectedFault {
    /// A response with a status and no body.
    pub fn status(status: u16) -> Self {
        Self::Response { status, headers: Vec::new(), body: String::new() }
    }

    /// A response with a JSON body.
    pub fn json(status: u16, body: impl Into<String>) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self::Response { status, headers, body: body.into() }
    }

    /// A response with any `Retry-After`, usually 429 or 503.
    pub fn retry_after(status: u16, value: &str) -> Self {
        Self::Response { status, headers: vec![("retry-after".to_owned(), value.to_owned())], body: String::new() }
    }
}

/// A fault and the requests that it applies to.
#[derive(Clone, Debug)]
struct FaultRule {
    /// `None` = every kind.
    call: Option<CallKind>,
    fault: InjectedFault,
    /// Requests of the kind to leave alone first.
    skip: u32,
    /// `None` = until it is removed.
    remaining: Option<u32>,
    /// The trace id of the requests that it applies to; `None` = all.
    trace: Option<String>,
    /// Whether the vendor responds to no request of the trace from the first use on.
    then_hangs: bool,
}

/// The faults of one fake vendor. The oldest that matches a request applies to it.
#[derive(Debug)]
pub struct Faults {
    rules: Mutex<Vec<FaultRule>>,
    /// Saves the lock while there is no fault, as in the benchmarks.
    has_rules: AtomicBool,
    releases: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { rules: Mutex::default(), has_rules: AtomicBool::new(false), releases: watch::Sender::new(0) }
    }
}

impl Faults {
    /// The fault applies to the next request of this kind (`None` = any).
    pub fn once(&self, call: impl Into<Option<CallKind>>, fault: InjectedFault) {
        self.add(call, fault, 0, Some(1));
    }

    /// The fault applies to the next `times` requests of this kind.
    pub fn next(&self, call: impl Into<Option<CallKind>>, times: u32, fault: InjectedFault) {
        self.add(call, fault, 0, Some(times));
    }

    /// The fault applies to every request of this kind until [`Faults::clear`].
    pub fn always(&self, call: impl Into<Option<CallKind>>, fault: InjectedFault) {
        self.add(call, fault, 0, None);
    }

    /// Leaves `skip` requests of this kind alone; then the fault applies to `times` (`None` = all).
    pub fn add(&self, call: impl Into<Option<CallKind>>, fault: InjectedFault, skip: u32, times: Option<u32>) {
        if times == Some(0) {
            return;
        }
        let rule = FaultRule { call: call.into(), fault, skip, remaining: times, trace: None, then_hangs: false };
        self.push(rule);
    }

    /// The fault applies to every request of this kind in a trace, until
    /// [`Faults::clear_trace`]. With `then_hangs` the vendor responds to no request of the trace
    /// from the first use on.
    pub fn add_to_trace(&self, trace: &str, call: impl Into<Option<CallKind>>, fault: InjectedFault, then_hangs: bool) {
        let trace = Some(trace.to_owned());
        self.push(FaultRule { call: call.into(), fault, skip: 0, remaining: None, trace, then_hangs });
    }

    /// Removes the faults of a trace.
    pub fn clear_trace(&self, trace: &str) {
        let mut rules = lock(&self.rules);
        rules.retain(|rule| rule.trace.as_deref() != Some(trace));
        self.has_rules.store(!rules.is_empty(), Ordering::Release);
    }

    fn push(&self, rule: FaultRule) {
        let mut rules = lock(&self.rules);
        rules.push(rule);
        self.has_rules.store(true, Ordering::Release);
    }

    /// Removes all faults. Held requests stay held.
    pub fn clear(&self) {
        let mut rules = lock(&self.rules);
        rules.clear();
        self.has_rules.store(false, Ordering::Release);
    }

    /// Releases every request that [`InjectedFault::Hold`] or [`InjectedFault::HoldAfter`] holds
    /// now.
    pub fn release(&self) {
        self.releases.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Receives the releases from now on.
    pub(super) fn subscribe_to_releases(&self) -> watch::Receiver<u64> {
        self.releases.subscribe()
    }

    /// Returns the fault for a request of this kind, in the trace of its `traceparent`, and counts
    /// it as used.
    pub(super) fn next_for(&self, call: CallKind, traceparent: Option<&str>) -> Option<InjectedFault> {
        if !self.has_rules.load(Ordering::Acquire) {
            return None;
        }
        let mut rules = lock(&self.rules);
        let trace = traceparent.and_then(|value| value.split('-').nth(1));
        let applies = |rule: &FaultRule| {
            rule.call.is_none_or(|kind| kind == call) && (rule.trace.is_none() || rule.trace.as_deref() == trace)
        };
        let (mut found, mut hanging) = (None, None);
        for rule in rules.iter_mut().filter(|rule| applies(rule)) {
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.remaining = rule.remaining.map(|times| times.saturating_sub(1));
            found = Some(rule.fault.clone());
            if std::mem::take(&mut rule.then_hangs) {
                let (call, fault) = (None, InjectedFault::Hang);
                hanging = Some(FaultRule { call, fault, skip: 0, remaining: None, ..rule.clone() });
            }
            break;
        }
        rules.extend(hanging);
        rules.retain(|rule| rule.remaining != Some(0));
        self.has_rules.store(!rules.is_empty(), Ordering::Release);
        found
    }
}
