//! A system with two secrets uses the one that the vendor accepts, so that a secret can be
//! replaced.
//!
//! The first is used. A request whose credentials the vendor rejects, also with a fresh token, is
//! sent once more with the second, and only once: the rejection did nothing. If the vendor accepts
//! that, the process uses the second for some minutes, and then tries the first again.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::auth::AuthLayer;
use super::layer::Layer;
use super::lock::lock;
use super::request::VendorRequest;
use super::response::VendorResponse;
use crate::record::{VendorError, VendorErrorKind};

/// How long the second secret is used before the first is tried again.
const USE_SECOND_FOR: Duration = Duration::from_mins(5);

/// Authenticates with the secret that the vendor accepts.
pub(super) struct FallbackLayer<T: Layer + 'static> {
    first: AuthLayer<T>,
    second: Option<SecondSecret<T>>,
}

/// The second secret of a system.
pub(super) struct SecondSecret<T: Layer + 'static> {
    layer: AuthLayer<T>,
    /// Until when it is used first.
    until: Mutex<Option<Instant>>,
    /// Called when it takes over.
    on_fallback: Box<dyn Fn() + Send + Sync>,
}

impl<T: Layer + 'static> SecondSecret<T> {
    pub(super) fn new(layer: AuthLayer<T>, on_fallback: impl Fn() + Send + Sync + 'static) -> Self {
        Self { layer, until: Mutex::default(), on_fallback: Box::new(on_fallback) }
    }

    fn is_in_use(&self) -> bool {
        lock(&self.until).is_some_and(|until| Instant::now() < until)
    }

    fn take_over(&self) {
        let now = Instant::now();
        // Of many requests that were rejected at the same time one is the first.
        let before = lock(&self.until).replace(now + USE_SECOND_FOR);
        if before.is_none_or(|until| until <= now) {
            (self.on_fallback)();
        }
    }

    fn use_first(&self) {
        *lock(&self.until) = None;
    }
}

impl<T: Layer + 'static> FallbackLayer<T> {
    pub(super) fn new(first: AuthLayer<T>, second: Option<SecondSecret<T>>) -> Self {
        Self { first, second }
    }
}

impl<T: Layer + 'static> Layer for FallbackLayer<T> {
    async fn call(&self, request: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        let Some(second) = &self.second else { return self.first.call(request).await };
        let is_second = second.is_in_use();
        let (used, other) = if is_second { (&second.layer, &self.first) } else { (&self.first, &second.layer) };
        let result = used.call(request).await;
        if !is_rejected(&result) {
            return result;
        }
        request.trace.next_attempt();
        // Boxed: a future that is rarely needed must not make every request's future larger.
        let again = Box::pin(other.call_once(request)).await;
        if is_accepted(&again) {
            if is_second { second.use_first() } else { second.take_over() }
        }
        again
    }
}

/// Whether the vendor has judged the request, and so has accepted its credentials.
fn is_accepted(result: &Result<VendorResponse, VendorError>) -> bool {
    match result {
        Ok(_) => true,
        Err(fault) => matches!(
            fault.kind,
            VendorErrorKind::NotFound
                | VendorErrorKind::Conflict
                | VendorErrorKind::Busy
                | VendorErrorKind::Rejected
                | VendorErrorKind::NotCompared
        ),
    }
}

fn is_rejected(result: &Result<VendorResponse, VendorError>) -> bool {
    result.as_ref().is_err_and(|fault| fault.kind == VendorErrorKind::CredentialsRejected)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actix_web::http::header::HeaderValue;
    use async_trait::async_trait;
    use tokio::time::advance;

    use super::*;
    use crate::record::VendorRequestKind;
    use crate::transport::auth::TokenProvider;
    use crate::transport::layer::Transport;
    use crate::transport::protocol::{Token, VendorProtocol};
    use crate::transport::redact::SecretRedactor;
    use crate::transport::testing::{ScriptedLayer, err_kind, metrics, ok, request};

    /// A vendor that knows a caller by this key, or by a token that it gives at each sign-in.
    struct KeyVendor {
        key: &'static str,
        gives_tokens: bool,
    }

    #[async_trait(?Send)]
    impl VendorProtocol for KeyVendor {
        fn classify(&self, _: &VendorRequest, _: &VendorResponse) -> Option<VendorError> {
            None
        }

        fn kept_headers(&self) -> &'static [&'static str] {
            &[]
        }

        fn sign(&self, request: &mut VendorRequest, token: &Token) {
            request.headers.push((actix_web::http::header::AUTHORIZATION, token.secret.clone()));
        }

        async fn sign_in(&self, _: &dyn Transport) -> Result<Token, VendorError> {
            let expires = self.gives_tokens.then(|| Instant::now() + Duration::from_hours(1));
            Ok(Token { secret: HeaderValue::from_static(self.key), expires })
        }
    }

    struct Fixture {
        layer: FallbackLayer<Arc<ScriptedLayer>>,
        inner: Arc<ScriptedLayer>,
        fallbacks: Arc<AtomicUsize>,
    }

    fn fixture(script: impl IntoIterator<Item = Result<VendorResponse, VendorError>>) -> Fixture {
        fixture_of(false, script)
    }

    fn fixture_of(
        gives_tokens: bool,
        script: impl IntoIterator<Item = Result<VendorResponse, VendorError>>,
    ) -> Fixture {
        let (metrics, system) = metrics();
        let inner = Arc::new(ScriptedLayer::new(script));
        let auth = |key| {
            let (inner, protocol) = (Arc::clone(&inner), Arc::new(KeyVendor { key, gives_tokens }));
            let (redactor, metrics) = (SecretRedactor::new(&[]), Arc::clone(&metrics));
            AuthLayer(TokenProvider::new(inner, protocol, redactor, Duration::ZERO, None, metrics, system))
        };
        let fallbacks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&fallbacks);
        let second = SecondSecret::new(auth("second"), move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        Fixture { layer: FallbackLayer::new(auth("first"), Some(second)), inner, fallbacks }
    }

    impl Fixture {
        async fn read(&self) -> Option<VendorErrorKind> {
            self.layer.call(&mut request(VendorRequestKind::Read)).await.err().map(|fault| fault.kind)
        }

        /// The keys that the vendor got.
        fn keys(&self) -> Vec<String> {
            let key = |call: &VendorRequest| call.headers[0].1.to_str().expect("text").to_owned();
            self.inner.calls().iter().map(|(_, call)| key(call)).collect()
        }
    }

    fn rejected() -> Result<VendorResponse, VendorError> {
        err_kind(VendorErrorKind::TokenRejected)
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_secret_takes_over_for_five_minutes() {
        let vendor = fixture([rejected(), ok(), ok(), rejected(), ok()]);
        assert_eq!((vendor.read().await, vendor.read().await), (None, None));
        assert_eq!(vendor.keys(), ["first", "second", "second"]);
        advance(USE_SECOND_FOR).await;
        assert_eq!(vendor.read().await, None);
        assert_eq!(vendor.keys()[3..], ["first", "second"]);
        assert_eq!(vendor.fallbacks.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_secret_is_used_again_when_the_second_is_rejected() {
        let vendor = fixture([rejected(), ok(), rejected(), ok(), ok()]);
        for _ in 0..3 {
            assert_eq!(vendor.read().await, None);
        }
        assert_eq!(vendor.keys(), ["first", "second", "second", "first", "first"]);
    }

    #[tokio::test(start_paused = true)]
    async fn two_rejected_secrets_cost_one_more_call_and_change_nothing() {
        let vendor = fixture([rejected(), rejected()]);
        assert_eq!(vendor.read().await, Some(VendorErrorKind::CredentialsRejected));
        assert_eq!(vendor.read().await, None);
        assert_eq!(vendor.keys(), ["first", "second", "first"]);
        assert_eq!(vendor.fallbacks.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_secret_takes_over_only_once_the_vendor_accepts_it() {
        for kind in [VendorErrorKind::Timeout, VendorErrorKind::RateLimited, VendorErrorKind::ServerError] {
            let vendor = fixture([rejected(), err_kind(kind), rejected(), err_kind(VendorErrorKind::NotFound), ok()]);
            assert_eq!(vendor.read().await, Some(kind));
            assert_eq!(
                (vendor.read().await, vendor.fallbacks.load(Ordering::Relaxed)),
                (Some(VendorErrorKind::NotFound), 1)
            );
            assert_eq!(vendor.read().await, None);
            assert_eq!(vendor.keys(), ["first", "second", "first", "second", "second"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_secret_with_tokens_costs_one_more_call_too() {
        let vendor = fixture_of(true, [rejected(), rejected(), rejected(), ok()]);
        assert_eq!(vendor.read().await, Some(VendorErrorKind::CredentialsRejected));
        assert_eq!(vendor.keys(), ["first", "first", "second"]);
        assert_eq!((vendor.read().await, vendor.fallbacks.load(Ordering::Relaxed)), (None, 0));
    }
}
