//! `[models.NAME.systems.SYSTEM]`: the map of a model over one collection of one system.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::codec::read_entry;
use super::toml_json::to_json;
use crate::config::spanned_value::SpannedValue;
use crate::config::system::SystemConfig;
use crate::config::table_reader::TableReader;
use crate::models::{Field, MapEntry, MapFingerprint, MapIndex, Model, Place, SystemMap, check_laws};
use crate::vendors::Adapter;

/// How many values of each field, and how many records, the laws are checked with at the start.
const LAW_VALUES: usize = 100;
const LAW_RECORDS: usize = 20;
/// The version of the shapes in which adapters show records (contract 3). It is a part of the
/// fingerprint, so that tags of another shape never match.
const RECORD_SHAPE: u32 = 1;
/// A path segment of the API at the place of a system's name.
const RESERVED_NAME: &str = "schema";

/// Reads a map; `None` after adding its errors.
pub(super) fn read_map(
    model: &Model,
    system: &str,
    value: &SpannedValue<'_>,
    systems: &[SystemConfig],
) -> Option<SystemMap> {
    let table = TableReader::of(value, "a table")?;
    let config = systems.iter().find(|config| config.name.as_str() == system);
    if config.is_none() {
        let names: Vec<&str> = systems.iter().map(|config| config.name.as_str()).collect();
        value.error("is not a configured system", names.join(", "));
    } else if system == RESERVED_NAME {
        value.error("cannot be mapped: /models/NAME/schema is the model's schema", "a system of another name");
    }
    let adapter = config.and_then(|config| (config.vendor.factory.build)(&config.vendor.settings).ok());
    let collection = read_collection(&table, config, adapter.as_deref());
    let create = read_create(&table);
    table.require(&[("map", "a table of fields with their places")]);
    let entries_table = table.table("map");
    let entries: Vec<(MapEntry, SpannedValue<'_>)> = entries_table
        .entries()
        .into_iter()
        .filter_map(|(name, value)| Some((read_entry(find_field(model, name, &value)?, &value)?, value)))
        .collect();
    let ignores_case = config.is_some_and(|config| config.vendor.factory.capabilities.ignores_case);
    check_places(&entries, ignores_case, adapter.as_deref(), collection.as_deref().unwrap_or_default());
    table.reject_unknown(|_| None);
    let config = config?;
    let fingerprint = fingerprint(model, config, collection.as_deref(), &entries_table)?;
    let mut entries: Vec<(MapEntry, SpannedValue<'_>)> = entries;
    let position = |entry: &MapEntry| model.fields.iter().position(|field| field.path == entry.field.path);
    entries.sort_by_key(|(entry, _)| position(entry));
    let is_mapped = |field: &Field| entries.iter().any(|(entry, _)| entry.field.path == field.path);
    let missing: Vec<Field> = model.fields.iter().filter(|field| !is_mapped(field)).cloned().collect();
    let mapped: Vec<MapEntry> = entries.iter().map(|(entry, _)| entry.clone()).collect();
    let map = SystemMap {
        model: Arc::clone(&model.name),
        system: config.name.clone(),
        collection,
        index: MapIndex::new(mapped.iter().map(|entry| (&entry.field, &entry.place)), &missing),
        entries: mapped,
        missing,
        together: joined_places(model, &entries),
        ignores_case,
        create,
        label: format!("{}@{fingerprint}", model.name).into(),
        fingerprint,
    };
    report_broken_laws(&map, &entries, value);
    Some(map)
}

/// The places of the fields of each group in `together` that the system keeps.
fn joined_places(model: &Model, entries: &[(MapEntry, SpannedValue<'_>)]) -> Vec<Vec<Place>> {
    let of_group = |group: &Vec<String>| {
        let is_in = |entry: &&MapEntry| group.contains(&entry.field.name());
        entries.iter().map(|(entry, _)| entry).filter(is_in).map(|entry| entry.place.clone()).collect()
    };
    model.together.iter().map(of_group).collect()
}

fn find_field<'m>(model: &'m Model, name: &str, value: &SpannedValue<'_>) -> Option<&'m Field> {
    let found = model.fields.iter().find(|field| field.name() == name);
    if found.is_none() {
        let names: Vec<String> = model.fields.iter().map(Field::name).collect();
        value.error("is not a field of the model", names.join(", "));
    }
    found
}

/// The collection in its canonical spelling, or else the system's.
fn read_collection(
    table: &TableReader<'_>,
    config: Option<&SystemConfig>,
    adapter: Option<&dyn Adapter>,
) -> Option<String> {
    let own: Option<String> = table.value("collection");
    let text = own.or_else(|| config?.policy.collection.clone())?;
    let canonical = adapter?.parse_collection(&text);
    if let (None, Some(config)) = (&canonical, config) {
        let message = format!("{text:?} is not a collection of this vendor");
        table.error("collection", message, config.vendor.factory.collection_form);
    }
    canonical
}

fn read_create(table: &TableReader<'_>) -> Map<String, Value> {
    let Some(value) = table.get("create") else { return Map::new() };
    match to_json(&value) {
        Some(Value::Object(members)) => members,
        Some(_) => {
            value.error(value.wrong_type(), "a table of members of fields");
            Map::new()
        }
        None => Map::new(),
    }
}

/// No two fields meet, and what the vendor or the gateway sets is read-only.
fn check_places(
    entries: &[(MapEntry, SpannedValue<'_>)],
    ignores_case: bool,
    adapter: Option<&dyn Adapter>,
    collection: &str,
) {
    for (index, (entry, value)) in entries.iter().enumerate() {
        let meets = |other: &MapEntry| other.place.meets_place(&entry.place, ignores_case);
        let earlier = entries.iter().take(index).find(|(other, _)| meets(other));
        if let Some((other, _)) = earlier {
            let message = format!("its place meets that of {:?}", other.field.name());
            value.error(message, "places of which none is the other or lies in it");
        }
        let member = entry.place.member();
        let is_set_elsewhere = adapter
            .is_some_and(|adapter| adapter.is_reserved(collection, member) || adapter.is_read_only(collection, member));
        if is_set_elsewhere && !entry.is_read_only {
            value.error(format!("{member:?} cannot be changed at this vendor"), "read_only = true, or another place");
        }
    }
}

/// BLAKE3 over the model, the map and the adapter's shape of records.
fn fingerprint(
    model: &Model,
    config: &SystemConfig,
    collection: Option<&str>,
    entries: &TableReader<'_>,
) -> Option<MapFingerprint> {
    let map: Option<Vec<(String, Value)>> = {
        let mut entries: Vec<_> = entries.entries();
        entries.sort_by_key(|(name, _)| *name);
        entries.iter().map(|(name, value)| Some(((*name).to_owned(), to_json(value)?))).collect()
    };
    let described = json!({
        "model": &*model.name,
        "schema": model.schema(),
        "system": config.name.as_str(),
        "collection": collection,
        "map": map?,
        "shape": [config.vendor.factory.vendor, RECORD_SHAPE],
    });
    Some(MapFingerprint::of(&described.to_string()))
}

fn report_broken_laws(map: &SystemMap, entries: &[(MapEntry, SpannedValue<'_>)], table: &SpannedValue<'_>) {
    // Places that meet, which have been reported, break the laws of records.
    let records = if table.diagnostics.is_ok() { LAW_RECORDS } else { 0 };
    for broken in check_laws(&Arc::new(map.clone()), LAW_VALUES, records) {
        let at = entries.iter().find(|(entry, _)| broken.field.as_ref() == Some(&entry.field.name()));
        let value = at.map_or(table, |(_, value)| value);
        value.error(broken.detail, "a map whose values read back as they were written");
    }
}
