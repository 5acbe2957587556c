//! What a caller may do, and where.

use crate::record::{Action, SystemName};

/// One `system:action` of an `allow` list or of a token's scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The system; `None` = `*`, every system.
    pub system: Option<SystemName>,
    /// The permission; `None` = `*`, every permission.
    pub permission: Option<Permission>,
}

impl Grant {
    /// Parses `system:action`, whether or not the system is configured.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (system, action) = text.split_once(':')?;
        let permission = match action {
            "*" => None,
            action => Some(Permission::parse(action)?),
        };
        let system = match system {
            "*" => None,
            system => Some(SystemName::parse(system)?),
        };
        Some(Self { system, permission })
    }
}

/// Something that a caller may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Read records and operations.
    Read,
    /// Create records.
    Create,
    /// Change records.
    Update,
    /// Delete records.
    Delete,
    /// Read the ledger.
    Ledger,
    /// Determine the outcome of operations, and see the state of the gateway.
    Operate,
}

impl Permission {
    const ALL: [Self; 6] = [Self::Read, Self::Create, Self::Update, Self::Delete, Self::Ledger, Self::Operate];

    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => Action::Read.as_str(),
            Self::Create => Action::Create.as_str(),
            Self::Update => Action::Update.as_str(),
            Self::Delete => Action::Delete.as_str(),
            Self::Ledger => "ledger",
            Self::Operate => "operate",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == word)
    }
}

impl From<Action> for Permission {
    fn from(action: Action) -> Self {
        match action {
            Action::Read => Self::Read,
            Action::Create => Self::Create,
            Action::Update => Self::Update,
            Action::Delete => Self::Delete,
        }
    }
}
