//! Signs calls, and keeps the token that it takes.
//!
//! - One sign-in at a time per system, whatever the load and on however many workers: all who need a token wait for the same
//!   one. If the caller who began it hangs up, one of those who wait takes over.
//! - A token has a number. What is asked for is always "one newer than number n", so a refusal that comes late, for a token
//!   already replaced, costs nothing, and a burst of refusals causes one sign-in.
//! - A token is replaced ahead of its end, in the background: nobody waits while the old one is good, and a sign-in that
//!   fails then is tried again a little later.
//! - A call whose token is refused is sent once more with a new one; a second refusal is about the credentials.
//!
//! A sign-in goes through the layers below: it has its own timeout, circuit and place in the queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use moka::future::Cache;
use tokio::time::{Instant, timeout_at};

use super::scrub::Secrets;
use super::trace::{CallTrace, TraceContext};
use super::{Call, Layer, Reply, Token, Transport, Vendor};
use crate::metrics::{Metrics, RefreshOutcome, RetryReason, SystemIndex};
use crate::record::{Effect, Fault, FaultKind, Retry};

/// How long refused credentials are not tried again: a vendor locks accounts that knock too often.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);
/// How long after a sign-in ahead of need has failed the next one is tried.
const AFTER_FAILED_AHEAD: Duration = Duration::from_secs(5);

/// A token with its number.
struct Held {
    number: u64,
    token: Token,
    /// When to replace it ahead of need.
    stale: Option<Instant>,
    expires_at: Option<SystemTime>,
}

impl Held {
    fn is_good(&self, now: Instant) -> bool {
        self.token.expires.is_none_or(|end| now < end)
    }
}

/// The tokens of one system, shared by all workers.
pub(super) struct Tokens<T> {
    inner: T,
    vendor: Arc<dyn Vendor>,
    secrets: Arc<Secrets>,
    ahead: Duration,
    current: RwLock<Option<Arc<Held>>>,
    /// Sign-ins under way, by the number of the token they replace.
    signing_in: Cache<u64, Arc<Held>>,
    refused: Mutex<Option<(Instant, Fault)>>,
    refreshing: AtomicBool,
    not_before: Mutex<Option<Instant>>,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

impl<T: Layer + 'static> Tokens<T> {
    pub(super) fn new(
        inner: T,
        vendor: Arc<dyn Vendor>,
        secrets: Arc<Secrets>,
        ahead: Duration,
        metrics: Arc<Metrics>,
        system: SystemIndex,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner,
            vendor,
            secrets,
            ahead,
            current: RwLock::default(),
            signing_in: Cache::new(16),
            refused: Mutex::default(),
            refreshing: AtomicBool::new(false),
            not_before: Mutex::default(),
            metrics,
            system,
        })
    }

    /// When the present token expires; `None` without a token or with one that does not.
    pub(super) fn expires_at(&self) -> Option<SystemTime> {
        self.current().and_then(|held| held.expires_at)
    }

    fn current(&self) -> Option<Arc<Held>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A token that is good, the present one if possible.
    async fn token(self: &Arc<Self>, call: &Call) -> Result<Arc<Held>, Fault> {
        let now = Instant::now();
        match self.current() {
            Some(held) if held.is_good(now) => {
                if held.stale.is_some_and(|stale| now >= stale) {
                    self.refresh_ahead(held.number, now);
                }
                Ok(held)
            }
            Some(held) => self.newer_than(held.number, call).await,
            None => self.newer_than(0, call).await,
        }
    }

    /// A token with a higher number, waiting no longer than the call may. A sign-in that it causes is part of its trace.
    async fn newer_than(&self, number: u64, call: &Call) -> Result<Arc<Held>, Fault> {
        let replaced = self.replace(number, call.trace.context());
        match call.deadline {
            None => replaced.await,
            Some(end) => timeout_at(end, replaced).await.unwrap_or_else(|_| {
                Err(Fault::new(FaultKind::Timeout).message("signing in at the vendor took too long").without_effect())
            }),
        }
    }

    async fn replace(&self, number: u64, cause: Option<&Arc<TraceContext>>) -> Result<Arc<Held>, Fault> {
        if let Some(held) = self.current().filter(|held| held.number > number) {
            return Ok(held);
        }
        if let Some(fault) = self.just_refused() {
            return Err(fault);
        }
        let sign_in = self.sign_in(number, cause);
        self.signing_in.try_get_with(number, sign_in).await.map_err(|fault| fault.as_ref().clone())
    }

    async fn sign_in(&self, replaces: u64, cause: Option<&Arc<TraceContext>>) -> Result<Arc<Held>, Fault> {
        // A sign-in that ended between the look in `replace` and here has made the token already.
        if let Some(held) = self.current().filter(|held| held.number > replaces) {
            return Ok(held);
        }
        let unsigned = Unsigned { inner: &self.inner, cause };
        let token = self.vendor.sign_in(&unsigned).await.map_err(|fault| self.not_signed_in(fault))?;
        if token.expires.is_some() {
            // A static key is not refreshed, only looked up.
            self.metrics.token_refresh(self.system, RefreshOutcome::Ok);
        }
        self.secrets.add(&token.secret);
        let now = Instant::now();
        let life = token.expires.map(|end| end.saturating_duration_since(now));
        let expires_at = life.and_then(|life| SystemTime::now().checked_add(life));
        let since_epoch = expires_at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(seconds) = since_epoch.and_then(|since| i64::try_from(since.as_secs()).ok()) {
            self.metrics.token_expires(self.system, seconds);
        }
        let stale = life.map(|life| now + life.saturating_sub(self.ahead.min(life / 2)));
        let held = Arc::new(Held { number: replaces + 1, token, stale, expires_at });
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&held));
        Ok(held)
    }

    /// A sign-in's fault as the fault of a call that was therefore not sent.
    fn not_signed_in(&self, fault: Fault) -> Fault {
        let kind = match fault.kind {
            FaultKind::TokenRefused | FaultKind::Rejected | FaultKind::Forbidden => FaultKind::CredentialsRejected,
            FaultKind::Ambiguous if fault.status.is_none_or(|status| status < 500) => FaultKind::CredentialsRejected,
            FaultKind::Ambiguous | FaultKind::Busy => FaultKind::VendorError,
            // Verdicts on a record; the caller's record is not what was asked for.
            FaultKind::NotFound | FaultKind::Conflict | FaultKind::Unsupported => FaultKind::Protocol,
            kind => kind,
        };
        let fault = Fault { kind, effect: Effect::None, ..fault };
        if kind == FaultKind::CredentialsRejected {
            self.metrics.token_refresh(self.system, RefreshOutcome::Refused);
            let fault = fault.retry(Retry::Never);
            let until = Instant::now() + AFTER_REFUSAL;
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some((until, fault.clone()));
            fault
        } else {
            self.metrics.token_refresh(self.system, RefreshOutcome::Failed);
            fault
        }
    }

    fn just_refused(&self) -> Option<Fault> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, fault)| fault.clone())
    }

    fn refresh_ahead(self: &Arc<Self>, number: u64, now: Instant) {
        let too_early = self.not_before.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|then| now < then);
        if too_early || self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let running = Refreshing(Arc::clone(self));
        actix_web::rt::spawn(async move {
            if running.0.replace(number, None).await.is_err() {
                let then = Instant::now() + AFTER_FAILED_AHEAD;
                *running.0.not_before.lock().unwrap_or_else(PoisonError::into_inner) = Some(then);
            }
        });
    }

    async fn signed(&self, call: &mut Call, held: &Held) -> Result<Reply, Fault> {
        let unsigned = call.headers.len();
        self.vendor.sign(call, &held.token);
        let result = self.inner.carry(call).await;
        call.headers.truncate(unsigned);
        result
    }
}

/// Marks that a refresh ahead of need is running, until it has ended or its worker has.
struct Refreshing<T: Layer + 'static>(Arc<Tokens<T>>);

impl<T: Layer + 'static> Drop for Refreshing<T> {
    fn drop(&mut self) {
        self.0.refreshing.store(false, Ordering::Release);
    }
}

/// What a sign-in is lent: the layers below, without a signature.
struct Unsigned<'t, T> {
    inner: &'t T,
    /// The request that needs the token.
    cause: Option<&'t Arc<TraceContext>>,
}

#[async_trait(?Send)]
impl<T: Layer> Transport for Unsigned<'_, T> {
    async fn send(&self, mut call: Call) -> Result<Reply, Fault> {
        call.trace = self.cause.map(CallTrace::of).unwrap_or_default();
        self.inner.carry(&mut call).await
    }
}

/// The layer.
pub(super) struct Signed<T: Layer + 'static>(pub(super) Arc<Tokens<T>>);

impl<T: Layer + 'static> Layer for Signed<T> {
    async fn carry(&self, call: &mut Call) -> Result<Reply, Fault> {
        let tokens = &self.0;
        if !call.signed {
            return tokens.inner.carry(call).await;
        }
        let held = tokens.token(call).await?;
        let refusal = match tokens.signed(call, &held).await {
            Err(fault) if fault.kind == FaultKind::TokenRefused => fault,
            result => return result,
        };
        // A static key cannot be renewed: signing in again would give the same one.
        if held.token.expires.is_none() {
            return Err(Fault { kind: FaultKind::CredentialsRejected, retry: Retry::Never, ..refusal });
        }
        let renewed = tokens.newer_than(held.number, call).await?;
        tokens.metrics.vendor_retry(tokens.system, RetryReason::TokenRefused);
        call.trace.renew();
        tokens.signed(call, &renewed).await.map_err(|fault| match fault.kind {
            FaultKind::TokenRefused => {
                Fault { kind: FaultKind::CredentialsRejected, effect: Effect::None, retry: Retry::Never, ..fault }
            }
            _ => fault,
        })
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
