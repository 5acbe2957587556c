//! Authentication: adds the vendor's token to requests, and gets and refreshes the token.
//!
//! - One sign-in per system is in flight at a time, whatever the load and on however many workers.
//!   All requests that need a token wait for it. If the caller that started it disconnects, one
//!   that waits starts another.
//! - A token has a generation. A request always needs one newer than generation *n*. So a late
//!   rejection of a token that has been replaced costs nothing, and a burst of rejections causes
//!   one sign-in.
//! - A token is refreshed in the background before it expires. Requests use the old token
//!   meanwhile. A refresh that fails is tried again a little later.
//! - A request whose token is rejected is sent once more with a new one. A second rejection means
//!   that the credentials are wrong, if that token was issued after the first rejection and nobody
//!   has replaced it. Otherwise the request is sent a third time: where the vendor keeps one token
//!   for each client, another process may have replaced it.
//! - Replicas with one database share the token through it (`shared_token`). Before a sign-in, a
//!   replica takes a token that another one has got meanwhile, and only one signs in at a time.
//!
//! A sign-in passes the layers below this one: it has its own timeout, and the circuit breaker and
//! the bulkhead apply to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use moka::future::Cache;
use tokio::time::{Instant, timeout_at};

use super::layer::{Layer, Transport};
use super::lock::lock;
use super::protocol::{Token, VendorProtocol};
use super::redact::SecretRedactor;
use super::request::VendorRequest;
use super::response::VendorResponse;
use super::shared_token::SharedToken;
use super::trace::{CallTrace, TraceContext};
use crate::metrics::{Metrics, RefreshOutcome, RetryReason, SystemIndex};
use crate::record::{Retry, SideEffect, VendorError, VendorErrorKind};

/// How long rejected credentials are not tried again: vendors lock accounts after repeated
/// failures.
const REJECTION_BACKOFF: Duration = Duration::from_secs(1);
/// How long after a failed background refresh the next one starts.
const REFRESH_BACKOFF: Duration = Duration::from_secs(5);

struct CachedToken {
    generation: u64,
    token: Token,
    /// When this process signed in for it; `None` if another replica did.
    issued_at: Option<Instant>,
    /// When to refresh it in the background.
    refresh_at: Option<Instant>,
    expires_at: Option<SystemTime>,
}

impl CachedToken {
    fn is_valid(&self, now: Instant) -> bool {
        self.token.expires.is_none_or(|end| now < end)
    }
}

/// The current token of one system, shared by all workers.
pub(super) struct TokenProvider<T> {
    inner: T,
    protocol: Arc<dyn VendorProtocol>,
    redactor: Arc<SecretRedactor>,
    refresh_margin: Duration,
    current: RwLock<Option<Arc<CachedToken>>>,
    /// The generation of a token that the vendor has rejected and that is not used again.
    rejected: AtomicU64,
    /// Sign-ins in flight, by the generation of the token they replace.
    sign_ins_in_flight: Cache<u64, Arc<CachedToken>>,
    shared: Option<SharedToken>,
    last_rejection: Mutex<Option<(Instant, VendorError)>>,
    refreshing: AtomicBool,
    next_refresh_at: Mutex<Option<Instant>>,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

impl<T: Layer + 'static> TokenProvider<T> {
    pub(super) fn new(
        inner: T,
        protocol: Arc<dyn VendorProtocol>,
        redactor: Arc<SecretRedactor>,
        refresh_margin: Duration,
        shared: Option<SharedToken>,
        metrics: Arc<Metrics>,
        system: SystemIndex,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner,
            protocol,
            redactor,
            refresh_margin,
            current: RwLock::default(),
            rejected: AtomicU64::new(0),
            sign_ins_in_flight: Cache::new(16),
            shared,
            last_rejection: Mutex::default(),
            refreshing: AtomicBool::new(false),
            next_refresh_at: Mutex::default(),
            metrics,
            system,
        })
    }

    /// When the current token expires; `None` without a token or for one that does not expire.
    pub(super) fn expires_at(&self) -> Option<SystemTime> {
        self.current().and_then(|cached| cached.expires_at)
    }

    fn current(&self) -> Option<Arc<CachedToken>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a valid token, the current one if possible.
    async fn token(self: &Arc<Self>, request: &VendorRequest) -> Result<Arc<CachedToken>, VendorError> {
        let now = Instant::now();
        match self.current() {
            Some(cached) if cached.is_valid(now) && cached.generation != self.rejected.load(Ordering::Relaxed) => {
                if cached.refresh_at.is_some_and(|refresh_at| now >= refresh_at) {
                    self.refresh_in_background(cached.generation, now);
                }
                Ok(cached)
            }
            Some(cached) => self.token_after(cached.generation, request).await,
            None => self.token_after(0, request).await,
        }
    }

    /// Returns a token of a later generation, before the deadline of the request. A sign-in that
    /// this causes belongs to the trace of the request.
    async fn token_after(&self, generation: u64, request: &VendorRequest) -> Result<Arc<CachedToken>, VendorError> {
        let refresh = self.refresh(generation, request.trace.context());
        match request.deadline {
            None => refresh.await,
            Some(deadline) => timeout_at(deadline, refresh).await.unwrap_or_else(|_| {
                Err(VendorError::new(VendorErrorKind::Timeout)
                    .message("the sign-in at the vendor took too long")
                    .without_effect())
            }),
        }
    }

    async fn refresh(
        &self,
        generation: u64,
        trace: Option<&Arc<TraceContext>>,
    ) -> Result<Arc<CachedToken>, VendorError> {
        if let Some(cached) = self.current().filter(|cached| cached.generation > generation) {
            return Ok(cached);
        }
        if let Some(fault) = self.cached_rejection() {
            return Err(fault);
        }
        let sign_in = self.sign_in(generation, trace);
        self.sign_ins_in_flight.try_get_with(generation, sign_in).await.map_err(|fault| fault.as_ref().clone())
    }

    async fn sign_in(&self, replaced: u64, trace: Option<&Arc<TraceContext>>) -> Result<Arc<CachedToken>, VendorError> {
        // Another sign-in may have ended since `refresh` read the current token.
        if let Some(cached) = self.current().filter(|cached| cached.generation > replaced) {
            return Ok(cached);
        }
        // Boxed: a future that is rarely needed must not make every request's future larger.
        let (token, issued_at) = match &self.shared {
            Some(shared) => Box::pin(self.shared_token(shared, trace)).await?,
            None => (Box::pin(self.request_token(trace)).await?, Some(Instant::now())),
        };
        Ok(self.store(self.cache_entry(replaced + 1, token, issued_at)))
    }

    /// The token that another replica has got meanwhile, or else a new one; with the time of this
    /// process's sign-in.
    async fn shared_token(
        &self,
        shared: &SharedToken,
        trace: Option<&Arc<TraceContext>>,
    ) -> Result<(Token, Option<Instant>), VendorError> {
        let former = self.current();
        let (newer, lock) = shared.newer_or_lock(former.as_ref().map(|cached| &cached.token)).await;
        if let Some(token) = newer {
            return Ok((token, None));
        }
        let token = self.request_token(trace).await?;
        shared.save(&token).await;
        drop(lock);
        Ok((token, Some(Instant::now())))
    }

    async fn request_token(&self, trace: Option<&Arc<TraceContext>>) -> Result<Token, VendorError> {
        let transport = UnauthenticatedTransport { inner: &self.inner, trace };
        let token = self.protocol.sign_in(&transport).await.map_err(|fault| self.sign_in_fault(fault))?;
        // An API key has no lifetime, is never refreshed and does not count as a refresh.
        if token.expires.is_some() {
            self.metrics.token_refresh(self.system, RefreshOutcome::Ok);
        }
        Ok(token)
    }

    fn store(&self, cached: CachedToken) -> Arc<CachedToken> {
        self.redactor.add_token(&cached.token.secret);
        let cached = Arc::new(cached);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&cached));
        cached
    }

    fn cache_entry(&self, generation: u64, token: Token, issued_at: Option<Instant>) -> CachedToken {
        let now = Instant::now();
        let Some(lifetime) = token.expires.map(|end| end.saturating_duration_since(now)) else {
            return CachedToken { generation, token, issued_at, refresh_at: None, expires_at: None };
        };
        let expires_at = SystemTime::now().checked_add(lifetime);
        let since_epoch = expires_at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(seconds) = since_epoch.and_then(|since| i64::try_from(since.as_secs()).ok()) {
            self.metrics.token_expires(self.system, seconds);
        }
        let refresh_at = now + lifetime.saturating_sub(self.refresh_margin.min(lifetime / 2));
        CachedToken { generation, token, issued_at, refresh_at: Some(refresh_at), expires_at }
    }

    /// Turns the error of a sign-in into the error of the request that was therefore not sent.
    fn sign_in_fault(&self, fault: VendorError) -> VendorError {
        let kind = match fault.kind {
            VendorErrorKind::TokenRejected | VendorErrorKind::Rejected | VendorErrorKind::Forbidden => {
                VendorErrorKind::CredentialsRejected
            }
            VendorErrorKind::Ambiguous if fault.status.is_none_or(|status| status < 500) => {
                VendorErrorKind::CredentialsRejected
            }
            VendorErrorKind::Ambiguous | VendorErrorKind::Busy => VendorErrorKind::ServerError,
            // These describe a record, and a sign-in concerns none.
            VendorErrorKind::NotFound
            | VendorErrorKind::Conflict
            | VendorErrorKind::Unsupported
            | VendorErrorKind::NotCompared => VendorErrorKind::InvalidResponse,
            kind => kind,
        };
        let fault = VendorError { kind, effect: SideEffect::None, ..fault };
        if kind != VendorErrorKind::CredentialsRejected {
            self.metrics.token_refresh(self.system, RefreshOutcome::Failed);
            return fault;
        }
        self.metrics.token_refresh(self.system, RefreshOutcome::Refused);
        let fault = fault.retry(Retry::Never);
        *lock(&self.last_rejection) = Some((Instant::now() + REJECTION_BACKOFF, fault.clone()));
        fault
    }

    fn cached_rejection(&self) -> Option<VendorError> {
        let rejection = lock(&self.last_rejection);
        rejection.as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, fault)| fault.clone())
    }

    fn refresh_in_background(self: &Arc<Self>, generation: u64, now: Instant) {
        let is_too_early = lock(&self.next_refresh_at).is_some_and(|then| now < then);
        if is_too_early || self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let guard = RefreshGuard(Arc::clone(self));
        actix_web::rt::spawn(async move {
            if guard.0.refresh(generation, None).await.is_err() {
                *lock(&guard.0.next_refresh_at) = Some(Instant::now() + REFRESH_BACKOFF);
            }
        });
    }

    async fn send_authorized(
        &self,
        request: &mut VendorRequest,
        cached: &CachedToken,
    ) -> Result<VendorResponse, VendorError> {
        let headers_without_credentials = request.headers.len();
        self.protocol.sign(request, &cached.token);
        let result = self.inner.call(request).await;
        request.headers.truncate(headers_without_credentials);
        result
    }

    /// Sends a request again whose former token was rejected.
    async fn send_again(
        &self,
        request: &mut VendorRequest,
        cached: &CachedToken,
    ) -> Result<VendorResponse, VendorError> {
        self.metrics.vendor_retry(self.system, RetryReason::TokenRefused);
        request.trace.next_attempt();
        self.send_authorized(request, cached).await
    }
}

/// Marks a background refresh as running, until it ends or its worker does.
struct RefreshGuard<T: Layer + 'static>(Arc<TokenProvider<T>>);

impl<T: Layer + 'static> Drop for RefreshGuard<T> {
    fn drop(&mut self) {
        self.0.refreshing.store(false, Ordering::Release);
    }
}

/// The transport of a sign-in: the layers below, without credentials.
struct UnauthenticatedTransport<'t, T> {
    inner: &'t T,
    /// The trace of the request that needs the token.
    trace: Option<&'t Arc<TraceContext>>,
}

#[async_trait(?Send)]
impl<T: Layer> Transport for UnauthenticatedTransport<'_, T> {
    async fn send(&self, mut request: VendorRequest) -> Result<VendorResponse, VendorError> {
        request.trace = self.trace.map(CallTrace::child_of).unwrap_or_default();
        self.inner.call(&mut request).await
    }
}

/// Adds the current token to requests.
pub(super) struct AuthLayer<T: Layer + 'static>(pub(super) Arc<TokenProvider<T>>);

impl<T: Layer + 'static> Layer for AuthLayer<T> {
    async fn call(&self, request: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        let tokens = &self.0;
        if !request.needs_auth {
            return tokens.inner.call(request).await;
        }
        let cached = tokens.token(request).await?;
        let rejection = match tokens.send_authorized(request, &cached).await {
            Err(fault) if fault.kind == VendorErrorKind::TokenRejected => fault,
            result => return result,
        };
        // A sign-in with an API key would give the same key again.
        if cached.token.expires.is_none() {
            return Err(VendorError { kind: VendorErrorKind::CredentialsRejected, retry: Retry::Never, ..rejection });
        }
        let rejected_at = Instant::now();
        let renewed = tokens.token_after(cached.generation, request).await?;
        let result = tokens.send_again(request, &renewed).await;
        let Err(VendorError { kind: VendorErrorKind::TokenRejected, .. }) = result else { return result };
        let is_current = tokens.current().is_some_and(|current| current.generation == renewed.generation);
        if is_current && renewed.issued_at.is_some_and(|issued_at| issued_at >= rejected_at) {
            return result.map_err(wrong_credentials);
        }
        let latest = tokens.token_after(renewed.generation, request).await?;
        tokens.send_again(request, &latest).await.map_err(wrong_credentials)
    }
}

impl<T: Layer + 'static> AuthLayer<T> {
    /// Sends a request once, whatever the vendor says of its token: a rejection is final for this
    /// request, and the next one signs in first.
    pub(super) async fn call_once(&self, request: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        let tokens = &self.0;
        let cached = tokens.token(request).await?;
        let result = tokens.send_authorized(request, &cached).await;
        if result.as_ref().is_err_and(|fault| fault.kind == VendorErrorKind::TokenRejected) {
            tokens.rejected.store(cached.generation, Ordering::Relaxed);
        }
        result.map_err(wrong_credentials)
    }
}

/// The rejection of a token that the vendor has just issued.
fn wrong_credentials(fault: VendorError) -> VendorError {
    match fault.kind {
        VendorErrorKind::TokenRejected => VendorError {
            kind: VendorErrorKind::CredentialsRejected,
            effect: SideEffect::None,
            retry: Retry::Never,
            ..fault
        },
        _ => fault,
    }
}

#[cfg(test)]
mod tests;
