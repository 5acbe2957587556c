//! Values for the round-trip laws: those that a field may have, and those that a vendor may hold.

use std::borrow::Cow;

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::codec::Codec;
use super::field::{FieldType, Format, ScalarType};
use super::system_map::{MapEntry, SystemMap, put};

/// Texts that have tripped converters: empty, spaces, other scripts, quotes, separators, numbers.
const TEXTS: [&str; 12] =
    ["", " ", "a", "Grace Hopper", "Größe", "名前", "\u{1f600}", "\"\\/~0~1", "a;b,c|d", "0", "-1.50", "null"];
const NUMBERS: [&str; 12] =
    ["0", "-0", "1", "1.10", "100", "-7", "0.05", "12345678901234567890", "1e3", "5.0", "2E-2", "99999.999"];

/// A value that the field may have and that the codec claims to write.
pub(super) fn model_value(rng: &mut Rng, entry: &MapEntry) -> Value {
    let scalar = |rng: &mut Rng| scalar_value(rng, entry);
    match entry.field.kind {
        FieldType::Scalar(_) => scalar(rng),
        FieldType::Array(_) => {
            let separator = if let Codec::List { separator, .. } = &entry.codec { separator.as_str() } else { "" };
            let fits = |value: &Value| {
                let text = value.as_str();
                separator.is_empty() || text.is_none_or(|text| !text.is_empty() && !text.contains(separator))
            };
            (0..rng.usize(0..4)).map(|_| scalar(rng)).filter(fits).collect()
        }
    }
}

fn scalar_value(rng: &mut Rng, entry: &MapEntry) -> Value {
    if let Codec::Enum(words) = &entry.codec {
        return rng.choice(words).map(|word| word.means.clone()).unwrap_or_default();
    }
    if let Some(choice) = rng.choice(&entry.field.choices) {
        return choice.clone();
    }
    match (entry.field.kind.scalar(), entry.field.format) {
        (ScalarType::Boolean, _) => rng.bool().into(),
        (ScalarType::Integer, _) => number(rng, entry, "0"),
        (ScalarType::Number, _) => number(rng, entry, "0.5"),
        (ScalarType::String, Some(Format::Date)) => date(rng).into(),
        (ScalarType::String, Some(Format::DateTime)) => {
            // Patterns may have no seconds.
            let date = format!("{:04}-{:02}-{:02}", rng.u16(1980..2100), rng.u8(1..13), rng.u8(1..29));
            format!("{date}T{:02}:{:02}:00Z", rng.u8(0..24), rng.u8(0..60)).into()
        }
        (ScalarType::String, Some(Format::Email)) => truncate(&format!("{}@b.example", rng.alphabetic()), entry).into(),
        (ScalarType::String, None) => truncate(&text(rng), entry).into(),
    }
}

fn number(rng: &mut Rng, entry: &MapEntry, otherwise: &str) -> Value {
    let text = if rng.bool() {
        rng.choice(NUMBERS).unwrap_or("0").to_owned()
    } else {
        format!("{}.{:02}", rng.i32(-9999..9999), rng.u8(0..100))
    };
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let value = parse(&text);
    if entry.field.kind.scalar().is_type_of(&value) { value } else { parse(otherwise) }
}

fn text(rng: &mut Rng) -> String {
    if rng.bool() {
        return rng.choice(TEXTS).unwrap_or_default().to_owned();
    }
    (0..rng.usize(0..20)).map(|_| rng.char('\u{20}'..'\u{2ff}')).collect()
}

fn truncate(text: &str, entry: &MapEntry) -> String {
    let max = entry.field.max_length.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
    text.chars().take(max).collect()
}

fn date(rng: &mut Rng) -> String {
    format!("{:04}-{:02}-{:02}", rng.u16(1000..9999), rng.u8(1..13), rng.u8(1..29))
}

/// A value that the vendor may hold at the entry's place.
pub(super) fn vendor_value(rng: &mut Rng, entry: &MapEntry) -> Value {
    match rng.u8(0..8) {
        0 => Value::Null,
        1 => entry.none.clone().unwrap_or_default(),
        2 => text(rng).into(),
        3 => serde_json::from_str(rng.choice(NUMBERS).unwrap_or("0")).unwrap_or_default(),
        4 => match &entry.codec {
            Codec::Enum(words) => rng.choice(words).map(|word| word.word.as_str().into()).unwrap_or_default(),
            Codec::Boolean { yes, no } => {
                let values = if rng.bool() { yes } else { no };
                rng.choice(values).cloned().unwrap_or_default()
            }
            _ => rng.bool().into(),
        },
        5 => json!([text(rng)]),
        _ => entry.codec.encode(&model_value(rng, entry)).map(Cow::into_owned).unwrap_or_default(),
    }
}

/// A record whose mapped places hold anything, with members that no field shows.
pub(super) fn record(rng: &mut Rng, map: &SystemMap) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("A member of no field".to_owned(), text(rng).into());
    let has_more = rng.bool();
    for entry in map.entries.iter().filter(|entry| has_more && !entry.place.is_member()) {
        let mut beside = entry.place.names().to_vec();
        if let Some(last) = beside.last_mut() {
            last.push_str(" beside");
        }
        put(&mut fields, &beside, rng.bool().into());
    }
    for entry in &map.entries {
        if rng.u8(0..8) > 0 {
            put(&mut fields, entry.place.names(), vendor_value(rng, entry));
        }
    }
    // No object around a place, but null, nothing in it, or another value.
    if let Some(entry) = rng.choice(&map.entries).filter(|entry| !entry.place.is_member()) {
        let around = [Value::Null, json!({}), json!([1]), json!("a text")];
        if let Some(value) = rng.choice(around).filter(|_| rng.bool()) {
            fields.insert(entry.place.member().to_owned(), value);
        }
    }
    fields
}
