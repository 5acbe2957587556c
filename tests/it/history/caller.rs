//! Callers: they read, write what they read, and note every response.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;

use super::client::Client;
use super::runner::Run;
use super::vendors::{VENDORS, create_body, is_guarded, patch_body, system_name, value_of};
use crate::raw_http::RawResponse;

/// The pause before a request is sent again to a gateway that does not respond.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// The kind of a response to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseKind {
    /// 200, 201 or 204.
    Success,
    /// 202.
    Accepted,
    /// 412.
    PreconditionFailed,
    /// 404.
    NotFound,
    /// An earlier write with this key, or of this record, still runs.
    InProgress,
    /// Rejected with this status; 0 = before it began.
    Rejected(u16),
    /// 504 `outcome-unknown`.
    OutcomeUnknown,
    /// The connection broke.
    Disconnected,
}

impl ResponseKind {
    /// Whether it reports the outcome of the write.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::PreconditionFailed | Self::NotFound | Self::Accepted)
    }
}

/// The response to one attempt of a write.
#[derive(Clone, Debug)]
pub(crate) struct WriteResponse {
    pub(crate) kind: ResponseKind,
    pub(crate) operation: Option<String>,
    pub(crate) replayed: bool,
    /// The `Location` of the created record.
    pub(crate) location: Option<String>,
    pub(crate) received_at: i64,
}

/// What kind of write it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriteKind {
    /// PATCH of one of the run's records, whose whole history is checked.
    Patch,
    /// POST.
    Create,
    /// DELETE of the record with this key.
    Delete(String),
    /// PATCH of a record that other callers delete meanwhile.
    PatchDeletable(String),
}

/// One write with all its attempts.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) kind: WriteKind,
    pub(crate) system: usize,
    pub(crate) record: usize,
    /// The value it sets; no other write sets it.
    pub(crate) value: u32,
    /// The value that its `If-Match` stands for; `None` = `*`.
    pub(crate) expected: Option<u32>,
    pub(crate) started_at: i64,
    pub(crate) responses: Vec<WriteResponse>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Write {
    /// The latest response.
    pub(crate) fn last_kind(&self) -> ResponseKind {
        self.responses.last().expect("sent once").kind
    }

    /// When its caller first received such a response.
    pub(crate) fn first_received_at(&self, kind: ResponseKind) -> Option<i64> {
        self.responses.iter().find(|response| response.kind == kind).map(|response| response.received_at)
    }
}

/// What a read returned.
#[derive(Clone, Debug)]
pub(crate) struct ObservedRead {
    pub(crate) system: usize,
    pub(crate) record: usize,
    pub(crate) value: u32,
    pub(crate) started_at: i64,
    pub(crate) returned_at: i64,
}

/// A caller.
pub(crate) struct Caller<'r> {
    pub(crate) run: &'r Run,
    pub(crate) random: Rng,
    pub(crate) client: Client,
}

impl Caller<'_> {
    /// Reads and writes until the run has done enough.
    pub(crate) fn run_until_done(mut self) {
        while self.run.should_continue() {
            if self.run.plan.lifecycle {
                self.create_or_delete();
                continue;
            }
            let (system, record) = (self.random.usize(0..VENDORS.len()), self.random.usize(0..self.run.record_count()));
            let Some((tag, value)) = self.read(system, record) else {
                // A killed gateway is unavailable for a moment.
                std::thread::sleep(RETRY_INTERVAL);
                continue;
            };
            let mut write = self.new_write(system, record, &tag, value);
            if self.random.u32(0..10) == 0 {
                self.send_twice_concurrently(&mut write);
            } else {
                self.send(&mut write);
            }
            // A write without a success is sent again, and so are some with one.
            if write.last_kind() != ResponseKind::Success || self.random.u32(0..10) == 0 {
                self.send(&mut write);
            }
            self.run.writes.lock().unwrap().push(write);
        }
    }

    /// A read; returns ETag and value, and notes them.
    pub(crate) fn read(&mut self, system: usize, record: usize) -> Option<(String, u32)> {
        let address = self.run.pick_address(&mut self.random);
        let call = self.run.now();
        let response = self.client.get(&address, &self.path(system, record)).ok()?;
        let back = self.run.now();
        if response.status == 408 {
            self.run.late_requests.fetch_add(1, Ordering::SeqCst);
            return None;
        }
        if response.status != 200 {
            assert!(matches!(response.status, 502..=504), "a read: {} {}", response.status, response.text());
            return None;
        }
        let value = value_of(system, &response.json()).expect("a value");
        let tag = response.header("etag").expect("a tag").to_owned();
        self.run.etags.record(system, record, &tag, value);
        self.run.reads.lock().unwrap().push(ObservedRead {
            system,
            record,
            value,
            started_at: call,
            returned_at: back,
        });
        Some((tag, value))
    }

    /// A write of the current state, not sent yet.
    pub(crate) fn prepare(&mut self, system: usize, record: usize) -> Write {
        let (tag, value) = self.read(system, record).expect("a read");
        self.new_write(system, record, &tag, value)
    }

    /// Two concurrent attempts of one write.
    pub(super) fn send_twice_concurrently(&mut self, write: &mut Write) {
        let mut other = Caller { run: self.run, random: self.random.fork(), client: Client::default() };
        let mut same = write.clone();
        std::thread::scope(|scope| {
            let second = scope.spawn(move || {
                other.send(&mut same);
                same.responses
            });
            self.send(write);
            write.responses.extend(second.join().expect("responses"));
        });
        // Their order is unknown; a response without an outcome cannot contradict one.
        let order =
            |response: &WriteResponse| (response.kind.is_final(), response.operation.is_some(), response.replayed);
        write.responses.sort_by_key(order);
    }

    /// One PATCH with this `Prefer`; returns the status.
    pub(crate) fn write_once(&mut self, system: usize, record: usize, prefer: &str) -> u16 {
        let mut write = self.prepare(system, record);
        write.headers.retain(|(name, _)| name != "Prefer" && name != "If-Match");
        write.headers.push(("Prefer".to_owned(), prefer.to_owned()));
        write.headers.push(("If-Match".to_owned(), "*".to_owned()));
        write.expected = None;
        let status = self.send(&mut write);
        self.run.writes.lock().unwrap().push(write);
        status
    }

    fn new_write(&mut self, system: usize, record: usize, tag: &str, value: u32) -> Write {
        let new_value = self.run.next_value.fetch_add(1, Ordering::SeqCst);
        let (if_match, expected) = match self.random.u32(0..20) {
            0 => ("*".to_owned(), None),
            1 => (format!("\"elsewhere\", {tag}"), Some(value)),
            2..=3 => match self.run.etags.find_older(system, record, value) {
                Some((tag, value)) => (tag, Some(value)),
                None => (tag.to_owned(), Some(value)),
            },
            _ => (tag.to_owned(), Some(value)),
        };
        let mut headers = vec![
            ("If-Match".to_owned(), if_match),
            ("Content-Type".to_owned(), "application/merge-patch+json".to_owned()),
            ("Accept-Loss".to_owned(), "linked-questions, source-connections".to_owned()),
            ("Idempotency-Key".to_owned(), format!("\"key-{new_value}\"")),
        ];
        let prefer = match self.random.u32(0..10) {
            0..=6 if is_guarded(system) => Some("wait=1"),
            0 => Some("return=representation"),
            1 => Some("respond-async"),
            2 => Some("respond-async, wait=1"),
            _ => None,
        };
        let prefer = prefer.into_iter().chain(self.run.plan.rebases.then_some("rebase=disjoint"));
        headers.extend(prefer.map(|prefer| ("Prefer".to_owned(), prefer.to_owned())));
        let call = self.run.now();
        Write {
            kind: WriteKind::Patch,
            system,
            record,
            value: new_value,
            expected,
            started_at: call,
            responses: Vec::new(),
            headers,
        }
    }

    /// Sends a write, perhaps again, and notes the response. Returns the status; 0 = no response.
    pub(crate) fn send(&mut self, write: &mut Write) -> u16 {
        let address = self.run.pick_address(&mut self.random);
        let (method, path, body) = match &write.kind {
            WriteKind::Patch => ("PATCH", self.path(write.system, write.record), patch_body(write.system, write.value)),
            WriteKind::Create => {
                ("POST", format!("/records/{}", system_name(write.system)), create_body(write.system, write.value))
            }
            WriteKind::Delete(key) => ("DELETE", record_path(write.system, key), String::new()),
            WriteKind::PatchDeletable(key) => {
                ("PATCH", record_path(write.system, key), patch_body(write.system, write.value))
            }
        };
        let response = self.client.send(&address, method, &path, &write.headers, &body);
        let at = self.run.now();
        let kind = classify_response(&response);
        if response.as_ref().is_ok_and(|response| response.status == 408) {
            self.run.late_requests.fetch_add(1, Ordering::SeqCst);
        }
        if kind == ResponseKind::Disconnected && write.first_received_at(ResponseKind::Disconnected).is_none() {
            self.run.disconnected_writes.fetch_add(1, Ordering::SeqCst);
        }
        let response = response.ok();
        let tagged = response.as_ref().filter(|_| write.kind == WriteKind::Patch);
        if let Some(response) = tagged.filter(|response| response.status == 200) {
            let shown = value_of(write.system, &response.json()).expect("a value");
            self.run.etags.record(write.system, write.record, response.header("etag").expect("a tag"), shown);
        }
        if let Some(tag) = tagged.filter(|response| response.status == 204).and_then(|it| it.header("etag")) {
            self.run.etags.record(write.system, write.record, tag, write.value);
        }
        let operation = response.as_ref().and_then(RawResponse::operation);
        let replayed = response.as_ref().is_some_and(|response| response.header("idempotency-replayed").is_some());
        let location = response
            .as_ref()
            .filter(|response| response.status == 201)
            .and_then(|response| response.header("location"));
        write.responses.push(WriteResponse {
            kind,
            operation,
            replayed,
            location: location.map(str::to_owned),
            received_at: at,
        });
        response.map_or(0, |response| response.status)
    }

    fn path(&self, system: usize, record: usize) -> String {
        record_path(system, &self.run.vendors.records[system][record])
    }
}

/// Whether the latest response is final, or repeats one without an outcome.
pub(crate) fn is_conclusive(write: &Write) -> bool {
    let ever = |kind| write.first_received_at(kind).is_some();
    let open = ever(ResponseKind::Disconnected) || ever(ResponseKind::OutcomeUnknown) || ever(ResponseKind::Accepted);
    let last = write.responses.last().expect("sent once");
    match last.kind {
        ResponseKind::Success | ResponseKind::PreconditionFailed | ResponseKind::NotFound => true,
        ResponseKind::Rejected(status) => status != 0 || !open,
        ResponseKind::InProgress => !open,
        ResponseKind::OutcomeUnknown | ResponseKind::Accepted => {
            write.responses.iter().rev().take(2).all(|response| response.kind == last.kind) && last.replayed
        }
        ResponseKind::Disconnected => false,
    }
}

/// The path of a record.
pub(super) fn record_path(system: usize, key: &str) -> String {
    format!("/records/{}/{key}", system_name(system))
}

fn classify_response(response: &io::Result<RawResponse>) -> ResponseKind {
    let response = match response {
        Ok(response) => response,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return ResponseKind::Rejected(0),
        Err(_) => return ResponseKind::Disconnected,
    };
    match (response.status, response.problem().as_str()) {
        (200 | 201 | 204, _) => ResponseKind::Success,
        (202, _) => ResponseKind::Accepted,
        (404, "record-not-found") => ResponseKind::NotFound,
        (412, "precondition-failed") => ResponseKind::PreconditionFailed,
        // The gateway did not get the whole request in time, so nothing began.
        (408, _) => ResponseKind::Rejected(0),
        // The gateway had no time to begin, or to look up the key: nothing follows for an earlier
        // attempt.
        (503, "overloaded") if response.operation().is_none() => ResponseKind::Rejected(0),
        (409, "operation-in-progress") => ResponseKind::InProgress,
        (504, "outcome-unknown") => ResponseKind::OutcomeUnknown,
        (409, "vendor-busy" | "contended") | (429 | 502 | 503 | 504, _) => ResponseKind::Rejected(response.status),
        _ => panic!("a write: {} {}", response.status, response.text()),
    }
}
