//! The context of a caller's request.

use std::sync::Arc;

use tokio::time::Instant;

use super::batch_slots::ItemSlot;
use crate::catalog::Requester;
use crate::record::{CallerName, RequestId};
use crate::transport::Priority;
use crate::transport::trace::TraceContext;

/// Who sent a request, how it is traced, and when it must be responded to.
#[derive(Clone, Debug)]
pub struct CallerContext {
    /// The authenticated caller.
    pub caller: CallerName,
    /// `X-Request-Id`.
    pub request_id: RequestId,
    /// For an item of a batch: what the ledger calls it, `{request id}/{item id}`.
    pub batch_item: Option<Arc<str>>,
    /// The trace that this request belongs to.
    pub trace: Arc<TraceContext>,
    /// When the head of the request was read: `Prefer: wait` counts from here.
    pub received_at: Instant,
    /// When the caller must have its response (`deadline` in `[server]`).
    pub deadline: Instant,
    /// For an item of a batch: its slot, and its part in the scans that the items share.
    pub slot: Option<ItemSlot>,
    /// Where its calls wait while the vendor is congested.
    pub priority: Priority,
}

impl CallerContext {
    /// This request, as one that needs a schema.
    #[must_use]
    pub fn requester(&self) -> Requester<'_> {
        Requester { trace: &self.trace, priority: self.priority, deadline: self.deadline }
    }
}
