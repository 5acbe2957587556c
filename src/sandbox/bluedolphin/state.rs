//! The tenant's state, and the queue of updates.

use std::time::{Duration, Instant};

use super::definition::{Definition, Questionnaire, QueuedUpdate};
use super::sample;
use crate::sandbox::common::changes::Changes;

/// Options of the behaviour, changeable at any time.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent options")]
pub struct Settings {
    /// Time from a 202 until the update takes effect; `None` = until
    /// [`apply_queued`](super::BlueDolphin::apply_queued). Applies to later updates. Default 300
    /// ms.
    pub queue_delay: Option<Duration>,
    /// Queued updates have no effect, and nothing reports it. Default false.
    pub silent_failure: bool,
    /// A property that queued updates do not change.
    pub ignored_property: Option<String>,
    /// GET omits `is_mandatory`: whether it is returned is not documented. Default
    /// false.
    pub hide_is_mandatory: bool,
    /// The key has expired: 401. Default false.
    pub key_expired: bool,
    /// The tenant lacks the PUBLIC_API add-on: 403. Default false.
    pub add_on_missing: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue_delay: Some(Duration::from_millis(300)),
            silent_failure: false,
            ignored_property: None,
            hide_is_mandatory: false,
            key_expired: false,
            add_on_missing: false,
        }
    }
}

#[derive(Debug)]
struct QueueEntry {
    id: String,
    update: QueuedUpdate,
    /// `None` = until `apply_queued`.
    due_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) definitions: Vec<Definition>,
    pub(super) questionnaires: Vec<Questionnaire>,
    /// Objects that were deleted with their definitions.
    pub(super) deleted_objects: u32,
    pub(super) changes: Changes,
    queue: Vec<QueueEntry>,
    created_count: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            definitions: sample::definitions(),
            questionnaires: sample::questionnaires(),
            deleted_objects: 0,
            changes: Changes::default(),
            queue: Vec::new(),
            created_count: 0,
        }
    }
}

impl State {
    /// Applies the queued updates that are due. Every access to the state calls it first, so no
    /// timer is needed.
    pub(super) fn apply_due(&mut self) {
        let now = Instant::now();
        self.apply(|queued| queued.due_at.is_some_and(|due| due <= now));
    }

    pub(super) fn apply_all(&mut self) -> usize {
        self.apply(|_| true)
    }

    fn apply(&mut self, is_due: impl Fn(&QueueEntry) -> bool) -> usize {
        let (due, waiting): (Vec<_>, Vec<_>) = self.queue.drain(..).partition(is_due);
        self.queue = waiting;
        if self.settings.silent_failure {
            return due.len();
        }
        for queued in &due {
            if let Some(definition) = self.definitions.iter_mut().find(|definition| definition.id == queued.id) {
                definition.replace(&queued.update, &self.questionnaires, self.settings.ignored_property.as_ref());
            }
            self.record_change(&queued.id);
        }
        due.len()
    }

    /// Records the current state of a definition, if recording is on.
    pub(super) fn record_change(&mut self, id: &str) {
        if let Some(definition) = self.definitions.iter().find(|definition| definition.id == id) {
            self.changes.record(id, || definition.to_json(true));
        }
    }

    pub(super) fn queue(&mut self, id: &str, update: QueuedUpdate) {
        let due = self.settings.queue_delay.and_then(|delay| Instant::now().checked_add(delay));
        self.queue.push(QueueEntry { id: id.to_owned(), update, due_at: due });
    }

    pub(super) fn is_busy(&self, id: &str) -> bool {
        self.queue.iter().any(|queued| queued.id == id)
    }

    pub(super) fn queued_count(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn find(&self, id: &str) -> Option<&Definition> {
        self.definitions.iter().find(|definition| definition.id == id)
    }

    pub(super) fn find_mut(&mut self, id: &str) -> Option<&mut Definition> {
        self.definitions.iter_mut().find(|definition| definition.id == id)
    }

    /// Whether a definition other than `id` has the name.
    pub(super) fn is_name_taken(&self, name: &str, id: &str) -> bool {
        self.definitions.iter().any(|definition| definition.id != id && definition.name == name)
    }

    pub(super) fn create(&mut self, name: &str) -> String {
        self.created_count = self.created_count.saturating_add(1);
        let id = format!("65a0{:020x}", self.created_count);
        self.definitions.push(Definition::new(&id, name, sample::template_type()));
        id
    }

    /// Deletes a definition and the objects based on it.
    pub(super) fn delete(&mut self, id: &str) {
        for deleted in self.definitions.extract_if(.., |definition| definition.id == id) {
            self.deleted_objects = self.deleted_objects.saturating_add(deleted.dependent_objects);
        }
    }
}
