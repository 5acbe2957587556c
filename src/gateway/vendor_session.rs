//! The transport that one piece of work lends to an adapter: it knows the caller's patience and trace, and remembers what
//! was called for the ledger.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::problem::{Problem, ProblemKind, VendorErrorInfo};
use crate::record::{VendorCallLog, VendorError};
use crate::transport::trace::{CallTrace, TraceContext};
use crate::transport::{Transport, VendorRequest, VendorResponse};

/// A lent transport for one request or one look of the settler.
pub(super) struct VendorSession<'s> {
    inner: &'s dyn Transport,
    trace: &'s Arc<TraceContext>,
    deadline: Cell<Instant>,
    calls: RefCell<Vec<VendorCallLog>>,
}

impl<'s> VendorSession<'s> {
    /// Lends `inner` until `deadline`.
    pub(super) fn new(inner: &'s dyn Transport, trace: &'s Arc<TraceContext>, deadline: Instant) -> Self {
        Self { inner, trace, deadline: Cell::new(deadline), calls: RefCell::new(Vec::new()) }
    }

    /// Until when the calls that follow may take.
    pub(super) fn set_deadline(&self, deadline: Instant) {
        self.deadline.set(deadline);
    }

    /// The problem, with the status of the answer that could not be read.
    pub(super) fn with_last_status(&self, mut problem: Problem) -> Problem {
        if problem.name == ProblemKind::VendorProtocolError && problem.vendor.is_none() {
            let status = self.calls.borrow().last().and_then(|call| call.status);
            problem.vendor =
                status.map(|status| VendorErrorInfo { status: Some(status), ..VendorErrorInfo::default() });
        }
        problem
    }

    /// The calls made so far, taken out.
    pub(super) fn take_calls(&self) -> Vec<VendorCallLog> {
        self.calls.take()
    }
}

#[async_trait(?Send)]
impl Transport for VendorSession<'_> {
    async fn send(&self, mut call: VendorRequest) -> Result<VendorResponse, VendorError> {
        call.deadline = Some(self.deadline.get());
        call.trace = CallTrace::child_of(self.trace);
        let name = call.kind.as_str().to_owned();
        let begun = Instant::now();
        let result = self.inner.send(call).await;
        let status = match &result {
            Ok(reply) => Some(reply.status),
            Err(fault) => fault.status,
        };
        let ms = begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        self.calls.borrow_mut().push(VendorCallLog { call: name, status, ms });
        result
    }
}
