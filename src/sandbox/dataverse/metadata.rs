//! The descriptions of tables, columns and lookups.

use serde_json::{Value, json};

use super::columns::{Column, ColumnType};
use super::failure::Failure;
use super::state::State;
use super::table::Table;
use crate::sandbox::common::FakeResponse;

fn label(text: &str) -> Value {
    json!({ "LocalizedLabels": [{ "Label": text, "LanguageCode": 1033 }],
            "UserLocalizedLabel": { "Label": text, "LanguageCode": 1033 } })
}

fn value_response(items: &[Value]) -> FakeResponse {
    FakeResponse::json(200, &json!({ "value": items })).with_header("OData-Version", "4.0")
}

fn find<'s>(state: &'s State, name: &str) -> Result<&'s Table, Failure> {
    let table = state.tables.iter().find(|table| table.name == name);
    table.ok_or_else(|| Failure::UnknownSet(format!("EntityDefinitions(LogicalName='{name}')")))
}

/// `EntityDefinitions`.
pub(super) fn tables(state: &State) -> FakeResponse {
    let describe = |table: &Table| {
        json!({ "LogicalName": table.name, "EntitySetName": table.set, "PrimaryIdAttribute": table.key,
                "DisplayName": label(table.title), "IsOptimisticConcurrencyEnabled": table.compares_versions })
    };
    value_response(&state.tables.iter().map(describe).collect::<Vec<_>>())
}

/// `EntityDefinitions(LogicalName='…')/Attributes`, with or without a cast.
pub(super) fn columns(state: &State, table: &str, cast: Option<&str>) -> Result<FakeResponse, Failure> {
    let table = find(state, table)?;
    let requested = cast.map(|cast| cast.trim_start_matches("Microsoft.Dynamics.CRM.").to_owned());
    let key = Column { name: table.key, kind: ColumnType::Key, required: true, computed: true };
    let all = table.columns.iter().chain(std::iter::once(&key));
    let shown = all.filter(|column| {
        requested.as_ref().is_none_or(|requested| *requested == format!("{}AttributeMetadata", type_name(column.kind)))
    });
    Ok(value_response(&shown.map(|column| describe_column(table, column)).collect::<Vec<_>>()))
}

/// The value of `AttributeType`, which is also the first word of the cast.
fn type_name(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Text(_) => "String",
        ColumnType::Memo(_) => "Memo",
        ColumnType::Integer(..) => "Integer",
        ColumnType::Decimal => "Money",
        ColumnType::Boolean => "Boolean",
        ColumnType::DateTime => "DateTime",
        ColumnType::Choice(_) => "Picklist",
        ColumnType::Status(_) => "Status",
        ColumnType::Lookup(_) => "Lookup",
        ColumnType::Key => "Uniqueidentifier",
        ColumnType::RowVersion => "BigInt",
    }
}

fn describe_column(table: &Table, column: &Column) -> Value {
    let is_key = column.name == table.key;
    let required = match (is_key, column.required) {
        (true, _) => "SystemRequired",
        (_, true) => "ApplicationRequired",
        _ => "None",
    };
    let mut described = json!({
        "LogicalName": column.name,
        "AttributeType": type_name(column.kind),
        "DisplayName": label(column.name),
        "RequiredLevel": { "Value": required, "CanBeChanged": true },
        "IsValidForRead": true,
        "IsValidForCreate": is_key || !column.computed,
        "IsValidForUpdate": !is_key && !column.computed,
    });
    let details = match column.kind {
        ColumnType::Text(max) => json!({ "MaxLength": max, "Format": "Text" }),
        ColumnType::Memo(max) => json!({ "MaxLength": max, "Format": "TextArea" }),
        ColumnType::Integer(min, max) => json!({ "MinValue": min, "MaxValue": max }),
        ColumnType::Decimal => {
            json!({ "MinValue": -922_337_203_685_477_i64, "MaxValue": 922_337_203_685_477_i64, "Precision": 2 })
        }
        ColumnType::DateTime => json!({ "Format": "DateAndTime" }),
        ColumnType::Choice(options) | ColumnType::Status(options) => {
            let options: Vec<Value> =
                options.iter().map(|(value, text)| json!({ "Value": value, "Label": label(text) })).collect();
            json!({ "OptionSet": { "Options": options } })
        }
        ColumnType::Lookup(targets) => {
            json!({ "Targets": targets.iter().map(|(_, set)| to_singular(set)).collect::<Vec<_>>() })
        }
        ColumnType::Boolean | ColumnType::Key | ColumnType::RowVersion => json!({}),
    };
    if let (Value::Object(described), Value::Object(details)) = (&mut described, details) {
        described.extend(details);
    }
    described
}

/// The logical name of a sample table's set.
fn to_singular(set: &str) -> &str {
    set.strip_suffix('s').unwrap_or(set)
}

/// `EntityDefinitions(LogicalName='…')/ManyToOneRelationships`.
pub(super) fn lookups(state: &State, table: &str) -> Result<FakeResponse, Failure> {
    let mut found = Vec::new();
    for column in &find(state, table)?.columns {
        let ColumnType::Lookup(targets) = column.kind else { continue };
        for (navigation, set) in targets {
            found.push(json!({
                "SchemaName": format!("{}_{}", table, column.name),
                "ReferencingAttribute": column.name,
                "ReferencingEntityNavigationPropertyName": navigation,
                "ReferencedEntity": to_singular(set),
            }));
        }
    }
    Ok(value_response(&found))
}
