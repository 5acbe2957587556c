//! `check --live`: compares the maps of the models with the schemas of the vendors.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::error::print_error;
use super::live_schemas::{build_systems, read_schema, titled_choices};
use crate::cli::Exit;
use crate::config::{self, Config};
use crate::models::{Decoded, MapEntry, SystemMap};
use crate::record::nearest_name;
use crate::vendors::{FieldSchema, RecordSchema};

/// Compares each map with the vendor's schema. Each difference is a warning; it fails if a schema
/// cannot be read.
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
        let Some(system) = system else { continue };
        let Some(collection) = &map.collection else {
            let detail = "has no collection, so that it cannot be compared".to_owned();
            mismatches.push(MapMismatch { at, is_error: false, detail });
            continue;
        };
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
                let nearest = nearest_name(member, schema.fields.iter().map(|field| field.name.as_str()));
                let hint = nearest.map(|nearest| format!("; nearest: {nearest:?}")).unwrap_or_default();
                mismatches.push(mismatch(key, false, format!("the system has no member {member:?}{hint}")));
            }
            None => {}
            Some(field) => {
                for choice in unreadable_choices(entry, field) {
                    mismatches.push(mismatch(
                        key.clone(),
                        false,
                        format!("no value of the model is meant by {choice}"),
                    ));
                }
                if !field.is_updatable && !entry.is_read_only {
                    let detail = format!("{member:?} is read-only at the system; set read_only = true");
                    mismatches.push(mismatch(key, false, detail));
                } else if field.is_required
                    && field.is_creatable
                    && entry.is_read_only
                    && !map.create.contains_key(member)
                {
                    let detail =
                        format!("a new record must have {member:?}, which callers cannot set: set it in create");
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

/// The values of a vendor's choice that the map cannot read.
fn unreadable_choices(entry: &MapEntry, field: &FieldSchema) -> Vec<String> {
    let choices = titled_choices(field).into_iter().map(|(value, _)| value);
    let plain = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    choices
        .filter(|value| matches!(entry.decode(Some(Cow::Borrowed(value))), Decoded::Unreadable(_)))
        .map(plain)
        .collect()
}
