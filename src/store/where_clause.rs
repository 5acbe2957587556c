//! Conditions of a `SELECT` that depend on what a caller asks for.

use super::sql::SqlValue;

/// About the most rows that one list call reads: a page may be short, but it is never slow.
/// Tests use a small number.
pub(super) const MAX_SCANNED_ROWS: i64 = if cfg!(test) { 100 } else { 20_000 };

/// Conditions and their values. The text comes from this crate alone; every value is bound.
pub(super) struct WhereClause {
    pub(super) text: String,
    pub(super) values: Vec<SqlValue>,
}

impl WhereClause {
    pub(super) fn new() -> Self {
        Self { text: "1 = 1".into(), values: Vec::new() }
    }

    /// Adds a value and returns its placeholder.
    pub(super) fn bind(&mut self, value: SqlValue) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    pub(super) fn and(&mut self, condition: &str, value: SqlValue) {
        let placeholder = self.bind(value);
        self.text.extend([" AND ", condition, " ", &placeholder]);
    }

    pub(super) fn and_in(&mut self, column: &str, values: &[String]) {
        let placeholders: Vec<_> = values.iter().map(|value| self.bind(SqlValue::text(value))).collect();
        self.text.extend([" AND ", column, " IN (", &placeholders.join(", "), ")"]);
    }

    /// Limits ledger blocks to those that hold entries of a record.
    pub(super) fn in_blocks_for_record(&mut self, record: &str, systems: &[String]) {
        self.text.push_str(" AND first_seq IN (SELECT first_seq FROM ledger_record WHERE 1 = 1");
        self.and("record =", SqlValue::text(record));
        self.and_in("system", systems);
        self.text.push(')');
    }
}
