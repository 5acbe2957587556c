//! Tables and their rows.

use serde_json::{Map, Value};

use super::columns::Column;

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The logical name, in the singular.
    pub(super) name: &'static str,
    /// The name of its entity set, which stands in paths.
    pub(super) set: &'static str,
    /// The name for people.
    pub(super) title: &'static str,
    pub(super) key: &'static str,
    /// Whether `If-Match` may name a version.
    pub(super) compares_versions: bool,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
}

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// The primary key, in lower case.
    pub key: String,
    /// The row version; it grows with every write in the organization.
    pub version: u64,
    /// The columns under the names that a read shows, except the key.
    pub columns: Map<String, Value>,
}

impl Row {
    /// The weak validator of the row's state.
    pub fn etag(&self) -> String {
        format!("W/\"{}\"", self.version)
    }

    /// The row as a response shows it.
    pub(super) fn to_map(&self, table: &Table) -> Map<String, Value> {
        let mut shown = Map::new();
        shown.insert("@odata.etag".to_owned(), self.etag().into());
        for column in &table.columns {
            let name = column.shown_name();
            let value = self.columns.get(&name).cloned().unwrap_or_default();
            shown.insert(name, value);
        }
        shown.insert(table.key.to_owned(), self.key.clone().into());
        shown
    }
}

impl Table {
    pub(super) fn row(&self, key: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.key == key)
    }

    /// The column that a read shows under this name.
    pub(super) fn column(&self, shown: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.shown_name() == shown)
    }
}
