use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use super::place::{applied, claim, intent, keyed, places};

#[tokio::test]
async fn fifty_repeats_at_once_start_one_write() {
    for place in places().await {
        for durability in [Durability::Commit, Durability::Relaxed] {
            let one = Store::open(place.settings(durability), Arc::new(())).await.expect("a store");
            let two = if place.shared { place.open().await } else { one.clone() };
            let key = format!("key {durability:?}");
            let begun = futures_util::future::join_all((0..50).map(|index| {
                let store = if index % 2 == 0 { &one } else { &two };
                store.begin(keyed("A:1", &key))
            }));
            let begun = begun.await;
            assert_eq!(begun.iter().filter(|one| **one == Ok(Begun::Started)).count(), 1);
            assert_eq!(
                begun.iter().filter(|one| matches!(one, Ok(Begun::Key(KeyState::Running(_))))).count(),
                49,
                "{begun:?}"
            );
            assert!(one.close(Duration::from_mins(1)).await);
        }
    }
}

#[tokio::test]
async fn a_key_tells_running_then_interim_then_the_verdict_also_after_a_crash() {
    for place in places().await {
        let store = place.open().await;
        let write = keyed("A:1", "k");
        let operation = write.operation.clone();
        assert_eq!(store.lookup(&claim("k")).await, Ok(None));
        assert_eq!(store.begin(write).await, Ok(Begun::Started));
        let again = || store.begin(keyed("A:1", "k"));
        assert_eq!(again().await, Ok(Begun::Key(KeyState::Running(operation.clone()))));
        store.interim(&operation, Told::Unknown, "{\"unknown\":1}".into()).await.expect("noted");
        assert_eq!(again().await, Ok(Begun::Key(KeyState::Interim("{\"unknown\":1}".into()))));
        store.finish(applied(&operation)).await.expect("finished");
        let verdict = KeyState::Verdict("{\"done\":true}".into());
        assert_eq!(again().await, Ok(Begun::Key(verdict.clone())));
        store.kill().await;
        let store = place.open().await;
        assert_eq!(store.lookup(&claim("k")).await, Ok(Some(verdict.clone())));
        let lease = store.acquire("crm", "A:1", Duration::from_secs(9)).await;
        assert!(matches!(lease, Ok(Acquired::Lease(_))));
        assert_eq!(store.begin(keyed("A:1", "k")).await, Ok(Begun::Key(verdict)), "whatever else goes on");
    }
}

#[tokio::test]
async fn a_key_used_for_another_request_is_reused_and_callers_do_not_share_keys() {
    for place in places().await {
        let store = place.open().await;
        assert_eq!(store.begin(keyed("A:1", "k")).await, Ok(Begun::Started));
        let other = Claim { fingerprint: [8; 32], ..claim("k") };
        let reused = store.begin(Intent { claim: Some(other.clone()), ..intent("A:1") }).await;
        assert_eq!(reused, Ok(Begun::Key(KeyState::Reused)));
        assert_eq!(store.lookup(&other).await, Ok(Some(KeyState::Reused)));
        let foreign = Intent { caller: "shop".into(), ..keyed("A:1", "k") };
        assert_eq!(store.begin(foreign).await, Ok(Begun::Started));
    }
}

#[tokio::test]
async fn a_forgotten_key_and_an_expired_one_are_free_and_a_running_one_never_expires() {
    for place in places().await {
        let store = place.open().await;
        let write = keyed("A:1", "k");
        let operation = write.operation.clone();
        store.begin(write).await.expect("begun");
        store.passes(Duration::from_hours(48));
        store.turn().await;
        assert_eq!(store.lookup(&claim("k")).await, Ok(Some(KeyState::Running(operation.clone()))));
        store.finish(Outcome { verdict: None, ..applied(&operation) }).await.expect("finished");
        let write = keyed("A:1", "k");
        let operation = write.operation.clone();
        assert_eq!(store.begin(write).await, Ok(Begun::Started), "forgotten");
        store.finish(applied(&operation)).await.expect("finished");
        store.passes(Duration::from_hours(23));
        assert!(matches!(store.lookup(&claim("k")).await, Ok(Some(KeyState::Verdict(_)))));
        store.passes(Duration::from_hours(1));
        assert_eq!(store.begin(keyed("A:1", "k")).await, Ok(Begun::Started), "expired");
    }
}

#[tokio::test]
async fn names_with_hostile_characters_are_told_apart_and_kept() {
    for place in places().await {
        let store = place.open().await;
        let hostile = || Intent { caller: "a\0'; DROP TABLE ledger; --é".into(), ..keyed("A:1", "k") };
        assert_eq!(store.begin(hostile()).await, Ok(Begun::Started));
        assert!(matches!(store.begin(hostile()).await, Ok(Begun::Key(KeyState::Running(_)))));
        assert!(store.verify(None).await.expect("verified").is_sound());
    }
}
