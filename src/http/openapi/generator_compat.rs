//! Changes of the document so that generators of clients make code of it that compiles. Which
//! values a member has is the matter of `enum_members`.

use serde_json::{Map, Value, json};

const SCHEMAS: &str = "#/components/schemas/";

pub(super) fn adapt_to_generators(document: &mut Value) {
    let enums = take_enum_schemas(document);
    visit(document, &mut |object| {
        inline_enum(object, &enums);
        open_free_objects(object);
        add_variable_names(object);
        refuse_empty_names(object);
    });
    close_bodies(document);
    describe_json_patch(document);
}

fn schemas_mut(document: &mut Value) -> Option<&mut Map<String, Value>> {
    document.pointer_mut("/components/schemas")?.as_object_mut()
}

/// Removes and returns the schemas that are only an `enum`. Some generators give the values of all
/// schemas one name space.
fn take_enum_schemas(document: &mut Value) -> Map<String, Value> {
    let Some(schemas) = schemas_mut(document) else { return Map::new() };
    let is_enum =
        |schema: &Value| schema.get("enum").is_some() && schema.get("type").is_some_and(|kind| kind == "string");
    let names: Vec<String> =
        schemas.iter().filter(|(_, schema)| is_enum(schema)).map(|(name, _)| name.clone()).collect();
    names.into_iter().filter_map(|name| schemas.shift_remove_entry(&name)).collect()
}

/// Replaces a reference to such a schema by the schema.
fn inline_enum(object: &mut Map<String, Value>, enums: &Map<String, Value>) {
    let name = object.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix(SCHEMAS));
    if let Some(Value::Object(schema)) = name.and_then(|name| enums.get(name)) {
        let mut inlined = schema.clone();
        object.shift_remove("$ref");
        inlined.extend(std::mem::take(object));
        *object = inlined;
    }
}

/// A request body whose unknown members are 400 has no other member in the document, either.
fn close_bodies(document: &mut Value) {
    let Some(schemas) = schemas_mut(document) else { return };
    for name in ["Batch", "BatchItem", "Resolution"] {
        if let Some(Value::Object(body)) = schemas.get_mut(name) {
            body.insert("additionalProperties".to_owned(), false.into());
        }
    }
}

/// One generator of Python makes code of a body that is an array which fails at every PATCH, merge
/// patches included. Within `allOf` it leaves the array out, and the others make a type of it.
/// Which members an operation must have is said in words that no generator makes types of.
fn describe_json_patch(document: &mut Value) {
    let Some(schemas) = schemas_mut(document) else { return };
    if let Some(patch) = schemas.get_mut("JsonPatch") {
        let mut list = patch.take();
        let description = list.as_object_mut().and_then(|list| list.shift_remove("description"));
        *patch = json!({ "description": description, "allOf": [list] });
    }
    if let Some(Value::Object(operation)) = schemas.get_mut("PatchOperation") {
        let is_one_of = |names: &[&str]| json!({ "properties": { "op": { "enum": names } } });
        let needs = |member: &str| json!({ "required": [member] });
        operation.insert("if".to_owned(), is_one_of(&["add", "replace", "test"]));
        operation.insert("then".to_owned(), needs("value"));
        let moves = json!({ "if": is_one_of(&["move", "copy"]), "then": needs("from") });
        operation.insert("else".to_owned(), moves);
    }
}

/// An object schema without properties allows any member; some generators take it for an empty
/// one.
fn open_free_objects(object: &mut Map<String, Value>) {
    let is_free = object.get("type") == Some(&json!("object"))
        && !object.contains_key("properties")
        && !object.contains_key("additionalProperties");
    if is_free {
        object.insert("additionalProperties".to_owned(), true.into());
    }
}

/// No member is without a name: `filter[]=x` is refused.
fn refuse_empty_names(object: &mut Map<String, Value>) {
    if let Some(Value::Object(names)) = object.get_mut("propertyNames") {
        names.insert("minLength".to_owned(), 1.into());
    }
}

/// Values that are paths are no names of a language: generators take these names for them.
fn add_variable_names(object: &mut Map<String, Value>) {
    let Some(Value::Array(values)) = object.get("enum") else { return };
    let names: Option<Vec<Value>> = values.iter().map(|value| variable_name(value.as_str()?)).collect();
    if let Some(names) = names {
        object.insert("x-enum-varnames".to_owned(), names.into());
    }
}

/// The last segment of a path, such as `RECORD_NOT_FOUND`; `None` for another value.
fn variable_name(value: &str) -> Option<Value> {
    let (_, last) = value.strip_prefix('/')?.rsplit_once('/')?;
    Some(last.to_ascii_uppercase().replace('-', "_").into())
}

/// Visits every object, the inner ones last. Examples are data, not schemas.
fn visit(value: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            let inner = object.iter_mut().filter(|(name, _)| !matches!(name.as_str(), "example" | "examples"));
            inner.for_each(|(_, value)| visit(value, change));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| visit(value, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Patch;

    #[test]
    fn an_enum_stands_where_it_is_used_and_a_free_object_is_open() {
        let mut document = json!({
            "components": { "schemas": {
                "State": { "type": "string", "enum": ["on", "off"], "description": "all" },
                "Lamp": { "properties": { "state": { "$ref": "#/components/schemas/State", "description": "its own" } } },
                "Kind": { "properties": { "type": { "type": "string", "enum": ["/problems/not-found"] } } },
                "Free": { "type": "object" }
            } }
        });
        adapt_to_generators(&mut document);
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["Lamp"]["properties"]["state"]["enum"], json!(["on", "off"]));
        assert_eq!(schemas["Lamp"]["properties"]["state"]["description"], "its own");
        assert_eq!(schemas["Kind"]["properties"]["type"]["x-enum-varnames"], json!(["NOT_FOUND"]));
        assert_eq!(schemas["Lamp"]["properties"]["state"].get("x-enum-varnames"), None);
        assert_eq!(schemas["Free"], json!({ "type": "object", "additionalProperties": true }));
        assert_eq!(schemas.as_object().map(Map::len), Some(3));
    }

    #[test]
    fn the_schema_of_a_json_patch_takes_what_the_gateway_takes() {
        let document: Value = serde_json::from_str(&crate::http::openapi::openapi_json()).expect("JSON");
        let content = &document["paths"]["/records/{system}/{id}"]["patch"]["requestBody"]["content"];
        let reference = &content["application/json-patch+json"]["schema"]["$ref"];
        assert_eq!(reference, "#/components/schemas/JsonPatch");
        let whole = json!({ "$ref": reference, "components": document["components"] });
        let schema = jsonschema::validator_for(&whole).expect("a schema");
        for (operations, is_valid) in [
            (json!([]), true),
            (json!([{ "op": "add", "path": "/fields/A", "value": null }]), true),
            (json!([{ "op": "remove", "path": "/fields/A" }, { "op": "test", "path": "", "value": {} }]), true),
            (json!([{ "op": "move", "path": "/fields/A", "from": "/fields/B~0" }]), true),
            (json!([{ "op": "add", "path": "/fields/A" }]), false),
            (json!([{ "op": "copy", "path": "/fields/A", "value": 1 }]), false),
            (json!([{ "op": "remove" }]), false),
            (json!([{ "op": "remove", "path": "fields" }]), false),
            (json!([{ "op": "remove", "path": "/fields/~2" }]), false),
            (json!([{ "op": "Remove", "path": "/fields/A" }]), false),
            (json!([["remove", "/fields/A"]]), false),
            (json!({ "fields": {} }), false),
        ] {
            let taken = Patch::parse_json_patch(operations.to_string().as_bytes());
            assert_eq!((schema.is_valid(&operations), taken.is_ok()), (is_valid, is_valid), "{operations}");
        }
    }
}
