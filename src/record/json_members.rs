//! The members of one JSON object as text, and the check of their names.

use std::borrow::Cow;

use foldhash::{HashSet, HashSetExt as _};

use super::json_error::JsonError;

/// How deep objects and arrays may nest. Records are a few levels deep; more is an attack on the
/// parser.
pub(super) const MAX_DEPTH: usize = 64;

/// `serde_json` marks numbers and raw values by member names with this prefix. Such a name in a
/// document would change its meaning.
const RESERVED_PREFIX: &str = "$serde_json::private::";

/// Objects of at most this many members are compared pairwise for duplicates; larger ones go
/// through a set.
const LINEAR_SCAN_MAX: usize = 16;

/// Capacity for the members of most objects.
pub(super) const TYPICAL_MEMBERS: usize = 16;

/// A member of an object: its name, and its value as text.
pub(super) type Member<'a> = (Cow<'a, str>, &'a str);

/// The members of an object. The values of one member that is an object itself are read in the same
/// pass.
pub(super) struct OpenedObject<'a> {
    /// All members except the opened one.
    pub(super) members: Vec<Member<'a>>,
    /// The members of the opened one.
    pub(super) opened: Option<Vec<Member<'a>>>,
}

/// Checks the names of one object.
///
/// # Errors
/// A name is reserved, or occurs twice.
pub(super) fn validate_names(members: &[Member<'_>]) -> Result<(), JsonError> {
    members.iter().try_for_each(|(name, _)| validate_name(name))?;
    if let Some(name) = find_duplicate(members) {
        return Err(JsonError(format!("the member name {name:?} occurs twice in one object")));
    }
    Ok(())
}

/// Checks a member name alone, such as one in the path of a JSON Patch.
///
/// # Errors
/// It is reserved.
pub(super) fn validate_name(name: &str) -> Result<(), JsonError> {
    if name.starts_with(RESERVED_PREFIX) {
        return Err(JsonError(format!("the member name {name:?} is reserved")));
    }
    Ok(())
}

fn find_duplicate<'m>(members: &'m [Member<'_>]) -> Option<&'m str> {
    if members.len() <= LINEAR_SCAN_MAX {
        return members.iter().enumerate().find_map(|(index, (name, _))| {
            members.iter().take(index).any(|(earlier, _)| earlier == name).then_some(name.as_ref())
        });
    }
    let mut seen = HashSet::with_capacity(members.len());
    members.iter().map(|(name, _)| name.as_ref()).find(|name| !seen.insert(*name))
}
