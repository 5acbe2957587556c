//! More callers than there are files for, and vendors whose connections die between two calls.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use records_gateway::sandbox::{CallKind, InjectedFault, Sandbox};

use super::gateway_program::{GatewayProgram, configuration};
use super::support::{BLUEDOLPHIN, MATRIX42, PRETECTUM, TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    idle_connections_closed_by_the_vendor_cause_no_errors,
    an_endlessly_slow_response_is_ended_by_the_timeout,
    a_content_encoded_response_is_never_decoded,
);

/// More connections than files are left there, of callers who say nothing; the vendors are reached all the same.
#[actix_web::test]
async fn silent_clients_leave_file_descriptors_for_vendor_connections() {
    let folder = tempfile::tempdir().unwrap();
    let vendors = Sandbox::start().unwrap();
    let access = "mode = \"open\"\n";
    let text = configuration(&vendors, folder.path(), "workers = 1", access);
    let program = GatewayProgram::serve_with_fd_limit("-n 160", folder.path(), &text);
    let address = program.base_url.strip_prefix("http://").unwrap().to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let mut first = TcpStream::connect(&address).unwrap();
        // This one is served before the others come, or it would wait with them.
        let mut statuses = vec![read_status(&mut first, &PRETECTUM)];
        let silent: Vec<_> = (0..240).map(|_| TcpStream::connect(&address).unwrap()).collect();
        // The gateway takes them while this one is answered, and as many as it ever will while the next ones are.
        statuses.extend((0..200).map(|_| read_status(&mut first, &PRETECTUM)));
        statuses.extend([&BLUEDOLPHIN, &MATRIX42].map(|fixture| read_status(&mut first, fixture)));
        drop(silent);
        statuses
    });
    let statuses = asked.await.unwrap();
    assert!(statuses.iter().all(|status| status == "200"), "{statuses:?}: {}", program.log());
    drop(program);
    vendors.stop().await;
}

#[actix_web::test]
async fn more_clients_than_the_soft_fd_limit_are_served_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let vendors = Sandbox::start().unwrap();
    let text = configuration(&vendors, folder.path(), "workers = 1", "mode = \"open\"\n");
    let program = GatewayProgram::serve_with_fd_limit("-S -n 96", folder.path(), &text);
    let address = program.base_url.strip_prefix("http://").unwrap().to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let mut callers: Vec<_> = (0..200).map(|_| TcpStream::connect(&address).unwrap()).collect();
        callers.iter_mut().map(|caller| read_status(caller, &MATRIX42)).collect::<Vec<_>>()
    });
    let statuses = asked.await.unwrap();
    assert!(statuses.iter().all(|status| status == "200"), "{statuses:?}: {}", program.log());
    drop(program);
    vendors.stop().await;
}

/// Reads a record over this connection.
fn read_status(stream: &mut TcpStream, fixture: &VendorFixture) -> String {
    let path = fixture.path(fixture.key);
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n").as_bytes()).unwrap();
    let (mut response, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let size = stream.read(&mut buffer).unwrap();
        assert!(size > 0, "closed after {response:?}");
        response.push_str(std::str::from_utf8(&buffer[..size]).unwrap());
        let Some((head, body)) = response.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.parse::<usize>().unwrap() {
            return response.split(' ').nth(1).unwrap().to_owned();
        }
    }
}

/// The vendor ends its idle connections, as every server does after a while: nothing was sent over them.
async fn idle_connections_closed_by_the_vendor_cause_no_errors(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, &[("vendor", "retries", "0")]).await;
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
    match env.fixture.system {
        "crm" => env.vendors.pretectum.close_connections(),
        "architecture" => env.vendors.bluedolphin.close_connections(),
        _ => env.vendors.matrix42.close_connections(),
    }
}

/// A byte now and then never lets a connection fall idle: only the time of the whole call can end it.
async fn an_endlessly_slow_response_is_ended_by_the_timeout(fixture: &'static VendorFixture) {
    let settings =
        &[("vendor", "timeout", "\"1s\""), ("vendor", "connect_timeout", "\"1s\""), ("vendor", "retries", "0")];
    let env = TestEnv::start_with(fixture, settings).await;
    env.current_etag(fixture.key).await;
    env.inject_once(fixture.read_call_kind, InjectedFault::SlowDrip { pause: Duration::from_millis(100) });
    env.read(fixture.key).send().await.assert_problem(504, "vendor-timeout");
    env.read(fixture.key).send().await.assert_status(200);
}

/// The gateway asks for no coding and takes none off: a small response cannot become a large one.
async fn a_content_encoded_response_is_never_decoded(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, &[("vendor", "retries", "0")]).await;
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
