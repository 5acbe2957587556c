//! The state of the database.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use super::class::{Class, find_member, parse_guid};
use super::failure::Failure;
use super::sample;
use crate::sandbox::common::changes::Changes;
use crate::sandbox::common::tokens::AccessTokens;

/// Options of the behaviour, changeable at any time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Lifetime of access tokens issued from now on. Default five minutes, as clients have
    /// observed.
    pub token_life: Duration,
    /// The API token was revoked or has expired: the exchange responds `null`. Default false.
    pub api_token_withdrawn: bool,
    /// An attribute that PUT does not change, although it responds 204.
    pub ignored_attribute: Option<String>,
    /// Lists reject the column `TimeStamp` as an unknown attribute, which is not documented.
    /// Default false.
    pub unlisted_time_stamp: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token_life: Duration::from_mins(5),
            api_token_withdrawn: false,
            ignored_attribute: None,
            unlisted_time_stamp: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) classes: Vec<Class>,
    pub(super) changes: Changes,
    counter: u64,
    pub(super) tokens: AccessTokens,
}

impl Default for State {
    fn default() -> Self {
        let class = |name| Class { name, columns: sample::columns(name), rows: BTreeMap::new() };
        let mut state = Self {
            settings: Settings::default(),
            classes: vec![class(sample::CATEGORY_CLASS), class(sample::ACTIVITY_CLASS)],
            changes: Changes::default(),
            counter: sample::FIRST_COUNTER,
            tokens: AccessTokens::default(),
        };
        for (class, id, before, attributes) in sample::fragments() {
            let counter = sample::FIRST_COUNTER.saturating_sub(before);
            if let Some(class) = state.class_mut(class) {
                class.insert(id, counter, &attributes);
            }
        }
        state
    }
}

impl State {
    pub(super) fn issue_token(&mut self) -> (String, jiff::Timestamp) {
        let lifetime = self.settings.token_life;
        let token = format!("eyJhbGciOiJSUzI1NiJ9.{}.access", uuid::Uuid::now_v7().simple());
        self.tokens.insert(token.clone(), lifetime);
        let now = jiff::Timestamp::now();
        (token, now.checked_add(lifetime).unwrap_or(now))
    }

    pub(super) fn class(&self, name: &str) -> Option<&Class> {
        self.classes.iter().find(|class| class.name == name)
    }

    fn class_mut(&mut self, name: &str) -> Option<&mut Class> {
        self.classes.iter_mut().find(|class| class.name == name)
    }

    /// Records the current state of a fragment, if recording is on.
    fn record_change(&mut self, class: &str, id: &str) {
        let class = self.classes.iter().find(|known| known.name == class);
        if let Some(row) = class.and_then(|class| class.rows.get(id)) {
            self.changes.record(id, || Value::Object(row.to_map()));
        }
    }

    fn next_row_version(&mut self) -> u64 {
        self.counter = self.counter.saturating_add(1);
        self.counter
    }

    /// Changes the given attributes; `null` resets one. Compares `TimeStamp` only if the body has
    /// one.
    pub(super) fn update(&mut self, class: &str, sent: &Map<String, Value>) -> Result<(), Failure> {
        let ignored = self.settings.ignored_attribute.clone();
        let next = self.counter.saturating_add(1);
        let class_name = class;
        let class = self.class_mut(class).ok_or(Failure::UnknownClass)?;
        let id = find_member(sent, "ID").and_then(Value::as_str).and_then(parse_guid).ok_or(Failure::MissingId)?;
        let mut attributes = class.validate_attributes(sent)?;
        let row = class.rows.get_mut(&id).ok_or(Failure::UnknownFragment)?;
        match find_member(sent, "TimeStamp") {
            // Empty or null counts as absent; this is not documented.
            None | Some(Value::Null) => {}
            Some(Value::String(stamp)) if stamp.is_empty() => {}
            Some(Value::String(stamp)) => {
                let bytes = BASE64_STANDARD.decode(stamp).map_err(|_| Failure::BadValue("TimeStamp"))?;
                if bytes != row.counter.to_be_bytes() {
                    return Err(Failure::Concurrency);
                }
            }
            Some(_) => return Err(Failure::BadValue("TimeStamp")),
        }
        if let Some(ignored) = ignored {
            attributes.shift_remove(&ignored);
        }
        row.attributes.extend(attributes);
        row.counter = next;
        self.counter = next;
        self.record_change(class_name, &id);
        Ok(())
    }

    pub(super) fn create(&mut self, class: &str, sent: &Map<String, Value>) -> Result<String, Failure> {
        let next = self.next_row_version();
        let class = self.class_mut(class).ok_or(Failure::UnknownClass)?;
        let attributes = class.validate_attributes(sent)?;
        if let Some(missing) =
            class.columns.iter().find(|column| column.mandatory && !attributes.contains_key(column.name))
        {
            return Err(Failure::MissingMandatoryAttribute(missing.name));
        }
        let id = match find_member(sent, "ID") {
            None | Some(Value::Null) => uuid::Uuid::now_v7().to_string(),
            Some(given) => given.as_str().and_then(parse_guid).ok_or(Failure::BadValue("ID"))?,
        };
        if class.rows.contains_key(&id) {
            return Err(Failure::Duplicate);
        }
        class.insert(&id, next, &attributes);
        Ok(id)
    }

    pub(super) fn delete(&mut self, class: &str, id: &str) -> Result<(), Failure> {
        let class = self.class_mut(class).ok_or(Failure::UnknownClass)?;
        class.rows.remove(id).map(drop).ok_or(Failure::UnknownFragment)
    }

    /// Changes the attributes in place, as another client would.
    pub(super) fn write(&mut self, class: &str, id: &str, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        let next = self.counter.saturating_add(1);
        let row = self.class_mut(class).and_then(|class| class.rows.get_mut(id));
        let Some(row) = row else { return false };
        change(&mut row.attributes);
        row.counter = next;
        self.counter = next;
        self.record_change(class, id);
        true
    }
}
