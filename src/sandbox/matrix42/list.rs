//! Lists fragments: columns, a subset of A-SQL, sorting and zero-based pages.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::class::{Class, Fragment};
use super::failure::Failure;
use crate::sandbox::common::http::FakeRequest;

/// Reserved words of A-SQL: as identifiers they need brackets.
const RESERVED: &[&str] =
    &["END", "CASE", "WHEN", "THEN", "ELSE", "AND", "OR", "NOT", "IN", "LIKE", "IS", "NULL", "AS", "SELECT", "WHERE"];

/// Returns the items of one page.
pub(super) fn select_page(class: &Class, request: &FakeRequest<'_>, time_stamps: bool) -> Result<Vec<Value>, Failure> {
    let text = |name: &str| request.query_param_ci(name).filter(|text| !text.trim().is_empty());
    let columns = match text("columns") {
        None => vec!["ID".to_owned()],
        Some(list) => parse_columns(class, &list)?,
    };
    if !time_stamps && columns.iter().any(|column| column == "TimeStamp") {
        return Err(Failure::UnknownAttribute(class.name, "TimeStamp".to_owned()));
    }
    let (sort, descending) = parse_sort(class, &columns, text("sort").as_deref())?;
    let conditions = text("where").map_or(Ok(Vec::new()), |filter| parse_conditions(class, &filter))?;
    let mut rows: Vec<&Fragment> =
        class.rows.values().filter(|row| conditions.iter().all(|condition| condition.matches(row))).collect();
    rows.sort_by(|a, b| {
        let order = compare(&attribute_value(a, &sort), &attribute_value(b, &sort)).then_with(|| a.id.cmp(&b.id));
        if descending { order.reverse() } else { order }
    });
    let number = |name: &str| text(name).and_then(|text| text.parse::<usize>().ok());
    let size = number("pageSize").filter(|size| *size > 0).unwrap_or(usize::MAX);
    let offset = number("pageNumber").unwrap_or(0).saturating_mul(size);
    let only_ids = text("columns").is_none();
    let to_item = |row: &&Fragment| {
        let mut item: Map<String, Value> =
            columns.iter().map(|name| (name.clone(), attribute_value(row, name))).collect();
        if !only_ids {
            // It is always returned and must not be among the columns.
            item.insert("DisplayString".to_owned(), attribute_value(row, "Name"));
        }
        Value::Object(item)
    };
    Ok(rows.iter().skip(offset).take(size).map(to_item).collect())
}

fn attribute_value(row: &Fragment, name: &str) -> Value {
    match name {
        "ID" => json!(row.id),
        "TimeStamp" => json!(row.time_stamp()),
        name => row.attributes.get(name).cloned().unwrap_or(Value::Null),
    }
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => collation_key(a).cmp(&collation_key(b)),
    }
}

/// SQL Server's default collation is case-insensitive.
fn collation_key(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).to_lowercase()
}

fn parse_columns(class: &Class, list: &str) -> Result<Vec<String>, Failure> {
    let columns: Vec<String> =
        list.split(',').map(|column| resolve_identifier(class, column.trim())).collect::<Result<_, _>>()?;
    if columns.iter().any(|column| column == "ID") { Ok(columns) } else { Err(Failure::SortColumn("ID".to_owned())) }
}

/// Resolves an identifier to the exact name of an attribute. Reserved words need brackets.
fn resolve_identifier(class: &Class, text: &str) -> Result<String, Failure> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let name = bracketed.unwrap_or(text);
    let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let is_reserved = RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name));
    if !is_word || (bracketed.is_none() && is_reserved) {
        return Err(Failure::Syntax);
    }
    if name.eq_ignore_ascii_case("DisplayString") {
        return Err(Failure::DisplayString);
    }
    let fixed = ["ID", "TimeStamp"].into_iter().find(|fixed| fixed.eq_ignore_ascii_case(name));
    let exact_name = fixed.or_else(|| class.column(name).map(|column| column.name));
    exact_name.map(str::to_owned).ok_or_else(|| class.unknown_attribute(name))
}

/// Parses `Name`, `Name ASC` or `Name DESC`, without brackets. The default is `ID`.
fn parse_sort(class: &Class, columns: &[String], text: Option<&str>) -> Result<(String, bool), Failure> {
    let Some(text) = text else { return Ok(("ID".to_owned(), false)) };
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default();
    let descending = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("asc") => false,
        Some(word) if word.eq_ignore_ascii_case("desc") => true,
        Some(_) => return Err(Failure::Syntax),
    };
    if name.contains(['[', ']']) || words.next().is_some() {
        return Err(Failure::Syntax);
    }
    let exact_name = resolve_identifier(class, &format!("[{name}]"))?;
    if columns.contains(&exact_name) { Ok((exact_name, descending)) } else { Err(Failure::SortColumn(exact_name)) }
}

/// `column operator literal`.
struct Condition {
    column: String,
    operator: &'static str,
    literal: Value,
}

impl Condition {
    fn matches(&self, row: &Fragment) -> bool {
        let value = attribute_value(row, &self.column);
        if value.is_null() || self.literal.is_null() {
            // As in SQL, null equals nothing; `IS NULL` is a separate operator.
            return self.operator == "IS" && value.is_null();
        }
        let order = compare(&value, &self.literal);
        match self.operator {
            "=" => order.is_eq(),
            "<>" => order.is_ne(),
            "<=" => order.is_le(),
            ">=" => order.is_ge(),
            "<" => order.is_lt(),
            ">" => order.is_gt(),
            _ => false,
        }
    }
}

/// Parses conditions joined by `AND`, the only supported part of A-SQL.
fn parse_conditions(class: &Class, filter: &str) -> Result<Vec<Condition>, Failure> {
    let mut rest = filter.trim();
    let mut conditions = Vec::new();
    loop {
        let (condition, left) = parse_condition(class, rest)?;
        conditions.push(condition);
        rest = left.trim_start();
        if rest.is_empty() {
            return Ok(conditions);
        }
        rest = strip_word(rest, "AND").ok_or(Failure::Syntax)?;
    }
}

fn parse_condition<'f>(class: &Class, filter: &'f str) -> Result<(Condition, &'f str), Failure> {
    let end = if filter.starts_with('[') {
        filter.find(']').map(|at| at.saturating_add(1))
    } else {
        filter.find(|c: char| c.is_whitespace() || "<>=".contains(c))
    };
    let (column, rest) = filter.split_at_checked(end.ok_or(Failure::Syntax)?).ok_or(Failure::Syntax)?;
    let column = resolve_identifier(class, column)?;
    let rest = rest.trim_start();
    if let Some(rest) = strip_word(rest, "IS").and_then(|rest| strip_word(rest, "NULL")) {
        return Ok((Condition { column, operator: "IS", literal: Value::Null }, rest));
    }
    let operators = ["<>", "<=", ">=", "=", "<", ">"];
    let operator = operators.into_iter().find(|operator| rest.starts_with(operator)).ok_or(Failure::Syntax)?;
    let rest = rest.get(operator.len()..).unwrap_or_default().trim_start();
    let (literal, rest) = parse_literal(rest)?;
    Ok((Condition { column, operator, literal }, rest))
}

fn strip_word<'f>(text: &'f str, word: &str) -> Option<&'f str> {
    let (head, rest) = text.split_at_checked(word.len())?;
    let ends = rest.is_empty() || rest.starts_with(char::is_whitespace);
    (head.eq_ignore_ascii_case(word) && ends).then(|| rest.trim_start())
}

/// Parses a text in single quotes (a quote in it is doubled) or a number.
fn parse_literal(text: &str) -> Result<(Value, &str), Failure> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (number, rest) = text.split_at_checked(end).ok_or(Failure::Syntax)?;
        let number = serde_json::from_str::<Value>(number).ok().filter(Value::is_number);
        return number.map(|number| (number, rest)).ok_or(Failure::Syntax);
    };
    let mut text = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if c != '\'' {
            text.push(c);
        } else if characters.next_if(|(_, next)| *next == '\'').is_some() {
            text.push('\'');
        } else {
            return Ok((Value::String(text), quoted.get(at.saturating_add(1)..).unwrap_or_default()));
        }
    }
    Err(Failure::Syntax)
}
