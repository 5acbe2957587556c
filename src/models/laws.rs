//! The round-trip laws of a map, checked over generated values with the functions that requests
//! use.
//!
//! - GetPut: what was read, put back, changes no byte of the record.
//! - PutGet: what was put is read.
//! - Apart: no other place moves.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::document::Document;
use super::generate::{model_value, record, vendor_value};
use super::patch::ModelPatch;
use super::system_map::{Decoded, MapEntry, SystemMap};
use crate::record::{JsonObjectWriter, MappedPatch as _, RawObject, RecordId, diff, values_equal};

/// A law that a map breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenLaw {
    /// The field, as the configuration names it; `None` for the map as a whole.
    pub field: Option<String>,
    /// The law and a value that breaks it.
    pub detail: String,
}

/// Checks a map with the given numbers of values of each field and of records.
#[must_use]
pub fn check_laws(map: &Arc<SystemMap>, values: usize, records: usize) -> Vec<BrokenLaw> {
    let mut rng = Rng::with_seed(4);
    let of_field = |entry: &MapEntry| {
        let mut rng = Rng::with_seed(7);
        let broken = (0..values).find_map(|_| check_entry(&mut rng, entry).err());
        broken.map(|detail| BrokenLaw { field: Some(entry.field.name()), detail })
    };
    let broken: Vec<BrokenLaw> = map.entries.iter().filter_map(of_field).collect();
    if !broken.is_empty() {
        return broken;
    }
    let of_record = (0..records).find_map(|_| {
        let fields = record(&mut rng, map);
        check_record(map, &fields).and_then(|()| check_apart(&mut rng, map, &fields)).err()
    });
    of_record.map(|detail| BrokenLaw { field: None, detail }).into_iter().collect()
}

fn check_entry(rng: &mut Rng, entry: &MapEntry) -> Result<(), String> {
    let new_value = model_value(rng, entry);
    if entry.field.validate(&new_value).is_ok() && entry.codec.claims(&new_value) && !entry.is_read_only {
        check_put_get(entry, &new_value, &vendor_value(rng, entry))?;
    }
    check_get_put(entry, &vendor_value(rng, entry))
}

fn check_put_get(entry: &MapEntry, new_value: &Value, current: &Value) -> Result<(), String> {
    for current in [None, Some(current)] {
        match entry.encode(new_value, current) {
            Ok(encoded) => match entry.decode(Some(Cow::Borrowed(&encoded))) {
                Decoded::Value(back) if entry.codec.means_same(&back, new_value) => {}
                back => return Err(format!("breaks PutGet: {new_value} is written as {encoded} and read as {back:?}")),
            },
            // The one value that a map may refuse is that which means unset.
            Err(detail) => {
                let encoded = entry.codec.encode(new_value).unwrap_or_default();
                if !entry.none.as_ref().is_some_and(|none| values_equal(none, &encoded)) {
                    return Err(format!("breaks PutGet: {new_value} is written as {encoded}: {detail}"));
                }
            }
        }
    }
    Ok(())
}

fn check_get_put(entry: &MapEntry, vendor: &Value) -> Result<(), String> {
    let shown = match entry.decode(Some(Cow::Borrowed(vendor))) {
        Decoded::Unreadable(_) => return Ok(()),
        Decoded::Unset => Value::Null,
        Decoded::Value(value) => value.into_owned(),
    };
    let put = |current| entry.encode(&shown, current);
    match put(Some(vendor)) {
        Ok(encoded) if *encoded == *vendor => {}
        put => return Err(format!("breaks GetPut: {vendor} is read as {shown} and written as {put:?}")),
    }
    if entry.has_one_spelling(&shown) && !shown.is_null() && put(None).as_deref() != Ok(vendor) {
        let put = put(None);
        return Err(format!("breaks GetPut: {vendor} is read as {shown} and written without a read as {put:?}"));
    }
    Ok(())
}

/// The whole document, sent back as a merge patch, changes nothing.
pub(super) fn check_record(map: &Arc<SystemMap>, fields: &Map<String, Value>) -> Result<(), String> {
    let record = RawObject::from(fields);
    let document = Document::new(map, &record);
    let body = JsonObjectWriter::new().object("fields", |object| document.write_fields(object, false));
    let body = body.object("vendor", |object| document.write_vendor(object)).finish();
    match apply(map, fields, &body) {
        Ok(after) if after == *fields => Ok(()),
        after => Err(format!("breaks GetPut: the record {fields:?}, put back as {body}, becomes {after:?}")),
    }
}

/// One changed field moves one place.
pub(super) fn check_apart(rng: &mut Rng, map: &Arc<SystemMap>, fields: &Map<String, Value>) -> Result<(), String> {
    let Some(entry) = rng.choice(&map.entries).filter(|entry| !entry.is_read_only) else { return Ok(()) };
    let new_value = model_value(rng, entry);
    if entry.encode(&new_value, None).is_err() || entry.place.is_blocked(fields) {
        return Ok(());
    }
    let mut body = Map::new();
    super::system_map::put(&mut body, &entry.field.path, new_value);
    let after = apply(map, fields, &json!({ "fields": body }).to_string())?;
    match diff(fields, &after).into_iter().find(|change| !entry.place.meets(&change.path)) {
        None => Ok(()),
        Some(change) => Err(format!("breaks Apart: a change of {} moves {}", entry.field.name(), change.pointer)),
    }
}

fn apply(map: &Arc<SystemMap>, fields: &Map<String, Value>, body: &str) -> Result<Map<String, Value>, String> {
    let id = RecordId::new("", "");
    let body = Bytes::copy_from_slice(body.as_bytes());
    let patch = ModelPatch::parse_merge_patch(map, &id, &body).map_err(|error| format!("{body:?}: {error:?}"))?;
    let mut document = Map::new();
    document.insert("fields".to_owned(), Value::Object(fields.clone()));
    patch.apply(&document, &|_| false).map_err(|error| format!("{body:?}: {error:?}"))
}
