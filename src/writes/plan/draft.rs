//! A write that was worked out for a preview, and goes no further.

use crate::record::FieldChange;
use crate::system::Guarantee;
use crate::vendors::PlannedRequest;
use crate::writes::applied_rebase::AppliedRebase;

/// A write as far as its preview goes.
pub(in crate::writes) struct Draft {
    /// The ETag of the state that it changes; `None` for a create.
    pub based_on: Option<String>,
    pub guarantee: Guarantee,
    /// What would be sent; `None` if nothing changes.
    pub planned: Option<PlannedRequest>,
    /// The values that change.
    pub changes: Vec<FieldChange>,
    pub rebased: Option<AppliedRebase>,
}
