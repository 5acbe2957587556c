use std::future::Future;

use futures_util::future::join_all;
use tokio::task::LocalSet;
use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::record::VendorRequestKind;
use crate::transport::shared_token::{SignInLock, TokenStore};
use crate::transport::testing::{
    STATIC_KEY, ScriptedLayer, StatusVendor, err_kind, metric_value, metrics, ok, request, response, status,
};
use crate::transport::trace;

/// A layer in front of a vendor that responds to each request after a second, from a script.
fn auth_layer(
    script: impl IntoIterator<Item = Result<VendorResponse, VendorError>>,
) -> (AuthLayer<Arc<ScriptedLayer>>, Arc<ScriptedLayer>, Arc<Metrics>) {
    auth_layer_sharing(None, script)
}

fn auth_layer_sharing(
    shared: Option<SharedToken>,
    script: impl IntoIterator<Item = Result<VendorResponse, VendorError>>,
) -> (AuthLayer<Arc<ScriptedLayer>>, Arc<ScriptedLayer>, Arc<Metrics>) {
    let (metrics, system) = metrics();
    let inner = Arc::new(ScriptedLayer::new(script).with_latency(Duration::from_secs(1)));
    let refresh_margin = Duration::from_mins(1);
    let tokens = TokenProvider::new(
        Arc::clone(&inner),
        Arc::new(StatusVendor),
        SecretRedactor::new(&[]),
        refresh_margin,
        shared,
        Arc::clone(&metrics),
        system,
    );
    (AuthLayer(tokens), inner, metrics)
}

async fn read(layer: &AuthLayer<Arc<ScriptedLayer>>) -> Result<VendorResponse, VendorError> {
    layer.call(&mut request(VendorRequestKind::Read)).await
}

/// The requests that the vendor received: `sign_in`, or the kind and the token.
fn call_log(inner: &ScriptedLayer) -> Vec<String> {
    let describe = |call: &VendorRequest| match call.headers.first() {
        Some((_, token)) => format!("{} {}", call.kind.as_str(), token.to_str().expect("text")),
        None => call.kind.as_str().to_owned(),
    };
    inner.calls().iter().map(|(_, call)| describe(call)).collect()
}

async fn run_locally<F: Future>(test: F) -> F::Output {
    LocalSet::new().run_until(test).await
}

#[tokio::test(start_paused = true)]
async fn many_callers_share_one_sign_in() {
    let (layer, inner, metrics) = auth_layer([response(200, "T1")]);
    assert!(join_all((0..40).map(|_| read(&layer))).await.iter().all(Result::is_ok));
    let log = call_log(&inner);
    assert_eq!(log.iter().filter(|entry| *entry == "sign_in").count(), 1);
    assert_eq!(log.iter().filter(|entry| *entry == "read T1").count(), 40);
    assert_eq!(metric_value(&metrics, r#"token_refreshes_total{outcome="ok",system="crm"}"#), 1);
    assert!(layer.0.expires_at().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_static_key_is_never_refreshed_nor_counted_as_a_refresh() {
    let (layer, inner, metrics) =
        auth_layer([response(200, STATIC_KEY), ok(), err_kind(VendorErrorKind::TokenRejected)]);
    assert!(read(&layer).await.is_ok());
    let rejected = read(&layer).await.expect_err("rejected");
    assert_eq!(rejected.kind, VendorErrorKind::CredentialsRejected);
    assert_eq!(call_log(&inner), ["sign_in", "read static", "read static"]);
    assert_eq!(metric_value(&metrics, r#"token_refreshes_total{outcome="ok",system="crm"}"#), 0);
    assert_eq!(layer.0.expires_at(), None);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_refreshed_once_and_the_call_retried_once() {
    let (layer, inner, _) =
        auth_layer([response(200, "T1"), err_kind(VendorErrorKind::TokenRejected), response(200, "T2"), ok()]);
    assert!(read(&layer).await.is_ok());
    assert_eq!(call_log(&inner), ["sign_in", "read T1", "sign_in", "read T2"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_token_rejection_means_rejected_credentials() {
    let (layer, inner, _) = auth_layer([
        response(200, "T1"),
        err_kind(VendorErrorKind::TokenRejected),
        response(200, "T2"),
        err_kind(VendorErrorKind::TokenRejected),
    ]);
    let fault = layer.call(&mut request(VendorRequestKind::Update)).await.expect_err("rejected");
    assert_eq!((fault.kind, fault.effect), (VendorErrorKind::CredentialsRejected, SideEffect::None));
    assert_eq!(inner.call_count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_that_was_not_fresh_is_replaced_once_more() {
    let (layer, inner, _) = auth_layer([
        response(200, "T1"),
        ok(),
        err_kind(VendorErrorKind::TokenRejected),
        response(200, "T2"),
        err_kind(VendorErrorKind::TokenRejected),
        ok(),
        err_kind(VendorErrorKind::TokenRejected),
        response(200, "T3"),
        ok(),
    ]);
    read(&layer).await.expect("T1");
    // The second request is still under way with T1 when the first one has T2 already, which
    // another process then replaces.
    let late_request = async {
        sleep(Duration::from_millis(1_500)).await;
        read(&layer).await
    };
    let (first, second) = tokio::join!(read(&layer), late_request);
    first.expect("T2");
    second.expect("T3");
    assert_eq!(call_log(&inner).iter().filter(|entry| *entry == "sign_in").count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_rejections_causes_one_sign_in() {
    let burst = std::iter::once(response(200, "T1"))
        .chain([ok()])
        .chain((0..20).map(|_| err_kind(VendorErrorKind::TokenRejected)));
    let (layer, inner, _) = auth_layer(burst.chain([response(200, "T2")]));
    assert!(read(&layer).await.is_ok());
    assert!(join_all((0..20).map(|_| read(&layer))).await.iter().all(Result::is_ok));
    assert_eq!(call_log(&inner).iter().filter(|entry| *entry == "sign_in").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_late_rejection_of_an_old_token_keeps_the_new_one() {
    let (layer, inner, _) = auth_layer([
        response(200, "T1"),
        err_kind(VendorErrorKind::TokenRejected),
        err_kind(VendorErrorKind::TokenRejected),
        response(200, "T2"),
    ]);
    let late_request = async {
        sleep(Duration::from_millis(500)).await;
        read(&layer).await
    };
    // The second request is sent with T1 half a second after the first. It is rejected while T2 is
    // being fetched or after.
    let (first, second) = tokio::join!(read(&layer), late_request);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(layer.0.token_after(1, &request(VendorRequestKind::Read)).await.expect("T2").generation, 2);
    assert_eq!(call_log(&inner).iter().filter(|entry| *entry == "sign_in").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refreshed_before_expiry_without_blocking_callers() {
    run_locally(async {
        // The token lives 100 s. The margin of 60 s is more than half of that, so the refresh
        // starts at 50 s.
        let (layer, inner, _) = auth_layer([response(200, "T1"), ok(), ok(), response(200, "T2")]);
        read(&layer).await.expect("T1");
        advance(Duration::from_secs(48)).await;
        read(&layer).await.expect("T1 still");
        advance(Duration::from_secs(5)).await;
        let started = Instant::now();
        // The request does not wait for the refresh that it starts.
        let (both, _) = tokio::join!(read(&layer), read(&layer));
        both.expect("T1 still");
        assert_eq!(started.elapsed().as_secs(), 1);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(call_log(&inner).iter().filter(|entry| *entry == "sign_in").count(), 2);
        assert_eq!(layer.0.current().expect("a token").generation, 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_early_refresh_backs_off_and_does_not_fail_the_caller() {
    run_locally(async {
        let (layer, inner, metrics) =
            auth_layer([response(200, "T1"), ok(), ok(), err_kind(VendorErrorKind::Unavailable)]);
        read(&layer).await.expect("T1");
        advance(Duration::from_secs(55)).await;
        for _ in 0..3 {
            read(&layer).await.expect("T1 still");
        }
        assert_eq!(call_log(&inner).iter().filter(|entry| *entry == "sign_in").count(), 2);
        assert_eq!(metric_value(&metrics, r#"token_refreshes_total{outcome="failed",system="crm"}"#), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_never_sent() {
    let (layer, inner, _) = auth_layer([response(200, "T1"), ok(), response(200, "T2"), ok()]);
    read(&layer).await.expect("T1");
    advance(Duration::from_secs(100)).await;
    read(&layer).await.expect("T2");
    assert_eq!(call_log(&inner), ["sign_in", "read T1", "sign_in", "read T2"]);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_takes_over_when_the_leader_of_a_sign_in_disconnects() {
    let (layer, inner, _) = auth_layer([response(200, "T1"), response(200, "T2")]);
    let leader = timeout(Duration::from_millis(500), read(&layer));
    let (cancelled, waiter) = tokio::join!(leader, read(&layer));
    assert!(cancelled.is_err());
    assert!(waiter.is_ok());
    assert_eq!(call_log(&inner), ["sign_in", "sign_in", "read T2"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_is_not_sent_if_the_sign_in_fails() {
    for kind in [VendorErrorKind::Timeout, VendorErrorKind::ConnectionLost, VendorErrorKind::ServerError] {
        let (layer, inner, _) = auth_layer([err_kind(kind)]);
        let fault = layer.call(&mut request(VendorRequestKind::Update)).await.expect_err("no token");
        assert_eq!((fault.kind, fault.effect, inner.call_count()), (kind, SideEffect::None, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_error_is_not_an_error_of_the_record() {
    for (script, expected) in [
        (status(404), VendorErrorKind::InvalidResponse),
        (status(401), VendorErrorKind::CredentialsRejected),
        (status(422), VendorErrorKind::CredentialsRejected),
        (err_kind(VendorErrorKind::Conflict), VendorErrorKind::InvalidResponse),
    ] {
        let (metrics, system) = metrics();
        let attempt = Arc::new(super::super::timed_attempt::AttemptLayer::new(
            ScriptedLayer::new([script]),
            Arc::new(StatusVendor),
            trace::PeerAttributes::default(),
            SecretRedactor::new(&[]),
            Duration::from_secs(10),
            Arc::clone(&metrics),
            system,
        ));
        let layer = AuthLayer(TokenProvider::new(
            attempt,
            Arc::new(StatusVendor),
            SecretRedactor::new(&[]),
            Duration::ZERO,
            None,
            metrics,
            system,
        ));
        assert_eq!(layer.call(&mut request(VendorRequestKind::Read)).await.expect_err("no token").kind, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn rejected_credentials_are_not_retried_during_the_backoff() {
    let (layer, inner, metrics) = auth_layer([err_kind(VendorErrorKind::CredentialsRejected), response(200, "T1")]);
    for _ in 0..5 {
        assert_eq!(read(&layer).await.expect_err("rejected").kind, VendorErrorKind::CredentialsRejected);
    }
    assert_eq!(inner.call_count(), 1);
    assert_eq!(metric_value(&metrics, r#"token_refreshes_total{outcome="refused",system="crm"}"#), 1);
    advance(REJECTION_BACKOFF).await;
    assert!(read(&layer).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_for_a_sign_in_no_longer_than_its_deadline() {
    let (layer, inner, _) = auth_layer([]);
    let mut call = request(VendorRequestKind::Update);
    call.deadline = Some(Instant::now() + Duration::from_millis(300));
    let fault = layer.call(&mut call).await.expect_err("too late");
    assert_eq!((fault.kind, fault.effect, inner.call_count()), (VendorErrorKind::Timeout, SideEffect::None, 1));
}

/// A database with one token and one lock.
#[derive(Default)]
struct MemoryTokenStore {
    sealed: Mutex<Option<Vec<u8>>>,
    locked: Arc<AtomicBool>,
}

#[async_trait(?Send)]
impl TokenStore for MemoryTokenStore {
    async fn load(&self) -> Option<Vec<u8>> {
        lock(&self.sealed).clone()
    }

    async fn save(&self, sealed: Vec<u8>) {
        *lock(&self.sealed) = Some(sealed);
    }

    async fn try_lock(&self) -> Option<SignInLock> {
        let locked = Arc::clone(&self.locked);
        let is_free = !locked.swap(true, Ordering::AcqRel);
        is_free.then(|| SignInLock::new(move || locked.store(false, Ordering::Release)))
    }
}

fn replica(
    store: &Arc<MemoryTokenStore>,
    script: impl IntoIterator<Item = Result<VendorResponse, VendorError>>,
) -> (AuthLayer<Arc<ScriptedLayer>>, Arc<ScriptedLayer>) {
    let shared = SharedToken::new(Arc::clone(store) as _, "crm", &[crate::record::Secret::new("s3cret")]);
    let (layer, inner, _) = auth_layer_sharing(shared, script);
    (layer, inner)
}

#[tokio::test(start_paused = true)]
async fn replicas_that_start_together_sign_in_once() {
    let store = Arc::default();
    let (first, first_log) = replica(&store, [response(200, "T1"), ok()]);
    let (second, second_log) = replica(&store, [ok()]);
    let (one, other) = tokio::join!(read(&first), read(&second));
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(call_log(&first_log), ["sign_in", "read T1"]);
    assert_eq!(call_log(&second_log), ["read T1"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_another_replica_has_replaced_is_taken_over() {
    let store = Arc::default();
    let rejected = || err_kind(VendorErrorKind::TokenRejected);
    let (first, first_log) = replica(&store, [response(200, "T1"), ok(), rejected(), response(200, "T2"), ok()]);
    let (second, second_log) = replica(&store, [ok(), rejected(), ok()]);
    read(&first).await.expect("T1");
    read(&second).await.expect("T1");
    advance(Duration::from_secs(30)).await;
    // The vendor keeps one token for each client and has dropped T1.
    read(&first).await.expect("T2");
    read(&second).await.expect("T2");
    assert_eq!(call_log(&first_log), ["sign_in", "read T1", "read T1", "sign_in", "read T2"]);
    assert_eq!(call_log(&second_log), ["read T1", "read T1", "read T2"]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_signs_in_itself_if_the_lock_is_never_freed() {
    let store = Arc::<MemoryTokenStore>::default();
    let _never_freed = store.try_lock().await;
    let (layer, log) = replica(&store, [response(200, "T1"), ok()]);
    read(&layer).await.expect("T1");
    assert_eq!(call_log(&log), ["sign_in", "read T1"]);
}
