//! The kinds of vendor calls.

/// The closed set of vendor calls: the `call` label of the vendor metrics and the `call` member of
/// a ledger entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VendorRequestKind {
    /// Gets a token.
    SignIn,
    /// Reads one record.
    Read,
    /// Reads a page of records.
    List,
    /// Creates a record.
    Create,
    /// Changes a record; enabling and disabling are changes.
    Update,
    /// Deletes a record.
    Delete,
    /// Reads which columns or fields a collection has.
    Schema,
}

impl VendorRequestKind {
    /// The word in metrics and in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Read => "read",
            Self::List => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Schema => "schema",
        }
    }

    /// Every kind, for metric tables.
    pub const ALL: [Self; 7] =
        [Self::SignIn, Self::Read, Self::List, Self::Create, Self::Update, Self::Delete, Self::Schema];

    /// Whether a ledger entry can show it: a sign-in belongs to no operation.
    #[must_use]
    pub fn is_logged(self) -> bool {
        self != Self::SignIn
    }

    /// Whether the call changes nothing at the vendor, so that it can be repeated.
    #[must_use]
    pub fn is_safe(self) -> bool {
        matches!(self, Self::SignIn | Self::Read | Self::List | Self::Schema)
    }
}
