//! A gateway that stops: nobody new comes in, and who is in is served to the end.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use actix_web::http::Method;
use futures_util::future::join;
use records_gateway::sandbox::{CallKind, Fault};
use serde_json::json;

use super::support::{House, MATRIX42};

#[actix_web::test]
async fn who_waits_for_a_write_that_does_not_end_is_told_so_before_the_gateway_does() {
    let house = House::with(&MATRIX42, &[("server", "shutdown_timeout", "\"300ms\"")]).await;
    let stopping = house.second_gateway();
    let tag = house.tag(MATRIX42.key).await;
    house.once(CallKind::Update, Fault::Hang);
    let patch = stopping.caller().request(Method::PATCH, &MATRIX42.path(MATRIX42.key)).if_match(&tag);
    let stop = async {
        house.received(CallKind::Update, 1).await;
        stopping.stop().await
    };
    let (answer, finished) = join(patch.fields(&MATRIX42.text_is("perhaps")).send(), stop).await;
    answer.is(504, "outcome-unknown");
    assert!(answer.header("operation").is_some() && !finished);
}

#[actix_web::test]
async fn a_gateway_that_stops_refuses_who_comes_and_finishes_what_runs() {
    let house = House::start(&MATRIX42).await;
    let stopping = house.second_gateway();
    let (caller, other) = (stopping.caller(), stopping.caller());
    let address = stopping.address();
    other.get("/readyz").send().await.is_done(200);
    let tag = house.tag(MATRIX42.key).await;
    house.once(CallKind::Update, Fault::Hold);
    let patch = caller.request(Method::PATCH, &MATRIX42.path(MATRIX42.key)).if_match(&tag);
    let running = patch.fields(&MATRIX42.text_is("the last write")).send();
    let stop = async {
        house.received(CallKind::Update, 1).await;
        let stopped = actix_web::rt::spawn(stopping.stop());
        let refused = loop {
            match TcpStream::connect(address) {
                // Not told to stop yet, or whoever had come before is being counted.
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        // On a connection from before.
        let unready = other.get("/readyz").send().await;
        assert_eq!(unready.is(503, "overloaded").json()["detail"], json!("the gateway is stopping"));
        house.faults().release();
        stopped.await.unwrap()
    };
    let (answer, finished) = join(running, stop).await;
    answer.is_done(204);
    assert!(finished, "a write was left unfinished");
    assert_eq!(house.held(MATRIX42.key).unwrap(), "the last write");
}
