//! Pretectum's business areas, schemas and datasets, as pure functions
//! (docs.pretectum.io/api-reference/schemas).

use actix_web::http::Method;
use actix_web::http::header::ACCEPT;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::date_pattern::date_pattern;
use super::protocol::is_reserved;
use crate::record::{VendorError, percent_encode};
use crate::transport::{JSON, VendorRequest, VendorRequestKind};
use crate::vendors::common::unparseable_response;
use crate::vendors::schema::{CollectionInfo, FieldSchema, RecordSchema, into_map};

/// Requests a page of something that the vendor describes.
pub(super) fn metadata_request(path: String, page_key: Option<&str>) -> VendorRequest {
    let query = page_key.map(|key| format!("?pageKey={}", percent_encode(key))).unwrap_or_default();
    VendorRequest::new(VendorRequestKind::Schema, Method::GET, path + &query).header(ACCEPT, JSON)
}

/// The path of the business areas.
pub(super) fn areas_path() -> String {
    "/v1/my/businessareas".to_owned()
}

/// The path of an area's schemas.
pub(super) fn schemas_path(area: &str) -> String {
    format!("/v1/businessareas/{}/schemas", percent_encode(area))
}

/// The path of one schema.
pub(super) fn schema_path(area: &str, schema: &str) -> String {
    format!("{}/{}", schemas_path(area), percent_encode(schema))
}

/// The path of a schema's datasets.
pub(super) fn datasets_path(area: &str, schema: &str) -> String {
    format!("{}/datasets", schema_path(area, schema))
}

/// A page of business areas, schemas or datasets.
pub(super) struct MetadataPage<T> {
    pub(super) items: Vec<T>,
    pub(super) next_page_key: Option<String>,
}

/// Parses `{items, nextPageKey}` or, as the vendor's page of business areas shows, a bare array.
pub(super) fn parse_page<T: for<'de> Deserialize<'de>>(body: &Bytes) -> Result<MetadataPage<T>, VendorError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Page<T> {
        Bare(Vec<T>),
        Keyed {
            items: Vec<T>,
            #[serde(rename = "nextPageKey", default)]
            next_page_key: Option<String>,
        },
    }
    Ok(match serde_json::from_slice(body).map_err(unparseable_response)? {
        Page::Bare(items) => MetadataPage { items, next_page_key: None },
        Page::Keyed { items, next_page_key } => {
            MetadataPage { items, next_page_key: next_page_key.filter(|key| !key.is_empty()) }
        }
    })
}

/// A business area.
#[derive(Deserialize)]
pub(super) struct Area {
    #[serde(rename = "businessAreaId")]
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
}

/// A schema in a list.
#[derive(Deserialize)]
pub(super) struct SchemaSummary {
    #[serde(rename = "schemaId")]
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) deleted: bool,
}

/// A dataset in a list.
#[derive(Deserialize)]
pub(super) struct Dataset {
    #[serde(rename = "dataSetId")]
    id: String,
    #[serde(rename = "dataSetName", default)]
    name: String,
    #[serde(rename = "recordCount", default)]
    records: Option<u64>,
    #[serde(default)]
    pub(super) deleted: bool,
}

/// A dataset as a collection.
pub(super) fn to_collection(area: &Area, schema: &SchemaSummary, dataset: &Dataset) -> CollectionInfo {
    CollectionInfo {
        collection: format!("{}:{}:{}", area.id, schema.id, dataset.id),
        title: format!("{} / {} / {}", area.name, schema.name, dataset.name),
        records: dataset.records,
    }
}

#[derive(Deserialize)]
struct SchemaDocument {
    #[serde(default)]
    name: String,
    fields: Vec<Field>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the vendor")]
struct Field {
    field_id: Option<String>,
    name: String,
    active: Option<bool>,
    data_type: Option<String>,
    is_required: Option<bool>,
    is_multivalue: Option<bool>,
    #[serde(rename = "isPII")]
    is_pii: Option<bool>,
    #[serde(default)]
    min: Value,
    #[serde(default)]
    max: Value,
    #[serde(default)]
    validation_rules: Value,
    #[serde(default)]
    allowed_boolean_values: Value,
    static_picklist: Option<Vec<Choice>>,
    date_format: Option<String>,
}

#[derive(Deserialize)]
struct Choice {
    code: Value,
    description: Option<String>,
}

/// Parses the response of the schema call.
pub(super) fn parse_schema(body: &Bytes) -> Result<RecordSchema, VendorError> {
    let document: SchemaDocument = serde_json::from_slice(body).map_err(unparseable_response)?;
    let mut fields: Vec<FieldSchema> = Vec::with_capacity(document.fields.len());
    for field in document.fields.iter().filter(|field| !is_reserved(&field.name)) {
        // A field that was switched off may have a successor of the same name.
        match fields.iter_mut().find(|earlier| earlier.name == field.name) {
            None => fields.push(to_field_schema(field)),
            Some(earlier) if !earlier.is_updatable => *earlier = to_field_schema(field),
            Some(_) => {}
        }
    }
    if fields.is_empty() {
        return Err(unparseable_response("a schema without fields"));
    }
    Ok(RecordSchema { title: document.name, fields, is_closed: true })
}

fn to_field_schema(field: &Field) -> FieldSchema {
    let is_active = field.active.unwrap_or(true);
    let is_required = is_active && field.is_required == Some(true);
    let mut schema = FieldSchema::new(field.name.as_str(), Value::Object(value_schema(field)));
    schema.is_required = is_required;
    schema.is_nullable = !is_required;
    schema.is_updatable = is_active;
    schema.is_creatable = is_active;
    schema.vendor = vendor_notes(field, is_active);
    schema
}

/// What is certain of a field's values. The form of several values is not documented, so nothing is
/// said of them.
fn value_schema(field: &Field) -> Map<String, Value> {
    if field.is_multivalue == Some(true) {
        return Map::new();
    }
    if let Some(choices) = field.static_picklist.as_ref().filter(|choices| !choices.is_empty()) {
        return picklist_schema(choices);
    }
    let data_type = field.data_type.as_deref().unwrap_or_default().to_ascii_lowercase();
    let mut schema = match data_type.as_str() {
        "string" | "text" => text_schema(field),
        "integer" => bounded(field, json!({ "type": "integer" })),
        "float" | "number" | "decimal" => bounded(field, json!({ "type": "number" })),
        "boolean" if field.allowed_boolean_values.is_null() => into_map(json!({ "type": "boolean" })),
        "email" => into_map(json!({ "type": "string", "format": "email" })),
        "phone" => into_map(json!({ "type": "string", "format": "phone" })),
        "url" => into_map(json!({ "type": "string", "format": "uri" })),
        "date" | "datetime" | "time" => into_map(json!({ "type": "string" })),
        _ => Map::new(),
    };
    if let Some(pattern) = field.date_format.as_deref().filter(|_| data_type == "date").and_then(date_pattern) {
        schema.insert("pattern".to_owned(), pattern.into());
    }
    schema
}

fn picklist_schema(choices: &[Choice]) -> Map<String, Value> {
    let is_plain = |choice: &Choice| choice.description.as_deref().is_none_or(|text| choice.code == text);
    let mut schema = Map::new();
    // Codes are documented as texts; of other values nothing is known.
    if choices.iter().all(|choice| choice.code.is_string()) {
        schema.insert("type".to_owned(), "string".into());
    }
    if choices.iter().all(is_plain) {
        schema.insert("enum".to_owned(), choices.iter().map(|choice| choice.code.clone()).collect());
    } else {
        let choice = |choice: &Choice| json!({ "const": choice.code, "title": choice.description });
        schema.insert("oneOf".to_owned(), choices.iter().map(choice).collect());
    }
    schema
}

/// `min` and `max` of a text are lengths in characters.
fn text_schema(field: &Field) -> Map<String, Value> {
    let mut schema = into_map(json!({ "type": "string" }));
    for (name, limit) in [("minLength", &field.min), ("maxLength", &field.max)] {
        if let Some(limit) = limit.as_u64() {
            schema.insert(name.to_owned(), limit.into());
        }
    }
    schema
}

/// `min` and `max` of a number are its bounds (INFERRED).
fn bounded(field: &Field, schema: Value) -> Map<String, Value> {
    let mut schema = into_map(schema);
    for (name, limit) in [("minimum", &field.min), ("maximum", &field.max)] {
        if limit.is_number() {
            schema.insert(name.to_owned(), limit.clone());
        }
    }
    schema
}

fn vendor_notes(field: &Field, is_active: bool) -> Map<String, Value> {
    let mut notes = Map::new();
    let mut note = |name: &str, value: Value| {
        notes.insert(name.to_owned(), value);
    };
    if let Some(data_type) = &field.data_type {
        note("type", data_type.as_str().into());
    }
    if let Some(id) = &field.field_id {
        note("id", id.as_str().into());
    }
    if field.is_multivalue == Some(true) {
        note("multivalue", true.into());
    }
    if field.is_pii == Some(true) {
        note("pii", true.into());
    }
    if !is_active {
        note("inactive", true.into());
    }
    if field.validation_rules.as_array().is_some_and(|rules| !rules.is_empty()) {
        note("rules", field.validation_rules.clone());
    }
    notes
}
