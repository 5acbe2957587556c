//! A condition of a list.

/// Only records whose member of `fields` has one of these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListCondition {
    /// The member.
    pub member: String,
    /// The value as a text, in each spelling that the vendor may have of it; never empty. The
    /// schema of the collection gives it a type.
    pub spellings: Vec<String>,
}

impl ListCondition {
    /// The condition that a member has a value.
    #[must_use]
    pub fn new(member: &str, text: &str) -> Self {
        Self { member: member.to_owned(), spellings: vec![text.to_owned()] }
    }
}
