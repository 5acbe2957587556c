//! Values of the configuration that become JSON, with the form of their numbers.

use serde_json::{Map, Value};
use toml::de::DeValue;

use crate::config::diagnostics::KeyPath;
use crate::config::spanned_value::SpannedValue;

/// What JSON can hold.
const EXPECTED: &str = "a string, a decimal number, true, false, an array or a table";

/// The JSON of a value; `None` after adding the error that there is none.
pub(super) fn to_json(value: &SpannedValue<'_>) -> Option<Value> {
    let number = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_number);
    let json = match value.value {
        DeValue::String(text) => Some(Value::from(&**text)),
        DeValue::Boolean(flag) => Some(Value::from(*flag)),
        DeValue::Integer(integer) if integer.radix() == 10 => number(integer.as_str()),
        DeValue::Float(float) => number(float.as_str()),
        DeValue::Array(_) => {
            let DeValue::Array(array) = value.value else { return None };
            return array.iter().map(|element| to_json(&element_at(value, element, "[]"))).collect();
        }
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| key.span().start);
            let member = |(key, element): (&toml::Spanned<std::borrow::Cow<'_, str>>, &_)| {
                Some((key.get_ref().clone().into_owned(), to_json(&element_at(value, element, key.get_ref()))?))
            };
            return entries.into_iter().map(member).collect::<Option<Map<_, _>>>().map(Value::Object);
        }
        DeValue::Integer(_) | DeValue::Datetime(_) => None,
    };
    if json.is_none() {
        value.error("has no form in JSON", EXPECTED);
    }
    json
}

fn element_at<'d>(outer: &SpannedValue<'d>, element: &'d toml::Spanned<DeValue<'d>>, key: &str) -> SpannedValue<'d> {
    let at = KeyPath { path: outer.at.child(key), offset: element.span().start };
    SpannedValue { diagnostics: outer.diagnostics, at, value: element.get_ref() }
}
