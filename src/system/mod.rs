//! One configured system: its adapter, its transport and its policy; and what reads and writes of
//! its records share.

mod batch_slots;
mod context;
mod recent_states;
mod session;
mod shared_scan;
mod view;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

pub use crate::config::{SystemPolicy, Validation};
pub use batch_slots::{BatchSlots, ItemSlot};
pub use context::CallerContext;
pub(crate) use recent_states::RecentStates;
pub(crate) use session::VendorSession;
pub use view::{Guarantee, RecordPage, RecordView};

use crate::catalog::Catalog;
use crate::metrics::SystemIndex;
use crate::problem::{Problem, ProblemKind};
use crate::record::{
    Action, EntityTag, FieldError, OperationId, PlanTag, Precondition, RawObject, RecordId, SystemName, VendorError,
    VendorErrorKind, VendorRecord, Version, json_pointer, sha256,
};
use crate::transport::TransportStack;
use crate::vendors::{Adapter, DataLoss};

/// Identifies an installation of a vendor by its vendor, its address and whatever else selects a
/// tenant: SHA-256 in hex over the parts.
pub fn tenant_fingerprint<'t>(parts: impl IntoIterator<Item = &'t str>) -> String {
    let parts: Vec<&str> = parts.into_iter().collect();
    const_hex::encode(sha256([parts.join("\n").as_bytes()]))
}

/// A configured system.
pub struct System {
    /// Its name.
    pub name: SystemName,
    /// Its position in the configuration: the index of its metric labels.
    pub index: SystemIndex,
    /// See [`tenant_fingerprint`]. A write that outlives its process is resolved only at the
    /// installation that it was sent to.
    pub tenant_fingerprint: Arc<str>,
    /// The vendor's adapter.
    pub adapter: Arc<dyn Adapter>,
    /// The way to the vendor.
    pub transport: Arc<TransportStack>,
    /// Its collections and the schemas of their records.
    pub catalog: Arc<Catalog>,
    /// When its key expires, where the key says so.
    pub key_expires: Option<Timestamp>,
    /// Its configuration.
    pub policy: SystemPolicy,
}

impl System {
    /// Parses an id of a request path, percent-decoded once: `collection:key`, or the key alone
    /// where a collection is configured.
    ///
    /// # Errors
    /// `record-not-found` with the expected form.
    pub fn record_id(&self, raw: &str) -> Result<RecordId, Problem> {
        let (collection, key) = match (raw.rsplit_once(':'), &self.policy.collection) {
            (Some((collection, key)), _) => (collection, key),
            (None, Some(configured)) => (configured.as_str(), raw),
            (None, None) => ("", raw),
        };
        match (self.adapter.parse_collection(collection), self.adapter.parse_key(key)) {
            (Some(collection), Some(key)) => Ok(RecordId::new(&collection, &key)),
            _ => Err(self.bad_id_problem()),
        }
    }

    fn bad_id_problem(&self) -> Problem {
        let capabilities = self.adapter.capabilities();
        let short_form =
            if self.policy.collection.is_some() { " (the part after the last colon is enough here)" } else { "" };
        let detail = format!(
            "An id of {} has the form {}{short_form}, such as {}.",
            self.name, capabilities.id_form, capabilities.id_example
        );
        ProblemKind::RecordNotFound.with_detail(detail).system(self.name.as_str())
    }

    /// The collection that a list or a create names, or else the configured one.
    ///
    /// # Errors
    /// `rejected` (pointer `/collection`) when there is none or it does not have the vendor's form.
    pub fn collection(&self, raw: Option<&str>) -> Result<String, Problem> {
        let raw = raw.or(self.policy.collection.as_deref());
        raw.and_then(|raw| self.adapter.parse_collection(raw)).ok_or_else(|| {
            let fault =
                if raw.is_some() { "does not have the vendor's form" } else { "is missing, and none is configured" };
            let detail = format!("The collection {fault}; ids have the form {}.", self.adapter.capabilities().id_form);
            let problem = ProblemKind::Rejected.with_detail(detail.clone()).system(self.name.as_str());
            problem.errors(vec![FieldError::new("/collection", detail)])
        })
    }

    /// Rejects a write without `If-Match`, unless `require_if_match` is off.
    ///
    /// # Errors
    /// `precondition-required`.
    pub fn require_if_match(&self, if_match: Option<&Precondition>) -> Result<(), Problem> {
        if if_match.is_some() || !self.policy.require_if_match {
            return Ok(());
        }
        let detail = "The request has no If-Match. Send the ETag of a GET of this record, or If-Match: * to \
                      write whatever its state.";
        Err(ProblemKind::PreconditionRequired.with_detail(detail).system(self.name.as_str()))
    }

    /// Rejects a write without `If-Plan`, if the system makes such writes only as planned.
    ///
    /// # Errors
    /// `plan-required`.
    pub fn require_plan(&self, action: Action, plan: Option<&PlanTag>) -> Result<(), Problem> {
        if plan.is_some() || !self.policy.require_plan.contains(&action) {
            return Ok(());
        }
        let detail = format!(
            "{} requires a plan for every {}. Send the same request to its preview, and repeat it with that plan in If-Plan.",
            self.name,
            action.as_str()
        );
        Err(ProblemKind::PlanRequired.with_detail(detail).system(self.name.as_str()))
    }

    /// `rejected` for values that cannot be sent.
    pub(crate) fn rejected_problem(&self, errors: Vec<FieldError>) -> Problem {
        Problem::of_first_errors(ProblemKind::Rejected, errors).system(self.name.as_str())
    }

    /// The ETag of a version of one of this system's records.
    #[must_use]
    pub fn tag(&self, id: &RecordId, version: &Version) -> EntityTag {
        EntityTag::for_version(&self.name, id, version)
    }

    /// The ETag of a record as read, as it is sent in a header.
    pub(crate) fn etag_header(&self, id: &RecordId, record: &VendorRecord) -> String {
        self.tag(id, &record.version()).to_header()
    }

    /// Whether an ETag is that of a record as read.
    pub(crate) fn is_current(&self, etag: Option<&str>, id: &RecordId, record: &VendorRecord) -> bool {
        etag == Some(self.etag_header(id, record).as_str())
    }

    /// How an action on a record of this collection excludes concurrent writers.
    pub(crate) fn guarantee(&self, action: Action, collection: &str) -> Guarantee {
        if self.adapter.compares(action, collection) { Guarantee::Native } else { Guarantee::Guarded }
    }

    /// JSON Pointers of what others have changed in a record since the state of this ETag; empty if
    /// that state is not known. What the vendor itself changes with every write is left out.
    pub(crate) async fn changed_since(
        &self,
        recent_states: &RecentStates,
        etag: &str,
        id: &RecordId,
        record: &VendorRecord,
    ) -> Vec<String> {
        let is_stamped = |member: &str| self.adapter.is_stamped(id.collection(), member);
        recent_states.diff_since(etag, &record.fields.to_map(), is_stamped).await
    }

    /// How long a lease lasts unless it is renewed: longer than one vendor call and its
    /// verification.
    pub(crate) fn lease_ttl(&self) -> Duration {
        (self.policy.timeout * 2 + Duration::from_secs(5)).max(Duration::from_secs(30))
    }

    /// The record as callers see it. `running` is the queued or unresolved write on it.
    pub(crate) fn to_view(&self, id: &RecordId, record: &VendorRecord, running: Option<&OperationId>) -> RecordView {
        let read_only = record.fields.names().filter(|name| self.adapter.is_read_only(id.collection(), name));
        let mut warnings: Vec<_> = record.warnings.iter().cloned().chain(record.unreadable_members()).collect();
        if !warnings.is_empty() {
            self.transport.redact_texts(warnings.iter_mut().map(|warning| &mut warning.detail));
        }
        RecordView {
            system: self.name.as_str().to_owned(),
            id: id.as_str().to_owned(),
            etag: Some(self.etag_header(id, record)),
            fields: record.fields.clone(),
            read_only: read_only.map(|name| json_pointer("/fields", &[name])).collect(),
            warnings,
            pending_operation: running.map(OperationId::path),
            partial: false,
        }
    }

    /// A created record that could not be read: its fields as sent, without an ETag.
    pub(crate) fn view_from_request(&self, id: &RecordId, fields: &Map<String, Value>) -> RecordView {
        let record = VendorRecord { fields: RawObject::from(fields), version: None, warnings: Vec::new() };
        RecordView { etag: None, ..self.to_view(id, &record, None) }
    }

    /// The problem that a vendor's fault is to a caller of this system.
    pub(crate) fn vendor_error_to_problem(&self, fault: &VendorError) -> Problem {
        Problem::from_vendor_error(&self.transport.redact_fault(fault.clone())).system(self.name.as_str())
    }

    /// The same for a call about a collection as a whole.
    pub(crate) fn collection_error_to_problem(&self, fault: &VendorError) -> Problem {
        if fault.kind == VendorErrorKind::NotFound {
            self.collection_not_found()
        } else {
            self.vendor_error_to_problem(fault)
        }
    }

    /// The problem of a collection that the vendor does not show.
    pub(crate) fn collection_not_found(&self) -> Problem {
        let detail = format!(
            "{} has no such collection, or the gateway's account is not allowed to see it; ids have the form {}.",
            self.name,
            self.adapter.capabilities().id_form
        );
        ProblemKind::CollectionNotFound.with_detail(detail).system(self.name.as_str())
    }

    /// The same for a call about one record, which `record-not-found` names.
    pub(crate) fn record_error_to_problem(&self, id: &RecordId, fault: &VendorError) -> Problem {
        let mut problem = self.vendor_error_to_problem(fault);
        if fault.kind == VendorErrorKind::NotFound {
            problem.detail =
                format!("{} has no record {id}, or the gateway's account is not allowed to see it.", self.name);
        }
        problem
    }

    /// Checks that the caller or the configuration accepts what a write destroys besides.
    ///
    /// # Errors
    /// `lossy-write` with the losses that are not accepted.
    pub(crate) fn check_losses(&self, losses: &[DataLoss], accepted: &[String]) -> Result<(), Problem> {
        let refused: Vec<&DataLoss> = losses
            .iter()
            .filter(|loss| !accepted.iter().any(|name| name == loss.name))
            .filter(|loss| loss.caller_must_accept || !self.policy.warn_on_loss)
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = refused.iter().map(|loss| loss.name.to_owned()).collect();
        let details: Vec<&str> = refused.iter().map(|loss| loss.detail).collect();
        // The whole value, because a later header replaces the earlier one.
        let accepting: Vec<&str> = losses.iter().map(|loss| loss.name).collect();
        let detail = format!("{}. To accept this, send Accept-Loss: {}", details.join("; "), accepting.join(", "));
        let mut problem = ProblemKind::LossyWrite.with_detail(detail).system(self.name.as_str());
        problem.losses = names;
        Err(problem)
    }
}
