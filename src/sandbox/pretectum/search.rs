//! The supported part of the vendor's search language: words (joined by AND), `AND`, `OR`, `NOT`,
//! `"quoted phrases"`, `*` and `field:value`.

use serde_json::{Map, Value};

/// Whether a record matches a query.
pub(super) fn matches(query: &str, fields: &Map<String, Value>) -> bool {
    let mut any = false;
    let mut all = true;
    let mut negated = false;
    for term in terms(query) {
        match term.as_str() {
            "AND" => {}
            "NOT" => negated = true,
            "OR" => {
                any |= all;
                all = true;
            }
            term => {
                all &= fits(term, fields) != negated;
                negated = false;
            }
        }
    }
    any || all
}

/// Splits at blanks outside quotes and removes the quotes.
fn terms(query: &str) -> Vec<String> {
    let mut terms = Vec::new();
    let mut term = String::new();
    let mut quoted = false;
    for c in query.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => terms.push(std::mem::take(&mut term)),
            _ => term.push(c),
        }
    }
    terms.push(term);
    terms.retain(|term| !term.is_empty());
    terms
}

fn fits(term: &str, fields: &Map<String, Value>) -> bool {
    if let Some((name, pattern)) = term.split_once(':') {
        return fields.iter().any(|(field, value)| {
            field.eq_ignore_ascii_case(name) && like(&lowercase_text(value), &pattern.to_lowercase())
        });
    }
    let pattern = format!("*{}*", term.to_lowercase());
    fields.values().any(|value| like(&lowercase_text(value), &pattern))
}

fn lowercase_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).to_lowercase()
}

/// Compares a text with a pattern in which `*` matches any characters.
fn like(text: &str, pattern: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return text == pattern };
    let Some(rest) = text.strip_prefix(head) else { return false };
    let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.any(|at| rest.get(at..).is_some_and(|rest| like(rest, tail)))
}
