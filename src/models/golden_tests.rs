//! The laws over the records of the golden files, which the vendors' pages show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use serde_json::{Map, Value};

use super::laws::{check_apart, check_record};
use super::{Codec, Field, FieldType, MapEntry, MapFingerprint, MapIndex, Place, ScalarType, SystemMap};
use crate::record::SystemName;

/// The `fields` of every record that a golden file has.
fn golden_records() -> Vec<Map<String, Value>> {
    let mut records = Vec::new();
    for folder in entries(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")) {
        let before = records.len();
        for file in entries(&folder) {
            let text = std::fs::read_to_string(&file).expect("text");
            let golden = crate::record::parse_strict(text.as_bytes()).expect("JSON");
            collect(&golden["meaning"], &mut records);
        }
        assert!(records.len() > before, "{} has no record", folder.display());
    }
    records
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn collect(value: &Value, records: &mut Vec<Map<String, Value>>) {
    match value {
        Value::Object(members) => match members.get("fields") {
            Some(Value::Object(fields)) => records.push(fields.clone()),
            _ => members.values().for_each(|value| collect(value, records)),
        },
        Value::Array(elements) => elements.iter().for_each(|value| collect(value, records)),
        _ => {}
    }
}

/// Every codec that may read a value, with a type that the field may have.
fn codecs(value: &Value) -> Vec<(Codec, FieldType)> {
    let scalar = FieldType::Scalar;
    match value {
        Value::String(_) => {
            let list = Codec::List { separator: " ".to_owned(), items: ScalarType::String };
            vec![
                (Codec::Same, scalar(ScalarType::String)),
                (Codec::NumberText, scalar(ScalarType::Number)),
                (list, FieldType::Array(ScalarType::String)),
            ]
        }
        Value::Number(_) => {
            vec![(Codec::Same, scalar(ScalarType::Number)), (Codec::Scale(2), scalar(ScalarType::Number))]
        }
        Value::Bool(_) => {
            let flag = Codec::Boolean { yes: vec![1.into(), true.into()], no: vec![0.into(), false.into()] };
            vec![(Codec::Same, scalar(ScalarType::Boolean)), (flag, scalar(ScalarType::Boolean))]
        }
        _ => vec![(Codec::Same, scalar(ScalarType::String))],
    }
}

/// Maps each value of a record to a field; `choice` selects the codecs.
fn map_of(fields: &Map<String, Value>, choice: usize) -> Arc<SystemMap> {
    let mut places = Vec::new();
    leaves(&Value::Object(fields.clone()), String::new(), &mut places);
    let entry = |(index, (pointer, value)): (usize, (String, Value))| {
        let codecs = codecs(&value);
        let (codec, kind) = codecs[choice % codecs.len()].clone();
        let field = Field {
            path: vec![format!("group{}", index % 3), format!("field{index}")],
            kind,
            title: None,
            description: None,
            format: None,
            max_length: None,
            choices: Vec::new(),
            sample: None,
        };
        MapEntry { field, place: Place::parse(&pointer).ok()?, codec, none: None, is_read_only: false }.into()
    };
    let entries: Vec<MapEntry> = places.into_iter().enumerate().filter_map(entry).collect();
    Arc::new(SystemMap {
        model: "golden".into(),
        system: SystemName::parse("golden").expect("a name"),
        collection: None,
        index: MapIndex::new(entries.iter().map(|entry| (&entry.field, &entry.place)), &[]),
        entries,
        missing: Vec::new(),
        together: Vec::new(),
        ignores_case: false,
        create: Map::new(),
        fingerprint: MapFingerprint::of(""),
        label: "golden".into(),
    })
}

fn leaves(value: &Value, pointer: String, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                leaves(value, format!("{pointer}/{name}"), found);
            }
        }
        value => found.push((pointer, value.clone())),
    }
}

#[test]
fn the_vendors_own_records_keep_the_laws_under_every_codec() {
    let records = golden_records();
    let mut rng = Rng::with_seed(3);
    for fields in records.iter().filter(|fields| !fields.is_empty()) {
        for choice in 0..3 {
            let map = map_of(fields, choice);
            assert!(!map.entries.is_empty());
            check_record(&map, fields).unwrap_or_else(|broken| panic!("{broken}"));
            for _ in 0..50 {
                check_apart(&mut rng, &map, fields).unwrap_or_else(|broken| panic!("{broken}"));
            }
        }
    }
}
