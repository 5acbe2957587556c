//! The columns of a table, from the organization's metadata.

use bytes::Bytes;
use futures_util::future::{join, join_all};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::tables::{Table, TableCache, fetch, label_text, parse_value};
use crate::record::{VendorError, VendorErrorKind};
use crate::transport::Transport;
use crate::vendors::common::unparseable_response;
use crate::vendors::schema::{CollectionInfo, CollectionList, FieldSchema, RecordSchema};

/// The columns that every attribute has; those of one type need a cast.
const COMMON: &str = "Attributes?$select=LogicalName,AttributeType,AttributeOf,RequiredLevel,IsValidForRead,\
                      IsValidForCreate,IsValidForUpdate";
/// The casts by which limits and choices are had.
const CASTS: [&str; 5] = [
    "Attributes/Microsoft.Dynamics.CRM.StringAttributeMetadata?$select=LogicalName,MaxLength",
    "Attributes/Microsoft.Dynamics.CRM.MemoAttributeMetadata?$select=LogicalName,MaxLength",
    "Attributes/Microsoft.Dynamics.CRM.IntegerAttributeMetadata?$select=LogicalName,MinValue,MaxValue",
    "Attributes/Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$select=LogicalName&$expand=OptionSet",
    "Attributes/Microsoft.Dynamics.CRM.DateTimeAttributeMetadata?$select=LogicalName,Format",
];
/// A key, or an entity set with a key in either of the forms that `lookups` accepts.
const REFERENCE: &str = "^(/?[a-z_][a-z0-9_]*[:(])?[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\\)?$";

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_field_names, reason = "the names of the vendor")]
struct Attribute {
    logical_name: String,
    #[serde(default)]
    attribute_type: Option<String>,
    /// The attribute that this one belongs to, as the name of a lookup's row does: the Web API does
    /// not show it.
    #[serde(default)]
    attribute_of: Option<String>,
    #[serde(default)]
    required_level: Option<RequiredLevel>,
    #[serde(default)]
    is_valid_for_read: Option<bool>,
    #[serde(default)]
    is_valid_for_create: Option<bool>,
    #[serde(default)]
    is_valid_for_update: Option<bool>,
    #[serde(default)]
    max_length: Option<u64>,
    #[serde(default)]
    min_value: Option<Value>,
    #[serde(default)]
    max_value: Option<Value>,
    #[serde(default)]
    option_set: Option<OptionSet>,
    /// Of a time: `DateOnly` or `DateAndTime`.
    #[serde(default)]
    format: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RequiredLevel {
    value: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OptionSet {
    #[serde(default)]
    options: Vec<Choice>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Choice {
    value: Option<i64>,
    #[serde(default)]
    label: Value,
}

/// Every table that has an entity set. Without the permission to read metadata there are none.
pub(super) async fn load_collections(
    transport: &dyn Transport,
    cache: &TableCache,
) -> Result<CollectionList, VendorError> {
    let Some(tables) = cache.load_tables(transport).await? else { return Ok(CollectionList::default()) };
    let to_info = |table: &Table| {
        let collection = table.set()?.to_owned();
        Some(CollectionInfo { title: table.title().to_owned(), collection, records: None })
    };
    Ok(CollectionList { items: tables.iter().filter_map(to_info).collect(), complete: true })
}

/// The columns of a set's rows, under the names that a row shows.
pub(super) async fn load_schema(
    transport: &dyn Transport,
    cache: &TableCache,
    set: &str,
) -> Result<RecordSchema, VendorError> {
    let forbidden = || VendorError::new(VendorErrorKind::Forbidden).message("the account may not read metadata");
    let tables = cache.load_tables(transport).await?.ok_or_else(forbidden)?;
    let table = tables.iter().find(|table| table.set() == Some(set));
    let table = table.ok_or_else(|| VendorError::new(VendorErrorKind::NotFound))?;
    let details = join_all(CASTS.map(|cast| load(transport, table, cast)));
    let (common, details) = join(load(transport, table, COMMON), details).await;
    let mut attributes: Vec<Attribute> = parse_value(&common?.ok_or_else(forbidden)?)?;
    for body in details {
        let Some(body) = body? else { continue };
        for detailed in parse_value::<Attribute>(&body)? {
            let known = attributes.iter_mut().find(|one| one.logical_name == detailed.logical_name);
            if let Some(known) = known {
                known.max_length = detailed.max_length;
                known.min_value = detailed.min_value;
                known.max_value = detailed.max_value;
                known.option_set = detailed.option_set;
                known.format = detailed.format;
            }
        }
    }
    let fields: Vec<FieldSchema> = attributes.iter().filter_map(|one| to_field(one, table)).collect();
    if fields.is_empty() {
        return Err(unparseable_response("a table without columns"));
    }
    let read_only = fields.iter().filter(|field| !field.is_updatable).map(|field| field.name.clone());
    cache.record_read_only(set, read_only.collect());
    Ok(RecordSchema { title: table.title().to_owned(), fields, is_closed: true })
}

async fn load(transport: &dyn Transport, table: &Table, resource: &str) -> Result<Option<Bytes>, VendorError> {
    fetch(transport, &format!("EntityDefinitions(LogicalName='{}')/{resource}", table.name())).await
}

fn to_field(attribute: &Attribute, table: &Table) -> Option<FieldSchema> {
    let kind = attribute.attribute_type.as_deref().unwrap_or_default();
    let is_key = table.key() == Some(attribute.logical_name.as_str());
    if attribute.attribute_of.is_some() || matches!(kind, "EntityName" | "ManagedProperty" | "CalendarRules") {
        return None;
    }
    let name = match kind {
        "Lookup" | "Customer" | "Owner" => format!("_{}_value", attribute.logical_name),
        _ => attribute.logical_name.clone(),
    };
    let level = attribute.required_level.as_ref().and_then(|level| level.value.as_deref());
    let mut field = FieldSchema::new(name, value_schema(kind, attribute));
    // The Web API enforces no other level, and fills in what the system requires (VENDOR).
    field.is_nullable = level != Some("SystemRequired");
    field.is_shown = !is_key && attribute.is_valid_for_read != Some(false);
    field.is_creatable = attribute.is_valid_for_create != Some(false);
    field.is_updatable = !is_key && attribute.is_valid_for_update != Some(false);
    if !kind.is_empty() {
        field.vendor.insert("type".to_owned(), kind.into());
    }
    Some(field)
}

fn value_schema(kind: &str, attribute: &Attribute) -> Value {
    let mut schema = match kind {
        // A column with several choices is a text of numbers, and its type is this word.
        "String" | "Memo" | "Virtual" => json!({ "type": "string" }),
        "DateTime" => match attribute.format.as_deref() {
            Some("DateOnly") => json!({ "type": "string", "format": "date" }),
            Some("DateAndTime") => json!({ "type": "string", "format": "date-time" }),
            _ => json!({ "type": "string" }),
        },
        "BigInt" => json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX }),
        "Integer" | "State" | "Status" | "Picklist" => json!({ "type": "integer" }),
        "Decimal" | "Double" | "Money" => json!({ "type": "number" }),
        "Boolean" => json!({ "type": "boolean" }),
        "Uniqueidentifier" => json!({ "type": "string", "format": "uuid" }),
        "Lookup" | "Customer" | "Owner" => json!({ "type": "string", "pattern": REFERENCE }),
        _ => return Value::Object(Map::new()),
    };
    let Value::Object(members) = &mut schema else { return schema };
    let mut limit = |name: &str, value: Option<Value>| {
        if let Some(value) = value.filter(Value::is_number) {
            members.insert(name.to_owned(), value);
        }
    };
    limit("maxLength", attribute.max_length.map(Value::from));
    limit("minimum", attribute.min_value.clone());
    limit("maximum", attribute.max_value.clone());
    let choices = attribute.option_set.iter().flat_map(|set| &set.options).filter_map(|choice| {
        let value = choice.value?;
        Some(json!({ "const": value, "title": label_text(&choice.label).unwrap_or_default() }))
    });
    let choices: Vec<Value> = choices.collect();
    if !choices.is_empty() {
        members.insert("oneOf".to_owned(), choices.into());
    }
    schema
}
