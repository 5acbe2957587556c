//! What the stand-in holds.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::super::common::Changes;
use super::failure::Failure;
use super::sample;

/// An attribute of a data definition.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// `ColumnType`; the words are not documented.
    pub(super) kind: &'static str,
    pub(super) localizable: bool,
    pub(super) mandatory: bool,
}

/// A fragment: one row of a data definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Fragment {
    /// GUID in lower case.
    pub id: String,
    /// The row version's counter; the whole database has one.
    pub counter: u64,
    /// Every attribute of the class, `null` where it has no value, but for `ID` and `TimeStamp`.
    pub attributes: Map<String, Value>,
}

impl Fragment {
    /// `TimeStamp`: base64 of the counter's 8 bytes, the greatest first.
    pub fn time_stamp(&self) -> String {
        BASE64_STANDARD.encode(self.counter.to_be_bytes())
    }

    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut shown = Map::with_capacity(self.attributes.len().saturating_add(2));
        shown.insert("ID".to_owned(), Value::String(self.id.clone()));
        shown.insert("TimeStamp".to_owned(), Value::String(self.time_stamp()));
        shown.extend(self.attributes.iter().map(|(name, value)| (name.clone(), value.clone())));
        shown
    }
}

/// A data definition with its rows, by id.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) name: &'static str,
    pub(super) columns: Vec<Column>,
    pub(super) rows: BTreeMap<String, Fragment>,
}

impl Class {
    /// An attribute whatever the case of its name, as ASP.NET reads members.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    pub(super) fn unknown_attribute(&self, name: &str) -> Failure {
        Failure::UnknownAttribute(self.name, name.to_owned())
    }

    pub(super) fn schema(&self) -> Value {
        let column = |column: &Column| json!({ "ColumnName": column.name, "ColumnType": column.kind, "Localizable": column.localizable });
        let fixed = [
            json!({ "ColumnName": "ID", "ColumnType": "Guid", "Localizable": false }),
            json!({ "ColumnName": "TimeStamp", "ColumnType": "Byte[]", "Localizable": false }),
        ];
        fixed.into_iter().chain(self.columns.iter().map(column)).collect()
    }

    /// The attributes of a request's body under their own names, checked one by one.
    fn validate_attributes(&self, sent: &Map<String, Value>) -> Result<Map<String, Value>, Failure> {
        let mut attributes = Map::new();
        for (name, value) in sent {
            if ["ID", "TimeStamp"].iter().any(|own| own.eq_ignore_ascii_case(name)) {
                continue;
            }
            let column = self.column(name).ok_or_else(|| self.unknown_attribute(name))?;
            if value.is_null() && column.mandatory {
                return Err(Failure::MissingMandatoryAttribute(column.name));
            }
            if !fits(column.kind, value) {
                return Err(Failure::BadValue(column.name));
            }
            attributes.insert(column.name.to_owned(), value.clone());
        }
        Ok(attributes)
    }
}

fn fits(kind: &str, value: &Value) -> bool {
    value.is_null()
        || match kind {
            "Boolean" => value.is_boolean() || matches!(value.as_u64(), Some(0 | 1)),
            "Int32" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            "Decimal" => value.is_number(),
            "Guid" => value.as_str().is_some_and(|text| parse_guid(text).is_some()),
            "DateTime" => value.as_str().is_some_and(|text| {
                text.parse::<jiff::civil::DateTime>().is_ok() || text.parse::<jiff::Timestamp>().is_ok()
            }),
            _ => value.is_string(),
        }
}

/// A GUID in lower case, if the text is one in the form with hyphens.
pub(super) fn parse_guid(text: &str) -> Option<String> {
    let hyphens = [8, 13, 18, 23];
    let good = text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, b)| if hyphens.contains(&at) { b == b'-' } else { b.is_ascii_hexdigit() });
    good.then(|| text.to_ascii_lowercase())
}

/// A member whatever the case of its name.
pub(super) fn find_member<'b>(body: &'b Map<String, Value>, name: &str) -> Option<&'b Value> {
    body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// How the stand-in behaves; a test changes it at any time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Life of access tokens issued from now on. Default five minutes, as clients have seen it.
    pub token_life: Duration,
    /// The API token has been withdrawn or is too old: the exchange answers `null`. Default false.
    pub api_token_withdrawn: bool,
    /// An attribute that PUT leaves as it is, answering 204 all the same.
    pub ignored_attribute: Option<String>,
    /// Lists refuse the column `TimeStamp`, as they do an attribute that there is none of. Default false: no vendor page tells.
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
    tokens: HashMap<String, Instant>,
}

impl Default for State {
    fn default() -> Self {
        let class = |name| Class { name, columns: sample::columns(name), rows: BTreeMap::new() };
        let mut state = Self {
            settings: Settings::default(),
            classes: vec![class(sample::CATEGORY_CLASS), class(sample::ACTIVITY_CLASS)],
            changes: Changes::default(),
            counter: sample::FIRST_COUNTER,
            tokens: HashMap::new(),
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

impl Class {
    fn insert(&mut self, id: &str, counter: u64, attributes: &Map<String, Value>) {
        let value =
            |column: &Column| (column.name.to_owned(), attributes.get(column.name).cloned().unwrap_or(Value::Null));
        let attributes = self.columns.iter().map(value).collect();
        self.rows.insert(id.to_owned(), Fragment { id: id.to_owned(), counter, attributes });
    }
}

impl State {
    pub(super) fn issue_token(&mut self) -> (String, jiff::Timestamp) {
        let life = self.settings.token_life;
        let token = format!("eyJhbGciOiJSUzI1NiJ9.{}.access", uuid::Uuid::now_v7().simple());
        if let Some(end) = Instant::now().checked_add(life) {
            self.tokens.insert(token.clone(), end);
        }
        let now = jiff::Timestamp::now();
        (token, now.checked_add(life).unwrap_or(now))
    }

    pub(super) fn expire_tokens(&mut self) {
        self.tokens.clear();
    }

    pub(super) fn is_valid_token(&self, token: &str) -> bool {
        self.tokens.get(token).is_some_and(|end| *end > Instant::now())
    }

    pub(super) fn class(&self, name: &str) -> Option<&Class> {
        self.classes.iter().find(|class| class.name == name)
    }

    pub(super) fn class_mut(&mut self, name: &str) -> Option<&mut Class> {
        self.classes.iter_mut().find(|class| class.name == name)
    }

    /// Keeps a fragment as it is now, if changes are kept.
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

    /// Changes what is named; compares `TimeStamp` only if one is sent. `null` resets.
    pub(super) fn update(&mut self, class: &str, sent: &Map<String, Value>) -> Result<(), Failure> {
        let ignored = self.settings.ignored_attribute.clone();
        let next = self.counter.saturating_add(1);
        let class_name = class;
        let class = self.class_mut(class).ok_or(Failure::UnknownClass)?;
        let id = find_member(sent, "ID").and_then(Value::as_str).and_then(parse_guid).ok_or(Failure::MissingId)?;
        let mut attributes = class.validate_attributes(sent)?;
        let row = class.rows.get_mut(&id).ok_or(Failure::UnknownFragment)?;
        match find_member(sent, "TimeStamp") {
            // Empty or null is taken for left out; the vendor does not tell.
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
            Some(chosen) => chosen.as_str().and_then(parse_guid).ok_or(Failure::BadValue("ID"))?,
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

    /// A second writer: changes the attributes in place.
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
