//! The commands that compare models with the schemas of the vendors: `model draft` and
//! `check --live`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::error::print_error;
use super::systems;
use crate::cli::Exit;
use crate::config::{self, Config};
use crate::journal::{Durability, Journal, JournalSettings};
use crate::metrics::Metrics;
use crate::models::{Codec, MapEntry, SystemMap};
use crate::system::System;
use crate::vendors::{FieldSchema, RecordSchema, SchemaSource};

/// `model draft`: prints a commented map of a collection, made from the vendor's schema.
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
        let collection = found.collection(collection).map_err(|problem| problem.detail.clone())?;
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

/// `check --live`: compares each map with the vendor's schema. Each difference is a warning; it
/// fails if a schema cannot be read.
pub(super) fn check_live(path: &Path) -> Exit {
    let Ok(config) = config::load(path) else { return Exit::UsageError };
    let mismatches = actix_web::rt::System::new().block_on(compare_all(&config));
    let file = path.display();
    for MapMismatch { at, is_error, detail } in &mismatches {
        let word = if *is_error { "" } else { "warning: " };
        print_error(&format_args!("{file}: {at}: {word}{detail}"));
    }
    if mismatches.iter().any(|mismatch| mismatch.is_error) { Exit::UsageError } else { Exit::Success }
}

/// What does not fit between a map and a schema.
struct MapMismatch {
    at: String,
    is_error: bool,
    detail: String,
}

async fn compare_all(config: &Config) -> Vec<MapMismatch> {
    let systems = match build_systems(config).await {
        Ok(systems) => systems,
        Err(detail) => return vec![MapMismatch { at: "systems".to_owned(), is_error: true, detail }],
    };
    let mut mismatches = Vec::new();
    for map in config.models.iter().flat_map(|model| &model.maps) {
        let at = format!("models.{}.systems.{}", map.model, map.system);
        let system = systems.iter().find(|system| system.name == map.system);
        let (Some(system), Some(collection)) = (system, &map.collection) else { continue };
        match read_schema(system, collection).await {
            Ok(schema) => mismatches.extend(compare(map, &schema, &at)),
            Err(detail) => mismatches.push(MapMismatch { at, is_error: true, detail }),
        }
    }
    mismatches
}

/// Compares a map with the schema of its collection.
fn compare(map: &SystemMap, schema: &RecordSchema, at: &str) -> Vec<MapMismatch> {
    let mismatch = |key: String, is_error, detail: String| MapMismatch { at: format!("{at}.{key}"), is_error, detail };
    let mut mismatches = Vec::new();
    for entry in &map.entries {
        let key = format!("map.{}", entry.field.name());
        let member = entry.place.member();
        match schema.fields.iter().find(|field| field.name == member) {
            None if schema.is_closed => {
                mismatches.push(mismatch(key, false, format!("the system has no member {member:?}")));
            }
            None => {}
            Some(field) => {
                for word in unmapped_words(entry, field) {
                    mismatches.push(mismatch(key.clone(), false, format!("no value of the model is meant by {word}")));
                }
                if !field.is_updatable && !entry.is_read_only {
                    let detail = format!("{member:?} is read-only at the system; set read_only = true");
                    mismatches.push(mismatch(key, false, detail));
                }
            }
        }
    }
    let given: BTreeSet<&str> = map.entries.iter().map(|entry| entry.place.member()).collect();
    let missing = schema.fields.iter().filter(|field| {
        field.is_required
            && field.is_creatable
            && !given.contains(field.name.as_str())
            && !map.create.contains_key(&field.name)
    });
    for field in missing {
        let detail = format!("a new record must have {:?}: map it, or set it here", field.name);
        mismatches.push(mismatch("create".to_owned(), false, detail));
    }
    mismatches
}

/// The words of a vendor's choice that no value of the model stands for.
fn unmapped_words(entry: &MapEntry, field: &FieldSchema) -> Vec<String> {
    let Codec::Enum(words) = &entry.codec else { return Vec::new() };
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    choices(field).iter().map(plain).filter(|choice| words.iter().all(|one| one.word != *choice)).collect()
}

/// The values that a field may have, where the vendor lists them.
fn choices(field: &FieldSchema) -> Vec<Value> {
    let listed = |name: &str| field.value.get(name).and_then(Value::as_array);
    match (listed("enum"), listed("oneOf")) {
        (Some(values), _) => values.iter().filter(|value| !value.is_null()).cloned().collect(),
        (None, Some(titled)) => titled.iter().filter_map(|one| one.get("const").cloned()).collect(),
        (None, None) => Vec::new(),
    }
}

/// The systems of a configuration, with a store of their own that nothing outlives.
async fn build_systems(config: &Config) -> Result<Vec<Arc<System>>, String> {
    let names: Vec<_> = config.systems.iter().map(|system| system.name.clone()).collect();
    let metrics = Metrics::new(&names).map_err(|error| error.to_string())?;
    let settings =
        JournalSettings { url: "sqlite::memory:".to_owned(), durability: Durability::Relaxed, ..config.store.clone() };
    let journal = Journal::open(settings, Arc::new(())).await.map_err(|error| error.to_string())?;
    systems::build(&config.systems, &[], &journal, &metrics).map_err(|error| error.to_string())
}

async fn read_schema(system: &System, collection: &str) -> Result<RecordSchema, String> {
    if system.adapter.capabilities().schema_source == SchemaSource::None {
        return Err(format!("{} does not describe its collections", system.name));
    }
    let schema = system.adapter.schema(&*system.transport, collection).await;
    schema
        .map_err(|fault| format!("the schema of {collection} cannot be read: {}", system.transport.redact_fault(fault)))
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
