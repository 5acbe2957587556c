//! `[models.NAME.fields]`: the fields of a model, with the model's own types.

use serde_json::Value;

use super::toml_json::to_json;
use crate::config::spanned_value::SpannedValue;
use crate::config::table_reader::TableReader;
use crate::config::value_error::list_alternatives;
use crate::models::{Field, FieldType, Format, ScalarType};

const SCALARS: [ScalarType; 4] = [ScalarType::String, ScalarType::Integer, ScalarType::Number, ScalarType::Boolean];

/// Reads a field; `None` after adding its errors.
pub(super) fn read_field(name: &str, value: &SpannedValue<'_>) -> Option<Field> {
    let path: Vec<String> = name.split('.').map(str::to_owned).collect();
    let is_name = |part: &String| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    if !path.iter().all(is_name) {
        value.error("is not a field's name", "letters, digits, _ and -, with dots between nested names");
    }
    let table = TableReader::of(value, "a table such as { type = \"string\" }")?;
    table.require(&[("type", "\"string\", \"integer\", \"number\", \"boolean\" or \"array\"")]);
    let kind = read_kind(&table);
    let field = Field {
        path,
        kind: kind.unwrap_or(FieldType::Scalar(ScalarType::String)),
        title: table.value("title"),
        description: table.value("description"),
        format: read_format(&table, kind),
        max_length: read_max_length(&table, kind),
        choices: read_choices(&table, kind),
        sample: None,
    };
    let field = Field { sample: read_sample(&table, &field), ..field };
    table.reject_unknown(|_| None);
    kind.map(|_| field)
}

fn read_kind(table: &TableReader<'_>) -> Option<FieldType> {
    let word: String = table.value("type")?;
    let scalar = |word: &str| SCALARS.into_iter().find(|scalar| scalar.as_str() == word);
    if word != "array" {
        let found = scalar(&word);
        if found.is_none() {
            let words: Vec<&str> = SCALARS.iter().map(|scalar| scalar.as_str()).chain(["array"]).collect();
            table.error("type", format!("cannot be {word:?}"), list_alternatives(&words));
        }
        if table.has("items") {
            table.error("items", "belongs to an array", "no items, or type = \"array\"");
        }
        return found.map(FieldType::Scalar);
    }
    let words = list_alternatives(&SCALARS.map(ScalarType::as_str));
    table.require(&[("items", &words)]);
    let items: String = table.value("items")?;
    let found = scalar(&items);
    if found.is_none() {
        table.error("items", format!("cannot be {items:?}"), words);
    }
    found.map(FieldType::Array)
}

fn is_text(kind: Option<FieldType>) -> bool {
    matches!(kind, None | Some(FieldType::Scalar(ScalarType::String) | FieldType::Array(ScalarType::String)))
}

fn read_format(table: &TableReader<'_>, kind: Option<FieldType>) -> Option<Format> {
    let word: String = table.value("format")?;
    let found = Format::parse(&word);
    if found.is_none() {
        table.error("format", format!("cannot be {word:?}"), list_alternatives(Format::WORDS));
    } else if !is_text(kind) {
        table.error("format", "belongs to strings", "no format, or type = \"string\"");
    }
    found
}

fn read_max_length(table: &TableReader<'_>, kind: Option<FieldType>) -> Option<u64> {
    let max: u64 = table.value("max_length")?;
    if max == 0 {
        table.error("max_length", "is out of range", "a whole number from 1");
    } else if !is_text(kind) {
        table.error("max_length", "belongs to strings", "no max_length, or type = \"string\"");
    }
    Some(max)
}

fn read_sample(table: &TableReader<'_>, field: &Field) -> Option<Value> {
    let sample = to_json(&table.get("example")?)?;
    if let Err(expected) = field.validate(&sample) {
        table.error("example", "is no value of the field", expected);
        return None;
    }
    Some(sample)
}

fn read_choices(table: &TableReader<'_>, kind: Option<FieldType>) -> Vec<Value> {
    const EXPECTED: &str = "an array of values of the field's type";
    let Some(elements) = table.get("enum").and_then(|value| value.elements(EXPECTED)) else { return Vec::new() };
    let mut choices = Vec::new();
    for element in elements {
        let Some(json) = to_json(&element) else { continue };
        if kind.is_some_and(|kind| !kind.is_scalar_of(&json)) {
            element.error("is not of the field's type", EXPECTED);
        } else if choices.contains(&json) {
            element.error("is in the list twice", "each value once");
        } else {
            choices.push(json);
        }
    }
    choices
}
