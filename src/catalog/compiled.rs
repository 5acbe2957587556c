//! A collection's schema: as documents for callers, and compiled for the check of writes.

use std::borrow::Cow;

use foldhash::HashMap;
use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use super::check;
use super::formats::add_formats;
use super::quick_check::QuickCheck;
use super::schema_purpose::SchemaPurpose;
use super::strict_form::StrictForm;
use crate::record::{FieldError, RawJson, RawObject, percent_encode, sha256};
use crate::vendors::{FieldSchema, RecordSchema};

/// A JSON Schema (draft 2020-12) as text.
#[derive(Clone, Debug)]
pub struct SchemaDocument {
    /// The text.
    pub text: String,
    /// Its strong `ETag`.
    pub etag: String,
}

/// The schema of one collection.
pub struct CollectionSchema {
    /// As the vendor describes it.
    pub schema: RecordSchema,
    documents: [SchemaDocument; 3],
    create: Validator,
    update: Validator,
    /// The members of `update`, one by one: a patch is checked without an object made of it.
    updatable: HashMap<String, MemberValidator>,
}

/// How a value fits its schema, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It is valid, in the usual form.
    Valid,
    /// It is valid, but in a form that the vendor may reject.
    Unusual,
    /// It is not valid.
    Invalid,
}

struct MemberValidator {
    quick: QuickCheck,
    validator: Validator,
    strict_form: StrictForm,
}

impl MemberValidator {
    fn fit(&self, value: &RawJson) -> Fit {
        let is_valid = self.quick.accepts(value) || self.validator.is_valid(&value.value().unwrap_or_default());
        if !is_valid {
            Fit::Invalid
        } else if self.strict_form.is_broken_by(value) {
            Fit::Unusual
        } else {
            Fit::Valid
        }
    }
}

/// The path of a collection's schema below that of the collections.
pub(super) fn schema_path(collections: &str, collection: &str) -> String {
    [collections, "/", &Cow::from(percent_encode(collection)), "/schema"].concat()
}

impl CollectionSchema {
    /// Compiles a vendor's description.
    pub(super) fn compile(collections: &str, collection: &str, schema: RecordSchema) -> Result<Self, String> {
        let path = schema_path(collections, collection);
        let build = |body| {
            let options = add_formats(jsonschema::options().with_draft(Draft::Draft202012));
            let built = options.build(&Value::Object(body));
            built.map_err(|_| "the vendor's description of its fields cannot be used".to_owned())
        };
        let purpose = SchemaPurpose::Update;
        let updatable = fields_of(&schema, purpose)
            .map(|field| {
                let property = property_of(field, purpose);
                let quick = QuickCheck::from_schema(&property);
                let strict_form = StrictForm::for_schema(&property);
                Ok((field.name.clone(), MemberValidator { quick, validator: build(property)?, strict_form }))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self {
            documents: SchemaPurpose::ALL.map(|purpose| document_of(&path, &schema, purpose)),
            create: build(body_of(&schema, SchemaPurpose::Create))?,
            update: build(body_of(&schema, SchemaPurpose::Update))?,
            updatable,
            schema,
        })
    }

    /// The schema for a purpose, as a part of another document.
    #[must_use]
    pub fn fields_schema(&self, purpose: SchemaPurpose) -> Map<String, Value> {
        body_of(&self.schema, purpose)
    }

    /// The document for a purpose.
    #[must_use]
    pub fn document(&self, purpose: SchemaPurpose) -> &SchemaDocument {
        let [record, create, update] = &self.documents;
        match purpose {
            SchemaPurpose::Record => record,
            SchemaPurpose::Create => create,
            SchemaPurpose::Update => update,
        }
    }

    /// Whether an update can change none of a member's values, although records show it.
    #[must_use]
    pub fn is_read_only(&self, member: &str) -> bool {
        self.field(member).is_some_and(|field| field.is_shown && !field.is_updatable)
    }

    /// The field of a name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldSchema> {
        self.schema.fields.iter().find(|field| field.name == name)
    }

    /// Whether a text matches the pattern of a field, where it has one.
    #[must_use]
    pub fn matches_pattern(&self, field: &FieldSchema, value: &Value) -> bool {
        let pattern = field.value.get("pattern").filter(|_| value.is_string());
        let validator = pattern.and_then(|pattern| jsonschema::validator_for(&json!({ "pattern": pattern })).ok());
        validator.is_none_or(|validator| validator.is_valid(value))
    }

    /// What is wrong with the `fields` of a new record.
    #[must_use]
    pub fn check_create(&self, fields: &Map<String, Value>) -> Vec<FieldError> {
        let value = Value::Object(fields.clone());
        if self.create.is_valid(&value) {
            return Vec::new();
        }
        check::find_errors(&self.create, &self.schema, SchemaPurpose::Create, &value)
    }

    /// What is wrong with members that a patch sets, null included.
    #[must_use]
    pub fn check_patch(&self, members: &RawObject) -> Vec<FieldError> {
        if self.fit(members) == Fit::Invalid { self.check_members(members.to_map()) } else { Vec::new() }
    }

    /// How members fit that a patch sets: as the one does that fits worst.
    #[must_use]
    pub fn fit(&self, members: &RawObject) -> Fit {
        members.iter().map(|(name, value)| self.fit_of(name, value)).max().unwrap_or(Fit::Valid)
    }

    /// Whether one of these members fits in an unusual form.
    #[must_use]
    pub fn has_unusual_form(&self, members: &RawObject) -> bool {
        members.iter().any(|(name, value)| self.fit_of(name, value) == Fit::Unusual)
    }

    fn fit_of(&self, name: &str, value: &RawJson) -> Fit {
        match self.updatable.get(name) {
            Some(member) => member.fit(value),
            None if self.schema.is_closed => Fit::Invalid,
            None => Fit::Valid,
        }
    }

    /// What is wrong with members that a patch sets, parsed.
    #[must_use]
    pub fn check_members(&self, members: Map<String, Value>) -> Vec<FieldError> {
        let value = Value::Object(members);
        if self.update.is_valid(&value) {
            return Vec::new();
        }
        check::find_errors(&self.update, &self.schema, SchemaPurpose::Update, &value)
    }
}

fn document_of(path: &str, schema: &RecordSchema, purpose: SchemaPurpose) -> SchemaDocument {
    let mut document = Map::new();
    document.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    let query = if purpose == SchemaPurpose::Record { String::new() } else { format!("?for={}", purpose.as_str()) };
    document.insert("$id".to_owned(), format!("{path}{query}").into());
    document.insert("title".to_owned(), schema.title.as_str().into());
    document.extend(body_of(schema, purpose));
    let text = Value::Object(document).to_string();
    let etag = format!("\"s.{}\"", const_hex::encode(sha256([text.as_bytes()]).get(..16).unwrap_or_default()));
    SchemaDocument { text, etag }
}

fn fields_of(schema: &RecordSchema, purpose: SchemaPurpose) -> impl Iterator<Item = &FieldSchema> {
    schema.fields.iter().filter(move |field| match purpose {
        SchemaPurpose::Record => field.is_shown,
        SchemaPurpose::Create => field.is_creatable,
        SchemaPurpose::Update => field.is_updatable,
    })
}

/// The document without its head.
fn body_of(schema: &RecordSchema, purpose: SchemaPurpose) -> Map<String, Value> {
    let fields: Vec<&FieldSchema> = fields_of(schema, purpose).collect();
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.clone(), Value::Object(property_of(field, purpose)))).collect();
    let required: Vec<&str> = match purpose {
        SchemaPurpose::Update => Vec::new(),
        SchemaPurpose::Record | SchemaPurpose::Create => {
            fields.iter().filter(|field| field.is_required).map(|field| field.name.as_str()).collect()
        }
    };
    let mut body = Map::new();
    body.insert("type".to_owned(), "object".into());
    body.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        body.insert("required".to_owned(), json!(required));
    }
    if schema.is_closed {
        body.insert("additionalProperties".to_owned(), false.into());
    }
    body
}

fn property_of(field: &FieldSchema, purpose: SchemaPurpose) -> Map<String, Value> {
    let mut property = field.value_schema(field.is_nullable);
    if purpose == SchemaPurpose::Record && !field.is_updatable {
        property.insert("readOnly".to_owned(), true.into());
    }
    if !field.vendor.is_empty() {
        property.insert("x-vendor".to_owned(), Value::Object(field.vendor.clone()));
    }
    property
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_alone_fits_exactly_if_it_fits_in_a_document() {
        let fields = vec![
            FieldSchema::new("text", json!({ "type": "string", "maxLength": 3 })),
            FieldSchema { is_nullable: false, ..FieldSchema::new("count", json!({ "type": "integer", "minimum": 1 })) },
            FieldSchema::new("word", json!({ "enum": ["a", "b"] })),
            FieldSchema::new("mail", json!({ "type": "string", "format": "email" })),
            FieldSchema { is_updatable: false, ..FieldSchema::new("shown", json!({})) },
            FieldSchema::new("inner", json!({ "type": "object", "properties": { "n": { "type": "number" } } })),
        ];
        let values = [json!(null), json!("a"), json!("abcd"), json!("a@b"), json!(0), json!(1), json!(1.5), json!({})];
        for is_closed in [true, false] {
            let schema = RecordSchema { is_closed, fields: fields.clone(), ..RecordSchema::default() };
            let schema = CollectionSchema::compile("/c", "c", schema).expect("a schema");
            let mut refused = 0;
            for name in fields.iter().map(|field| field.name.as_str()).chain(["other"]) {
                for value in values.iter().chain([&json!({ "n": "x" }), &json!({ "n": 1 })]) {
                    let fits = schema.fit_of(name, &RawJson::from(value)) != Fit::Invalid;
                    assert_eq!(fits, schema.update.is_valid(&json!({ name: value })), "{is_closed} {name} {value}");
                    refused += usize::from(!fits);
                }
            }
            assert!(refused > 20, "{refused}");
        }
    }
}
