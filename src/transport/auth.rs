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

use super::redact::SecretRedactor;
use super::trace::{CallTrace, TraceContext};
use super::{Layer, Token, Transport, VendorProtocol, VendorRequest, VendorResponse};
use crate::metrics::{Metrics, RefreshOutcome, RetryReason, SystemIndex};
use crate::record::{Retry, SideEffect, VendorError, VendorErrorKind};

/// How long refused credentials are not tried again: a vendor locks accounts that knock too often.
const REJECTION_BACKOFF: Duration = Duration::from_secs(1);
/// How long after a sign-in ahead of need has failed the next one is tried.
const REFRESH_BACKOFF: Duration = Duration::from_secs(5);

/// A token with its number.
struct CachedToken {
    generation: u64,
    token: Token,
    /// When to replace it ahead of need.
    refresh_at: Option<Instant>,
    expires_at: Option<SystemTime>,
}

impl CachedToken {
    fn is_valid(&self, now: Instant) -> bool {
        self.token.expires.is_none_or(|end| now < end)
    }
}

/// The tokens of one system, shared by all workers.
pub(super) struct TokenProvider<T> {
    inner: T,
    vendor: Arc<dyn VendorProtocol>,
    redactor: Arc<SecretRedactor>,
    refresh_margin: Duration,
    current: RwLock<Option<Arc<CachedToken>>>,
    /// Sign-ins under way, by the number of the token they replace.
    sign_ins_in_flight: Cache<u64, Arc<CachedToken>>,
    last_rejection: Mutex<Option<(Instant, VendorError)>>,
    refreshing: AtomicBool,
    next_refresh_at: Mutex<Option<Instant>>,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

impl<T: Layer + 'static> TokenProvider<T> {
    pub(super) fn new(
        inner: T,
        vendor: Arc<dyn VendorProtocol>,
        secrets: Arc<SecretRedactor>,
        ahead: Duration,
        metrics: Arc<Metrics>,
        system: SystemIndex,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner,
            vendor,
            redactor: secrets,
            refresh_margin: ahead,
            current: RwLock::default(),
            sign_ins_in_flight: Cache::new(16),
            last_rejection: Mutex::default(),
            refreshing: AtomicBool::new(false),
            next_refresh_at: Mutex::default(),
            metrics,
            system,
        })
    }

    /// When the present token expires; `None` without a token or with one that does not.
    pub(super) fn expires_at(&self) -> Option<SystemTime> {
        self.current().and_then(|held| held.expires_at)
    }

    fn current(&self) -> Option<Arc<CachedToken>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A token that is good, the present one if possible.
    async fn token(self: &Arc<Self>, call: &VendorRequest) -> Result<Arc<CachedToken>, VendorError> {
        let now = Instant::now();
        match self.current() {
            Some(held) if held.is_valid(now) => {
                if held.refresh_at.is_some_and(|stale| now >= stale) {
                    self.refresh_in_background(held.generation, now);
                }
                Ok(held)
            }
            Some(held) => self.token_after(held.generation, call).await,
            None => self.token_after(0, call).await,
        }
    }

    /// A token with a higher number, waiting no longer than the call may. A sign-in that it causes is part of its trace.
    async fn token_after(&self, number: u64, call: &VendorRequest) -> Result<Arc<CachedToken>, VendorError> {
        let replaced = self.refresh(number, call.trace.context());
        match call.deadline {
            None => replaced.await,
            Some(end) => timeout_at(end, replaced).await.unwrap_or_else(|_| {
                Err(VendorError::new(VendorErrorKind::Timeout)
                    .message("signing in at the vendor took too long")
                    .without_effect())
            }),
        }
    }

    async fn refresh(&self, number: u64, cause: Option<&Arc<TraceContext>>) -> Result<Arc<CachedToken>, VendorError> {
        if let Some(held) = self.current().filter(|held| held.generation > number) {
            return Ok(held);
        }
        if let Some(fault) = self.cached_rejection() {
            return Err(fault);
        }
        let sign_in = self.sign_in(number, cause);
        self.sign_ins_in_flight.try_get_with(number, sign_in).await.map_err(|fault| fault.as_ref().clone())
    }

    async fn sign_in(&self, replaces: u64, cause: Option<&Arc<TraceContext>>) -> Result<Arc<CachedToken>, VendorError> {
        // A sign-in that ended between the look in `replace` and here has made the token already.
        if let Some(held) = self.current().filter(|held| held.generation > replaces) {
            return Ok(held);
        }
        let unsigned = UnauthenticatedTransport { inner: &self.inner, cause };
        let token = self.vendor.sign_in(&unsigned).await.map_err(|fault| self.sign_in_fault(fault))?;
        if token.expires.is_some() {
            // A static key is not refreshed, only looked up.
            self.metrics.token_refresh(self.system, RefreshOutcome::Ok);
        }
        self.redactor.add_token(&token.secret);
        let now = Instant::now();
        let life = token.expires.map(|end| end.saturating_duration_since(now));
        let expires_at = life.and_then(|life| SystemTime::now().checked_add(life));
        let since_epoch = expires_at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(seconds) = since_epoch.and_then(|since| i64::try_from(since.as_secs()).ok()) {
            self.metrics.token_expires(self.system, seconds);
        }
        let stale = life.map(|life| now + life.saturating_sub(self.refresh_margin.min(life / 2)));
        let held = Arc::new(CachedToken { generation: replaces + 1, token, refresh_at: stale, expires_at });
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&held));
        Ok(held)
    }

    /// A sign-in's fault as the fault of a call that was therefore not sent.
    fn sign_in_fault(&self, fault: VendorError) -> VendorError {
        let kind = match fault.kind {
            VendorErrorKind::TokenRejected | VendorErrorKind::Rejected | VendorErrorKind::Forbidden => {
                VendorErrorKind::CredentialsRejected
            }
            VendorErrorKind::Ambiguous if fault.status.is_none_or(|status| status < 500) => {
                VendorErrorKind::CredentialsRejected
            }
            VendorErrorKind::Ambiguous | VendorErrorKind::Busy => VendorErrorKind::ServerError,
            // Verdicts on a record; the caller's record is not what was asked for.
            VendorErrorKind::NotFound | VendorErrorKind::Conflict | VendorErrorKind::Unsupported => {
                VendorErrorKind::InvalidResponse
            }
            kind => kind,
        };
        let fault = VendorError { kind, effect: SideEffect::None, ..fault };
        if kind == VendorErrorKind::CredentialsRejected {
            self.metrics.token_refresh(self.system, RefreshOutcome::Refused);
            let fault = fault.retry(Retry::Never);
            let until = Instant::now() + REJECTION_BACKOFF;
            *self.last_rejection.lock().unwrap_or_else(PoisonError::into_inner) = Some((until, fault.clone()));
            fault
        } else {
            self.metrics.token_refresh(self.system, RefreshOutcome::Failed);
            fault
        }
    }

    fn cached_rejection(&self) -> Option<VendorError> {
        let refused = self.last_rejection.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, fault)| fault.clone())
    }

    fn refresh_in_background(self: &Arc<Self>, number: u64, now: Instant) {
        let too_early =
            self.next_refresh_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|then| now < then);
        if too_early || self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let running = RefreshGuard(Arc::clone(self));
        actix_web::rt::spawn(async move {
            if running.0.refresh(number, None).await.is_err() {
                let then = Instant::now() + REFRESH_BACKOFF;
                *running.0.next_refresh_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(then);
            }
        });
    }

    async fn send_authorized(
        &self,
        call: &mut VendorRequest,
        held: &CachedToken,
    ) -> Result<VendorResponse, VendorError> {
        let unsigned = call.headers.len();
        self.vendor.sign(call, &held.token);
        let result = self.inner.call(call).await;
        call.headers.truncate(unsigned);
        result
    }
}

/// Marks that a refresh ahead of need is running, until it has ended or its worker has.
struct RefreshGuard<T: Layer + 'static>(Arc<TokenProvider<T>>);

impl<T: Layer + 'static> Drop for RefreshGuard<T> {
    fn drop(&mut self) {
        self.0.refreshing.store(false, Ordering::Release);
    }
}

/// What a sign-in is lent: the layers below, without a signature.
struct UnauthenticatedTransport<'t, T> {
    inner: &'t T,
    /// The request that needs the token.
    cause: Option<&'t Arc<TraceContext>>,
}

#[async_trait(?Send)]
impl<T: Layer> Transport for UnauthenticatedTransport<'_, T> {
    async fn send(&self, mut call: VendorRequest) -> Result<VendorResponse, VendorError> {
        call.trace = self.cause.map(CallTrace::child_of).unwrap_or_default();
        self.inner.call(&mut call).await
    }
}

/// The layer.
pub(super) struct AuthLayer<T: Layer + 'static>(pub(super) Arc<TokenProvider<T>>);

impl<T: Layer + 'static> Layer for AuthLayer<T> {
    async fn call(&self, call: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        let tokens = &self.0;
        if !call.needs_auth {
            return tokens.inner.call(call).await;
        }
        let held = tokens.token(call).await?;
        let refusal = match tokens.send_authorized(call, &held).await {
            Err(fault) if fault.kind == VendorErrorKind::TokenRejected => fault,
            result => return result,
        };
        // A static key cannot be renewed: signing in again would give the same one.
        if held.token.expires.is_none() {
            return Err(VendorError { kind: VendorErrorKind::CredentialsRejected, retry: Retry::Never, ..refusal });
        }
        let renewed = tokens.token_after(held.generation, call).await?;
        tokens.metrics.vendor_retry(tokens.system, RetryReason::TokenRefused);
        call.trace.next_attempt();
        tokens.send_authorized(call, &renewed).await.map_err(|fault| match fault.kind {
            VendorErrorKind::TokenRejected => VendorError {
                kind: VendorErrorKind::CredentialsRejected,
                effect: SideEffect::None,
                retry: Retry::Never,
                ..fault
            },
            _ => fault,
        })
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
