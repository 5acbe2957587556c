//! Which writes may be sent again after their response was lost (contract 5.2), and how.

use super::in_flight_write::InFlightWrite;
use super::resolve::SendResult;
use super::stored_request::StoredRequest;
use super::write_services::WriteServices;
use crate::journal::LeaseResult;
use crate::record::{RecordId, SideEffect, VendorErrorKind, VendorRecord};
use crate::system::{System, VendorSession};
use crate::transport::{SendPermission, Transport as _, VendorRequest, VendorRequestKind};

/// The request of a delete that may be sent again: ids are never reused, the record still has the
/// version that was compared, and no other writer may begin. A delete that has ended in the store
/// is not sent again, with or without a vendor that compares.
pub(super) async fn repeatable_delete<'w>(
    services: &WriteServices,
    system: &System,
    write: &'w InFlightWrite,
    record: Option<&VendorRecord>,
) -> Option<&'w StoredRequest> {
    let request = write.resendable_request.as_ref()?;
    let (id, record) = (write.id()?, record?);
    if !write.expected.is_deleted() || write.has_ended_elsewhere {
        return None;
    }
    let is_unchanged = system.is_current(write.etag_before.as_deref(), id, record);
    let excludes_others = write.compared_etag().is_some() || excludes_others(services, system, write, id).await;
    (is_unchanged && excludes_others).then_some(request)
}

/// Whether no other writer of the record can begin: this write has its lease, or the store keeps
/// all others from the record.
async fn excludes_others(services: &WriteServices, system: &System, write: &InFlightWrite, id: &RecordId) -> bool {
    let (journal, ttl) = (&services.journal, system.lease_ttl());
    match &write.lease {
        Some(lease) => journal.renew(lease, ttl).await.unwrap_or(false),
        None if !write.blocks_record => false,
        None => match journal.acquire(system.name.as_str(), id.as_str(), ttl).await {
            Ok(LeaseResult::Running(operation)) => operation == write.operation,
            Ok(LeaseResult::Lease(lease)) => {
                let _ = journal.release(&lease).await;
                false
            }
            Ok(LeaseResult::Held) | Err(_) => false,
        },
    }
}

/// Sends a write again. `None`: the request was not sent.
pub(super) async fn resend(
    session: &VendorSession<'_>,
    write: &InFlightWrite,
    request: &StoredRequest,
    permission: SendPermission,
) -> Option<SendResult> {
    let kind = if write.expected.is_deleted() { VendorRequestKind::Delete } else { VendorRequestKind::Update };
    let request = VendorRequest { permission: Some(permission), ..request.restore(kind) };
    let Err(fault) = session.send(request).await else { return Some(SendResult::Success) };
    let is_refused = matches!(
        fault.kind,
        VendorErrorKind::Conflict | VendorErrorKind::Ambiguous | VendorErrorKind::NotFound | VendorErrorKind::Rejected
    );
    if is_refused {
        Some(SendResult::LostThenRefused)
    } else {
        // Once the version has moved, a request that is still under way will be refused.
        (fault.effect == SideEffect::Unknown).then_some(SendResult::Lost)
    }
}
