//! Which request is next when several wait for a vendor.

pub use crate::metrics::Lane;
use crate::record::CallerShare;

/// Where a call waits while the vendor is congested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// The queue.
    pub lane: Lane,
    /// The caller that it is made for, and its share of the queue.
    pub share: CallerShare,
}

impl Priority {
    /// For a sign-in, or to determine the outcome of a write: before everything else, and for no
    /// caller.
    #[must_use]
    pub fn reconcile() -> Self {
        Self { lane: Lane::Reconcile, share: CallerShare::default() }
    }

    /// For a single request of a caller.
    #[must_use]
    pub fn single(share: CallerShare) -> Self {
        Self { lane: Lane::Single, share }
    }

    /// For an item of a caller's batch.
    #[must_use]
    pub fn bulk(share: CallerShare) -> Self {
        Self { lane: Lane::Bulk, share }
    }
}
