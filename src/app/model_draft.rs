//! `model draft`: a commented map of a collection, made from the vendor's schema.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use super::error::print_error;
use super::live_schemas::{build_systems, read_schema, titled_choices};
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
        let collection = found.collection(collection).map_err(|_| {
            let form = found.adapter.capabilities().id_form;
            format!("name a collection with --collection: what stands before the last colon in ids of the form {form}")
        })?;
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
         collection = {collection}\n{create}\n[models.draft.systems.{system}.map]\n{map}",
        create = draft_create(schema),
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
    let types = json_types(field);
    let (declared, codec) = declare(field, &types);
    let is_nested = matches!(types.first(), Some(&("object" | "array")));
    let at = if field.name.starts_with('/') {
        format!("/{}", field.name.replace('~', "~0").replace('/', "~1"))
    } else {
        field.name.clone()
    };
    let read_only = if field.is_updatable { "" } else { ", read_only = true" };
    let entry = match (codec.as_str(), read_only) {
        ("", "") => quote_toml(&at),
        _ => format!("{{ at = {}{codec}{read_only} }}", quote_toml(&at)),
    };
    let vendor_type = field.vendor.get("type").and_then(Value::as_str).unwrap_or_default();
    let is_plain_text = declared == "type = \"string\"";
    let is_date = is_plain_text && vendor_type.to_ascii_lowercase().contains("date");
    let comment = match (is_nested, is_date, field.is_required) {
        (true, _, _) => "   # holds more than one value: name a place below it, such as \"/member/name\"",
        (_, true, true) => {
            "   # a new record must have it; a date or a time: give its form, such as date = \"MM/dd/yyyy\""
        }
        (_, true, false) => "   # a date or a time: give its form, such as date = \"MM/dd/yyyy\" or datetime = \"iso\"",
        (_, false, true) => "   # a new record must have it",
        (_, false, false) => "",
    };
    let off = if is_nested { "# " } else { "" };
    DraftField { off, declared: format!("{{ {declared} }}"), entry, comment }
}

/// The types of a field's values, without null.
fn json_types(field: &FieldSchema) -> Vec<&str> {
    let types = match field.value.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one.as_str()],
        _ => Vec::new(),
    };
    types.into_iter().filter(|one| *one != "null").collect()
}

/// The keys that declare the field, and those of its codec.
fn declare(field: &FieldSchema, types: &[&str]) -> (String, String) {
    let choices = titled_choices(field);
    if types == ["boolean", "integer"] {
        let codec = ", boolean = { true = [true, 1], false = [false, 0] }";
        return ("type = \"boolean\"".to_owned(), codec.to_owned());
    }
    if choices.iter().any(|(value, title)| value.is_number() && !title.is_empty()) {
        let mut used = BTreeSet::new();
        let unique = |(value, title): &(Value, &str)| {
            let word = snake_case(title);
            let word = if used.insert(word.clone()) { word } else { format!("{word}_{value}") };
            quote_toml(&word)
        };
        let words: Vec<String> = choices.iter().map(unique).collect();
        let pairs: Vec<String> =
            choices.iter().zip(&words).map(|((value, _), word)| format!("{value} = {word}")).collect();
        let declared = format!("type = \"string\", enum = [{}]", words.join(", "));
        return (declared, format!(", enum = {{ {} }}", pairs.join(", ")));
    }
    let word = types.first().filter(|word| matches!(**word, "integer" | "number" | "boolean")).unwrap_or(&"string");
    let mut declared = format!("type = \"{word}\"");
    let values: Vec<String> = choices.iter().filter_map(|(value, _)| value.as_str()).map(quote_toml).collect();
    if *word == "string" && !values.is_empty() {
        declared.extend([", enum = [", &values.join(", "), "]"]);
    }
    if let Some(format @ ("email" | "date" | "date-time")) = field.value.get("format").and_then(Value::as_str) {
        declared.extend([", format = \"", format, "\""]);
    }
    if let Some(max) = field.value.get("maxLength").and_then(Value::as_u64).filter(|_| *word == "string") {
        declared.extend([", max_length = ", &max.to_string()]);
    }
    (declared, String::new())
}

/// What a new record must have besides the mapped fields, as a line that is off.
fn draft_create(schema: &RecordSchema) -> String {
    let is_set_only_at_creation = |field: &&FieldSchema| field.is_required && field.is_creatable && !field.is_updatable;
    let missing: Vec<String> = schema
        .fields
        .iter()
        .filter(is_set_only_at_creation)
        .map(|field| format!("{} = \"…\"", toml_key(&field.name)))
        .collect();
    if missing.is_empty() {
        return String::new();
    }
    format!("# A new record must have these as well; give their values:\n# create = {{ {} }}\n", missing.join(", "))
}

/// A key of TOML.
fn toml_key(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { name.to_owned() } else { quote_toml(name) }
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
