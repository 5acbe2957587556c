//! What expires is deleted as fast as it comes; and the start waits for a server that restarts.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpStream};

use super::fixtures::test_databases;
use super::samples::{applied_outcome, intent_with_key};
use crate::journal::{BeginResult, Durability, Journal, JournalError, Outcome};
use crate::record::OperationState;

/// More than several deletions of one chunk each.
const EXPIRED: usize = 2500;

#[tokio::test]
async fn more_than_a_chunk_of_expired_rows_goes_between_writes() {
    for database in test_databases().await {
        let store = database.open().await;
        let write = async |number: usize| {
            let write = intent_with_key(&format!("A:{number}"), &format!("key {number}"));
            let operation = write.operation.clone();
            assert_eq!(store.begin(write).await, Ok(BeginResult::Started));
            let refused = Outcome { state: OperationState::NotApplied, ..applied_outcome(&operation) };
            store.finish(refused).await.expect("finished");
        };
        join_all((0..EXPIRED).map(&write)).await;
        let count = async |table: &str| database.query(&format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(count("operation_detail").await, EXPIRED.to_string());
        store.advance_clock(Duration::from_hours(24 * 91));
        store.run_heartbeat().await;
        for number in 0..20 {
            write(EXPIRED + number).await;
        }
        assert_eq!((count("operation_detail").await, count("idempotency").await), ("20".into(), "20".into()));
    }
}

#[tokio::test]
async fn a_start_waits_for_a_server_that_comes_back() {
    let Ok(server) = std::env::var("TEST_POSTGRES_URL") else { return };
    for database in test_databases().await.into_iter().filter(|database| database.is_shared) {
        let target = url::Url::parse(&server).expect("a URL");
        let target = format!("{}:{}", target.host_str().unwrap_or("127.0.0.1"), target.port().unwrap_or(5432));
        // Nothing listens on this port until the proxy does.
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let mut url = url::Url::parse(&database.url).expect("a URL");
        url.set_host(Some("127.0.0.1")).expect("a host");
        url.set_port(Some(address.port())).expect("a port");
        let mut settings = database.settings(Durability::Commit);
        settings.url = url.to_string();
        let refused = Journal::open(settings.clone(), Arc::new(())).await;
        assert!(matches!(refused, Err(JournalError::Open(_))), "not without time to wait");
        let starting = tokio::spawn(Journal::open_within(settings, Arc::new(()), Duration::from_secs(20)));
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!starting.is_finished());
        let listener = TcpListener::bind(address).await.expect("the same port");
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut server = TcpStream::connect(&target).await.expect("the server");
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
            }
        });
        let store = starting.await.expect("no panic").expect("open");
        store.ping().await.expect("usable");
    }
}
