//! More connections than file descriptors, and vendors that close connections between two calls.

use std::net::TcpStream;
use std::time::Duration;

use records_gateway::sandbox::{CallKind, InjectedFault};

use super::raw_http::RawConnection;
use super::support::{FIXTURES, MATRIX42, TestEnv, TestProcess, VendorFixture, for_each_vendor};

for_each_vendor!(
    idle_connections_closed_by_the_vendor_cause_no_errors,
    an_endlessly_slow_response_is_ended_by_the_timeout,
    a_response_that_is_not_in_its_declared_coding_is_an_error,
);

/// More silent connections than free file descriptors; the vendors can still be reached.
#[actix_web::test]
async fn silent_clients_leave_file_descriptors_for_vendor_connections() {
    let process = TestProcess::builder().configure(|config| config.server("workers", 1)).fd_limit("-n 160").start();
    let address = process.address();
    let reads = tokio::task::spawn_blocking(move || {
        let mut first = RawConnection::open(&address).unwrap();
        // The first request is served before the other connections come, or it would wait with
        // them.
        let mut statuses = vec![read_status(&mut first, FIXTURES[0])];
        let silent: Vec<_> = (0..240).map(|_| TcpStream::connect(&address).unwrap()).collect();
        // Meanwhile the gateway accepts as many of them as it ever will.
        statuses.extend((0..200).map(|_| read_status(&mut first, FIXTURES[0])));
        statuses.extend(FIXTURES.iter().skip(1).map(|fixture| read_status(&mut first, fixture)));
        drop(silent);
        statuses
    });
    let statuses = reads.await.unwrap();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}: {}", process.log());
    process.kill();
    process.vendors.stop().await;
}

#[actix_web::test]
async fn more_clients_than_the_soft_fd_limit_are_served_at_once() {
    let process = TestProcess::builder().configure(|config| config.server("workers", 1)).fd_limit("-S -n 96").start();
    let address = process.address();
    let reads = tokio::task::spawn_blocking(move || {
        let mut connections: Vec<_> = (0..200).map(|_| RawConnection::open(&address).unwrap()).collect();
        connections.iter_mut().map(|connection| read_status(connection, &MATRIX42)).collect::<Vec<_>>()
    });
    let statuses = reads.await.unwrap();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}: {}", process.log());
    process.kill();
    process.vendors.stop().await;
}

/// The status of a GET of the fixture's record over this connection.
fn read_status(connection: &mut RawConnection, fixture: &VendorFixture) -> u16 {
    let request = format!(
        "GET {} HTTP/1.1
Host: gateway

",
        fixture.path(fixture.key)
    );
    connection.send(&request);
    connection.read_response_to(request.as_bytes()).expect("a response").status
}

/// The vendor closes its idle connections, as servers do after a while.
async fn idle_connections_closed_by_the_vendor_cause_no_errors(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.every_system("retries", 0));
    let mut tag = env.current_etag(fixture.key).await;
    for round in 0..3 {
        close_vendor_connections(&env);
        let text = format!("round {round}");
        env.set_text(fixture.key, &tag, &text).send().await.assert_status(fixture.patch_status);
        assert_eq!((env.vendor_value(fixture.key), env.call_count(CallKind::Update)), (Some(text), 1));
        close_vendor_connections(&env);
        tag = env.current_etag(fixture.key).await;
        close_vendor_connections(&env);
        env.read(fixture.key).send().await.assert_status(200);
    }
}

fn close_vendor_connections(env: &TestEnv) {
    env.fixture.vendor(&env.vendors).close_connections();
}

/// Single bytes keep a connection active: only the timeout of the whole call can end it.
async fn an_endlessly_slow_response_is_ended_by_the_timeout(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| {
        config.every_system("timeout", "1s").every_system("connect_timeout", "1s").every_system("retries", 0)
    });
    env.current_etag(fixture.key).await;
    env.inject_once(fixture.read_call_kind, InjectedFault::SlowDrip { pause: Duration::from_millis(100) });
    env.read(fixture.key).send().await.assert_problem(504, "vendor-timeout");
    env.read(fixture.key).send().await.assert_status(200);
}

/// The gateway accepts no content coding. A body that does not have its declared coding is an
/// error.
async fn a_response_that_is_not_in_its_declared_coding_is_an_error(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.every_system("retries", 0));
    env.current_etag(fixture.key).await;
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        env.inject_once(
            fixture.read_call_kind,
            InjectedFault::Response { status: 200, headers, body: "\u{1f}\u{8b}\u{8}\0\0".to_owned() },
        );
        env.read(fixture.key).send().await.assert_problem(502, "vendor-protocol-error");
        let last = env.last_call(fixture.read_call_kind);
        assert!(last.header("accept-encoding").is_none_or(|taken| taken == "identity"), "{last:?}");
    }
    env.read(fixture.key).send().await.assert_status(200);
}
