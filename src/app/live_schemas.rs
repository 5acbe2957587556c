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
    schema
        .map_err(|fault| format!("the schema of {collection} cannot be read: {}", system.transport.redact_fault(fault)))
}

/// The values that a field may have, where the vendor lists them.
pub(super) fn choices(field: &FieldSchema) -> Vec<Value> {
    let listed = |name: &str| field.value.get(name).and_then(Value::as_array);
    match (listed("enum"), listed("oneOf")) {
        (Some(values), _) => values.iter().filter(|value| !value.is_null()).cloned().collect(),
        (None, Some(titled)) => titled.iter().filter_map(|one| one.get("const").cloned()).collect(),
        (None, None) => Vec::new(),
    }
}
