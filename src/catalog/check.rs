//! Translates the errors of the JSON Schema library into those that callers get. No text repeats a
//! value of the record.

use std::cell::Cell;

use foldhash::{HashMap, HashMapExt as _};
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError, Validator};
use serde_json::{Map, Value};

use super::schema_purpose::SchemaPurpose;
use crate::record::{FieldError, SchemaRule, fields_member, json_pointer};
use crate::vendors::{FieldSchema, RecordSchema};

/// Everything that is wrong, in the order of the members; at most one error at a place.
pub(super) fn find_errors(
    validator: &Validator,
    schema: &RecordSchema,
    purpose: SchemaPurpose,
    fields: &Value,
) -> Vec<FieldError> {
    let empty = Map::new();
    let members = fields.as_object().unwrap_or(&empty);
    let translator = ErrorTranslator::new(schema, purpose, members);
    let mut found: Vec<FieldError> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for one in validator.iter_errors(fields).flat_map(|error| translator.translate(&error)) {
        match places.get(&one.pointer).and_then(|place| found.get_mut(*place)) {
            None => {
                places.insert(one.pointer.clone(), found.len());
                found.push(one);
            }
            // A value of the wrong type breaks other rules besides.
            Some(earlier) if one.rule == Some(SchemaRule::Type) => *earlier = one,
            Some(_) => {}
        }
    }
    let positions: HashMap<&str, usize> = members.keys().map(String::as_str).zip(0..).collect();
    let position = |error: &FieldError| {
        fields_member(&error.pointer).and_then(|name| positions.get(name.as_str()).copied()).unwrap_or(usize::MAX)
    };
    found.sort_by_cached_key(|error| (position(error), error.pointer.clone()));
    found
}

struct ErrorTranslator<'f> {
    schema: &'f RecordSchema,
    purpose: SchemaPurpose,
    /// The names of the members, by their spelling in lower case.
    spellings: HashMap<String, Vec<&'f str>>,
    suggestions_left: Cell<usize>,
}

impl<'f> ErrorTranslator<'f> {
    fn new(schema: &'f RecordSchema, purpose: SchemaPurpose, members: &'f Map<String, Value>) -> Self {
        let mut spellings: HashMap<String, Vec<&str>> = HashMap::with_capacity(members.len());
        for name in members.keys() {
            spellings.entry(name.to_ascii_lowercase()).or_default().push(name);
        }
        Self { schema, purpose, spellings, suggestions_left: Cell::new(FieldError::MAX_SUGGESTIONS) }
    }

    fn translate(&self, error: &ValidationError<'_>) -> Vec<FieldError> {
        let at = ["/fields", error.instance_path().as_str()].concat();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } if at == "/fields" => {
                unexpected.iter().flat_map(|name| self.unknown_member(name)).collect()
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let pointer = |name: &String| json_pointer(&at, &[name]);
                unexpected.iter().map(|name| rule_error(SchemaRule::Unknown, pointer(name), NO_SUCH_MEMBER)).collect()
            }
            ValidationErrorKind::Required { property } => {
                let pointer = json_pointer(&at, &[property.as_str().unwrap_or_default()]);
                vec![rule_error(SchemaRule::Required, pointer, "is required")]
            }
            ValidationErrorKind::PropertyNames { error } => {
                let name = error.instance().as_str().unwrap_or_default();
                let (rule, detail) = describe(error.kind(), error.instance());
                vec![rule_error(rule, json_pointer(&at, &[name]), format!("the name {detail}"))]
            }
            kind if error.instance().is_null() && self.purpose == SchemaPurpose::Update => {
                let (rule, detail) = match self.field_at(&at) {
                    Some(field) if field.is_required => {
                        (SchemaRule::Required, "is required and cannot be reset".into())
                    }
                    _ => describe(kind, error.instance()),
                };
                vec![rule_error(rule, at, detail)]
            }
            kind => {
                let (rule, detail) = describe(kind, error.instance());
                vec![rule_error(rule, at, detail).limit(limit_of(kind))]
            }
        }
    }

    fn field_at(&self, pointer: &str) -> Option<&FieldSchema> {
        self.schema.fields.iter().find(|field| json_pointer("/fields", &[&field.name]) == pointer)
    }

    /// A member that the collection's records do not have; and its twin, where the other spelling
    /// is given too.
    fn unknown_member(&self, name: &str) -> Vec<FieldError> {
        let is_writable = |field: &&FieldSchema| match self.purpose {
            SchemaPurpose::Create => field.is_creatable,
            SchemaPurpose::Update | SchemaPurpose::Record => field.is_updatable,
        };
        if let Some(field) = self.schema.fields.iter().find(|field| field.name == name) {
            return match self.purpose {
                // The record decides whether it changes; a patch may repeat it.
                SchemaPurpose::Update if field.is_shown => Vec::new(),
                SchemaPurpose::Update => vec![member_error(name, "only a new record has this member")],
                _ => vec![member_error(name, "a new record cannot have this member")],
            };
        }
        let suggestions_left = self.suggestions_left.get();
        self.suggestions_left.set(suggestions_left.saturating_sub(1));
        let known = self.schema.fields.iter().filter(|_| suggestions_left > 0).filter(is_writable);
        let error = FieldError::unknown_member(name, known.map(|field| field.name.as_str())).rule(SchemaRule::Unknown);
        let spellings = self.spellings.get(&name.to_ascii_lowercase());
        let twin = spellings.and_then(|names| names.iter().find(|other| **other != name));
        let twin = twin.map(|twin| member_error(twin, "is given in two spellings"));
        [error].into_iter().chain(twin).collect()
    }
}

const NO_SUCH_MEMBER: &str = "there is no such member";

fn rule_error(rule: SchemaRule, pointer: String, detail: impl Into<String>) -> FieldError {
    FieldError::new(pointer, detail).rule(rule)
}

fn member_error(name: &str, detail: &str) -> FieldError {
    rule_error(SchemaRule::Unknown, json_pointer("/fields", &[name]), detail)
}

/// The values, or the bound, that the description of a broken rule ends with.
fn limit_of(kind: &ValidationErrorKind) -> Option<&Value> {
    match kind {
        ValidationErrorKind::Enum { options } => Some(options),
        ValidationErrorKind::Constant { expected_value } => Some(expected_value),
        ValidationErrorKind::Minimum { limit } | ValidationErrorKind::Maximum { limit } => Some(limit),
        _ => None,
    }
}

/// The rule that a value breaks, and what would be right.
fn describe(kind: &ValidationErrorKind, instance: &Value) -> (SchemaRule, String) {
    match kind {
        ValidationErrorKind::Type { kind } => (SchemaRule::Type, format!("must be {}", type_names(kind))),
        ValidationErrorKind::Enum { options } => (SchemaRule::Enum, format!("must be one of {options}")),
        ValidationErrorKind::OneOfNotValid { .. } | ValidationErrorKind::AnyOf { .. } => {
            (SchemaRule::Enum, "must be one of the vendor's choices; the schema lists them".to_owned())
        }
        ValidationErrorKind::Constant { expected_value } => (SchemaRule::Enum, format!("must be {expected_value}")),
        ValidationErrorKind::MinLength { limit } => {
            (SchemaRule::Length, format!("must have at least {limit} characters"))
        }
        ValidationErrorKind::MaxLength { limit } => {
            (SchemaRule::Length, format!("must have at most {limit} characters"))
        }
        ValidationErrorKind::Minimum { limit } => (SchemaRule::Range, format!("must be at least {limit}")),
        ValidationErrorKind::Maximum { limit } => (SchemaRule::Range, format!("must be at most {limit}")),
        ValidationErrorKind::Format { format } => (SchemaRule::Format, format!("must have the format {format}")),
        ValidationErrorKind::Pattern { pattern } => (SchemaRule::Format, format!("must match {pattern}")),
        _ if instance.is_null() => (SchemaRule::Type, "must not be null".to_owned()),
        _ => (SchemaRule::Type, "does not fit the schema".to_owned()),
    }
}

fn type_names(kind: &TypeKind) -> String {
    let name = |one: JsonType| match one {
        JsonType::Array => "an array",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "an object",
        JsonType::String => "a string",
    };
    match kind {
        TypeKind::Single(one) => name(*one).to_owned(),
        TypeKind::Multiple(several) => several.iter().map(name).collect::<Vec<_>>().join(" or "),
    }
}
