//! When the issuer's keys are fetched, and what is in use meanwhile.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_unknown_kid_causes_at_most_one_fetch_in_thirty_seconds() {
    LocalSet::new()
        .run_until(async {
            let (old, new) = (Signer::ed(), Signer::ed());
            let issuer = Issuer::with_keys(&[old.jwk("old")]);
            let tokens = jwt_verifier(&issuer);
            assert_eq!(error_reason(&tokens, &old.token("old", &claims())).await, "ok");
            assert_eq!(issuer.fetches(), 1);

            issuer.publish(&[old.jwk("old"), new.jwk("new")]);
            let arrived = new.token("new", &claims());
            assert_ne!(error_reason(&tokens, &arrived).await, "ok", "too early for another fetch");
            tokio::time::advance(Duration::from_secs(29)).await;
            assert_ne!(error_reason(&tokens, &arrived).await, "ok");
            assert_eq!(issuer.fetches(), 1);

            tokio::time::advance(Duration::from_secs(2)).await;
            let requests = (0..20).map(|_| error_reason(&tokens, &arrived));
            let results = futures_util::future::join_all(requests).await;
            assert!(results.iter().all(|result| *result == "ok"), "{results:?}");
            assert_eq!(issuer.fetches(), 2);

            for round in 0..5 {
                let token = new.token(&format!("made-up-{round}"), &claims());
                assert_ne!(error_reason(&tokens, &token).await, "ok");
            }
            assert_eq!(issuer.fetches(), 2);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_keeps_the_previous_keys() {
    LocalSet::new()
        .run_until(async {
            let ed = Signer::ed();
            let issuer = Issuer::with_keys(&[ed.jwk("ed")]);
            let tokens = jwt_verifier(&issuer);
            let good = ed.token("ed", &claims());
            assert_eq!(error_reason(&tokens, &good).await, "ok");
            issuer.fail();
            tokens.refresh().await;
            assert_eq!(error_reason(&tokens, &ed.token("ed", &claims_with("sub", json!("another")))).await, "ok");
            tokio::time::advance(Duration::from_secs(31)).await;
            assert_eq!(error_reason(&tokens, &ed.token("newer", &claims())).await, "keys unavailable", "it may exist");
            assert_eq!(issuer.fetches(), 3);
            *issuer.document.lock().unwrap() = Some("<html>".into());
            tokens.refresh().await;
            assert_eq!(error_reason(&tokens, &good).await, "ok");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn without_keys_no_token_is_judged_and_the_fetch_is_retried() {
    LocalSet::new()
        .run_until(async {
            let ed = Signer::ed();
            let issuer = Arc::new(Issuer::default());
            let tokens = jwt_verifier(&issuer);
            let good = ed.token("ed", &claims());
            assert_eq!(error_reason(&tokens, &good).await, "keys unavailable");
            issuer.publish(&[ed.jwk("ed")]);
            tokens.refresh_if_stale().await;
            assert_eq!(issuer.fetches(), 1);
            tokio::time::advance(Duration::from_secs(6)).await;
            tokens.refresh_if_stale().await;
            assert_eq!((issuer.fetches(), error_reason(&tokens, &good).await), (2, "ok"));
            tokio::time::advance(Duration::from_mins(5)).await;
            tokens.refresh_if_stale().await;
            assert_eq!(issuer.fetches(), 2);
            tokio::time::advance(Duration::from_secs(301)).await;
            tokens.refresh_if_stale().await;
            assert_eq!(issuer.fetches(), 3);
        })
        .await;
}

#[tokio::test]
async fn a_cached_token_is_rejected_once_its_key_is_withdrawn() {
    LocalSet::new()
        .run_until(async {
            let (old, new) = (Signer::ed(), Signer::ed());
            let issuer = Issuer::with_keys(&[old.jwk("old")]);
            let tokens = jwt_verifier(&issuer);
            let token = old.token("old", &claims());
            assert_eq!(error_reason(&tokens, &token).await, "ok");
            issuer.publish(&[new.jwk("new")]);
            tokens.refresh().await;
            assert_eq!(error_reason(&tokens, &token).await, "its key (`kid`) is not in the issuer's JWKS");
            issuer.publish(&[]);
            tokens.refresh().await;
            assert_ne!(error_reason(&tokens, &new.token("new", &claims())).await, "ok");
        })
        .await;
}

#[tokio::test]
async fn a_disconnecting_caller_does_not_cancel_the_fetch() {
    LocalSet::new()
        .run_until(async {
            let ed = Signer::ed();
            let issuer = Issuer::with_keys(&[ed.jwk("ed")]);
            let hold = Arc::new(Notify::new());
            *issuer.fetch_gate.lock().unwrap() = Some(Arc::clone(&hold));
            let tokens = jwt_verifier(&issuer);
            let good = ed.token("ed", &claims());
            {
                let request = tokens.authenticate(&good);
                tokio::select! {
                    biased;
                    _ = request => panic!("the issuer has not responded"),
                    () = issuer.fetch_started.notified() => {}
                }
            }
            hold.notify_one();
            assert_eq!(error_reason(&tokens, &good).await, "ok");
            assert_eq!(issuer.fetches(), 1);
        })
        .await;
}
