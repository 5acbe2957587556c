//! Whether the caller of a stream may still follow it. A stream is open for longer than a request:
//! meanwhile its key can expire, and a reload can remove the key or the permission.

use std::sync::Arc;

use super::state::SharedApiState;
use crate::access::Permission;
use crate::record::Secret;

/// The credentials that a stream was opened with.
pub(super) struct StreamAccess {
    shared: Arc<SharedApiState>,
    bearer: Option<Secret>,
}

impl StreamAccess {
    pub(super) fn new(shared: &Arc<SharedApiState>, bearer: Option<&str>) -> Self {
        Self { shared: Arc::clone(shared), bearer: bearer.map(Secret::new) }
    }

    /// Whether these credentials permit reading all of these systems now.
    pub(super) async fn can_read(&self, systems: &[String]) -> bool {
        let api = self.shared.load();
        let caller = api.authenticator.authenticate(self.bearer.as_ref().map(Secret::expose)).await;
        caller.is_ok_and(|caller| systems.iter().all(|system| caller.can(system, Permission::Read)))
    }
}
