//! Records that are created, and records that are deleted while other callers change or delete
//! them: each is created once or not at all, deleted by one DELETE at most, and never changed and
//! deleted under one ETag.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::caller::{Caller, ResponseKind, Write, WriteKind, record_path};
use super::client::Client;
use super::vendors::{VENDORS, created_value_of, is_guarded, system_name};
use super::verify::HistoryVerifier;

/// The pause before a request is sent again to a gateway that was killed.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

impl Caller<'_> {
    /// Creates a record, or deletes one together with other callers.
    pub(super) fn create_or_delete(&mut self) {
        let system = self.random.usize(0..VENDORS.len());
        if self.random.bool() { self.create_record(system) } else { self.delete_record(system) }
    }

    fn new_lifecycle_write(&mut self, kind: WriteKind, system: usize, if_match: Option<&str>) -> Write {
        let value = self.run.next_value.fetch_add(1, Ordering::SeqCst);
        let content = match kind {
            WriteKind::Create => "application/json",
            _ => "application/merge-patch+json",
        };
        let mut headers = vec![
            ("Content-Type".to_owned(), content.to_owned()),
            ("Accept-Loss".to_owned(), "linked-questions, source-connections, dependent-objects".to_owned()),
            ("Idempotency-Key".to_owned(), format!("\"key-{value}\"")),
        ];
        headers.extend(if_match.map(|tag| ("If-Match".to_owned(), tag.to_owned())));
        if self.random.u32(0..10) == 0 {
            headers.push(("Prefer".to_owned(), "respond-async, wait=1".to_owned()));
        }
        Write {
            kind,
            system,
            record: 0,
            value,
            expected: None,
            started_at: self.run.now(),
            responses: Vec::new(),
            headers,
        }
    }

    fn create_record(&mut self, system: usize) {
        let mut write = self.new_lifecycle_write(WriteKind::Create, system, None);
        if self.random.u32(0..5) == 0 {
            self.send_twice_concurrently(&mut write);
        } else {
            self.send(&mut write);
        }
        if write.last_kind() == ResponseKind::Rejected(0) {
            std::thread::sleep(RETRY_INTERVAL);
        }
        if write.last_kind() != ResponseKind::Success || self.random.u32(0..5) == 0 {
            self.send(&mut write);
        }
        if let Some(location) = write.responses.iter().find_map(|response| response.location.clone()) {
            let shown = self.get_record(&location);
            let is_created = |(status, shown)| status == 200 && created_value_of(system, &shown) == Some(write.value);
            assert!(shown.is_none_or(is_created), "{write:?}");
        }
        self.run.writes.lock().unwrap().push(write);
    }

    fn delete_record(&mut self, system: usize) {
        let key = self.run.vendors.insert_deletable(system, self.run.next_value.fetch_add(1, Ordering::SeqCst));
        let path = record_path(system, &key);
        let address = self.run.pick_address(&mut self.random);
        let Some(tag) =
            self.client.get(&address, &path).ok().and_then(|response| response.header("etag").map(str::to_owned))
        else {
            std::thread::sleep(RETRY_INTERVAL);
            return;
        };
        let mut competing = vec![self.new_lifecycle_write(WriteKind::Delete(key.clone()), system, Some(&tag))];
        if self.random.bool() {
            competing.push(self.new_lifecycle_write(WriteKind::Delete(key.clone()), system, Some(&tag)));
        }
        // A BlueDolphin definition can be deleted only while it is disabled, and then it is not
        // changed.
        if !is_guarded(system) && self.random.bool() {
            competing.push(self.new_lifecycle_write(WriteKind::PatchDeletable(key), system, Some(&tag)));
        }
        std::thread::scope(|scope| {
            for write in &mut competing {
                let mut own = Caller { run: self.run, random: self.random.fork(), client: Client::default() };
                scope.spawn(move || {
                    own.send(write);
                    if write.last_kind() != ResponseKind::Success {
                        own.send(write);
                    }
                });
            }
        });
        if competing.iter().any(|write| {
            matches!(write.kind, WriteKind::Delete(_)) && write.first_received_at(ResponseKind::Success).is_some()
        }) {
            let shown = self.get_record(&path);
            assert!(shown.is_none_or(|(status, _)| status == 404), "deleted, and still there: {competing:?}");
        }
        self.run.writes.lock().unwrap().extend(competing);
    }

    /// What GET shows; `None` = the vendor or the gateway did not respond.
    fn get_record(&mut self, path: &str) -> Option<(u16, serde_json::Value)> {
        let address = self.run.pick_address(&mut self.random);
        let response = self.client.get(&address, path).ok().filter(|response| !matches!(response.status, 502..=504))?;
        Some((response.status, response.json()))
    }
}

impl HistoryVerifier<'_> {
    /// Compares every create and delete with the records at the vendors.
    pub(super) fn check_lifecycle(&mut self, lifecycle_writes: &[Write]) {
        let mut deletable: BTreeMap<(usize, &str), Vec<&Write>> = BTreeMap::new();
        for write in lifecycle_writes {
            match &write.kind {
                WriteKind::Create => self.check_create(write),
                WriteKind::Delete(key) | WriteKind::PatchDeletable(key) => {
                    deletable.entry((write.system, key)).or_default().push(write);
                }
                WriteKind::Patch => {}
            }
        }
        for ((system, key), competing) in deletable {
            self.check_deletable(system, key, &competing);
        }
    }

    fn report_violation(&mut self, write: &Write, what: &str) {
        let about = format!("{} {:?} hw-{}", system_name(write.system), write.kind, write.value);
        self.violations.push(format!("{about}: {what}; responses {:?}", write.responses));
    }

    /// The responses to a write fit its operation. Returns whether it is reported applied, and
    /// unknown.
    fn check_write_responses(&mut self, write: &Write) -> (bool, bool) {
        let (complaints, applied, unknown) = self.check_responses(write);
        for complaint in complaints {
            self.report_violation(write, &complaint);
        }
        (applied, unknown)
    }

    fn check_create(&mut self, write: &Write) {
        let (applied, unknown) = self.check_write_responses(write);
        let there = self.run.vendors.keys_with_value(write.system, write.value);
        // No other write has the value, so a created record is found by any successful read.
        match (applied, there.len()) {
            (true, 1) | (false, 0) => {}
            (false, 1) if unknown && self.may_lack_evidence(write) => {}
            (_, count) => self.report_violation(write, &format!("{count} records have its value")),
        }
        let is_created = |location: &str| there.iter().any(|key| location.ends_with(key.as_str()));
        if !write.responses.iter().filter_map(|response| response.location.as_deref()).all(is_created) {
            self.report_violation(write, "the Location names another record than was created");
        }
    }

    fn check_deletable(&mut self, system: usize, key: &str, competing: &[&Write]) {
        let gone = !self.run.vendors.has(system, key);
        let changes = self.run.vendors.changes_of(system, key);
        let (mut deleted, mut perhaps) = (0, false);
        let is_changed = competing.iter().any(|write| changes.contains(&write.value));
        for write in competing {
            let (applied, unknown) = self.check_write_responses(write);
            let effects = changes.iter().filter(|value| **value == write.value).count();
            if matches!(write.kind, WriteKind::Delete(_)) {
                deleted += usize::from(applied);
                perhaps |= unknown && self.may_lack_evidence(write);
                if write.first_received_at(ResponseKind::PreconditionFailed).is_some() && !is_changed {
                    self.report_violation(write, "the record had not been changed");
                }
            } else {
                match (applied, unknown, effects) {
                    (true, _, 1) | (false, true, 0 | 1) | (false, false, 0) => {}
                    _ => self.report_violation(write, &format!("{effects} effects")),
                }
            }
            if write.first_received_at(ResponseKind::NotFound).is_some() && !gone {
                self.report_violation(write, "the record is there");
            }
        }
        if gone && is_changed {
            self.report_violation(competing[0], "changed and deleted under one tag");
        }
        match (gone, deleted) {
            (true, 1) | (false, 0) => {}
            (true, 0) if perhaps => {}
            _ => self
                .report_violation(competing[0], &format!("gone: {gone}, and {deleted} deletes are reported applied")),
        }
    }
}
