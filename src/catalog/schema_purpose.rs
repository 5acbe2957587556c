//! The purpose of a schema.

/// What a schema describes: the value of `for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaPurpose {
    /// `fields` of a record that is read.
    Record,
    /// `fields` of a new record.
    Create,
    /// `fields` of a merge patch.
    Update,
}

impl SchemaPurpose {
    /// Every purpose.
    pub const ALL: [Self; 3] = [Self::Record, Self::Create, Self::Update];

    /// The word in queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Create => "create",
            Self::Update => "update",
        }
    }

    /// The purpose of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == word)
    }
}
