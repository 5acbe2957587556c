//! A proxy between gateway and vendor that drops, truncates, delays and replaces messages at
//! random, from a seed.
//!
//! It works on whole requests, so that it knows which write has met a fault: the body of a write
//! contains its `hw-NUMBER`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;

/// The timeout of every read.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(30);
/// A delayed request arrives this long after its sender has disconnected: before the reconciler's
/// timeout.
const DELAYED_REQUEST_AFTER: Duration = Duration::from_millis(600);

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProxyFault {
    /// The connection closes before the vendor receives the request.
    ConnectionClosed,
    /// The request is dropped, and no response is sent.
    RequestDropped,
    /// There is no response; the vendor receives the request after its sender has disconnected.
    RequestDelayed,
    /// The vendor responds, and the connection closes before the first byte arrives.
    ResponseDropped,
    /// The vendor responds, and half of the response arrives.
    ResponseTruncated,
    /// The vendor responds, and nothing of the response arrives.
    ResponseWithheld,
    /// The vendor responds, and a 500 arrives in its place.
    ResponseReplacedBy500,
    /// The response arrives late.
    ResponseDelayed,
}

const WRITE_FAULTS: &[ProxyFault] = &[
    ProxyFault::ConnectionClosed,
    ProxyFault::RequestDropped,
    ProxyFault::RequestDelayed,
    ProxyFault::ResponseDropped,
    ProxyFault::ResponseDropped,
    ProxyFault::ResponseTruncated,
    ProxyFault::ResponseWithheld,
    ProxyFault::ResponseReplacedBy500,
    ProxyFault::ResponseDelayed,
];
const READ_FAULTS: &[ProxyFault] = &[
    ProxyFault::ConnectionClosed,
    ProxyFault::ResponseDropped,
    ProxyFault::ResponseTruncated,
    ProxyFault::ResponseReplacedBy500,
];

struct FaultInjector {
    random: Rng,
    /// The percentage of writes that meet a fault; for reads a twentieth of it.
    fault_percent: u32,
    /// The writes that met a fault, and those whose response became a 500.
    faulted_writes: BTreeSet<u32>,
    replaced_responses: BTreeSet<u32>,
    /// A number of calls, because deletes have no value.
    faulted_deletes: usize,
    counts: BTreeMap<ProxyFault, usize>,
}

/// The proxy. Its threads end with their connections.
#[derive(Clone)]
pub(crate) struct FaultProxy {
    address: SocketAddr,
    injector: Arc<Mutex<FaultInjector>>,
}

impl FaultProxy {
    /// Listens in front of `upstream`.
    pub(crate) fn start(upstream: SocketAddr, seed: u64, percent: u32) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let random = Rng::with_seed(seed);
        let injector = FaultInjector {
            random,
            fault_percent: percent,
            faulted_writes: BTreeSet::new(),
            replaced_responses: BTreeSet::new(),
            faulted_deletes: 0,
            counts: BTreeMap::new(),
        };
        let injector = Arc::new(Mutex::new(injector));
        let shared = Arc::downgrade(&injector);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let Some(injector) = shared.upgrade() else { return };
                if let Ok(down) = connection {
                    std::thread::spawn(move || drop(proxy_connection(&down, upstream, &injector)));
                }
            }
        });
        Self { address, injector }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The percentage of writes that meet a fault from now on.
    pub(crate) fn set_fault_percent(&self, percent: u32) {
        self.injector.lock().unwrap().fault_percent = percent;
    }

    /// How many writes have met a fault so far.
    pub(crate) fn faulted_count(&self) -> usize {
        let injector = self.injector.lock().unwrap();
        injector.faulted_writes.len() + injector.faulted_deletes
    }

    /// Whether a response to this write became a 500.
    pub(crate) fn has_replaced_response(&self, write: u32) -> bool {
        self.injector.lock().unwrap().replaced_responses.contains(&write)
    }

    /// How often each fault was injected.
    pub(crate) fn counts(&self) -> BTreeMap<ProxyFault, usize> {
        self.injector.lock().unwrap().counts.clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // Wakes the listener, which then ends.
        if Arc::strong_count(&self.injector) == 1 {
            drop(TcpStream::connect(self.address));
        }
    }
}

impl FaultInjector {
    fn pick_fault(&mut self, request: &[u8]) -> Option<ProxyFault> {
        let carried = find_write_number(request);
        let delete = request.starts_with(b"DELETE ");
        // A POST without a value is a sign-in.
        let write = request.starts_with(b"PUT ") || delete || (request.starts_with(b"POST ") && carried.is_some());
        let read = request.starts_with(b"GET ");
        let percent = if write { self.fault_percent * 100 } else { self.fault_percent * 5 };
        if !(write || read) || self.random.u32(0..10_000) >= percent {
            return None;
        }
        let choice = if write { WRITE_FAULTS } else { READ_FAULTS };
        let fault = choice[self.random.usize(0..choice.len())];
        *self.counts.entry(fault).or_default() += 1;
        if write {
            self.faulted_writes.extend(carried);
            self.faulted_deletes += usize::from(delete);
            if fault == ProxyFault::ResponseReplacedBy500 {
                self.replaced_responses.extend(carried);
            }
        }
        Some(fault)
    }
}

/// The number after `hw-` in a request's body.
pub(crate) fn find_write_number(text: &[u8]) -> Option<u32> {
    find_number(text, "hw-")
}

/// The first number behind a prefix.
pub(crate) fn find_number(text: &[u8], prefix: &str) -> Option<u32> {
    let at = text.windows(prefix.len()).position(|window| window == prefix.as_bytes())?;
    let digits = text[at + prefix.len()..].iter().map(|byte| *byte as char).take_while(char::is_ascii_digit);
    digits.collect::<String>().parse().ok()
}

/// Forwards the requests of one connection until one side or a fault ends it.
fn proxy_connection(mut down: &TcpStream, upstream: SocketAddr, injector: &Mutex<FaultInjector>) -> io::Result<()> {
    down.set_read_timeout(Some(SOCKET_TIMEOUT))?;
    down.set_nodelay(true)?;
    let mut up: Option<TcpStream> = None;
    let mut ahead = Vec::new();
    loop {
        let request = read_message(down, &mut ahead)?;
        let fault = injector.lock().unwrap().pick_fault(&request);
        match fault {
            Some(ProxyFault::ConnectionClosed) => return down.shutdown(Shutdown::Both),
            Some(ProxyFault::RequestDropped) => return wait_for_close(down),
            Some(ProxyFault::RequestDelayed) => {
                wait_for_close(down)?;
                std::thread::sleep(DELAYED_REQUEST_AFTER);
                return forward(&mut up, upstream, &request).map(drop);
            }
            _ => {}
        }
        let response = forward(&mut up, upstream, &request)?;
        match fault {
            Some(ProxyFault::ResponseDropped) => return down.shutdown(Shutdown::Both),
            Some(ProxyFault::ResponseTruncated) => {
                down.write_all(&response[..response.len() / 2])?;
                return down.shutdown(Shutdown::Both);
            }
            Some(ProxyFault::ResponseWithheld) => return wait_for_close(down),
            Some(ProxyFault::ResponseReplacedBy500) => {
                let body = r#"{"message":"Internal server error"}"#;
                let head = "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length: ";
                down.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes())?;
                continue;
            }
            Some(ProxyFault::ResponseDelayed) => std::thread::sleep(Duration::from_millis(150)),
            _ => {}
        }
        down.write_all(&response)?;
    }
}

fn wait_for_close(mut stream: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

fn forward(up: &mut Option<TcpStream>, upstream: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = match up.take() {
        Some(stream) => stream,
        None => TcpStream::connect(upstream)?,
    };
    stream.set_read_timeout(Some(SOCKET_TIMEOUT))?;
    stream.set_nodelay(true)?;
    stream.write_all(request)?;
    let response = read_message(&stream, &mut Vec::new())?;
    *up = Some(stream);
    Ok(response)
}

/// One request or response, head and body; what comes after it stays in `ahead`.
pub(crate) fn read_message(mut stream: &TcpStream, ahead: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(head) = ahead.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&ahead[..head]).to_ascii_lowercase();
            assert!(!text.contains("transfer-encoding"), "only bodies of a known length are supported: {text}");
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let end = head + 4 + length.map_or(0, |length| length.trim().parse::<usize>().expect("a length"));
            if ahead.len() >= end {
                return Ok(ahead.drain(..end).collect());
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            size => ahead.extend_from_slice(&buffer[..size]),
        }
    }
}
