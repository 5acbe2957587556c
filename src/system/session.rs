//! The transport that one request lends to an adapter. It sets each call's deadline and trace, and
//! keeps the calls for the ledger.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::batch_slots::ItemSlot;
use super::{CallerContext, System};
use crate::problem::{Problem, ProblemKind, VendorErrorInfo};
use crate::record::{RecordId, VendorError, VendorErrorKind, VendorRecord, VendorRequestLog};
use crate::transport::trace::{CallTrace, TraceContext};
use crate::transport::{Priority, Transport, VendorRequest, VendorResponse};

/// The transport of one request, or of one write that the reconciler resolves.
pub(crate) struct VendorSession<'s> {
    inner: &'s dyn Transport,
    trace: &'s Arc<TraceContext>,
    deadline: Cell<Instant>,
    priority: Priority,
    slot: Option<&'s ItemSlot>,
    calls: RefCell<Vec<VendorRequestLog>>,
}

impl<'s> VendorSession<'s> {
    /// Calls `system`'s vendor for a caller's request.
    pub(crate) fn new(system: &'s System, context: &'s CallerContext) -> Self {
        let session = Self::with_priority(system, &context.trace, context.deadline, context.priority);
        Self { slot: context.slot.as_ref(), ..session }
    }

    /// Calls `system`'s vendor until `deadline`, to determine the outcome of a write.
    pub(crate) fn to_reconcile(system: &'s System, trace: &'s Arc<TraceContext>, deadline: Instant) -> Self {
        Self::with_priority(system, trace, deadline, Priority::reconcile())
    }

    fn with_priority(system: &'s System, trace: &'s Arc<TraceContext>, deadline: Instant, priority: Priority) -> Self {
        let inner = &*system.transport;
        Self { inner, trace, deadline: Cell::new(deadline), priority, slot: None, calls: RefCell::new(Vec::new()) }
    }

    /// Sets the deadline of the calls that follow.
    pub(crate) fn set_deadline(&self, deadline: Instant) {
        self.deadline.set(deadline);
    }

    /// The problem, with the status of the last response if that response could not be parsed.
    pub(crate) fn with_last_status(&self, mut problem: Problem) -> Problem {
        if problem.kind == ProblemKind::VendorProtocolError && problem.vendor.is_none() {
            let status = self.calls.borrow().last().and_then(|call| call.status);
            problem.vendor =
                status.map(|status| VendorErrorInfo { status: Some(status), ..VendorErrorInfo::default() });
        }
        problem
    }

    /// Removes and returns the calls made so far.
    pub(crate) fn take_calls(&self) -> Vec<VendorRequestLog> {
        self.calls.take()
    }

    /// Reads a record. Items of a batch share the scans of vendors that read by scanning.
    pub(crate) async fn read(&self, system: &System, id: &RecordId) -> Result<VendorRecord, VendorError> {
        match self.slot {
            Some(slot) if system.adapter.reads_by_scanning() => {
                slot.read((system, self), id, self.deadline.get()).await
            }
            _ => system.adapter.read(self, id).await,
        }
    }

    /// Reads a record until `deadline`; `None` if it does not exist.
    pub(crate) async fn read_optional(
        &self,
        system: &System,
        id: &RecordId,
        deadline: Instant,
    ) -> Result<Option<VendorRecord>, VendorError> {
        self.set_deadline(deadline);
        match system.adapter.read(self, id).await {
            Ok(record) => Ok(Some(record)),
            Err(fault) if fault.kind == VendorErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Reads the record of a write with an unknown outcome. An absence counts only if two reads
    /// agree: an adapter that finds a record in a list misses one that moves between two pages.
    pub(crate) async fn read_confirming_absence(
        &self,
        system: &System,
        id: &RecordId,
        deadline: Instant,
    ) -> Result<Option<VendorRecord>, VendorError> {
        match self.read_optional(system, id, deadline).await? {
            Some(record) => Ok(Some(record)),
            None => self.read_optional(system, id, deadline).await,
        }
    }
}

#[async_trait(?Send)]
impl Transport for VendorSession<'_> {
    async fn send(&self, mut request: VendorRequest) -> Result<VendorResponse, VendorError> {
        request.deadline = Some(self.deadline.get());
        request.priority = self.priority;
        request.trace = CallTrace::child_of(self.trace);
        let name = request.kind.as_str().to_owned();
        let begun = Instant::now();
        let result = self.inner.send(request).await;
        let status = match &result {
            Ok(response) => Some(response.status),
            Err(fault) => fault.status,
        };
        let ms = begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        self.calls.borrow_mut().push(VendorRequestLog { call: name, status, ms });
        result
    }
}
