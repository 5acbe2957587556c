//! One configured system: what its vendor says, how it is reached, and how this installation wants it used.

use std::sync::Arc;
use std::time::Duration;

use super::RecordView;
use super::in_flight_write::InFlightWrite;
use super::intent::ExpectedState;
use crate::metrics::SystemIndex;
use crate::problem::{Problem, ProblemKind};
use crate::record::{
    EntityTag, FieldError, OperationId, Patch, Precondition, RawFields, RecordId, SystemName, VendorError,
    VendorRecord, Version, json_pointer, sha256,
};
use crate::transport::TransportStack;
use crate::vendors::{Adapter, DataLoss};

/// How this installation wants a system used: the keys of `[systems.…]` that concern the gateway itself.
#[derive(Clone, Debug)]
pub struct SystemPolicy {
    /// `collection`: lets callers leave it out of ids.
    pub collection: Option<String>,
    /// `require_if_match`.
    pub require_if_match: bool,
    /// `on_lossy_write = "warn"`: losses that need no consent by name are done and named.
    pub warn_on_loss: bool,
    /// `timeout` of one vendor call.
    pub timeout: Duration,
    /// `completion_timeout`: how long an outcome is looked for.
    pub completion_timeout: Duration,
    /// `completion_poll`: the first pause between looks.
    pub completion_poll: Duration,
}

/// The mark of one vendor's installation: of its word, its address and whatever else tells whose data it holds.
pub fn tenant_fingerprint<'t>(what_tells: impl IntoIterator<Item = &'t str>) -> String {
    let texts: Vec<&str> = what_tells.into_iter().collect();
    const_hex::encode(sha256([texts.join("\n").as_bytes()]))
}

/// A configured system.
pub struct System {
    /// Its name.
    pub name: SystemName,
    /// Its place in the configuration: the index of its metric labels.
    pub index: SystemIndex,
    /// Which installation of the vendor it is (see [`installation`]): a write that outlives the process must end where it began.
    pub tenant_fingerprint: Arc<str>,
    /// What its vendor says.
    pub adapter: Arc<dyn Adapter>,
    /// How its vendor is reached.
    pub transport: Arc<TransportStack>,
    /// How it is to be used.
    pub policy: SystemPolicy,
}

impl System {
    /// Takes an id as it stood in the path (percent-decoded once): `collection:key`, or the key alone where a collection is
    /// configured.
    ///
    /// # Errors
    /// `record-not-found` naming the expected form.
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
        let profile = self.adapter.capabilities();
        let short =
            if self.policy.collection.is_some() { " (the part after the last colon is enough here)" } else { "" };
        let detail =
            format!("an id of {} has the form {}{short}, such as {}", self.name, profile.id_form, profile.id_example);
        ProblemKind::RecordNotFound.with_detail(detail).system(self.name.as_str())
    }

    /// Takes the collection a list or a create names, or the configured one.
    ///
    /// # Errors
    /// `rejected` (pointer `/collection`) when there is none or it does not have the vendor's form.
    pub fn collection(&self, raw: Option<&str>) -> Result<String, Problem> {
        let wanted = raw.or(self.policy.collection.as_deref());
        wanted.and_then(|raw| self.adapter.parse_collection(raw)).ok_or_else(|| {
            let what =
                if wanted.is_some() { "does not have the vendor's form" } else { "is missing and none is configured" };
            let detail = format!("the collection {what}; ids are {}", self.adapter.capabilities().id_form);
            let problem = ProblemKind::Rejected.with_detail(detail.clone()).system(self.name.as_str());
            problem.errors(vec![FieldError::new("/collection", detail)])
        })
    }

    /// Refuses a write without `If-Match`, unless `require_if_match` is off: any state will do then.
    ///
    /// # Errors
    /// `precondition-required`.
    pub fn require_if_match(&self, given: Option<&Precondition>) -> Result<(), Problem> {
        if given.is_some() || !self.policy.require_if_match {
            return Ok(());
        }
        let detail = "send If-Match with the ETag of a GET of this record, or If-Match: * if any state will do";
        Err(ProblemKind::PreconditionRequired.with_detail(detail).system(self.name.as_str()))
    }

    /// Refuses a patch that the vendor cannot take, whatever the record holds.
    ///
    /// # Errors
    /// `rejected`.
    pub fn validate_patch(&self, patch: &Patch) -> Result<(), Problem> {
        let errors = patch.merge_members().map(|members| self.adapter.validate_patch(members)).unwrap_or_default();
        if errors.is_empty() { Ok(()) } else { Err(self.rejected_problem(errors)) }
    }

    /// Values that cannot be sent.
    pub(super) fn rejected_problem(&self, errors: Vec<FieldError>) -> Problem {
        let all: Vec<String> = errors.iter().map(|one| format!("{}: {}", one.pointer, one.detail)).collect();
        ProblemKind::Rejected.with_detail(all.join("; ")).errors(errors).system(self.name.as_str())
    }

    /// The tag of a version of one of this system's records.
    #[must_use]
    pub fn tag(&self, id: &RecordId, version: &Version) -> EntityTag {
        EntityTag::for_version(&self.name, id, version)
    }

    /// The record as callers see it.
    pub(super) fn to_view(&self, id: &RecordId, stored: &VendorRecord, pending: Option<&OperationId>) -> RecordView {
        let names = stored.fields.names();
        let read_only = names.iter().filter(|name| self.adapter.is_read_only(name));
        let mut warnings = stored.warnings.clone();
        if !warnings.is_empty() {
            self.transport.redact_texts(warnings.iter_mut().map(|warning| &mut warning.detail));
        }
        RecordView {
            system: self.name.as_str().to_owned(),
            id: id.as_str().to_owned(),
            etag: Some(self.tag(id, &stored.version()).to_header()),
            fields: stored.fields.to_fields_json(),
            read_only: read_only.map(|name| json_pointer("/fields", &[name])).collect(),
            warnings,
            pending_operation: pending.map(OperationId::path),
            partial: false,
        }
    }

    /// A created record that could not be read back: as it was sent, without a tag.
    pub(super) fn view_from_request(&self, id: &RecordId, pending: &InFlightWrite) -> RecordView {
        let fields = match &pending.expected {
            ExpectedState::Created { fields, .. } => RawFields::from_map(fields),
            ExpectedState::Values(_) | ExpectedState::Members(_) | ExpectedState::Deleted => {
                RawFields::from_map(&serde_json::Map::new())
            }
        };
        let stored = VendorRecord { fields, version: None, warnings: Vec::new() };
        RecordView { etag: None, ..self.to_view(id, &stored, None) }
    }

    /// What a vendor's fault is to a caller of this system.
    pub(super) fn fault_to_problem(&self, fault: &VendorError) -> Problem {
        Problem::from_vendor_error(&self.transport.redact_fault(fault.clone())).system(self.name.as_str())
    }

    /// Checks that the caller (or the configuration) accepts what a write destroys besides.
    ///
    /// # Errors
    /// `lossy-write`, listing what is not accepted.
    pub(super) fn check_losses(&self, losses: &[DataLoss], accepted: &[String]) -> Result<(), Problem> {
        let refused: Vec<&DataLoss> = losses
            .iter()
            .filter(|loss| !accepted.iter().any(|name| name == loss.name))
            .filter(|loss| loss.caller_must_accept || !self.policy.warn_on_loss)
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = refused.iter().map(|loss| loss.name.to_owned()).collect();
        let what: Vec<&str> = refused.iter().map(|loss| loss.detail).collect();
        let detail = format!("{}. To accept this, send Accept-Loss: {}", what.join("; "), names.join(", "));
        let mut problem = ProblemKind::LossyWrite.with_detail(detail).system(self.name.as_str());
        problem.losses = names;
        Err(problem)
    }
}
