//! The attributes of a Data Definition (`schema-info`), as pure functions.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::protocol::{IMPLICIT_COLUMN, is_definition, is_reserved};
use crate::record::VendorError;
use crate::vendors::common::{parse_guid, unparseable_response};
use crate::vendors::schema::{FieldSchema, RecordSchema};

#[derive(Deserialize)]
struct SchemaResponse {
    #[serde(rename = "Result", default)]
    result: Value,
    #[serde(rename = "Schema")]
    schema: Vec<Column>,
}

#[derive(Deserialize)]
struct Column {
    #[serde(rename = "ColumnName")]
    name: String,
    #[serde(rename = "ColumnType", default)]
    kind: Option<String>,
    #[serde(rename = "Localizable", default)]
    localizable: Option<bool>,
}

/// Parses `{Result, Schema}`: the attributes, and the id of the first fragment in `Result`.
pub(super) fn parse_schema(definition: &str, body: &Bytes) -> Result<(RecordSchema, Option<String>), VendorError> {
    let response: SchemaResponse = serde_json::from_slice(body).map_err(unparseable_response)?;
    let is_attribute = |column: &&Column| !is_reserved(&column.name) && column.name != IMPLICIT_COLUMN;
    let fields = response.schema.iter().filter(is_attribute).map(to_field).collect();
    let schema = RecordSchema { title: definition.to_owned(), fields, is_closed: true };
    let first = match &response.result {
        Value::Array(rows) => rows.first().and_then(id_of),
        row => id_of(row),
    };
    Ok((schema, first))
}

fn id_of(row: &Value) -> Option<String> {
    let id = row.as_object()?.iter().find(|(name, _)| name.eq_ignore_ascii_case("ID"))?.1;
    parse_guid(id.as_str()?)
}

/// Which attributes are mandatory is not documented, so each may be reset.
fn to_field(column: &Column) -> FieldSchema {
    let kind = column.kind.as_deref().unwrap_or_default();
    let mut field = FieldSchema::new(column.name.as_str(), value_schema(kind));
    if !kind.is_empty() {
        field.vendor.insert("type".to_owned(), kind.into());
    }
    if column.localizable == Some(true) {
        field.vendor.insert("localizable".to_owned(), true.into());
    }
    field
}

/// The type names are those of .NET, in any case; other types have no JSON type.
fn value_schema(kind: &str) -> Value {
    match kind.trim_start_matches("System.").to_ascii_lowercase().as_str() {
        "int16" => json!({ "type": "integer", "minimum": i16::MIN, "maximum": i16::MAX }),
        "int32" => json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX }),
        "int64" => json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX }),
        "decimal" | "double" | "single" => json!({ "type": "number" }),
        // The vendor's own samples send 0 and 1.
        "boolean" => json!({ "type": ["boolean", "integer"], "minimum": 0, "maximum": 1 }),
        "datetime" => json!({ "type": "string", "format": "date-time" }),
        "guid" => json!({ "type": "string", "format": "uuid" }),
        "string" => json!({ "type": "string" }),
        _ => Value::Object(Map::new()),
    }
}

/// Parses the list of classes, `[{"Name": "…"}]` (OBSERVED).
pub(super) fn parse_class_names(body: &Bytes) -> Result<Vec<String>, VendorError> {
    let classes: Vec<Map<String, Value>> = serde_json::from_slice(body).map_err(unparseable_response)?;
    let names = classes.iter().filter_map(|class| class.get("Name")?.as_str());
    Ok(names.filter(|name| is_definition(name)).map(str::to_owned).collect())
}
