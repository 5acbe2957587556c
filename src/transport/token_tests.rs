use std::future::Future;

use futures_util::future::join_all;
use tokio::task::LocalSet;
use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::record::CallName;
use crate::transport::testing::{STATIC_KEY, Scripted, StatusVendor, call, fails, metrics, ok, reply, series, status};
use crate::transport::trace;

/// A vendor whose sign-in takes a second, with a script for everything that comes.
fn signed(
    script: impl IntoIterator<Item = Result<Reply, Fault>>,
) -> (Signed<Arc<Scripted>>, Arc<Scripted>, Arc<Metrics>) {
    let (metrics, system) = metrics();
    let inner = Arc::new(Scripted::new(script).taking(Duration::from_secs(1)));
    let ahead = Duration::from_mins(1);
    let tokens =
        Tokens::new(Arc::clone(&inner), Arc::new(StatusVendor), Secrets::new(&[]), ahead, Arc::clone(&metrics), system);
    (Signed(tokens), inner, metrics)
}

async fn read(layer: &Signed<Arc<Scripted>>) -> Result<Reply, Fault> {
    layer.carry(&mut call(CallName::Read)).await
}

/// What came to the vendor: `sign_in`, or the call with its token.
fn story(inner: &Scripted) -> Vec<String> {
    let words = |call: &Call| match call.headers.first() {
        Some((_, token)) => format!("{} {}", call.name.as_str(), token.to_str().expect("text")),
        None => call.name.as_str().to_owned(),
    };
    inner.seen().iter().map(|(_, call)| words(call)).collect()
}

async fn locally<F: Future>(test: F) -> F::Output {
    LocalSet::new().run_until(test).await
}

#[tokio::test(start_paused = true)]
async fn many_callers_share_one_sign_in() {
    let (layer, inner, metrics) = signed([reply(200, "T1")]);
    assert!(join_all((0..40).map(|_| read(&layer))).await.iter().all(Result::is_ok));
    let story = story(&inner);
    assert_eq!(story.iter().filter(|one| *one == "sign_in").count(), 1);
    assert_eq!(story.iter().filter(|one| *one == "read T1").count(), 40);
    assert_eq!(series(&metrics, r#"token_refreshes_total{outcome="ok",system="crm"}"#), 1);
    assert!(layer.0.expires_at().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_static_key_is_never_refreshed_and_not_counted_as_refreshed() {
    let (layer, inner, metrics) = signed([reply(200, STATIC_KEY), ok(), fails(FaultKind::TokenRefused)]);
    assert!(read(&layer).await.is_ok());
    let refused = read(&layer).await.expect_err("refused");
    assert_eq!(refused.kind, FaultKind::CredentialsRejected);
    assert_eq!(story(&inner), ["sign_in", "read static", "read static"]);
    assert_eq!(series(&metrics, r#"token_refreshes_total{outcome="ok",system="crm"}"#), 0);
    assert_eq!(layer.0.expires_at(), None);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_once_and_the_call_repeated_once() {
    let (layer, inner, _) = signed([reply(200, "T1"), fails(FaultKind::TokenRefused), reply(200, "T2"), ok()]);
    assert!(read(&layer).await.is_ok());
    assert_eq!(story(&inner), ["sign_in", "read T1", "sign_in", "read T2"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_refusal_is_about_the_credentials() {
    let (layer, inner, _) =
        signed([reply(200, "T1"), fails(FaultKind::TokenRefused), reply(200, "T2"), fails(FaultKind::TokenRefused)]);
    let fault = layer.carry(&mut call(CallName::Update)).await.expect_err("refused");
    assert_eq!((fault.kind, fault.effect), (FaultKind::CredentialsRejected, Effect::None));
    assert_eq!(inner.times(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_refusals_causes_one_sign_in() {
    let burst = std::iter::once(reply(200, "T1")).chain([ok()]).chain((0..20).map(|_| fails(FaultKind::TokenRefused)));
    let (layer, inner, _) = signed(burst.chain([reply(200, "T2")]));
    assert!(read(&layer).await.is_ok());
    assert!(join_all((0..20).map(|_| read(&layer))).await.iter().all(Result::is_ok));
    assert_eq!(story(&inner).iter().filter(|one| *one == "sign_in").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_late_refusal_of_an_old_token_does_not_cost_the_new_one() {
    let (layer, inner, _) =
        signed([reply(200, "T1"), fails(FaultKind::TokenRefused), fails(FaultKind::TokenRefused), reply(200, "T2")]);
    let late = async {
        sleep(Duration::from_millis(500)).await;
        read(&layer).await
    };
    // The second call is sent with T1 half a second after the first, and refused when T2 is being fetched or already there.
    let (first, second) = tokio::join!(read(&layer), late);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(layer.0.newer_than(1, &call(CallName::Read)).await.expect("T2").number, 2);
    assert_eq!(story(&inner).iter().filter(|one| *one == "sign_in").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_ahead_of_its_end_and_nobody_waits() {
    locally(async {
        // The token lives 100 s; 60 s ahead would be more than half its life, so it is stale at 50 s.
        let (layer, inner, _) = signed([reply(200, "T1"), ok(), ok(), reply(200, "T2")]);
        read(&layer).await.expect("T1");
        advance(Duration::from_secs(48)).await;
        read(&layer).await.expect("T1 still");
        advance(Duration::from_secs(5)).await;
        let begun = Instant::now();
        // In the story the call comes first: the refresh runs beside it.
        let (both, _) = tokio::join!(read(&layer), read(&layer));
        both.expect("T1 still");
        assert_eq!(begun.elapsed().as_secs(), 1);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(story(&inner).iter().filter(|one| *one == "sign_in").count(), 2);
        assert_eq!(layer.0.current().expect("a token").number, 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_ahead_that_fails_does_not_fail_the_caller_and_is_not_repeated_at_once() {
    locally(async {
        let (layer, inner, metrics) = signed([reply(200, "T1"), ok(), ok(), fails(FaultKind::Unavailable)]);
        read(&layer).await.expect("T1");
        advance(Duration::from_secs(55)).await;
        for _ in 0..3 {
            read(&layer).await.expect("T1 still");
        }
        assert_eq!(story(&inner).iter().filter(|one| *one == "sign_in").count(), 2);
        assert_eq!(series(&metrics, r#"token_refreshes_total{outcome="failed",system="crm"}"#), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_never_sent() {
    let (layer, inner, _) = signed([reply(200, "T1"), ok(), reply(200, "T2"), ok()]);
    read(&layer).await.expect("T1");
    advance(Duration::from_secs(100)).await;
    read(&layer).await.expect("T2");
    assert_eq!(story(&inner), ["sign_in", "read T1", "sign_in", "read T2"]);
}

#[tokio::test(start_paused = true)]
async fn when_the_leader_of_a_sign_in_hangs_up_a_waiter_takes_over() {
    let (layer, inner, _) = signed([reply(200, "T1"), reply(200, "T2")]);
    let leader = timeout(Duration::from_millis(500), read(&layer));
    let (gone, waiter) = tokio::join!(leader, read(&layer));
    assert!(gone.is_err());
    assert!(waiter.is_ok());
    assert_eq!(story(&inner), ["sign_in", "sign_in", "read T2"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_sign_in_fails_was_not_sent() {
    for kind in [FaultKind::Timeout, FaultKind::Broken, FaultKind::VendorError] {
        let (layer, inner, _) = signed([fails(kind)]);
        let fault = layer.carry(&mut call(CallName::Update)).await.expect_err("no token");
        assert_eq!((fault.kind, fault.effect, inner.times()), (kind, Effect::None, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_sign_ins_verdict_is_not_a_verdict_on_the_record() {
    for (script, told) in [
        (status(404), FaultKind::Protocol),
        (status(401), FaultKind::CredentialsRejected),
        (status(422), FaultKind::CredentialsRejected),
        (fails(FaultKind::Conflict), FaultKind::Protocol),
    ] {
        let (metrics, system) = metrics();
        let judged = Arc::new(super::super::attempt::Attempt::new(
            Scripted::new([script]),
            Arc::new(StatusVendor),
            trace::Callee::default(),
            Secrets::new(&[]),
            Duration::from_secs(10),
            Arc::clone(&metrics),
            system,
        ));
        let layer =
            Signed(Tokens::new(judged, Arc::new(StatusVendor), Secrets::new(&[]), Duration::ZERO, metrics, system));
        assert_eq!(layer.carry(&mut call(CallName::Read)).await.expect_err("no token").kind, told);
    }
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_not_tried_again_for_a_moment() {
    let (layer, inner, metrics) = signed([fails(FaultKind::CredentialsRejected), reply(200, "T1")]);
    for _ in 0..5 {
        assert_eq!(read(&layer).await.expect_err("refused").kind, FaultKind::CredentialsRejected);
    }
    assert_eq!(inner.times(), 1);
    assert_eq!(series(&metrics, r#"token_refreshes_total{outcome="refused",system="crm"}"#), 1);
    advance(AFTER_REFUSAL).await;
    assert!(read(&layer).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_for_a_sign_in_no_longer_than_its_deadline() {
    let (layer, inner, _) = signed([]);
    let mut call = call(CallName::Update);
    call.deadline = Some(Instant::now() + Duration::from_millis(300));
    let fault = layer.carry(&mut call).await.expect_err("too late");
    assert_eq!((fault.kind, fault.effect, inner.times()), (FaultKind::Timeout, Effect::None, 1));
}
