//! A vendor's description of its collections and of the fields of their records.

use serde_json::{Map, Value, json};

/// Where the fields of a vendor's collections are described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaSource {
    /// The vendor serves a description of each collection.
    Vendor,
    /// The vendor's documentation describes them, and they never change.
    Fixed,
    /// Nowhere: writes are not checked before they are sent.
    None,
}

impl SchemaSource {
    /// Every source.
    pub const ALL: [Self; 3] = [Self::Vendor, Self::Fixed, Self::None];

    /// The word in `schema_source`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vendor => "vendor",
            Self::Fixed => "fixed",
            Self::None => "none",
        }
    }
}

/// A collection of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionInfo {
    /// The part of its records' ids before the last colon.
    pub collection: String,
    /// Its name, for people.
    pub title: String,
    /// How many records it holds, where the vendor reports it.
    pub records: Option<u64>,
}

/// The collections that a vendor names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionList {
    /// The collections, in the vendor's order.
    pub items: Vec<CollectionInfo>,
    /// Whether there are no others.
    pub complete: bool,
}

/// The fields of a collection's records, as `fields` shows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordSchema {
    /// The collection's name, for people.
    pub title: String,
    /// The fields, in the vendor's order.
    pub fields: Vec<FieldSchema>,
    /// Whether no record has other fields.
    pub is_closed: bool,
}

/// One field.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own that the vendor states")]
pub struct FieldSchema {
    /// Its name.
    pub name: String,
    /// The JSON Schema of a value other than null.
    pub value: Map<String, Value>,
    /// Whether the value may be null, which in an update resets it.
    pub is_nullable: bool,
    /// Whether a new record must have it.
    pub is_required: bool,
    /// Whether records show it.
    pub is_shown: bool,
    /// Whether an update may change it.
    pub is_updatable: bool,
    /// Whether a new record may have it.
    pub is_creatable: bool,
    /// Other properties: `x-vendor`.
    pub vendor: Map<String, Value>,
}

impl FieldSchema {
    /// An optional field that everybody can read and write. `value` is a JSON Schema.
    pub(crate) fn new(name: impl Into<String>, value: Value) -> Self {
        Self {
            name: name.into(),
            value: into_map(value),
            is_nullable: true,
            is_required: false,
            is_shown: true,
            is_updatable: true,
            is_creatable: true,
            vendor: Map::new(),
        }
    }

    /// The same field, which callers cannot write.
    pub(super) fn read_only(self) -> Self {
        Self { is_updatable: false, is_creatable: false, ..self }
    }

    /// The schema of its value, `null` included where that is allowed.
    #[must_use]
    pub fn value_schema(&self, is_nullable: bool) -> Map<String, Value> {
        let mut schema = self.value.clone();
        if is_nullable {
            allow_null(&mut schema);
        }
        schema
    }
}

/// The members of a JSON object; none for any other value.
pub(super) fn into_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn allow_null(schema: &mut Map<String, Value>) {
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push("null".into()),
        Some(Value::String(one)) => {
            let types = json!([one, "null"]);
            schema.insert("type".to_owned(), types);
        }
        _ => {}
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
    if let Some(Value::Array(choices)) = schema.get_mut("oneOf") {
        choices.push(json!({ "const": null, "title": "no value" }));
    }
}
