//! The precondition of a write, from `If-Match` (RFC 9110 §13.1.1).

use super::etag::{EntityTag, Version};
use super::id::{RecordId, SystemName};

/// What must hold for the current record before a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// `If-Match: *`: the record exists.
    Exists,
    /// `If-Match: "a", "b"`: the record's tag is one of these, compared strongly. Never empty.
    AnyOf(Vec<EntityTag>),
}

impl Precondition {
    /// Whether a record whose tag is `current` meets the precondition.
    #[must_use]
    pub fn holds_for(&self, current: &EntityTag) -> bool {
        match self {
            Self::Exists => true,
            Self::AnyOf(tags) => tags.iter().any(|tag| tag.matches_strongly(current)),
        }
    }

    /// The header value.
    #[must_use]
    pub fn to_header(&self) -> String {
        match self {
            Self::Exists => "*".to_owned(),
            Self::AnyOf(tags) => match tags.as_slice() {
                [only] => only.to_header(),
                tags => tags.iter().map(EntityTag::to_header).collect::<Vec<_>>().join(", "),
            },
        }
    }

    /// The tag and its version, if the caller named exactly one tag and it belongs to this record:
    /// the write then needs no read.
    #[must_use]
    pub fn single_version(&self, system: &SystemName, id: &RecordId) -> Option<(&EntityTag, Version)> {
        match self {
            Self::AnyOf(tags) => match tags.as_slice() {
                [only] => only.version_for(system, id).map(|version| (only, version)),
                _ => None,
            },
            Self::Exists => None,
        }
    }
}

impl std::fmt::Display for Precondition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.to_header())
    }
}
