//! The one parser of callers' and vendors' JSON. It rejects ambiguous texts and keeps the form of
//! every number.
//!
//! It reads one level at a time and leaves the values below as text ([`RawValue`]), because
//! `serde_json` gives exponents a form of its own when it reads a [`Value`].

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::json_error::JsonError;
use super::json_members::{MAX_DEPTH, Member, OpenedObject, TYPICAL_MEMBERS, validate_names};

/// Parses a whole text: UTF-8, JSON, no duplicate member name at any depth (RFC 8259 §4), no lone
/// surrogate, at most 64 levels. Numbers keep their form.
///
/// # Errors
/// What is wrong.
pub fn parse_strict(bytes: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(bytes)?;
    if text.trim_ascii().is_empty() {
        return Err(JsonError("the body is empty".to_owned()));
    }
    if text.starts_with('\u{feff}') {
        let detail = "the body begins with a byte order mark; send it without (RFC 8259 §8.1)";
        return Err(JsonError(detail.to_owned()));
    }
    parse_level(text, MAX_DEPTH)
}

/// Reads the members of a whole text that must be an object, checked as [`parse_strict`] does. The
/// text may nest `around` levels deeper: those are the gateway's own.
pub(super) fn read_object(text: &str, around: usize) -> Result<Vec<Member<'_>>, JsonError> {
    let object = read_members(text, None)?;
    validate_members(&object.members, MAX_DEPTH + around)?;
    Ok(object.members)
}

/// Reads the members of the objects of a whole text that must be an array of objects, checked as
/// [`parse_strict`] does, in one pass.
pub(super) fn read_objects(text: &str) -> Result<Vec<Vec<Member<'_>>>, JsonError> {
    let objects: Vec<PlainObject<'_>> = serde_json::from_str(text)?;
    for PlainObject(members) in &objects {
        validate_names(members)?;
        validate_members(members, MAX_DEPTH - 1)?;
    }
    Ok(objects.into_iter().map(|object| object.0).collect())
}

/// Reads a whole text that must be an object, and the object in its member `opened` in the same
/// pass.
///
/// `None` if the text is not an object, if that member is not an object, or if [`parse_strict`]
/// rejects the text.
pub(super) fn read_object_opening<'a>(text: &'a str, opened: &'static str) -> Option<OpenedObject<'a>> {
    let object = read_members(text, Some(opened)).ok()?;
    let inner = object.opened.as_deref().unwrap_or_default();
    validate_names(inner).ok()?;
    validate_members(&object.members, MAX_DEPTH).ok()?;
    validate_members(inner, MAX_DEPTH - 1).ok()?;
    Some(object)
}

/// Parses a text that is JSON, without the checks of [`parse_strict`]. Numbers keep their form.
///
/// A member name may come from a vendor's value or from a patch path, and no name may make a value
/// unreadable.
///
/// # Errors
/// The text is not JSON.
pub(super) fn parse_unchecked(text: &str) -> Result<Value, JsonError> {
    match text.as_bytes().first() {
        Some(b'{') => {
            let object = ObjectVisitor { opened: None }.deserialize(&mut serde_json::Deserializer::from_str(text))?;
            let member = |(name, value): Member<'_>| Ok((name.into_owned(), parse_unchecked(value)?));
            object.members.into_iter().map(member).collect::<Result<_, _>>().map(Value::Object)
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(text)?;
            elements.iter().map(|value| parse_unchecked(value.get())).collect::<Result<_, _>>().map(Value::Array)
        }
        _ => parse_value(text, 0),
    }
}

/// Parses a value that is known to be JSON, without white space around it, and that may nest so
/// many levels.
fn parse_value(text: &str, levels: usize) -> Result<Value, JsonError> {
    match text.as_bytes() {
        [b'{' | b'[', ..] => parse_level(text, levels),
        [b'"', string @ .., b'"'] if memchr(b'\\', string).is_none() => {
            Ok(Value::from(text.get(1..text.len() - 1).unwrap_or_default()))
        }
        // The only constructor that keeps the form of a number; `serde_json` has it for its own
        // tests.
        [b'-' | b'0'..=b'9', ..] => Ok(Value::Number(Number::from_string_unchecked(text.to_owned()))),
        _ => Ok(serde_json::from_str(text)?),
    }
}

/// Whether a value nests at most so many levels of objects and arrays.
pub(super) fn is_within_depth(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(elements) => levels > 0 && elements.iter().all(|element| is_within_depth(element, levels - 1)),
        Value::Object(members) => levels > 0 && members.values().all(|member| is_within_depth(member, levels - 1)),
        _ => true,
    }
}

/// One level of a text.
enum Level<'a> {
    Object(Vec<Member<'a>>),
    Array(Vec<&'a RawValue>),
    Scalar(&'a RawValue),
}

/// `levels` is how many levels there may be, this one included.
fn read_level(text: &str, levels: usize) -> Result<Level<'_>, JsonError> {
    if levels == 0 {
        return Err(JsonError(format!("nested deeper than {MAX_DEPTH} levels")));
    }
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => Ok(Level::Object(read_members(text, None)?.members)),
        Some(b'[') => Ok(Level::Array(serde_json::from_str(text)?)),
        _ => Ok(Level::Scalar(serde_json::from_str(text)?)),
    }
}

fn parse_level(text: &str, levels: usize) -> Result<Value, JsonError> {
    let level = read_level(text, levels)?;
    let below = levels - 1;
    match level {
        Level::Object(members) => {
            let member = |(name, value): Member<'_>| Ok((name.into_owned(), parse_value(value, below)?));
            members.into_iter().map(member).collect::<Result<_, _>>().map(Value::Object)
        }
        Level::Array(elements) => {
            elements.iter().map(|value| parse_value(value.get(), below)).collect::<Result<_, _>>().map(Value::Array)
        }
        Level::Scalar(value) => parse_value(value.get(), below),
    }
}

fn validate_level(text: &str, levels: usize) -> Result<(), JsonError> {
    match read_level(text, levels)? {
        Level::Object(members) => validate_members(&members, levels),
        Level::Array(elements) => elements.iter().try_for_each(|value| validate_value(value.get(), levels - 1)),
        Level::Scalar(value) => validate_value(value.get(), levels - 1),
    }
}

/// `levels` is how many levels there may be, that of the members included.
fn validate_members(members: &[Member<'_>], levels: usize) -> Result<(), JsonError> {
    members.iter().try_for_each(|(_, value)| validate_value(value, levels - 1))
}

fn validate_value(text: &str, levels: usize) -> Result<(), JsonError> {
    match text.as_bytes().first() {
        Some(b'{' | b'[') => validate_level(text, levels),
        // A raw string may hold a lone surrogate, which no other parser accepts.
        Some(b'"') if memchr(b'\\', text.as_bytes()).is_some() && text.contains("\\u") => {
            serde_json::from_str::<String>(text).map(drop).map_err(JsonError::from)
        }
        _ => Ok(()),
    }
}

/// The members of one object, its own level checked.
fn read_members<'a>(text: &'a str, opened: Option<&'static str>) -> Result<OpenedObject<'a>, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = ObjectVisitor { opened }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    validate_names(&object.members)?;
    Ok(object)
}

/// A member name, borrowed from the text unless it holds an escape.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct ObjectVisitor {
    opened: Option<&'static str>,
}

/// The members of an object without an opened one.
struct PlainObject<'a>(Vec<Member<'a>>);

impl<'de> Deserialize<'de> for PlainObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ObjectVisitor { opened: None }.deserialize(deserializer).map(|object| Self(object.members))
    }
}

impl<'de> DeserializeSeed<'de> for ObjectVisitor {
    type Value = OpenedObject<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = OpenedObject<'de>;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = OpenedObject { members: Vec::with_capacity(TYPICAL_MEMBERS), opened: None };
        while let Some(Name(name)) = map.next_key()? {
            if self.opened.is_none_or(|opened| name != opened) {
                object.members.push((name, map.next_value::<&RawValue>()?.get()));
            } else if object.opened.replace(map.next_value_seed(Self { opened: None })?.members).is_some() {
                return Err(A::Error::custom(format_args!("the member name {name:?} occurs twice in one object")));
            }
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(validate_level(text, MAX_DEPTH).is_err(), "{text:.60}");
            assert!(parse_strict(text.as_bytes()).is_err(), "{text:.60}");
            assert!(read_object(text, 0).is_err(), "{text:.60}");
            assert!(read_object_opening(text, "a").is_none(), "{text:.60}");
            assert!(read_objects(&format!("[{{}},{text}]")).is_err(), "{text:.60}");
        }
        assert_eq!(read_objects(r#"[{"a":1,"b":[]},{}]"#).expect("objects").len(), 2);
        assert!(read_objects(r#"[{"a":1},2]"#).is_err());
        assert!(parse_strict(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_text_nests_64_levels_and_those_around_it() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(parse_strict(nested(64).as_bytes()).is_ok() && parse_strict(nested(65).as_bytes()).is_err());
        for around in [0, 3] {
            assert!(read_object(&nested(64 + around), around).is_ok());
            assert!(read_object(&nested(65 + around), around).is_err());
        }
        let array = |levels| format!("[{}]", nested(levels));
        assert!(read_objects(&array(63)).is_ok() && read_objects(&array(64)).is_err());
        assert!(read_object_opening(&nested(64), "a").is_some() && read_object_opening(&nested(65), "a").is_none());
    }

    #[test]
    fn an_opened_member_is_checked_like_any_other() {
        let object = read_object_opening(r#"{"f":{"a":1,"b":[]},"g":2}"#, "f").expect("an object");
        assert_eq!((object.members.len(), object.opened.map(|members| members.len())), (1, Some(2)));
        assert!(read_object_opening(r#"{"g":2}"#, "f").is_some_and(|object| object.opened.is_none()));
        for wrong in [
            r#"{"f":1}"#,
            r#"{"f":{},"f":{}}"#,
            r#"{"f":{"a":1,"a":2}}"#,
            r#"{"f":{"a":"\ud800"}}"#,
            r#"{"f":{"$serde_json::private::Number":"1"}}"#,
        ] {
            assert!(read_object_opening(wrong, "f").is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_text_that_is_json_can_always_be_read_back() {
        let deep = format!("{}1.10{}", "[".repeat(100), "]".repeat(100));
        for text in [r#"{"$serde_json::private::Number":"1"}"#, r#"{"a":{"$serde_json::private::x":[1e5]}}"#, &deep] {
            assert!(parse_strict(text.as_bytes()).is_err(), "{text:.60}");
            assert_eq!(parse_unchecked(text).expect("JSON").to_string(), text);
        }
    }

    #[test]
    fn numbers_keep_their_format() {
        let text =
            r#"{"a":12345678901234567890,"b":1.10,"c":1e+400,"d":[-0.0,-0,1E5,1e5,1e-05,{"e":99999999999999999999}]}"#;
        assert_eq!(parse_strict(text.as_bytes()).expect("strict JSON").to_string(), text);
        for text in ["-0", " 1E5 ", "12345678901234567890"] {
            assert_eq!(parse_strict(text.as_bytes()).expect("strict JSON").to_string(), text.trim());
        }
        for text in ["1e", "01", "-", "1.", "0x1"] {
            assert!(parse_strict(text.as_bytes()).is_err(), "{text}");
        }
    }
}
