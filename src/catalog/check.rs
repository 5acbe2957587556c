//! Translates the errors of the JSON Schema library into those that callers get. No text repeats a
//! value of the record.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError, Validator};
use serde_json::{Map, Value};

use super::schema_purpose::SchemaPurpose;
use crate::record::{FieldError, SchemaRule, json_pointer, pointer_is_within};
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
    let translator = ErrorTranslator { schema, purpose, members };
    let mut found: Vec<FieldError> = Vec::new();
    for error in validator.iter_errors(fields) {
        for one in translator.translate(&error) {
            match found.iter_mut().find(|earlier| earlier.pointer == one.pointer) {
                None => found.push(one),
                // A value of the wrong type breaks other rules besides.
                Some(earlier) if one.rule == Some(SchemaRule::Type) => *earlier = one,
                Some(_) => {}
            }
        }
    }
    let position = |error: &FieldError| {
        let begins = |name: &String| pointer_is_within(&error.pointer, &json_pointer("/fields", &[name]));
        members.keys().position(begins).unwrap_or(usize::MAX)
    };
    found.sort_by_cached_key(|error| (position(error), error.pointer.clone()));
    found
}

struct ErrorTranslator<'f> {
    schema: &'f RecordSchema,
    purpose: SchemaPurpose,
    members: &'f Map<String, Value>,
}

impl ErrorTranslator<'_> {
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
                vec![rule_error(rule, at, detail)]
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
        let known = self.schema.fields.iter().filter(is_writable).map(|field| field.name.as_str());
        let error = FieldError::unknown_member(name, known).rule(SchemaRule::Unknown);
        let twin = self.members.keys().find(|other| *other != name && other.eq_ignore_ascii_case(name));
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
