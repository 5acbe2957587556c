//! What the stand-in holds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::super::common::Changes;
use super::{rules, sample};

/// A data object with its hidden state.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// `_dataObjectId`.
    pub id: String,
    /// `_version`.
    pub version: u64,
    /// Soft-deleted: in no list, but still there.
    pub deleted: bool,
    /// Values by field name.
    pub fields: Map<String, Value>,
    /// `_errors`: what the vendor found wrong when it was last written.
    pub errors: Vec<Value>,
}

impl Object {
    /// As list and create show it.
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut shown = Map::new();
        shown.insert("_dataObjectId".to_owned(), json!(self.id));
        shown.insert("_version".to_owned(), json!(self.version));
        shown.insert("_errors".to_owned(), json!(self.errors));
        shown.extend(self.fields.clone());
        shown
    }

    fn bump_version(&mut self) {
        self.version = self.version.saturating_add(1);
        self.errors = rules::find_errors(&self.fields);
    }
}

/// How the last page of a list says that it is the last: the vendor does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastKey {
    /// No `nextPageKey`.
    Absent,
    /// `"nextPageKey": null`.
    Null,
    /// `"nextPageKey": ""`.
    Empty,
}

/// How the stand-in behaves; a test changes it at any time.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each named where it is set")]
pub struct Settings {
    /// Records looked at per page; deleted ones are looked at and left out, so that pages can be short or empty. Default 2.
    pub page_size: usize,
    /// Whether the first page is followed by an empty one that still has a key. Default true.
    pub empty_page: bool,
    /// How the last page ends. Default absent.
    pub last_key: LastKey,
    /// Life of tokens issued from now on. Default one hour.
    pub token_life: Duration,
    /// Whether `/v1/oauth2/token` exists. Default true.
    pub token_path_v1: bool,
    /// Whether `/oauth2/token` exists. Default true.
    pub token_path_plain: bool,
    /// The undocumented text of a stale version.
    pub conflict_text: String,
    /// Whether a PUT that breaks a rule is refused with 400 instead of stored and flagged: the vendor does not tell. Default false.
    pub refuse_invalid: bool,
    /// A field that PUT leaves as it is, answering 204 all the same.
    pub ignored_field: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            page_size: 2,
            empty_page: true,
            last_key: LastKey::Absent,
            token_life: Duration::from_hours(1),
            token_path_v1: true,
            token_path_plain: true,
            conflict_text: "The provided _version does not match the current version of the data object".to_owned(),
            refuse_invalid: false,
            ignored_field: None,
        }
    }
}

/// Why a write was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UpdateError {
    Missing,
    Stale,
    Invalid,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) objects: Vec<Object>,
    pub(super) changes: Changes,
    tokens: HashMap<String, Instant>,
    issued_count: u64,
}

impl Default for State {
    fn default() -> Self {
        let object = |(id, version, deleted, fields): (&str, _, _, Map<String, Value>)| Object {
            id: id.to_owned(),
            version,
            deleted,
            errors: rules::find_errors(&fields),
            fields,
        };
        Self {
            settings: Settings::default(),
            objects: sample::objects().into_iter().map(object).collect(),
            changes: Changes::default(),
            tokens: HashMap::new(),
            issued_count: 0,
        }
    }
}

impl State {
    pub(super) fn issue_token(&mut self) -> (String, Duration) {
        let life = self.settings.token_life;
        self.issued_count = self.issued_count.saturating_add(1);
        // Begins as the vendor's sample does; the rest is no JWT and need not be one.
        let token = format!("eyJraWQiOiJzYW5kYm94In0.{}.{}", self.issued_count, uuid::Uuid::now_v7().simple());
        if let Some(end) = Instant::now().checked_add(life) {
            self.tokens.insert(token.clone(), end);
        }
        (token, life)
    }

    pub(super) fn expire_tokens(&mut self) {
        self.tokens.clear();
    }

    pub(super) fn is_valid_token(&self, token: &str) -> bool {
        self.tokens.get(token).is_some_and(|end| *end > Instant::now())
    }

    pub(super) fn find_active(&self, id: &str) -> Option<&Object> {
        self.objects.iter().find(|object| object.id == id && !object.deleted)
    }

    pub(super) fn find_active_mut(&mut self, id: &str) -> Option<&mut Object> {
        self.objects.iter_mut().find(|object| object.id == id && !object.deleted)
    }

    /// Stores whatever comes, and flags what is wrong with it. Names that the schema lacks are dropped (undocumented).
    pub(super) fn create(&mut self, sent: &Map<String, Value>) -> Object {
        let fields: Map<_, _> = sent
            .iter()
            .filter(|(name, value)| rules::has_field(name) && !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let object = Object { id: new_id(), version: 1, deleted: false, errors: rules::find_errors(&fields), fields };
        self.objects.push(object.clone());
        object
    }

    /// Compares and swaps. `null` clears a field (undocumented); unknown names are dropped (undocumented).
    pub(super) fn update(&mut self, id: &str, version: &Value, sent: &Map<String, Value>) -> Result<(), UpdateError> {
        let ignored = self.settings.ignored_field.clone();
        let refuse_invalid = self.settings.refuse_invalid;
        let object = self.find_active_mut(id).ok_or(UpdateError::Missing)?;
        if version.as_u64() != Some(object.version) {
            return Err(UpdateError::Stale);
        }
        let changes: Map<_, _> = sent
            .iter()
            .filter(|(name, _)| rules::has_field(name) && ignored.as_ref() != Some(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut fields = object.fields.clone();
        super::set_members(&mut fields, &changes);
        if refuse_invalid && !rules::find_errors(&fields).is_empty() {
            return Err(UpdateError::Invalid);
        }
        object.fields = fields;
        object.bump_version();
        self.record_change(id);
        Ok(())
    }

    /// A second writer: changes the fields in place, whatever the version.
    pub(super) fn write(&mut self, id: &str, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        let Some(object) = self.find_active_mut(id) else { return false };
        change(&mut object.fields);
        object.bump_version();
        self.record_change(id);
        true
    }

    /// Keeps an object as it is now, if changes are kept.
    fn record_change(&mut self, id: &str) {
        if let Some(object) = self.objects.iter().find(|object| object.id == id) {
            self.changes.record(id, || Value::Object(object.to_map()));
        }
    }

    pub(super) fn delete(&mut self, id: &str) -> bool {
        let Some(object) = self.find_active_mut(id) else { return false };
        object.deleted = true;
        true
    }
}

/// 17 digits of time and 30 of [0-9a-z], as in every sample of the vendor.
fn new_id() -> String {
    let now = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
    let random = uuid::Uuid::now_v7().simple().to_string();
    format!("{}{:03}{}", now.strftime("%Y%m%d%H%M%S"), now.millisecond(), random.get(2..).unwrap_or_default())
}
