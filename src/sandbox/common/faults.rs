//! Faults that can be switched on: what networks and vendors do to a call on a bad day.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::{CallKind, lock};

/// One misbehaviour. Each says whether the call still takes effect at the vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// Answers this. No effect.
    Response {
        /// HTTP status.
        status: u16,
        /// Headers, `Content-Type` included if there is to be one.
        headers: Vec<(String, String)>,
        /// Body.
        body: String,
    },
    /// Answers 200 with an HTML login page. No effect.
    HtmlPage,
    /// Answers 200 with JSON of another shape. No effect.
    WrongJson,
    /// Takes effect, then sends half of the answer's body under a `Content-Length` for all of it, and closes.
    HalfBody,
    /// Takes effect, then sends the answer's body followed by this many bytes of blanks, unannounced (chunked).
    HugeBody {
        /// Bytes of blanks.
        bytes: u64,
    },
    /// Answers 302 to this `Location`. No effect.
    Redirect {
        /// Where to.
        location: String,
    },
    /// Never answers. No effect.
    Hang,
    /// Takes effect and never answers.
    HangAfter,
    /// Takes effect, then sends the answer's body one byte at a time.
    SlowDrip {
        /// Pause before each byte.
        pause: Duration,
    },
    /// Takes effect and answers after a while, even if the caller has hung up by then.
    Delay {
        /// How long.
        pause: Duration,
    },
    /// Takes effect and answers when [`Faults::release`] is called, even if the caller has hung up by then.
    Hold,
    /// Takes effect and answers when [`Faults::release`] is called.
    HoldAfter,
    /// Closes the connection without a byte. No effect.
    ResetBefore,
    /// Takes effect and closes the connection without a byte.
    ResetAfter,
    /// Takes effect and answers 500.
    ApplyThen500,
}

impl InjectedFault {
    /// An answer with a status and no body.
    pub fn status(status: u16) -> Self {
        Self::Response { status, headers: Vec::new(), body: String::new() }
    }

    /// An answer with a JSON body.
    pub fn json(status: u16, body: impl Into<String>) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self::Response { status, headers, body: body.into() }
    }

    /// An answer with `Retry-After` as given (429 or 503 as a rule).
    pub fn retry_after(status: u16, value: &str) -> Self {
        Self::Response { status, headers: vec![("retry-after".to_owned(), value.to_owned())], body: String::new() }
    }
}

/// A fault waiting for its calls.
#[derive(Clone, Debug)]
struct FaultRule {
    /// `None` = any kind.
    call: Option<CallKind>,
    fault: InjectedFault,
    /// Calls of the kind to leave alone first.
    skip: u32,
    /// `None` = for ever.
    remaining: Option<u32>,
}

/// The faults switched on at one stand-in. The oldest that fits a call meets it.
#[derive(Debug)]
pub struct Faults {
    rules: Mutex<Vec<FaultRule>>,
    /// Spares the lock where no fault is on: the benchmark's case.
    has_rules: AtomicBool,
    releases: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { rules: Mutex::default(), has_rules: AtomicBool::new(false), releases: watch::Sender::new(0) }
    }
}

impl Faults {
    /// The next call of this kind (`None` = any) meets the fault.
    pub fn once(&self, call: impl Into<Option<CallKind>>, fault: InjectedFault) {
        self.add(call, fault, 0, Some(1));
    }

    /// The next `times` calls of this kind meet the fault.
    pub fn next(&self, call: impl Into<Option<CallKind>>, times: u32, fault: InjectedFault) {
        self.add(call, fault, 0, Some(times));
    }

    /// Every call of this kind meets the fault, until [`Faults::clear`].
    pub fn always(&self, call: impl Into<Option<CallKind>>, fault: InjectedFault) {
        self.add(call, fault, 0, None);
    }

    /// Leaves `skip` calls of this kind alone; then `times` (`None` = all) meet the fault.
    pub fn add(&self, call: impl Into<Option<CallKind>>, fault: InjectedFault, skip: u32, times: Option<u32>) {
        if times == Some(0) {
            return;
        }
        let mut rules = lock(&self.rules);
        rules.push(FaultRule { call: call.into(), fault, skip, remaining: times });
        self.has_rules.store(true, Ordering::Release);
    }

    /// Switches all faults off. Calls that are held stay held.
    pub fn clear(&self) {
        let mut rules = lock(&self.rules);
        rules.clear();
        self.has_rules.store(false, Ordering::Release);
    }

    /// Lets every call go on that a [`InjectedFault::Hold`] or [`InjectedFault::HoldAfter`] is holding now.
    pub fn release(&self) {
        self.releases.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Hears of releases from now on.
    pub(super) fn subscribe_to_releases(&self) -> watch::Receiver<u64> {
        self.releases.subscribe()
    }

    /// The fault that meets a call of this kind now, used up by one.
    pub(super) fn next_for(&self, call: CallKind) -> Option<InjectedFault> {
        if !self.has_rules.load(Ordering::Acquire) {
            return None;
        }
        let mut rules = lock(&self.rules);
        let mut met = None;
        for rule in rules.iter_mut().filter(|rule| rule.call.is_none_or(|kind| kind == call)) {
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.remaining = rule.remaining.map(|times| times.saturating_sub(1));
            met = Some(rule.fault.clone());
            break;
        }
        rules.retain(|rule| rule.remaining != Some(0));
        self.has_rules.store(!rules.is_empty(), Ordering::Release);
        met
    }
}
