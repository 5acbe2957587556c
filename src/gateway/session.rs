//! The transport that one piece of work lends to an adapter: it knows the caller's patience and trace, and remembers what
//! was called for the ledger.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::problem::{Problem, ProblemName, VendorSaid};
use crate::record::{CallMade, Fault};
use crate::transport::trace::{CallTrace, TraceContext};
use crate::transport::{Call, Reply, Transport};

/// A lent transport for one request or one look of the settler.
pub(super) struct Session<'s> {
    inner: &'s dyn Transport,
    trace: &'s Arc<TraceContext>,
    deadline: Cell<Instant>,
    calls: RefCell<Vec<CallMade>>,
}

impl<'s> Session<'s> {
    /// Lends `inner` until `deadline`.
    pub(super) fn new(inner: &'s dyn Transport, trace: &'s Arc<TraceContext>, deadline: Instant) -> Self {
        Self { inner, trace, deadline: Cell::new(deadline), calls: RefCell::new(Vec::new()) }
    }

    /// Until when the calls that follow may take.
    pub(super) fn patience(&self, deadline: Instant) {
        self.deadline.set(deadline);
    }

    /// The problem, with the status of the answer that could not be read.
    pub(super) fn quoted(&self, mut problem: Problem) -> Problem {
        if problem.name == ProblemName::VendorProtocolError && problem.vendor.is_none() {
            let status = self.calls.borrow().last().and_then(|call| call.status);
            problem.vendor = status.map(|status| VendorSaid { status: Some(status), ..VendorSaid::default() });
        }
        problem
    }

    /// The calls made so far, taken out.
    pub(super) fn take_calls(&self) -> Vec<CallMade> {
        self.calls.take()
    }
}

#[async_trait(?Send)]
impl Transport for Session<'_> {
    async fn send(&self, mut call: Call) -> Result<Reply, Fault> {
        call.deadline = Some(self.deadline.get());
        call.trace = CallTrace::of(self.trace);
        let name = call.name.as_str().to_owned();
        let begun = Instant::now();
        let result = self.inner.send(call).await;
        let status = match &result {
            Ok(reply) => Some(reply.status),
            Err(fault) => fault.status,
        };
        let ms = begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        self.calls.borrow_mut().push(CallMade { call: name, status, ms });
        result
    }
}
