//! Object definitions and how an update replaces them.

use serde_json::{Map, Value, json};

/// A property of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The name, unique in the definition.
    pub name: String,
    /// The value; `None` is returned as `null`.
    pub value: Option<String>,
    /// `is_mandatory`.
    pub locked: bool,
}

/// A questionnaire that definitions can link to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Questionnaire {
    /// The id.
    pub id: String,
    /// The name.
    pub name: String,
}

/// Configuration that the API never returns and every update removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedQuestion {
    /// The name of the property or the id of the questionnaire that it belongs to.
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
    /// `type`, as returned.
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
    /// Hidden: the number of objects that are deleted with it.
    pub dependent_objects: u32,
    /// Secured: cannot be disabled or deleted.
    pub built_in: bool,
}

impl Definition {
    pub(super) fn new(id: &str, name: &str, kind: Value) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            kind,
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
            let mut json = json!({ "name": property.name, "value": property.value });
            if let Some(json) = json.as_object_mut().filter(|_| with_is_mandatory) {
                json.insert("is_mandatory".to_owned(), json!(property.locked));
            }
            json
        };
        let properties: Vec<Value> = self.properties.iter().map(property).collect();
        let related: Vec<Value> =
            self.questionnaires.iter().map(|linked| json!({ "id": linked.id, "name": linked.name })).collect();
        json!({ "id": self.id, "name": self.name, "type": self.kind, "status": u8::from(self.disabled),
                "object_properties": properties, "related_boem": related })
    }

    /// The JSON with the hidden state, for `/_sandbox/records`.
    pub(super) fn to_json_with_hidden_state(&self) -> Value {
        let questions: Vec<Value> = self
            .linked_questions
            .iter()
            .map(|linked| json!({ "on": linked.attached_to, "question": linked.question }))
            .collect();
        let mut json = self.to_json(true);
        if let Some(json) = json.as_object_mut() {
            json.insert("linked_questions".to_owned(), json!(questions));
            json.insert("source_connections".to_owned(), json!(self.source_connections));
            json.insert("dependent_objects".to_owned(), json!(self.dependent_objects));
            json.insert("built_in".to_owned(), json!(self.built_in));
        }
        json
    }

    /// Changes `name`, `disabled` and properties as another client would; `null` removes a
    /// property.
    pub(super) fn apply_external_update(&mut self, members: &Map<String, Value>) {
        if let Some(name) = members.get("name").and_then(Value::as_str) {
            name.clone_into(&mut self.name);
        }
        if let Some(disabled) = members.get("disabled").and_then(Value::as_bool) {
            self.disabled = disabled;
        }
        for (name, value) in members.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().map(str::to_owned);
            let Some(value) = value else {
                self.properties.retain(|property| property.name != *name);
                continue;
            };
            match self.properties.iter_mut().find(|property| property.name == *name) {
                Some(property) => property.value = Some(value),
                None => self.properties.push(Property { name: name.clone(), value: Some(value), locked: false }),
            }
        }
    }

    /// Replaces the definition: what `update` omits is removed, except locked properties.
    ///
    /// Every update removes linked questions and source connections. Only the questions of locked
    /// properties stay, and only if the update omits every locked property.
    pub(super) fn replace(&mut self, update: &QueuedUpdate, known: &[Questionnaire], ignored: Option<&String>) {
        let sent = |name: &str| update.properties.iter().find(|property| property.name == name);
        let is_locked = |name: &str, properties: &[Property]| properties.iter().any(|p| p.locked && p.name == name);
        let locked_sent = update.properties.iter().any(|property| is_locked(&property.name, &self.properties));
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
        self.properties.extend(update.properties.iter().filter(is_new).cloned());
        self.name.clone_from(&update.name);
        self.questionnaires.clear();
        for id in &update.questionnaires {
            let linked = self.questionnaires.iter().any(|linked| linked.id == *id);
            let found = known.iter().find(|questionnaire| questionnaire.id == *id && !linked);
            self.questionnaires.extend(found.cloned());
        }
        self.linked_questions.retain(|linked| !locked_sent && is_locked(&linked.attached_to, &before));
        self.source_connections.clear();
    }
}

/// A valid PUT.
#[derive(Clone, Debug)]
pub(super) struct QueuedUpdate {
    pub(super) name: String,
    pub(super) properties: Vec<Property>,
    pub(super) questionnaires: Vec<String>,
}
