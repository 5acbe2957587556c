//! The state of the organization.

use std::time::Duration;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::columns::{Column, ColumnType};
use super::failure::Failure;
use super::sample;
use super::table::{Row, Table};
use crate::sandbox::common::changes::Changes;
use crate::sandbox::common::tokens::AccessTokens;

/// Options of the behaviour, changeable at any time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Lifetime of access tokens issued from now on. Default one hour.
    pub token_life: Duration,
    /// The longest page of a list. Default 5000.
    pub page_size: usize,
    /// How many requests are rejected with 429 from now on. Default none.
    pub throttled: u64,
    /// A column that PATCH does not change, although it reports success.
    pub ignored_column: Option<String>,
    /// The account may not read metadata. Default false.
    pub no_metadata: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token_life: Duration::from_hours(1),
            page_size: 5000,
            throttled: 0,
            ignored_column: None,
            no_metadata: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) tables: Vec<Table>,
    pub(super) changes: Changes,
    pub(super) tokens: AccessTokens,
    version: u64,
}

impl Default for State {
    fn default() -> Self {
        let mut state = Self {
            settings: Settings::default(),
            tables: sample::tables(),
            changes: Changes::default(),
            tokens: AccessTokens::default(),
            version: sample::FIRST_VERSION,
        };
        for (set, key, columns) in sample::rows() {
            let row = state.new_row(key.to_owned(), columns);
            if let Some(table) = state.table_mut(set) {
                table.rows.push(row);
            }
        }
        state
    }
}

impl State {
    pub(super) fn issue_token(&mut self) -> String {
        let token = format!("eyJ0eXAiOiJKV1QifQ.{}.access", Uuid::now_v7().simple());
        self.tokens.insert(token.clone(), self.settings.token_life);
        token
    }

    pub(super) fn table(&self, set: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.set == set)
    }

    fn table_mut(&mut self, set: &str) -> Option<&mut Table> {
        self.tables.iter_mut().find(|table| table.set == set)
    }

    fn known_table(&self, set: &str) -> Result<&Table, Failure> {
        self.table(set).ok_or_else(|| Failure::UnknownSet(set.to_owned()))
    }

    pub(super) fn read(&self, set: &str, key: &str) -> Result<Map<String, Value>, Failure> {
        let table = self.known_table(set)?;
        let row = table.row(key).ok_or_else(|| Failure::MissingRow(table.name, key.to_owned()))?;
        Ok(row.to_map(table))
    }

    /// A row that is created now.
    fn new_row(&mut self, key: String, mut columns: Map<String, Value>) -> Row {
        columns.insert("createdon".to_owned(), now().into());
        self.stamp(&mut columns);
        Row { key, version: self.version, columns }
    }

    /// What the vendor sets with every write.
    fn stamp(&mut self, columns: &mut Map<String, Value>) {
        self.version = self.version.saturating_add(1);
        columns.insert("modifiedon".to_owned(), now().into());
        columns.insert("_modifiedby_value".to_owned(), sample::USER_ID.into());
        columns.insert("versionnumber".to_owned(), self.version.into());
    }

    /// Changes columns of a row that exists.
    pub(super) fn write(&mut self, set: &str, key: &str, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        let Some(mut columns) = self.table(set).and_then(|table| table.row(key)).map(|row| row.columns.clone()) else {
            return false;
        };
        change(&mut columns);
        self.stamp(&mut columns);
        let version = self.version;
        if let Some(row) = self.table_mut(set).and_then(|table| table.rows.iter_mut().find(|row| row.key == key)) {
            *row = Row { key: key.to_owned(), version, columns };
        }
        self.record_change(set, key);
        true
    }

    fn record_change(&mut self, set: &str, key: &str) {
        let table = self.tables.iter().find(|table| table.set == set);
        if let Some((table, row)) = table.and_then(|table| Some((table, table.row(key)?))) {
            self.changes.record(key, || Value::Object(row.to_map(table)));
        }
    }

    /// Compares `If-Match` with a row.
    fn check_version(table: &Table, row: &Row, if_match: Option<&str>) -> Result<(), Failure> {
        match if_match.map(str::trim) {
            None | Some("*") => Ok(()),
            Some(_) if !table.compares_versions => Err(Failure::NoConcurrency(table.name)),
            Some(etag) if etag == row.etag() => Ok(()),
            Some(_) => Err(Failure::Stale),
        }
    }

    /// PATCH. Without `If-Match` a row that does not exist is created. Returns whether it was.
    pub(super) fn update(
        &mut self,
        set: &str,
        key: &str,
        body: &Map<String, Value>,
        if_match: Option<&str>,
    ) -> Result<bool, Failure> {
        let table = self.known_table(set)?;
        let Some(row) = table.row(key) else {
            if if_match.is_some() {
                return Err(Failure::MissingRow(table.name, key.to_owned()));
            }
            let mut body = body.clone();
            body.insert(table.key.to_owned(), key.into());
            return self.create(set, &body).map(|_| true);
        };
        Self::check_version(table, row, if_match)?;
        let mut columns = self.parse_columns(table, body)?;
        if let Some(ignored) = &self.settings.ignored_column {
            columns.shift_remove(ignored);
        }
        self.write(set, key, |row| row.extend(columns));
        Ok(false)
    }

    /// POST. Returns the new row's key.
    pub(super) fn create(&mut self, set: &str, body: &Map<String, Value>) -> Result<String, Failure> {
        let table = self.known_table(set)?;
        let key = match body.get(table.key) {
            None | Some(Value::Null) => Uuid::new_v4().to_string(),
            Some(Value::String(text)) => {
                parse_guid(text).ok_or_else(|| Failure::WrongType(text.clone(), "Edm.Guid"))?
            }
            Some(value) => return Err(Failure::WrongType(value.to_string(), "Edm.Guid")),
        };
        if table.row(&key).is_some() {
            return Err(Failure::Duplicate);
        }
        let columns = self.parse_columns(table, body)?;
        let row = self.new_row(key.clone(), columns);
        if let Some(table) = self.table_mut(set) {
            table.rows.push(row);
        }
        self.record_change(set, &key);
        Ok(key)
    }

    pub(super) fn delete(&mut self, set: &str, key: &str, if_match: Option<&str>) -> Result<(), Failure> {
        let table = self.known_table(set)?;
        let row = table.row(key).ok_or_else(|| Failure::MissingRow(table.name, key.to_owned()))?;
        Self::check_version(table, row, if_match)?;
        if let Some(table) = self.table_mut(set) {
            table.rows.retain(|row| row.key != key);
        }
        Ok(())
    }

    /// The columns that a body sets, under the names that a read shows.
    fn parse_columns(&self, table: &Table, sent: &Map<String, Value>) -> Result<Map<String, Value>, Failure> {
        let mut columns = Map::new();
        for (name, value) in sent {
            let unknown = || Failure::UnknownProperty(table.name, name.clone());
            if let Some(navigation) = name.strip_suffix("@odata.bind") {
                let (column, target) = find_navigation(table, navigation).ok_or_else(unknown)?;
                columns.insert(column.shown_name(), self.parse_reference(target, value)?);
                continue;
            }
            if name == table.key || name.starts_with('@') {
                continue;
            }
            let column = table.columns.iter().find(|column| column.name == name).ok_or_else(unknown)?;
            if column.computed {
                continue;
            }
            if matches!(column.kind, ColumnType::Lookup(_)) {
                return Err(unknown());
            }
            column.check(value)?;
            columns.insert(name.clone(), value.clone());
        }
        Ok(columns)
    }

    /// `/set(key)` of a row that exists, or null.
    fn parse_reference(&self, target: &str, value: &Value) -> Result<Value, Failure> {
        if value.is_null() {
            return Ok(Value::Null);
        }
        let text = value.as_str().unwrap_or_default();
        let parts = text.trim_start_matches('/').strip_suffix(')').and_then(|text| text.split_once('('));
        let found = parts.filter(|(set, _)| *set == target).and_then(|(set, key)| Some((set, parse_guid(key)?)));
        let (set, key) = found.ok_or_else(|| Failure::WrongType(text.to_owned(), "Edm.EntityReference"))?;
        let table = self.known_table(set)?;
        if table.row(&key).is_none() {
            return Err(Failure::MissingRow(table.name, key));
        }
        Ok(key.into())
    }
}

/// The lookup of a navigation property, and the set that it leads to. The case of the name matters.
fn find_navigation<'t>(table: &'t Table, navigation: &str) -> Option<(&'t Column, &'static str)> {
    table.columns.iter().find_map(|column| match column.kind {
        ColumnType::Lookup(targets) if !column.computed => {
            targets.iter().find(|(name, _)| *name == navigation).map(|(_, set)| (column, *set))
        }
        _ => None,
    })
}

/// The canonical spelling of a GUID in any case.
pub(super) fn parse_guid(text: &str) -> Option<String> {
    let is_guid = text.len() == 36 && Uuid::try_parse(text).is_ok();
    is_guid.then(|| text.to_ascii_lowercase())
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
