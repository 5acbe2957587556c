//! Errors about the values of a write.

use crate::record::{FieldError, SchemaRule, Version, json_pointer};

/// The JSON Pointer to a member of `fields`.
pub(crate) fn member_pointer(member: &str) -> String {
    json_pointer("/fields", &[member])
}

/// An error about a member of `fields`.
pub(crate) fn field_error(member: &str, detail: impl Into<String>) -> FieldError {
    FieldError::new(member_pointer(member), detail)
}

/// Rejects the names that `is_reserved` accepts, each with `detail`.
pub(crate) fn check_writable<'n>(
    names: impl Iterator<Item = &'n str>,
    is_reserved: fn(&str) -> bool,
    detail: &str,
) -> Result<(), Vec<FieldError>> {
    let errors: Vec<_> = names
        .filter(|name| is_reserved(name))
        .map(|name| field_error(name, detail).rule(SchemaRule::Unknown))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// An error for every name that is given in two spellings which differ in case alone.
pub(crate) fn find_respelled<'n>(names: impl Iterator<Item = &'n str>) -> Vec<FieldError> {
    fn folded(name: &str) -> impl Iterator<Item = u8> {
        name.bytes().map(|byte| byte.to_ascii_lowercase())
    }
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable_by(|one, other| folded(one).cmp(folded(other)).then_with(|| one.cmp(other)));
    let groups = names.chunk_by(|one, other| one.eq_ignore_ascii_case(other)).filter(|group| group.len() > 1);
    let error = |name: &&str| field_error(name, "is given in two spellings").rule(SchemaRule::Unknown);
    groups.flatten().map(error).collect()
}

/// The error of an update that lacks the vendor's version. The gateway never plans one.
pub(crate) fn missing_version_error(expected: Option<&Version>) -> Vec<FieldError> {
    let detail = if expected.is_some() {
        "the version is not one of this vendor's"
    } else {
        "an update needs the version that it is bound to"
    };
    vec![FieldError::new("", detail)]
}
