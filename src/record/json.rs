//! JSON as this product needs it: nothing ambiguous is let in, and no number changes its form.
//!
//! Values are kept as the text they came in ([`RawValue`]) wherever they are only handed on. Parsing into
//! [`Value`] (with arbitrary precision) happens only where a patch has to be applied or two values compared.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use memchr::memchr;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

/// How deep objects and arrays may nest. Records are a few levels deep; more is an attack on the parser.
const MAX_DEPTH: usize = 64;

/// `serde_json` marks numbers and raw values by member names that begin so; a document using one would change its meaning.
const RESERVED_PREFIX: &str = "$serde_json::private::";

/// Up to this many members are compared pairwise for duplicates; more go through a set.
const LINEAR_SCAN_MAX: usize = 16;

/// Why a text is not acceptable JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(pub String);

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("not JSON: {error}"))
    }
}

/// One level of an object, its values left as text, in the order they came.
pub(super) struct RawMembers<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

/// One level of an array.
struct Elements<'a>(Vec<&'a RawValue>);

/// A member name, borrowed from the text unless it holds an escape.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a member name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawMembers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawMembersVisitor;
        impl<'de> Visitor<'de> for RawMembersVisitor {
            type Value = RawMembers<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(LINEAR_SCAN_MAX);
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name, value));
                }
                Ok(RawMembers(members))
            }
        }
        deserializer.deserialize_map(RawMembersVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementsVisitor;
        impl<'de> Visitor<'de> for ElementsVisitor {
            type Value = Elements<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element::<&'de RawValue>()? {
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(ElementsVisitor)
    }
}

/// An object's members, of which one that is an object itself is opened as well: so its values are scanned once.
pub(super) struct ObjectWithMember<'a> {
    /// All but the one that is opened.
    pub(super) others: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// The members of the one that is opened.
    pub(super) inner: Option<Vec<(Cow<'a, str>, &'a RawValue)>>,
}

impl<'a> ObjectWithMember<'a> {
    /// Opens a member of an object, and checks everything as [`check_strict`] does. `None` = the text is no object, or the
    /// member is there and is none, or something is wrong that `check_strict` has the words for.
    pub(super) fn parse(text: &'a str, opened: &'static str) -> Option<Self> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = ObjectWithMemberVisitor(opened).deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        validate_members(&read.others, 1).ok()?;
        validate_members(read.inner.as_deref().unwrap_or_default(), 2).ok()?;
        Some(read)
    }
}

struct ObjectWithMemberVisitor(&'static str);

impl<'de> DeserializeSeed<'de> for ObjectWithMemberVisitor {
    type Value = ObjectWithMember<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectWithMemberVisitor {
    type Value = ObjectWithMember<'de>;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectWithMember<'de>, A::Error> {
        let mut read = ObjectWithMember { others: Vec::new(), inner: None };
        while let Some(Name(name)) = map.next_key()? {
            if name != self.0 {
                read.others.push((name, map.next_value()?));
            } else if read.inner.replace(map.next_value::<RawMembers<'de>>()?.0).is_some() {
                return Err(A::Error::custom("twice"));
            }
        }
        Ok(read)
    }
}

/// The members of one object, checked: no name twice, none that `serde_json` reserves.
pub(super) fn parse_members(text: &str) -> Result<Vec<(Cow<'_, str>, &RawValue)>, JsonError> {
    let RawMembers(members) = serde_json::from_str(text)?;
    validate_names(&members)?;
    Ok(members)
}

fn validate_names(members: &[(Cow<'_, str>, &RawValue)]) -> Result<(), JsonError> {
    if let Some((name, _)) = members.iter().find(|(name, _)| name.starts_with(RESERVED_PREFIX)) {
        return Err(JsonError(format!("the member name {name:?} is reserved")));
    }
    if let Some(name) = find_duplicate(members) {
        return Err(JsonError(format!("the member name {name:?} stands twice in one object")));
    }
    Ok(())
}

fn validate_members(members: &[(Cow<'_, str>, &RawValue)], depth: usize) -> Result<(), JsonError> {
    validate_names(members)?;
    members.iter().try_for_each(|(_, value)| validate_nested(value, depth))
}

fn find_duplicate<'m>(members: &'m [(Cow<'_, str>, &RawValue)]) -> Option<&'m str> {
    if members.len() <= LINEAR_SCAN_MAX {
        return members.iter().enumerate().find_map(|(index, (name, _))| {
            members.iter().take(index).any(|(earlier, _)| earlier == name).then_some(name.as_ref())
        });
    }
    let mut seen = HashSet::with_capacity(members.len());
    members.iter().map(|(name, _)| name.as_ref()).find(|name| !seen.insert(*name))
}

/// The members of a whole text that must be an object, checked as [`check_strict`] does.
pub(super) fn parse_strict_members(bytes: &[u8]) -> Result<Vec<(Cow<'_, str>, &RawValue)>, JsonError> {
    let members = parse_members(parse_utf8(bytes)?)?;
    members.iter().try_for_each(|(_, value)| validate_nested(value, 1))?;
    Ok(members)
}

fn parse_utf8(bytes: &[u8]) -> Result<&str, JsonError> {
    std::str::from_utf8(bytes).map_err(|error| JsonError(format!("not UTF-8: {error}")))
}

/// Checks a whole text: UTF-8, JSON, no duplicate member name at any depth (RFC 8259 §4), at most 64 levels.
///
/// # Errors
/// What is wrong, for the caller to read.
pub fn validate_strict(bytes: &[u8]) -> Result<&str, JsonError> {
    let text = parse_utf8(bytes)?;
    validate_level(text, 1)?;
    Ok(text)
}

fn validate_level(text: &str, depth: usize) -> Result<(), JsonError> {
    if depth > MAX_DEPTH {
        return Err(too_deep_error());
    }
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => parse_members(text)?.iter().try_for_each(|(_, value)| validate_nested(value, depth)),
        Some(b'[') => {
            let Elements(elements) = serde_json::from_str(text)?;
            elements.iter().try_for_each(|value| validate_nested(value, depth))
        }
        _ => validate_nested(serde_json::from_str(text)?, depth),
    }
}

fn validate_nested(value: &RawValue, depth: usize) -> Result<(), JsonError> {
    match value.get().as_bytes().first() {
        Some(b'{' | b'[') => validate_level(value.get(), depth + 1),
        // A raw string may still hold a lone surrogate, which no other parser would take.
        Some(b'"') if memchr(b'\\', value.get().as_bytes()).is_some() && value.get().contains("\\u") => {
            serde_json::from_str::<String>(value.get()).map(|_| ()).map_err(JsonError::from)
        }
        _ => Ok(()),
    }
}

/// Checks a whole text as [`check_strict`] does and parses it, keeping the form of every number.
///
/// # Errors
/// What is wrong, for the caller to read.
pub fn parse_strict(bytes: &[u8]) -> Result<Value, JsonError> {
    parse_level(parse_utf8(bytes)?, 1)
}

/// A value, each level of which is checked as it is made: to check the text first would be to scan it once more.
fn parse_level(text: &str, depth: usize) -> Result<Value, JsonError> {
    if depth > MAX_DEPTH {
        return Err(too_deep_error());
    }
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => {
            let members = parse_members(text)?.into_iter();
            let member = |(name, value): (Cow<'_, str>, _)| Ok((name.into_owned(), parse_nested(value, depth)?));
            members.map(member).collect::<Result<_, _>>().map(Value::Object)
        }
        Some(b'[') => {
            let Elements(elements) = serde_json::from_str(text)?;
            elements.iter().map(|value| parse_nested(value, depth)).collect::<Result<_, _>>().map(Value::Array)
        }
        _ => Ok(parse_scalar(serde_json::from_str(text)?)?),
    }
}

fn parse_nested(value: &RawValue, depth: usize) -> Result<Value, JsonError> {
    let text = value.get();
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        // The text of a string that was found sound is the string, if nothing in it is escaped.
        Some(string) if !string.contains('\\') => Ok(Value::from(string)),
        None if text.starts_with(['{', '[']) => parse_level(text, depth + 1),
        _ => Ok(parse_scalar(value)?),
    }
}

/// A value that is neither object nor array. A number keeps its form: `serde_json` writes an exponent as it likes when it reads a
/// [`Value`], and this constructor, which it has for its tests, is the only one that takes a text as it is.
fn parse_scalar(value: &RawValue) -> serde_json::Result<Value> {
    let text = value.get();
    if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Ok(Value::Number(Number::from_string_unchecked(text.to_owned())));
    }
    serde_json::from_str(text)
}

/// A text that was checked before, parsed; numbers keep their form.
///
/// # Errors
/// It is no JSON.
pub fn parse_preserving_numbers(text: &str) -> serde_json::Result<Value> {
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => {
            let RawMembers(members) = serde_json::from_str(text)?;
            let member = |(name, value): (Cow<'_, str>, &RawValue)| {
                Ok((name.into_owned(), parse_preserving_numbers(value.get())?))
            };
            members.into_iter().map(member).collect::<Result<_, _>>().map(Value::Object)
        }
        Some(b'[') => {
            let Elements(elements) = serde_json::from_str(text)?;
            elements
                .iter()
                .map(|value| parse_preserving_numbers(value.get()))
                .collect::<Result<_, _>>()
                .map(Value::Array)
        }
        _ => parse_scalar(serde_json::from_str(text)?),
    }
}

fn too_deep_error() -> JsonError {
    JsonError(format!("nested deeper than {MAX_DEPTH} levels"))
}

/// Whether two JSON values are equal, numbers by value (`1`, `1.0` and `10e-1` are), objects without order (RFC 6902 §4.6).
#[must_use]
pub fn values_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => numbers_equal(left.as_str(), right.as_str()),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| values_equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| values_equal(left, right)))
        }
        _ => left == right,
    }
}

/// Whether two JSON number texts stand for the same value, at any precision and without ever expanding an exponent.
#[must_use]
pub fn numbers_equal(left: &str, right: &str) -> bool {
    match (Decimal::parse(left), Decimal::parse(right)) {
        (Some(left), Some(right)) => left == right,
        // An exponent beyond all reckoning: only the form may differ, `5E+9…` from `5e9…`.
        _ => normalize_exponent_text(left).eq(normalize_exponent_text(right)),
    }
}

/// A number's text without what means nothing.
fn normalize_exponent_text(number: &str) -> impl Iterator<Item = u8> {
    number.bytes().filter(|byte| *byte != b'+').map(|byte| byte.to_ascii_lowercase())
}

/// A number as sign, significant digits without zeros at either end, and the exponent of the last digit.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i128,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0');
        let digits = significant.trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { negative: false, digits: String::new(), exponent: 0 });
        }
        let dropped = i128::try_from(significant.len() - digits.len()).ok()?;
        let scale = i128::try_from(fraction.len()).ok()?;
        Some(Self { negative, digits: digits.to_owned(), exponent: i128::from(exponent) - scale + dropped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        for (left, right) in [
            ("1", "1.0"),
            ("10e-1", "1"),
            ("-0", "0.000"),
            ("1.10", "1.1"),
            ("1e400", "10E+399"),
            ("-5E+66666666666666666666", "-5e66666666666666666666"),
        ] {
            assert!(numbers_equal(left, right), "{left} {right}");
        }
        for (left, right) in [("1", "-1"), ("12345678901234567890", "12345678901234567891"), ("1e5", "1e6")] {
            assert!(!numbers_equal(left, right), "{left} {right}");
        }
    }

    #[test]
    fn ambiguous_json_is_rejected() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":[{"b":{"c":1,"\u0063":2}}]}"#,
            r#"{"$serde_json::private::Number":"1"}"#,
            r#"{"\u0024serde_json::private::Number":"1"}"#,
            r#"{"a":"\ud800"}"#,
            r#" "\ud800" "#,
            "{} {}",
            "",
            "{",
            "NaN",
            "[1,]",
            &deep,
        ] {
            assert!(validate_strict(text.as_bytes()).is_err(), "{text:.60}");
            assert!(parse_strict(text.as_bytes()).is_err(), "{text:.60}");
        }
        assert!(validate_strict(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn numbers_keep_their_format() {
        let text =
            r#"{"a":12345678901234567890,"b":1.10,"c":1e+400,"d":[-0.0,-0,1E5,1e5,1e-05,{"e":99999999999999999999}]}"#;
        let value = parse_strict(text.as_bytes()).expect("strict JSON");
        assert_eq!(value.to_string(), text);
        assert_eq!(parse_preserving_numbers(text).expect("JSON").to_string(), text);
        for text in ["-0", " 1E5 ", "12345678901234567890"] {
            assert_eq!(parse_strict(text.as_bytes()).expect("strict JSON").to_string(), text.trim());
        }
        for text in ["1e", "01", "-", "1.", "0x1"] {
            assert!(parse_strict(text.as_bytes()).is_err() && parse_preserving_numbers(text).is_err(), "{text}");
        }
    }
}
