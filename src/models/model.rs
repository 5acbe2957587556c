//! A model: its fields, and the systems that keep them.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::field::Field;
use super::system_map::SystemMap;

/// A model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The name, `[a-z][a-z0-9-]*`.
    pub name: Arc<str>,
    /// For people.
    pub title: String,
    /// The fields, in the order of the configuration.
    pub fields: Vec<Field>,
    /// The systems, in the order of the configuration.
    pub maps: Vec<Arc<SystemMap>>,
    /// Groups of fields that count as one place for a rebase: `together`.
    pub together: Vec<Vec<String>>,
}

impl Model {
    /// The map of a system.
    #[must_use]
    pub fn map_of(&self, system: &str) -> Option<&Arc<SystemMap>> {
        self.maps.iter().find(|map| map.system.as_str() == system)
    }

    /// BLAKE3, in hex, over the fingerprints of the maps.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.schema().to_string().as_bytes());
        for map in &self.maps {
            hasher.update(map.fingerprint.to_string().as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// JSON Schema 2020-12 of `fields`.
    #[must_use]
    pub fn schema(&self) -> Value {
        let mut schema = group_schema(&self.fields, 0);
        if let Value::Object(members) = &mut schema {
            members.insert("title".to_owned(), self.title.as_str().into());
        }
        schema
    }

    /// An example of all fields.
    #[must_use]
    pub fn example(&self) -> Value {
        let mut example = Map::new();
        for field in &self.fields {
            super::system_map::put(&mut example, &field.path, field.example());
        }
        Value::Object(example)
    }
}

/// The schema of the fields that share their first `depth` names.
fn group_schema(fields: &[Field], depth: usize) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let Some(name) = field.path.get(depth).filter(|name| !properties.contains_key(*name)) else { continue };
        let schema = if field.path.len() == depth + 1 {
            field.schema()
        } else {
            let same = fields.iter().filter(|other| other.path.get(depth) == Some(name));
            group_schema(&same.cloned().collect::<Vec<_>>(), depth + 1)
        };
        properties.insert(name.clone(), schema);
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}
