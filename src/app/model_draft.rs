//! `model draft`: a commented map of a collection, made from the vendor's schema.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use super::error::print_error;
use super::live_schemas::{build_systems, choices, read_schema};
use crate::cli::Exit;
use crate::config;
use crate::vendors::{FieldSchema, RecordSchema};

/// Prints a commented map of a collection, made from the vendor's schema.
pub(super) fn draft_command(path: &Path, system: &str, collection: Option<&str>) -> Exit {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            print_error(&errors);
            return Exit::UsageError;
        }
    };
    let drafted = actix_web::rt::System::new().block_on(async {
        let systems = build_systems(&config).await?;
        let found = systems.iter().find(|one| one.name.as_str() == system);
        let found = found.ok_or_else(|| format!("no system {system:?} is configured"))?;
        let collection = found.collection(collection).map_err(|problem| problem.detail)?;
        read_schema(found, &collection).await.map(|schema| draft(system, &collection, &schema))
    });
    match drafted {
        Ok(text) => match write!(std::io::stdout(), "{text}") {
            Ok(()) => Exit::Success,
            Err(_) => Exit::Failure,
        },
        Err(error) => {
            print_error(&error);
            Exit::Failure
        }
    }
}

/// A commented model over one collection.
fn draft(system: &str, collection: &str, schema: &RecordSchema) -> String {
    let (mut fields, mut map) = (String::new(), String::new());
    let mut names = BTreeSet::new();
    for field in schema.fields.iter().filter(|field| field.is_shown) {
        let mut name = snake_case(&field.name);
        while !names.insert(name.clone()) {
            name.push('_');
        }
        let DraftField { off, declared, entry, comment } = draft_field(field);
        fields.extend([off, &name, " = ", &declared, "\n"]);
        map.extend([off, &name, " = ", &entry, comment, "\n"]);
    }
    format!(
        "# A draft from the schema of {title}. Rename the fields, remove those that callers do not need, and\n\
         # give values the form that callers should see; the guide to models lists the codecs.\n\
         [models.draft]\ntitle = {title}\n\n[models.draft.fields]\n{fields}\n[models.draft.systems.{system}]\n\
         collection = {collection}\n\n[models.draft.systems.{system}.map]\n{map}",
        title = quote_toml(&schema.title),
        collection = quote_toml(collection)
    )
}

struct DraftField {
    /// The beginning of a line that is off.
    off: &'static str,
    declared: String,
    entry: String,
    comment: &'static str,
}

fn draft_field(field: &FieldSchema) -> DraftField {
    let word = field.value.get("type").and_then(Value::as_str);
    let word = word.filter(|word| matches!(*word, "integer" | "number" | "boolean")).unwrap_or("string");
    let values: Vec<String> = choices(field).iter().filter_map(Value::as_str).map(quote_toml).collect();
    let mut declared = format!("type = \"{word}\"");
    if word == "string" && !values.is_empty() {
        declared.extend([", enum = [", &values.join(", "), "]"]);
    }
    if let Some(format @ ("email" | "date" | "date-time")) = field.value.get("format").and_then(Value::as_str) {
        declared.extend([", format = \"", format, "\""]);
    }
    if let Some(max) = field.value.get("maxLength").and_then(Value::as_u64).filter(|_| word == "string") {
        declared.extend([", max_length = ", &max.to_string()]);
    }
    let is_nested = matches!(field.value.get("type").and_then(Value::as_str), Some("object" | "array"));
    let at = if field.name.starts_with('/') {
        format!("/{}", field.name.replace('~', "~0").replace('/', "~1"))
    } else {
        field.name.clone()
    };
    let entry =
        if field.is_updatable { quote_toml(&at) } else { format!("{{ at = {}, read_only = true }}", quote_toml(&at)) };
    let comment = match (is_nested, field.is_required) {
        (true, _) => "   # holds more than one value: name a place below it, such as \"/member/name\"",
        (false, true) => "   # a new record must have it",
        (false, false) => "",
    };
    let off = if is_nested { "# " } else { "" };
    DraftField { off, declared: format!("{{ {declared} }}"), entry, comment }
}

/// A basic string of TOML.
fn quote_toml(text: &str) -> String {
    Value::from(text).to_string()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let mut was_lower = false;
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() {
            if letter.is_ascii_uppercase() && was_lower {
                snake.push('_');
            }
            was_lower = letter.is_ascii_lowercase() || letter.is_ascii_digit();
            snake.push(letter.to_ascii_lowercase());
        } else if !snake.is_empty() && !snake.ends_with('_') {
            snake.push('_');
            was_lower = false;
        }
    }
    let snake = snake.trim_end_matches('_');
    if snake.starts_with(|first: char| first.is_ascii_alphabetic()) {
        snake.to_owned()
    } else {
        format!("field_{snake}")
    }
}
