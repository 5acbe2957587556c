//! The vendors' schemas, for commands that read them without a running gateway.

use std::sync::Arc;

use serde_json::Value;

use super::systems;
use crate::config::Config;
use crate::journal::{Durability, Journal, JournalSettings};
use crate::metrics::Metrics;
use crate::system::System;
use crate::vendors::{FieldSchema, RecordSchema, SchemaSource};

/// The systems of a configuration, with a store of their own that nothing outlives.
pub(super) async fn build_systems(config: &Config) -> Result<Vec<Arc<System>>, String> {
    let names: Vec<_> = config.systems.iter().map(|system| system.name.clone()).collect();
    let metrics = Metrics::new(&names).map_err(|error| error.to_string())?;
    let settings =
        JournalSettings { url: "sqlite::memory:".to_owned(), durability: Durability::Relaxed, ..config.store.clone() };
    let journal = Journal::open(settings, Arc::new(())).await.map_err(|error| error.to_string())?;
    systems::build(&config.systems, &[], &journal, &metrics).map_err(|error| error.to_string())
}

/// Reads the schema of a collection.
pub(super) async fn read_schema(system: &System, collection: &str) -> Result<RecordSchema, String> {
    if system.adapter.capabilities().schema_source == SchemaSource::None {
        return Err(format!("{} does not describe its collections", system.name));
    }
    let schema = system.adapter.schema(&*system.transport, collection).await;
    schema.map_err(|error| {
        let problem = system.collection_error_to_problem(&error);
        let vendor =
            problem.vendor.and_then(|vendor| vendor.message).map(|message| format!(" (the vendor: {message})"));
        format!("the schema of {collection} cannot be read: {}{}", problem.detail, vendor.unwrap_or_default())
    })
}

/// The values that a field may have, where the vendor lists them, with the titles that it gives
/// them.
pub(super) fn titled_choices(field: &FieldSchema) -> Vec<(Value, &str)> {
    let listed = |name: &str| field.value.get(name).and_then(Value::as_array);
    let choices: Vec<(Value, &str)> = match (listed("enum"), listed("oneOf")) {
        (Some(values), _) => values.iter().map(|value| (value.clone(), "")).collect(),
        (None, Some(titled)) => {
            let choice = |one| Some((Value::get(one, "const")?.clone(), one.get("title").map_or("", text_of)));
            titled.iter().filter_map(choice).collect()
        }
        (None, None) => Vec::new(),
    };
    choices.into_iter().filter(|(value, _)| !value.is_null()).collect()
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
