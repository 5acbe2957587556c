//! `$filter`: comparisons with `eq`, joined by `and`.

use serde_json::Value;

use super::failure::Failure;
use super::table::{Row, Table};

/// A parsed `$filter`.
#[derive(Debug)]
pub(super) struct Filter(Vec<(String, Value)>);

impl Filter {
    /// Parses a filter and checks its columns.
    pub(super) fn parse(table: &Table, text: &str) -> Result<Self, Failure> {
        let syntax = || Failure::BadQuery(format!("Syntax error in '{text}'."));
        let mut conditions = Vec::new();
        let mut rest = text.trim();
        loop {
            let (name, after) = rest.split_once(" eq ").ok_or_else(syntax)?;
            let name = name.trim();
            if table.column(name).is_none() && name != table.key {
                let text = format!(
                    "Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{}'.",
                    table.name
                );
                return Err(Failure::BadQuery(text));
            }
            let (value, after) = parse_literal(after.trim_start()).ok_or_else(syntax)?;
            conditions.push((name.to_owned(), value));
            match after.trim_start() {
                "" => return Ok(Self(conditions)),
                more => rest = more.strip_prefix("and ").ok_or_else(syntax)?,
            }
        }
    }

    /// Whether a row has all these values. Texts are compared in any case, as the vendor does.
    pub(super) fn matches(&self, row: &Row) -> bool {
        self.0.iter().all(|(name, expected)| match (row.columns.get(name), expected) {
            (Some(Value::String(text)), Value::String(expected)) => text.eq_ignore_ascii_case(expected),
            (Some(Value::Number(number)), Value::Number(expected)) => number.as_f64() == expected.as_f64(),
            (None, expected) => expected.is_null() || expected.as_str() == Some(row.key.as_str()),
            (Some(value), expected) => value == expected,
        })
    }
}

/// A literal at the beginning of a text, and what follows it.
fn parse_literal(text: &str) -> Option<(Value, &str)> {
    if let Some(quoted) = text.strip_prefix('\'') {
        let mut end = 0;
        loop {
            end += quoted.get(end..)?.find('\'')?;
            if !quoted.get(end + 1..)?.starts_with('\'') {
                break;
            }
            end += 2;
        }
        let literal = quoted.get(..end)?.replace("''", "'");
        return Some((literal.into(), quoted.get(end + 1..)?));
    }
    let end = text.find(' ').unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end)?;
    let value = serde_json::from_str(word).unwrap_or_else(|_| Value::from(word));
    Some((value, rest))
}
