//! GUIDs.

use uuid::Uuid;

/// The canonical spelling, in lower case, of a GUID in the form
/// `00000000-0000-0000-0000-000000000000`, in any case.
pub(crate) fn parse_guid(text: &str) -> Option<String> {
    // No other form that `Uuid` accepts has this length.
    let is_guid = text.len() == uuid::fmt::Hyphenated::LENGTH && Uuid::try_parse(text).is_ok();
    is_guid.then(|| text.to_ascii_lowercase())
}
