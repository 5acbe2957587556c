//! `[models.NAME]`: normalized shapes over collections of several systems.

mod codec;
mod field;
mod map;
#[cfg(test)]
mod tests;
mod toml_json;

use std::sync::Arc;

use super::spanned_value::SpannedValue;
use super::system::SystemConfig;
use super::table_reader::TableReader;
use crate::models::{Field, Model};

/// Reads all models, and checks the laws of their maps.
pub(super) fn read_models(models: &TableReader<'_>, systems: &[SystemConfig]) -> Vec<Arc<Model>> {
    let read_one = |(name, value): (&str, SpannedValue<'_>)| {
        let has_valid_start = name.starts_with(|first: char| first.is_ascii_lowercase());
        let has_valid_bytes =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !(has_valid_start && has_valid_bytes) {
            value.error("is not a model's name", "[a-z][a-z0-9-]*");
        }
        read_model(name, TableReader::of(&value, "a table")?, systems).map(Arc::new)
    };
    models.entries().into_iter().filter_map(read_one).collect()
}

fn read_model(name: &str, table: TableReader<'_>, systems: &[SystemConfig]) -> Option<Model> {
    table.require(&[
        ("fields", "a table of fields, such as name = { type = \"string\" }"),
        ("systems", "one table [models.NAME.systems.SYSTEM] or more"),
    ]);
    let title = table.value::<String>("title").filter(|title| !title.is_empty()).unwrap_or_else(|| name.to_owned());
    let fields_table = table.table("fields");
    let fields: Vec<Field> =
        fields_table.entries().into_iter().filter_map(|(name, value)| field::read_field(name, &value)).collect();
    check_nesting(&fields, &fields_table);
    if fields_table.entries().is_empty() {
        table.error("fields", "declares no field", "one field or more, such as name = { type = \"string\" }");
    }
    let mut model = Model { name: name.into(), title, fields, maps: Vec::new(), together: read_together(&table) };
    let maps = table.table("systems");
    if maps.entries().is_empty() {
        table.error("systems", "names no system", "one table [models.NAME.systems.SYSTEM] or more");
    }
    for (system, value) in maps.entries() {
        let Some(map) = map::read_map(&model, system, &value, systems) else { continue };
        model.maps.push(Arc::new(map));
    }
    table.reject_unknown(|_| None);
    (!model.maps.is_empty()).then_some(model)
}

/// A field is a value or has fields below it, never both.
fn check_nesting(fields: &[Field], table: &TableReader<'_>) {
    for (name, value) in table.entries() {
        let is_above = |field: &Field| field.name().strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        if let Some(below) = fields.iter().find(|field| is_above(field)) {
            value.error(format!("is a field and has {:?} below it", below.name()), "one of the two");
        }
    }
}

/// `together`: groups of fields that count as one place for a rebase.
fn read_together(table: &TableReader<'_>) -> Vec<Vec<String>> {
    const EXPECTED: &str = "arrays of names of fields, such as [[\"street\", \"address.city\"]]";
    let Some(value) = table.get("together") else { return Vec::new() };
    let known: Vec<&str> = table.table("fields").entries().into_iter().map(|(name, _)| name).collect();
    let read_group = |group: SpannedValue<'_>| {
        let names: Vec<String> = group
            .elements(EXPECTED)?
            .iter()
            .filter_map(|name| {
                let text: String = name.read()?;
                if !known.contains(&text.as_str()) {
                    name.error(format!("{text:?} is not a field of the model"), known.join(", "));
                }
                Some(text)
            })
            .collect();
        Some(names)
    };
    value.elements(EXPECTED).unwrap_or_default().into_iter().filter_map(read_group).collect()
}
