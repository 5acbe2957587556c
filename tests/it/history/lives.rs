//! Records that are made, and records that are deleted while others want to change or delete them too; and what must be true
//! of them: made exactly once or not at all, gone by one delete at most, and never changed and deleted under one tag.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::caller::{Caller, Kind, Said, Write, path_of};
use super::check::Truth;
use super::client::Client;
use super::vendors::{GUARDED, SYSTEMS, value_of};

/// The pause before a gateway that was killed is asked again.
const KNOCK_EVERY: Duration = Duration::from_millis(5);

impl Caller<'_> {
    /// Makes a record, or deletes one that others want as well.
    pub(super) fn live(&mut self) {
        let system = self.random.usize(0..3);
        if self.random.bool() { self.make(system) } else { self.end(system) }
    }

    fn life(&mut self, kind: Kind, system: usize, if_match: Option<&str>) -> Write {
        let value = self.run.next.fetch_add(1, Ordering::SeqCst);
        let content = match kind {
            Kind::Create => "application/json",
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
        Write { kind, system, record: 0, value, expected: None, call: self.run.now(), told: Vec::new(), headers }
    }

    fn make(&mut self, system: usize) {
        let mut write = self.life(Kind::Create, system, None);
        if self.random.u32(0..5) == 0 {
            self.send_twice_at_once(&mut write);
        } else {
            self.send(&mut write);
        }
        if write.last() == Said::Refused(0) {
            std::thread::sleep(KNOCK_EVERY);
        }
        if write.last() != Said::Done || self.random.u32(0..5) == 0 {
            self.send(&mut write);
        }
        if let Some(place) = write.told.iter().find_map(|told| told.place.clone()) {
            let shown = self.look(&place);
            let is_it = |(status, shown)| status == 200 && shows_what_was_made(system, &shown, write.value);
            assert!(shown.is_none_or(is_it), "{write:?}");
        }
        self.run.writes.lock().unwrap().push(write);
    }

    fn end(&mut self, system: usize) {
        let key = self.run.vendors.doom(system, self.run.next.fetch_add(1, Ordering::SeqCst));
        let path = path_of(system, &key);
        let address = self.run.address(&mut self.random);
        let Some(tag) =
            self.client.get(&address, &path).ok().and_then(|answer| answer.header("etag").map(str::to_owned))
        else {
            std::thread::sleep(KNOCK_EVERY);
            return;
        };
        let mut rivals = vec![self.life(Kind::Delete(key.clone()), system, Some(&tag))];
        if self.random.bool() {
            rivals.push(self.life(Kind::Delete(key.clone()), system, Some(&tag)));
        }
        // A definition that can be deleted is one that nobody changes any more.
        if system != GUARDED && self.random.bool() {
            rivals.push(self.life(Kind::PatchOfDoomed(key), system, Some(&tag)));
        }
        std::thread::scope(|scope| {
            for rival in &mut rivals {
                let mut own = Caller { run: self.run, random: self.random.fork(), client: Client::default() };
                scope.spawn(move || {
                    own.send(rival);
                    if rival.last() != Said::Done {
                        own.send(rival);
                    }
                });
            }
        });
        if rivals.iter().any(|rival| matches!(rival.kind, Kind::Delete(_)) && rival.heard(Said::Done).is_some()) {
            let shown = self.look(&path);
            assert!(shown.is_none_or(|(status, _)| status == 404), "deleted, and there: {rivals:?}");
        }
        self.run.writes.lock().unwrap().extend(rivals);
    }

    /// What GET shows; `None` = the vendor or the gateway did not answer.
    fn look(&mut self, path: &str) -> Option<(u16, serde_json::Value)> {
        let address = self.run.address(&mut self.random);
        let answer = self.client.get(&address, path).ok().filter(|answer| !matches!(answer.status, 502..=504))?;
        Some((answer.status, answer.body))
    }
}

/// Whether the record shown is the one that a create with this value makes.
fn shows_what_was_made(system: usize, shown: &serde_json::Value, value: u32) -> bool {
    if system == GUARDED {
        shown["fields"]["name"] == format!("hw-{value}")
    } else {
        value_of(system, shown) == Some(value)
    }
}

impl Truth<'_> {
    /// Holds every create and delete against what is at the vendors.
    pub(super) fn check_lives(&mut self, lives: &[Write]) {
        let mut doomed: BTreeMap<(usize, &str), Vec<&Write>> = BTreeMap::new();
        for write in lives {
            match &write.kind {
                Kind::Create => self.check_create(write),
                Kind::Delete(key) | Kind::PatchOfDoomed(key) => {
                    doomed.entry((write.system, key)).or_default().push(write);
                }
                Kind::Patch => {}
            }
        }
        for ((system, key), rivals) in doomed {
            self.check_doomed(system, key, &rivals);
        }
    }

    fn complain(&mut self, write: &Write, what: &str) {
        let about = format!("{} {:?} hw-{}", SYSTEMS[write.system], write.kind, write.value);
        self.wrong.push(format!("{about}: {what}; told {:?}", write.told));
    }

    /// What was told of a write fits its operation; whether it is said to be done, or unknown.
    fn checked(&mut self, write: &Write) -> (bool, bool) {
        let (complaints, applied, unknown) = self.books_of(write);
        for complaint in complaints {
            self.complain(write, &complaint);
        }
        (applied, unknown)
    }

    fn check_create(&mut self, write: &Write) {
        let (applied, unknown) = self.checked(write);
        let there = self.run.vendors.holding(write.system, write.value);
        // The values are nobody else's, so that a record which was made is found if anybody can look.
        match (applied, there.len()) {
            (true, 1) | (false, 0) => {}
            (false, 1) if unknown && self.may_be_unseen(write) => {}
            (_, count) => self.complain(write, &format!("there are {count} of it")),
        }
        let is_it = |place: &str| there.iter().any(|key| place.ends_with(key.as_str()));
        if !write.told.iter().filter_map(|told| told.place.as_deref()).all(is_it) {
            self.complain(write, "another record is told than was made");
        }
    }

    fn check_doomed(&mut self, system: usize, key: &str, rivals: &[&Write]) {
        let gone = !self.run.vendors.has(system, key);
        let changes = self.run.vendors.changes_of(system, key);
        let (mut deleted, mut perhaps) = (0, false);
        let is_changed = rivals.iter().any(|write| changes.contains(&write.value));
        for write in rivals {
            let (applied, unknown) = self.checked(write);
            let effects = changes.iter().filter(|value| **value == write.value).count();
            if matches!(write.kind, Kind::Delete(_)) {
                deleted += usize::from(applied);
                perhaps |= unknown && self.may_be_unseen(write);
                if write.heard(Said::Stale).is_some() && !is_changed {
                    self.complain(write, "nobody had changed the record");
                }
            } else {
                match (applied, unknown, effects) {
                    (true, _, 1) | (false, true, 0 | 1) | (false, false, 0) => {}
                    _ => self.complain(write, &format!("{effects} effects")),
                }
            }
            if write.heard(Said::Gone).is_some() && !gone {
                self.complain(write, "the record is there");
            }
        }
        if gone && is_changed {
            self.complain(rivals[0], "changed and deleted under one tag");
        }
        match (gone, deleted) {
            (true, 1) | (false, 0) => {}
            (true, 0) if perhaps => {}
            _ => self.complain(rivals[0], &format!("gone: {gone}, and {deleted} deletes are said to be done")),
        }
    }
}
