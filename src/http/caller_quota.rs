//! The limits of callers (contract 4.16).

use std::rc::Rc;
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderValue};
use tokio::time::{Instant, sleep};

use super::headers::names::{RATE_LIMIT, RATE_LIMIT_POLICY};
use super::request_state::RequestState;
use super::response::append_header;
use crate::access::{AdmittedRequest, Principal, QuotaExceeded, QuotaPolicy, RateUsage};
use crate::problem::{Problem, ProblemKind};
use crate::system::ItemSlot;

/// The pause between two attempts of an item to begin.
const ITEM_PAUSE: Duration = Duration::from_millis(20);

/// Counts a request against its caller's limits.
///
/// # Errors
/// 429.
pub(super) fn admit(state: &RequestState) -> Result<(), Problem> {
    let Some(caller) = state.principal() else { return Ok(()) };
    match caller.admit() {
        Ok(admitted) => {
            if let Some(admitted) = admitted {
                state.set_admitted(admitted);
            }
            Ok(())
        }
        Err(exceeded) => {
            if let Some(quota) = caller.quota() {
                quota.reserve(&exceeded);
            }
            Err(refuse(state, caller, exceeded))
        }
    }
}

/// One of its items is in flight instead of a batch until this is dropped.
#[must_use]
pub(super) struct InFlightLoan(Rc<RequestState>);

impl Drop for InFlightLoan {
    fn drop(&mut self) {
        self.0.lends_in_flight.set(false);
    }
}

fn lend_in_flight(batch: &Rc<RequestState>) -> Option<InFlightLoan> {
    let is_free = batch.admitted().is_some() && !batch.lends_in_flight.replace(true);
    is_free.then(|| InFlightLoan(Rc::clone(batch)))
}

/// Counts an item of a batch against its caller's limits. One item at a time is in flight instead
/// of its batch; the others wait until they may be in flight besides it, and for a single request
/// that was refused. While it waits another item has its `slot`.
///
/// # Errors
/// 429: the rate, or too many requests in flight until the item's deadline.
pub(super) async fn admit_item(
    state: &RequestState,
    batch: &Rc<RequestState>,
    slot: Option<&ItemSlot>,
) -> Result<Option<InFlightLoan>, Problem> {
    let Some(caller) = state.principal() else { return Ok(None) };
    let Some(quota) = caller.quota() else { return Ok(None) };
    loop {
        let loan = lend_in_flight(batch);
        let reserved = quota.reserved().filter(|_| loan.is_none());
        let is_reserved = reserved.is_some();
        let admitted = match reserved {
            Some(exceeded) => Err(exceeded),
            None if loan.is_some() => match batch.admitted().and_then(AdmittedRequest::admit_first_item) {
                Some(first) => Ok(Some(first)),
                None => caller.admit_within_batch(),
            },
            None => caller.admit(),
        };
        match admitted {
            Ok(admitted) => {
                if let Some(admitted) = admitted {
                    state.set_admitted(admitted);
                }
                if let Some(slot) = slot {
                    slot.acquire(state.deadline()).await;
                }
                return Ok(loan);
            }
            Err(exceeded) => {
                let is_final = exceeded.policy == QuotaPolicy::Rate && !is_reserved;
                if is_final || Instant::now() + ITEM_PAUSE >= state.deadline() {
                    return Err(refuse(state, caller, exceeded));
                }
            }
        }
        // Those that have slots are in flight, so that they end and others can be.
        if let Some(slot) = slot {
            slot.release();
        }
        sleep(ITEM_PAUSE).await;
    }
}

fn refuse(state: &RequestState, caller: &Principal, exceeded: QuotaExceeded) -> Problem {
    let api = &state.api;
    api.metrics.callers().quota_refusal(exceeded.policy, api.authenticator.configured_name(caller));
    quota_problem(exceeded)
}

fn quota_problem(exceeded: QuotaExceeded) -> Problem {
    let detail = match exceeded.policy {
        QuotaPolicy::Rate => "you send more requests per second than you are allowed to",
        QuotaPolicy::InFlight => "you have more requests in flight than you are allowed to",
    };
    let mut problem = ProblemKind::QuotaExceeded.with_detail(detail).retry_after(exceeded.retry_after);
    problem.violated_policies = vec![exceeded.policy.as_str().to_owned()];
    problem
}

/// Adds the fields of draft-ietf-httpapi-ratelimit-headers-11, where the caller has a rate.
pub(super) fn add_headers(headers: &mut HeaderMap, state: &RequestState) {
    let Some(quota) = state.principal().and_then(Principal::quota) else { return };
    let Some(policy) = quota.rate_policy() else { return };
    let usage = match state.admitted() {
        Some(admitted) => admitted.usage(),
        None => quota.usage(),
    };
    if let Some(RateUsage { remaining, reset_seconds }) = usage {
        let (mut left, mut reset) = (itoa::Buffer::new(), itoa::Buffer::new());
        let value = ["\"rate\";r=", left.format(remaining), ";t=", reset.format(reset_seconds)].concat();
        append_header(headers, RATE_LIMIT, value);
    }
    if let Ok(value) = HeaderValue::from_maybe_shared(policy) {
        headers.append(RATE_LIMIT_POLICY, value);
    }
}
