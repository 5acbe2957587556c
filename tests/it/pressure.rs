//! More callers than there are files for, and vendors whose connections die between two calls.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use records_gateway::sandbox::{CallKind, Fault, Sandbox};

use super::access_program::{Program, configuration};
use super::support::{BLUEDOLPHIN, Bench, House, MATRIX42, PRETECTUM, for_each_vendor};

for_each_vendor!(
    connections_that_died_at_rest_cost_no_caller_an_error,
    an_answer_that_drips_for_ever_is_cut_by_the_timeout,
    a_coded_answer_is_never_taken_apart,
);

/// More connections than files are left there, of callers who say nothing; the vendors are reached all the same.
#[actix_web::test]
async fn callers_who_say_nothing_leave_files_for_the_vendors() {
    let folder = tempfile::tempdir().unwrap();
    let vendors = Sandbox::start().unwrap();
    let access = "mode = \"open\"\n";
    let text = configuration(&vendors, folder.path(), "workers = 1", access);
    let program = Program::serve_with_files("-n 160", folder.path(), &text);
    let address = program.base.strip_prefix("http://").unwrap().to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let mut first = TcpStream::connect(&address).unwrap();
        // This one is served before the others come, or it would wait with them.
        let mut statuses = vec![status(&mut first, &PRETECTUM)];
        let silent: Vec<_> = (0..240).map(|_| TcpStream::connect(&address).unwrap()).collect();
        // The gateway takes them while this one is answered, and as many as it ever will while the next ones are.
        statuses.extend((0..200).map(|_| status(&mut first, &PRETECTUM)));
        statuses.extend([&BLUEDOLPHIN, &MATRIX42].map(|bench| status(&mut first, bench)));
        drop(silent);
        statuses
    });
    let statuses = asked.await.unwrap();
    assert!(statuses.iter().all(|status| status == "200"), "{statuses:?}: {}", program.log());
    drop(program);
    vendors.stop().await;
}

#[actix_web::test]
async fn more_callers_than_the_soft_limit_of_files_are_served_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let vendors = Sandbox::start().unwrap();
    let text = configuration(&vendors, folder.path(), "workers = 1", "mode = \"open\"\n");
    let program = Program::serve_with_files("-S -n 96", folder.path(), &text);
    let address = program.base.strip_prefix("http://").unwrap().to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let mut callers: Vec<_> = (0..200).map(|_| TcpStream::connect(&address).unwrap()).collect();
        callers.iter_mut().map(|caller| status(caller, &MATRIX42)).collect::<Vec<_>>()
    });
    let statuses = asked.await.unwrap();
    assert!(statuses.iter().all(|status| status == "200"), "{statuses:?}: {}", program.log());
    drop(program);
    vendors.stop().await;
}

/// Reads a record over this connection.
fn status(stream: &mut TcpStream, bench: &Bench) -> String {
    let path = bench.path(bench.key);
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n").as_bytes()).unwrap();
    let (mut answer, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let size = stream.read(&mut buffer).unwrap();
        assert!(size > 0, "closed after {answer:?}");
        answer.push_str(std::str::from_utf8(&buffer[..size]).unwrap());
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.parse::<usize>().unwrap() {
            return answer.split(' ').nth(1).unwrap().to_owned();
        }
    }
}

/// The vendor ends its idle connections, as every server does after a while: nothing was sent over them.
async fn connections_that_died_at_rest_cost_no_caller_an_error(bench: &'static Bench) {
    let house = House::with(bench, &[("vendor", "retries", "0")]).await;
    let mut tag = house.tag(bench.key).await;
    for round in 0..3 {
        cut_connections(&house);
        let text = format!("round {round}");
        house.set_text(bench.key, &tag, &text).send().await.is_done(bench.patched);
        assert_eq!((house.held(bench.key), house.calls(CallKind::Update)), (Some(text), 1));
        cut_connections(&house);
        tag = house.tag(bench.key).await;
        cut_connections(&house);
        house.read(bench.key).send().await.is_done(200);
    }
}

fn cut_connections(house: &House) {
    match house.bench.system {
        "crm" => house.vendors.pretectum.hang_up(),
        "architecture" => house.vendors.bluedolphin.hang_up(),
        _ => house.vendors.matrix42.hang_up(),
    }
}

/// A byte now and then never lets a connection fall idle: only the time of the whole call can end it.
async fn an_answer_that_drips_for_ever_is_cut_by_the_timeout(bench: &'static Bench) {
    let settings =
        &[("vendor", "timeout", "\"1s\""), ("vendor", "connect_timeout", "\"1s\""), ("vendor", "retries", "0")];
    let house = House::with(bench, settings).await;
    house.tag(bench.key).await;
    house.once(bench.reading, Fault::SlowDrip { pause: Duration::from_millis(100) });
    house.read(bench.key).send().await.is(504, "vendor-timeout");
    house.read(bench.key).send().await.is_done(200);
}

/// The gateway asks for no coding and takes none off: a small answer cannot become a large one.
async fn a_coded_answer_is_never_taken_apart(bench: &'static Bench) {
    let house = House::with(bench, &[("vendor", "retries", "0")]).await;
    house.tag(bench.key).await;
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        house.once(bench.reading, Fault::Answer { status: 200, headers, body: "\u{1f}\u{8b}\u{8}\0\0".to_owned() });
        house.read(bench.key).send().await.is(502, "vendor-protocol-error");
        let last = house.last(bench.reading);
        assert!(last.header("accept-encoding").is_none_or(|taken| taken == "identity"), "{last:?}");
    }
    house.read(bench.key).send().await.is_done(200);
}
