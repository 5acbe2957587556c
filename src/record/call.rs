//! The names of vendor calls.

/// The closed set of vendor calls: the `call` label of the vendor metrics and the `call` of a ledger entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VendorCallKind {
    /// Getting a token.
    SignIn,
    /// Reading one record.
    Read,
    /// Reading a page of records.
    List,
    /// Creating a record.
    Create,
    /// Changing a record, enabling and disabling included.
    Update,
    /// Deleting a record.
    Delete,
    /// Reading what columns or fields there are.
    Schema,
}

impl VendorCallKind {
    /// The word in metrics and ledger.
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

    /// Every name, for metric tables.
    pub const ALL: [Self; 7] =
        [Self::SignIn, Self::Read, Self::List, Self::Create, Self::Update, Self::Delete, Self::Schema];

    /// Whether the call changes nothing at the vendor: all that retry needs to know of it.
    #[must_use]
    pub fn is_safe(self) -> bool {
        matches!(self, Self::SignIn | Self::Read | Self::List | Self::Schema)
    }
}
