//! One attempt: timed, judged and measured.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::scrub::Secrets;
use super::trace::{Called, Callee};
use super::{Call, Layer, Reply, Vendor};
use crate::metrics::{CallOutcome, Metrics, SystemIndex};
use crate::record::{Fault, FaultKind, Retry};

/// Turns what came off the wire into a success or a judged fault.
pub(super) struct Attempt<T> {
    inner: T,
    vendor: Arc<dyn Vendor>,
    callee: Callee,
    secrets: Arc<Secrets>,
    timeout: Duration,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

impl<T> Attempt<T> {
    pub(super) fn new(
        inner: T,
        vendor: Arc<dyn Vendor>,
        callee: Callee,
        secrets: Arc<Secrets>,
        timeout: Duration,
        metrics: Arc<Metrics>,
        system: SystemIndex,
    ) -> Self {
        Self { inner, vendor, callee, secrets, timeout, metrics, system }
    }

    /// `Retry::Never` marks a timeout that tells nothing of the vendor: its caller left it less than half the usual time.
    /// Else callers in a hurry could open the circuit for all the others.
    fn late(&self, given: Duration) -> Fault {
        let fault = Fault::new(FaultKind::Timeout).message("the vendor did not answer in time");
        if given < self.timeout / 2 { fault.retry(Retry::Never) } else { fault }
    }

    /// What a span tells of the call.
    fn called<'c>(&'c self, call: &'c Call, outcome: CallOutcome, result: &Result<Reply, Fault>) -> Called<'c> {
        let (status, error) = match result {
            Ok(reply) => (Some(reply.status), None),
            Err(fault) => (fault.status, Some(error_word(fault, outcome))),
        };
        Called { callee: &self.callee, call: call.name.as_str(), method: &call.method, status, error }
    }

    /// The vendor's own judgement first; a redirect it has no word on is nothing to follow.
    fn judge(&self, call: &Call, reply: Reply) -> Result<Reply, Fault> {
        match self.vendor.fault(call, &reply) {
            Some(mut fault) => {
                if let (Retry::Soon, Some(wait)) = (fault.retry, reply.retry_after) {
                    fault.retry = Retry::After(wait);
                }
                Err(self.secrets.scrubbed_for(call, fault))
            }
            None if (300..400).contains(&reply.status) => {
                let what = format!("the vendor answered with a redirect ({}), which is never followed", reply.status);
                Err(Fault::protocol(what))
            }
            None => Ok(reply),
        }
    }
}

impl<T: Layer> Layer for Attempt<T> {
    async fn carry(&self, call: &mut Call) -> Result<Reply, Fault> {
        let started = Instant::now();
        let own_end = started + self.timeout;
        let end = call.deadline.map_or(own_end, |deadline| deadline.min(own_end));
        if end <= started {
            let why = "the deadline passed before the call could be sent";
            return Err(Fault::new(FaultKind::Overloaded).message(why));
        }
        let (outcome, result) = match timeout_at(end, self.inner.carry(call)).await {
            Ok(Ok(reply)) => (outcome_of_status(reply.status), self.judge(call, reply)),
            Ok(Err(fault)) => (outcome_of_fault(&fault), Err(fault)),
            Err(_) => (CallOutcome::Timeout, Err(self.late(end - started))),
        };
        let took = started.elapsed();
        self.metrics.vendor_request(self.system, call.name, outcome, took.as_secs_f64());
        call.trace.ended(took, || self.called(call, outcome, &result));
        // A call that changes nothing has changed nothing, whatever became of it.
        result.map_err(|fault| if call.name.is_safe() { fault.without_effect() } else { fault })
    }
}

/// `error.type` of a call: the status where it is one of an error, else what went wrong instead.
fn error_word(fault: &Fault, outcome: CallOutcome) -> String {
    match (fault.status, outcome) {
        (Some(status @ 400..), _) => status.to_string(),
        (_, CallOutcome::Timeout | CallOutcome::Connect | CallOutcome::Broken) => outcome.as_str().to_owned(),
        _ if fault.kind == FaultKind::NotFound => "not_found".to_owned(),
        _ => "unexpected_answer".to_owned(),
    }
}

fn outcome_of_status(status: u16) -> CallOutcome {
    match status {
        ..300 => CallOutcome::Ok2xx,
        300..400 => CallOutcome::Redirect3xx,
        400..500 => CallOutcome::Refused4xx,
        500.. => CallOutcome::Failed5xx,
    }
}

fn outcome_of_fault(fault: &Fault) -> CallOutcome {
    match fault.kind {
        FaultKind::Unavailable => CallOutcome::Connect,
        FaultKind::Timeout => CallOutcome::Timeout,
        _ => CallOutcome::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{CallName, Effect};
    use crate::transport::testing::{Scripted, StatusVendor, call, metrics, ok, series, status};

    fn attempt(script: Scripted) -> (Attempt<Scripted>, Arc<Metrics>) {
        let (metrics, system) = metrics();
        let timeout = Duration::from_secs(10);
        (
            Attempt::new(
                script,
                Arc::new(StatusVendor),
                Callee::default(),
                Secrets::new(&[]),
                timeout,
                Arc::clone(&metrics),
                system,
            ),
            metrics,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_is_handed_on_and_counted() {
        let (attempt, metrics) = attempt(Scripted::new([ok()]));
        assert_eq!(attempt.carry(&mut call(CallName::Read)).await.expect("a reply").status, 200);
        assert_eq!(series(&metrics, r#"vendor_requests_total{call="read",outcome="2xx",system="crm"}"#), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_vendor_is_given_up_after_the_timeout_and_a_write_may_have_happened() {
        for (name, effect) in [(CallName::Update, Effect::Unknown), (CallName::Read, Effect::None)] {
            let (attempt, metrics) = attempt(Scripted::new([]).hanging());
            let started = Instant::now();
            let fault = attempt.carry(&mut call(name)).await.expect_err("a timeout");
            assert_eq!((fault.kind, fault.effect), (FaultKind::Timeout, effect));
            assert_eq!(started.elapsed().as_secs(), 10);
            let counted =
                format!(r#"vendor_requests_total{{call="{}",outcome="timeout",system="crm"}}"#, name.as_str());
            assert_eq!(series(&metrics, &counted), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_deadline_ends_a_call_before_the_timeout() {
        let (attempt, _) = attempt(Scripted::new([]).hanging());
        let mut call = call(CallName::Read);
        let started = Instant::now();
        call.deadline = Some(started + Duration::from_secs(3));
        let fault = attempt.carry(&mut call).await.expect_err("a timeout");
        assert_eq!((fault.kind, fault.retry), (FaultKind::Timeout, Retry::Never));
        assert_eq!(started.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_over_sends_nothing() {
        let (attempt, _) = attempt(Scripted::new([ok()]));
        let mut call = call(CallName::Update);
        call.deadline = Some(Instant::now());
        let fault = attempt.carry(&mut call).await.expect_err("too late");
        assert_eq!((fault.kind, fault.effect), (FaultKind::Overloaded, Effect::None));
        assert_eq!(attempt.inner.times(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_vendor_judges_and_its_retry_after_is_kept() {
        let mut busy = status(503);
        busy.as_mut().expect("a reply").retry_after = Some(Duration::from_secs(7));
        let (attempt, metrics) = attempt(Scripted::new([busy]));
        let fault = attempt.carry(&mut call(CallName::Update)).await.expect_err("a fault");
        assert_eq!((fault.kind, fault.retry), (FaultKind::Unavailable, Retry::After(Duration::from_secs(7))));
        assert_eq!(series(&metrics, r#"vendor_requests_total{call="update",outcome="5xx",system="crm"}"#), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_redirect_is_a_protocol_fault() {
        let (attempt, _) = attempt(Scripted::new([status(302)]));
        let fault = attempt.carry(&mut call(CallName::Update)).await.expect_err("a fault");
        assert_eq!((fault.kind, fault.effect), (FaultKind::Protocol, Effect::Unknown));
    }
}
