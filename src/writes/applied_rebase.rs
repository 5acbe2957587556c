//! What is kept of a rebase (contract 4.2) for the ledger, the response and the operation.

use serde::{Deserialize, Serialize};

use crate::record::{Warning, WarningCode};

/// A rebase that was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AppliedRebase {
    /// The caller's tag.
    pub from: String,
    /// The tag of the state that the change was applied to.
    pub onto: String,
    /// What differs between the two.
    pub moved: Vec<String>,
}

impl AppliedRebase {
    /// The warning in the response.
    pub(super) fn warning(&self) -> Warning {
        let detail = "The record had changed in other places since the tag in If-Match; the change was applied to its \
                      current state.";
        Warning {
            onto: Some(self.onto.clone()),
            moved: self.moved.clone(),
            ..Warning::new(WarningCode::Rebased, "", detail)
        }
    }
}
