//! The state of the dataset.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{rules, sample};
use crate::sandbox::common::changes::Changes;
use crate::sandbox::common::members::set_members;
use crate::sandbox::common::tokens::AccessTokens;

/// A data object with its hidden state.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// `_dataObjectId`.
    pub id: String,
    /// `_version`.
    pub version: u64,
    /// Soft-deleted: not listed, but still stored.
    pub deleted: bool,
    /// The values by field name.
    pub fields: Map<String, Value>,
    /// `_errors`: the validation errors of the last write.
    pub errors: Vec<Value>,
}

impl Object {
    /// The JSON of lists and of POST.
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("_dataObjectId".to_owned(), json!(self.id));
        members.insert("_version".to_owned(), json!(self.version));
        members.insert("_errors".to_owned(), json!(self.errors));
        members.extend(self.fields.clone());
        members
    }

    fn bump_version(&mut self) {
        self.version = self.version.saturating_add(1);
        self.errors = rules::find_errors(&self.fields);
    }
}

/// How the last page of a list is marked, which is not documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastKey {
    /// No `nextPageKey`.
    Absent,
    /// `"nextPageKey": null`.
    Null,
    /// `"nextPageKey": ""`.
    Empty,
}

/// Options of the behaviour, changeable at any time.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent options")]
pub struct Settings {
    /// Stored records per page. Deleted ones count but are not returned, so pages can be short or
    /// empty. Default 2.
    pub page_size: usize,
    /// Whether deleted records leave their page, so that later ones move up. Default false.
    pub moves_up: bool,
    /// Whether an empty page with a key follows the first page. Default true.
    pub empty_page: bool,
    /// How the last page is marked. Default absent.
    pub last_key: LastKey,
    /// Lifetime of tokens issued from now on. Default one hour.
    pub token_life: Duration,
    /// Whether `/v1/oauth2/token` exists. Default true.
    pub token_path_v1: bool,
    /// Whether `/oauth2/token` exists. Default true.
    pub token_path_plain: bool,
    /// The text for a stale version, which is not documented.
    pub conflict_text: String,
    /// Whether a PUT with an invalid value is rejected with 400 instead of stored and flagged,
    /// which is not documented. Default false.
    pub refuse_invalid: bool,
    /// A field that PUT does not change, although it responds 204.
    pub ignored_field: Option<String>,
    /// A field of any value that was added to the schema.
    pub added_field: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            page_size: 2,
            moves_up: false,
            empty_page: true,
            last_key: LastKey::Absent,
            token_life: Duration::from_hours(1),
            token_path_v1: true,
            token_path_plain: true,
            conflict_text: "The provided _version does not match the current version of the data object".to_owned(),
            refuse_invalid: false,
            ignored_field: None,
            added_field: None,
        }
    }
}

/// Why an update was rejected.
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
    pub(super) tokens: AccessTokens,
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
            tokens: AccessTokens::default(),
            issued_count: 0,
        }
    }
}

impl State {
    pub(super) fn issue_token(&mut self) -> (String, Duration) {
        let lifetime = self.settings.token_life;
        self.issued_count = self.issued_count.saturating_add(1);
        // Starts like the vendor's sample; clients must not rely on the rest being a JWT.
        let token = format!("eyJraWQiOiJzYW5kYm94In0.{}.{}", self.issued_count, uuid::Uuid::now_v7().simple());
        self.tokens.insert(token.clone(), lifetime);
        (token, lifetime)
    }

    pub(super) fn find_active(&self, id: &str) -> Option<&Object> {
        self.objects.iter().find(|object| object.id == id && !object.deleted)
    }

    fn find_active_mut(&mut self, id: &str) -> Option<&mut Object> {
        self.objects.iter_mut().find(|object| object.id == id && !object.deleted)
    }

    /// Stores valid and invalid values and flags the invalid ones. Names that the schema does not
    /// have are ignored (undocumented).
    pub(super) fn create(&mut self, sent: &Map<String, Value>) -> Object {
        let added = self.settings.added_field.clone();
        let fields: Map<_, _> = sent
            .iter()
            .filter(|(name, value)| (rules::has_field(name) || added.as_ref() == Some(name)) && !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let object = Object { id: new_id(), version: 1, deleted: false, errors: rules::find_errors(&fields), fields };
        self.objects.push(object.clone());
        object
    }

    /// Updates the record if the version matches. `null` clears a field, and unknown names are
    /// ignored (both undocumented).
    pub(super) fn update(&mut self, id: &str, version: &Value, sent: &Map<String, Value>) -> Result<(), UpdateError> {
        let ignored = self.settings.ignored_field.clone();
        let added = self.settings.added_field.clone();
        let has_field = |name: &String| rules::has_field(name) || added.as_ref() == Some(name);
        let refuse_invalid = self.settings.refuse_invalid;
        let object = self.find_active_mut(id).ok_or(UpdateError::Missing)?;
        if version.as_u64() != Some(object.version) {
            return Err(UpdateError::Stale);
        }
        let changes: Map<_, _> = sent
            .iter()
            .filter(|(name, _)| has_field(name) && ignored.as_ref() != Some(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut fields = object.fields.clone();
        set_members(&mut fields, &changes);
        if refuse_invalid && !rules::find_errors(&fields).is_empty() {
            return Err(UpdateError::Invalid);
        }
        object.fields = fields;
        object.bump_version();
        self.record_change(id);
        Ok(())
    }

    /// Changes the fields in place, as another client would, whatever the version.
    pub(super) fn write(&mut self, id: &str, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        let Some(object) = self.find_active_mut(id) else { return false };
        change(&mut object.fields);
        object.bump_version();
        self.record_change(id);
        true
    }

    /// Records the current state of an object, if recording is on.
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

/// An id in the vendor's format: 17 digits of time and 30 of [0-9a-z].
fn new_id() -> String {
    let now = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
    let random = uuid::Uuid::now_v7().simple().to_string();
    format!("{}{:03}{}", now.strftime("%Y%m%d%H%M%S"), now.millisecond(), random.get(2..).unwrap_or_default())
}
