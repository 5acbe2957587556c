//! A proxy between gateway and vendor that cuts, swallows, holds up and spoils answers, drawn at random from a seed.
//!
//! It goes by requests, not by bytes, so that it knows which write it has disturbed: a write is told by the `hw-NUMBER` that
//! its body carries.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;

/// Nobody is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(30);
/// A late request arrives this long after its sender has hung up: less than the settler's patience.
const LATE: Duration = Duration::from_millis(600);

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mishap {
    /// The connection closes before the vendor has the request.
    Cut,
    /// The request goes nowhere, and nobody answers.
    Swallowed,
    /// Nobody answers; the vendor gets the request when its sender has given up.
    Late,
    /// The vendor answers, and the connection closes without a byte of it.
    AnswerCut,
    /// The vendor answers, and half of it arrives.
    AnswerHalved,
    /// The vendor answers, and nothing of it arrives.
    AnswerHeld,
    /// The vendor answers, and a 500 arrives.
    AnswerSpoiled,
    /// The answer takes its time.
    AnswerSlow,
}

const WRITES: &[Mishap] = &[
    Mishap::Cut,
    Mishap::Swallowed,
    Mishap::Late,
    Mishap::AnswerCut,
    Mishap::AnswerCut,
    Mishap::AnswerHalved,
    Mishap::AnswerHeld,
    Mishap::AnswerSpoiled,
    Mishap::AnswerSlow,
];
const READS: &[Mishap] = &[Mishap::Cut, Mishap::AnswerCut, Mishap::AnswerHalved, Mishap::AnswerSpoiled];

struct Chaos {
    random: Rng,
    /// Of a hundred writes, so many are disturbed; of a hundred reads, a twentieth of that.
    percent: u32,
    /// The writes that were disturbed, and those whose answer became a 500.
    disturbed: BTreeSet<u32>,
    spoiled: BTreeSet<u32>,
    /// Calls, because deletes carry no value.
    disturbed_deletes: usize,
    counts: BTreeMap<Mishap, usize>,
}

/// The proxy. Its threads end with their connections.
#[derive(Clone)]
pub(crate) struct FaultProxy {
    address: SocketAddr,
    chaos: Arc<Mutex<Chaos>>,
}

impl FaultProxy {
    /// Listens in front of `upstream`.
    pub(crate) fn start(upstream: SocketAddr, seed: u64, percent: u32) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let random = Rng::with_seed(seed);
        let chaos = Chaos {
            random,
            percent,
            disturbed: BTreeSet::new(),
            spoiled: BTreeSet::new(),
            disturbed_deletes: 0,
            counts: BTreeMap::new(),
        };
        let chaos = Arc::new(Mutex::new(chaos));
        let shared = Arc::downgrade(&chaos);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let Some(chaos) = shared.upgrade() else { return };
                if let Ok(down) = connection {
                    std::thread::spawn(move || drop(carry(&down, upstream, &chaos)));
                }
            }
        });
        Self { address, chaos }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on so many of a hundred writes are disturbed.
    pub(crate) fn disturb(&self, percent: u32) {
        self.chaos.lock().unwrap().percent = percent;
    }

    /// How many writes have been disturbed so far.
    pub(crate) fn disturbed_count(&self) -> usize {
        let chaos = self.chaos.lock().unwrap();
        chaos.disturbed.len() + chaos.disturbed_deletes
    }

    /// Whether an answer to this write became a 500.
    pub(crate) fn has_spoiled(&self, write: u32) -> bool {
        self.chaos.lock().unwrap().spoiled.contains(&write)
    }

    /// How often each thing happened to any request.
    pub(crate) fn counts(&self) -> BTreeMap<Mishap, usize> {
        self.chaos.lock().unwrap().counts.clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // Wakes the listener, which then sees that nobody needs it.
        if Arc::strong_count(&self.chaos) == 1 {
            drop(TcpStream::connect(self.address));
        }
    }
}

impl Chaos {
    fn draw(&mut self, request: &[u8]) -> Option<Mishap> {
        let carried = write_in(request);
        let delete = request.starts_with(b"DELETE ");
        // A POST without a value is a sign-in.
        let write = request.starts_with(b"PUT ") || delete || (request.starts_with(b"POST ") && carried.is_some());
        let read = request.starts_with(b"GET ");
        let percent = if write { self.percent * 100 } else { self.percent * 5 };
        if !(write || read) || self.random.u32(0..10_000) >= percent {
            return None;
        }
        let choice = if write { WRITES } else { READS };
        let mishap = choice[self.random.usize(0..choice.len())];
        *self.counts.entry(mishap).or_default() += 1;
        if write {
            self.disturbed.extend(carried);
            self.disturbed_deletes += usize::from(delete);
            if mishap == Mishap::AnswerSpoiled {
                self.spoiled.extend(carried);
            }
        }
        Some(mishap)
    }
}

/// The number after `hw-` in a request's body.
pub(crate) fn write_in(text: &[u8]) -> Option<u32> {
    let at = text.windows(3).position(|window| window == b"hw-")?;
    let digits: String = text[at + 3..].iter().map(|byte| *byte as char).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Carries the requests of one connection until one of the sides, or a mishap, ends it.
fn carry(mut down: &TcpStream, upstream: SocketAddr, chaos: &Mutex<Chaos>) -> io::Result<()> {
    down.set_read_timeout(Some(PATIENCE))?;
    down.set_nodelay(true)?;
    let mut up: Option<TcpStream> = None;
    let mut ahead = Vec::new();
    loop {
        let request = read_message(down, &mut ahead)?;
        let mishap = chaos.lock().unwrap().draw(&request);
        match mishap {
            Some(Mishap::Cut) => return down.shutdown(Shutdown::Both),
            Some(Mishap::Swallowed) => return wait_for_the_end(down),
            Some(Mishap::Late) => {
                wait_for_the_end(down)?;
                std::thread::sleep(LATE);
                return forward(&mut up, upstream, &request).map(drop);
            }
            _ => {}
        }
        let answer = forward(&mut up, upstream, &request)?;
        match mishap {
            Some(Mishap::AnswerCut) => return down.shutdown(Shutdown::Both),
            Some(Mishap::AnswerHalved) => {
                down.write_all(&answer[..answer.len() / 2])?;
                return down.shutdown(Shutdown::Both);
            }
            Some(Mishap::AnswerHeld) => return wait_for_the_end(down),
            Some(Mishap::AnswerSpoiled) => {
                let body = r#"{"message":"Internal server error"}"#;
                let head = "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length: ";
                down.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes())?;
                continue;
            }
            Some(Mishap::AnswerSlow) => std::thread::sleep(Duration::from_millis(150)),
            _ => {}
        }
        down.write_all(&answer)?;
    }
}

fn wait_for_the_end(mut stream: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

fn forward(up: &mut Option<TcpStream>, upstream: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = match up.take() {
        Some(stream) => stream,
        None => TcpStream::connect(upstream)?,
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    stream.write_all(request)?;
    let answer = read_message(&stream, &mut Vec::new())?;
    *up = Some(stream);
    Ok(answer)
}

/// One request or answer, head and body; what comes after it stays in `ahead`.
pub(crate) fn read_message(mut stream: &TcpStream, ahead: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(head) = ahead.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&ahead[..head]).to_ascii_lowercase();
            assert!(!text.contains("transfer-encoding"), "only bodies of a known length are carried: {text}");
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
