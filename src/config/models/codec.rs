//! One entry of `[models.NAME.systems.SYSTEM.map]`: where and how a system keeps a field.

use serde_json::Value;

use super::toml_json::to_json;
use crate::config::spanned_value::SpannedValue;
use crate::config::table_reader::TableReader;
use crate::models::{
    Codec, DateTimeForm, EnumWord, Field, FieldType, Format, MapEntry, Pattern, Place, ScalarType, parse_zone,
};

const CODEC_KEYS: [&str; 7] = ["enum", "boolean", "number", "scale", "date", "datetime", "list"];

/// Reads an entry; `None` after adding its errors.
pub(super) fn read_entry(field: &Field, value: &SpannedValue<'_>) -> Option<MapEntry> {
    if value.value.is_str() {
        let place = read_place(value)?;
        let entry = MapEntry { field: field.clone(), place, codec: Codec::Same, none: None, is_read_only: false };
        return Some(entry);
    }
    let table = TableReader::of(value, "the name of a member of fields, or a table such as { at = \"Email\" }")?;
    table.require(&[("at", "a member of fields, or a JSON Pointer below it")]);
    let place = table.get("at").and_then(|at| read_place(&at));
    let codecs: Vec<&str> = CODEC_KEYS.into_iter().filter(|key| table.get(key).is_some()).collect();
    if let [_, second, ..] = codecs.as_slice() {
        let message = format!("has the codecs {}", codecs.join(" and "));
        value.error(message, format!("one codec; remove {second}"));
    }
    let codec = match codecs.first() {
        Some(codec) => read_codec(codec, &table, field),
        None => Some(Codec::Same),
    };
    let none = table.get("none").and_then(|none| read_none(&none));
    let is_read_only = table.value("read_only").unwrap_or(false);
    let zone_hint = |key: &str| (key == "zone").then(|| "belongs to datetime".to_owned());
    table.reject_unknown(zone_hint);
    let codec = codec.filter(|codec| check_fit(field, codec, value))?;
    let entry = MapEntry { field: field.clone(), place: place?, codec, none, is_read_only };
    check_words(&entry, value);
    check_none(&entry, value);
    Some(entry)
}

fn read_place(at: &SpannedValue<'_>) -> Option<Place> {
    let text: String = at.read()?;
    let place = Place::parse(&text);
    place.map_err(|message| at.error(message, "a member of fields, or a JSON Pointer such as \"/a/b\"")).ok()
}

fn read_none(value: &SpannedValue<'_>) -> Option<Value> {
    let json = to_json(value)?;
    if json.is_object() || json.is_array() {
        value.error("is no single value", "a string, a number, true or false");
        return None;
    }
    Some(json)
}

fn read_codec(key: &str, table: &TableReader<'_>, field: &Field) -> Option<Codec> {
    match key {
        "enum" => read_enum(&table.table("enum")),
        "boolean" => {
            let values = table.table("boolean");
            values.require(&[("true", "an array of values, such as [true, 1]"), ("false", "such as [false, 0]")]);
            let (yes, no) = (read_values(&values, "true"), read_values(&values, "false"));
            values.reject_unknown(|_| None);
            Some(Codec::Boolean { yes: yes?, no: no? })
        }
        "number" => {
            let word: String = table.value("number")?;
            if word != "text" {
                table.error("number", format!("cannot be {word:?}"), "\"text\"");
            }
            Some(Codec::NumberText)
        }
        "scale" => {
            let places: i64 = table.value("scale")?;
            let found = i32::try_from(places).ok().filter(|places| (-30..=30).contains(places));
            if found.is_none() {
                table.error("scale", "is out of range", "a whole number from -30 to 30");
            }
            found.map(Codec::Scale)
        }
        "date" => {
            let text: String = table.value("date")?;
            let pattern = Pattern::parse_date(if text == "iso" { "yyyy-MM-dd" } else { &text });
            pattern.map(Codec::Date).map_err(|message| table.error("date", message, PATTERNS)).ok()
        }
        "datetime" => read_datetime(table),
        _ => {
            let separator = table.required_text("list", "what stands between two elements")?;
            Some(Codec::List { separator, items: field.kind.scalar() })
        }
    }
}

const PATTERNS: &str = "\"iso\", or a pattern of yyyy MM dd HH mm ss with other characters between them";

fn read_datetime(table: &TableReader<'_>) -> Option<Codec> {
    let text: String = table.value("datetime")?;
    let pattern = match text.as_str() {
        "iso" => None,
        text => Some(Pattern::parse_datetime(text).map_err(|message| table.error("datetime", message, PATTERNS)).ok()?),
    };
    let is_local = table.has("zone") || pattern.is_some();
    let zone = match table.value::<String>("zone") {
        None => parse_zone("+00:00"),
        Some(zone) => {
            let found = parse_zone(&zone);
            if found.is_none() {
                let valid = "an IANA name such as \"Europe/Berlin\", or an offset such as \"+02:00\"";
                table.error("zone", format!("{zone:?} is not a known zone"), valid);
            }
            found
        }
    };
    Some(Codec::DateTime(DateTimeForm { pattern, zone: zone?, is_local }))
}

fn read_enum(words: &TableReader<'_>) -> Option<Codec> {
    let read_word =
        |(word, means): (&str, SpannedValue<'_>)| Some(EnumWord { word: word.to_owned(), means: to_json(&means)? });
    let words: Option<Vec<EnumWord>> = words.entries().into_iter().map(read_word).collect();
    words.map(Codec::Enum)
}

fn read_values(table: &TableReader<'_>, key: &'static str) -> Option<Vec<Value>> {
    let elements = table.get(key)?.elements("an array of values")?;
    elements.iter().map(to_json).collect()
}

/// Whether the field's type is one that the codec can hold.
fn check_fit(field: &Field, codec: &Codec, value: &SpannedValue<'_>) -> bool {
    let is_scalar =
        |scalars: &[ScalarType]| matches!(field.kind, FieldType::Scalar(scalar) if scalars.contains(&scalar));
    let (fits, needs) = match codec {
        Codec::Boolean { .. } => (is_scalar(&[ScalarType::Boolean]), "type = \"boolean\""),
        Codec::NumberText => {
            (is_scalar(&[ScalarType::Number, ScalarType::Integer]), "type = \"number\" or \"integer\"")
        }
        Codec::Scale(places) => {
            (is_scalar(&[ScalarType::Number]) || *places <= 0 && is_scalar(&[ScalarType::Integer]), "type = \"number\"")
        }
        Codec::Date(_) => (
            is_scalar(&[ScalarType::String]) && field.format == Some(Format::Date),
            "type = \"string\" with format = \"date\"",
        ),
        Codec::DateTime(_) => (
            is_scalar(&[ScalarType::String]) && field.format == Some(Format::DateTime),
            "type = \"string\" with format = \"date-time\"",
        ),
        Codec::List { .. } => (matches!(field.kind, FieldType::Array(_)), "type = \"array\""),
        Codec::Enum(_) => (matches!(field.kind, FieldType::Scalar(_)), "a type that is no array"),
        Codec::Same => return true,
        #[cfg(test)]
        Codec::Planted(..) => return true,
    };
    if !fits {
        value.error(format!("the codec does not fit the field {:?}", field.name()), format!("a field with {needs}"));
    }
    fits
}

/// A value of a closed set that `none` leaves no word for could never be put.
fn check_none(entry: &MapEntry, value: &SpannedValue<'_>) {
    let of_enum = |words: &[EnumWord]| words.iter().map(|word| word.means.clone()).collect();
    let values: Vec<Value> = match &entry.codec {
        Codec::Enum(words) => of_enum(words),
        Codec::Boolean { .. } => vec![true.into(), false.into()],
        _ => entry.field.choices.clone(),
    };
    let is_lost = |one: &&Value| entry.field.allows(one) && entry.encode(one, None).is_err();
    if let Some(lost) = values.iter().find(is_lost).filter(|_| entry.none.is_some() && !entry.is_read_only) {
        let message = format!("none: the system's value of {lost} means unset, so that {lost} cannot be written");
        value.error(message, "a value of none that stands for nothing else");
    }
}

/// The words of an enum, the values of a flag and a separator must not contradict the field.
fn check_words(entry: &MapEntry, value: &SpannedValue<'_>) {
    let choices = &entry.field.choices;
    match &entry.codec {
        Codec::Enum(words) => {
            let wrong = words.iter().find(|one| !entry.field.allows(&one.means));
            if let Some(word) = wrong {
                value.error(
                    format!("enum: {:?} means {}, which the field cannot be", word.word, word.means),
                    "values of the field",
                );
            }
            let missing = choices.iter().find(|choice| !words.iter().any(|one| one.means == **choice));
            if let Some(choice) = missing.filter(|_| !entry.is_read_only) {
                value
                    .error(format!("enum: no word of the system means {choice}"), "a word for each value of the field");
            }
        }
        Codec::Boolean { yes, no } if yes.iter().any(|one| no.contains(one)) => {
            value.error("boolean: a value means true and false", "each value once");
        }
        Codec::List { separator, .. } => {
            let holds = |choice: &&Value| choice.as_str().is_some_and(|text| text.contains(separator.as_str()));
            if let Some(choice) = choices.iter().find(holds) {
                value.error(format!("list: the separator is in {choice}"), "a separator that no value of the enum has");
            }
        }
        _ => {}
    }
}
