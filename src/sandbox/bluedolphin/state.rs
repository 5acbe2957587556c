//! What the stand-in holds, and how a queued update takes effect.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::common::Changes;
use super::sample;

/// A property of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name, unique in the definition.
    pub name: String,
    /// Its value; `None` is shown as `null`.
    pub value: Option<String>,
    /// `is_mandatory`.
    pub locked: bool,
}

/// A questionnaire that definitions can be linked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Questionnaire {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Configuration that the API never shows and every update removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedQuestion {
    /// The property's name or questionnaire's id it hangs on.
    pub attached_to: String,
    /// The question.
    pub question: String,
}

/// An object definition with its hidden state.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// 24 hexadecimal digits.
    pub id: String,
    /// Unique in the tenant.
    pub name: String,
    /// `type`, as shown.
    pub kind: Value,
    /// `status` 1.
    pub disabled: bool,
    /// `object_properties`, in order.
    pub properties: Vec<Property>,
    /// `related_boem`, in order.
    pub questionnaires: Vec<Questionnaire>,
    /// Hidden: lost in an update.
    pub linked_questions: Vec<LinkedQuestion>,
    /// Hidden: lost in an update.
    pub source_connections: Vec<String>,
    /// Hidden: how many objects are deleted with it.
    pub dependent_objects: u32,
    /// Secured: can be neither disabled nor deleted.
    pub built_in: bool,
}

impl Definition {
    pub(super) fn new(id: &str, name: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            kind: sample::template_type(),
            disabled: false,
            properties: Vec::new(),
            questionnaires: Vec::new(),
            linked_questions: Vec::new(),
            source_connections: Vec::new(),
            dependent_objects: 0,
            built_in: false,
        }
    }

    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|property| property.name == name)?.value.as_deref()
    }

    pub(super) fn to_json(&self, with_is_mandatory: bool) -> Value {
        let property = |property: &Property| {
            let mut shown = json!({ "name": property.name, "value": property.value });
            if let Some(shown) = shown.as_object_mut().filter(|_| with_is_mandatory) {
                shown.insert("is_mandatory".to_owned(), json!(property.locked));
            }
            shown
        };
        let properties: Vec<Value> = self.properties.iter().map(property).collect();
        let related: Vec<Value> =
            self.questionnaires.iter().map(|linked| json!({ "id": linked.id, "name": linked.name })).collect();
        json!({ "id": self.id, "name": self.name, "type": self.kind, "status": u8::from(self.disabled),
                "object_properties": properties, "related_boem": related })
    }

    /// With the hidden state, for people.
    pub(super) fn to_json_with_hidden_state(&self) -> Value {
        let questions: Vec<Value> = self
            .linked_questions
            .iter()
            .map(|linked| json!({ "on": linked.attached_to, "question": linked.question }))
            .collect();
        let mut shown = self.to_json(true);
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("linked_questions".to_owned(), json!(questions));
            shown.insert("source_connections".to_owned(), json!(self.source_connections));
            shown.insert("dependent_objects".to_owned(), json!(self.dependent_objects));
            shown.insert("built_in".to_owned(), json!(self.built_in));
        }
        shown
    }

    /// Replaces: whatever `wanted` leaves out is removed, but for locked properties. Linked questions and source connections go
    /// whatever is sent; only when every locked property was left out do the linked questions of these stay.
    fn replace(&mut self, wanted: &QueuedUpdate, known: &[Questionnaire], ignored: Option<&String>) {
        let sent = |name: &str| wanted.properties.iter().find(|property| property.name == name);
        let is_locked = |name: &str, properties: &[Property]| properties.iter().any(|p| p.locked && p.name == name);
        let locked_sent = wanted.properties.iter().any(|property| is_locked(&property.name, &self.properties));
        let before = std::mem::take(&mut self.properties);
        for old in &before {
            match sent(&old.name) {
                _ if ignored == Some(&old.name) => self.properties.push(old.clone()),
                None if old.locked => self.properties.push(old.clone()),
                None => {}
                Some(new) if old.locked && !new.locked => self.properties.push(old.clone()),
                Some(new) => self.properties.push(Property {
                    value: new.value.clone().or_else(|| old.value.clone().filter(String::is_empty)),
                    locked: old.locked || new.locked,
                    name: new.name.clone(),
                }),
            }
        }
        let is_new = |new: &&Property| !before.iter().any(|old| old.name == new.name) && ignored != Some(&new.name);
        self.properties.extend(wanted.properties.iter().filter(is_new).cloned());
        self.name.clone_from(&wanted.name);
        self.questionnaires.clear();
        for id in &wanted.questionnaires {
            let linked = self.questionnaires.iter().any(|linked| linked.id == *id);
            let found = known.iter().find(|questionnaire| questionnaire.id == *id && !linked);
            self.questionnaires.extend(found.cloned());
        }
        self.linked_questions.retain(|linked| !locked_sent && is_locked(&linked.attached_to, &before));
        self.source_connections.clear();
    }
}

/// What a valid PUT asks for.
#[derive(Clone, Debug)]
pub(super) struct QueuedUpdate {
    pub(super) name: String,
    pub(super) properties: Vec<Property>,
    pub(super) questionnaires: Vec<String>,
}

/// How the stand-in behaves; a test changes it at any time.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each named where it is set")]
pub struct Settings {
    /// Time from a 202 to its effect; `None` = until [`super::BlueDolphin::apply_queued`]. For updates queued from now on.
    /// Default 300 ms.
    pub queue_delay: Option<Duration>,
    /// Queued updates leave the queue without effect, and nobody is told. Default false.
    pub silent_failure: bool,
    /// A property that queued updates leave as it is.
    pub ignored_property: Option<String>,
    /// GET leaves `is_mandatory` out: whether it is shown is not documented. Default false.
    pub hide_is_mandatory: bool,
    /// The key has come to its date: 401. Default false.
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
    /// `None` = by hand.
    due_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) definitions: Vec<Definition>,
    pub(super) questionnaires: Vec<Questionnaire>,
    /// Objects that went with their definitions.
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
    /// Lets the queued updates that are due take effect. Whoever looks at the state calls it first, so no timer is needed.
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

    /// Keeps a definition as it is now, if changes are kept.
    pub(super) fn record_change(&mut self, id: &str) {
        if let Some(definition) = self.definitions.iter().find(|definition| definition.id == id) {
            self.changes.record(id, || definition.to_json(true));
        }
    }

    pub(super) fn queue(&mut self, id: &str, wanted: QueuedUpdate) {
        let due = self.settings.queue_delay.and_then(|delay| Instant::now().checked_add(delay));
        self.queue.push(QueueEntry { id: id.to_owned(), update: wanted, due_at: due });
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

    /// Whether another definition than `id` has the name.
    pub(super) fn is_name_taken(&self, name: &str, id: &str) -> bool {
        self.definitions.iter().any(|definition| definition.id != id && definition.name == name)
    }

    pub(super) fn create(&mut self, name: &str) -> String {
        self.created_count = self.created_count.saturating_add(1);
        let id = format!("65a0{:020x}", self.created_count);
        self.definitions.push(Definition::new(&id, name));
        id
    }

    /// Objects based on the definition go with it.
    pub(super) fn delete(&mut self, id: &str) {
        for gone in self.definitions.extract_if(.., |definition| definition.id == id) {
            self.deleted_objects = self.deleted_objects.saturating_add(gone.dependent_objects);
        }
    }
}
