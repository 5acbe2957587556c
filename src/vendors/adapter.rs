//! The adapter trait: what the gateway needs from a vendor.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::capabilities::{Capabilities, Completion, DataLoss};
use crate::record::{FieldError, RawObject, RecordId, VendorError, VendorRecord, Version};
use crate::transport::{Transport, VendorProtocol, VendorRequest, VendorResponse};

/// The input of an update, in the form of the vendor's [`UpdateStyle`](super::UpdateStyle).
#[derive(Clone, Debug)]
pub enum UpdateInput<'c> {
    /// For `Partial`: the members of `fields` to set; `null` resets a member.
    Members(&'c RawObject),
    /// For `Replace`: the whole `fields`.
    FullRecord {
        /// The current `fields`.
        before: &'c Map<String, Value>,
        /// The `fields` after the update.
        after: &'c Map<String, Value>,
    },
}

impl<'c> UpdateInput<'c> {
    /// The members to set, for a vendor with partial updates.
    ///
    /// # Errors
    /// The input is a whole record.
    pub(super) fn members(&self) -> Result<&'c RawObject, Vec<FieldError>> {
        match self {
            Self::Members(members) => Ok(members),
            Self::FullRecord { .. } => {
                Err(vec![FieldError::new("", "this vendor takes the members that change, not whole records")])
            }
        }
    }
}

/// A write that is complete to the last byte and not sent yet.
#[derive(Clone, Debug)]
pub struct PlannedRequest {
    /// The one vendor call that performs the write.
    pub request: VendorRequest,
    /// What this write destroys although the caller did not touch it.
    pub losses: Vec<DataLoss>,
    /// When a read shows the effect.
    pub completion: Completion,
    /// Whether the vendor does the work at most once however often the request is sent: it is bound
    /// to a version, or it deletes an id that is never used again. The gateway sends a write again
    /// only if the vendor also compares versions.
    pub idempotent: bool,
}

impl PlannedRequest {
    /// A write without losses, whose effect is visible as soon as the vendor has responded.
    pub(super) fn immediate(request: VendorRequest, idempotent: bool) -> Self {
        Self { request, losses: Vec::new(), completion: Completion::Now, idempotent }
    }
}

/// The result of a create.
#[derive(Clone, Debug)]
pub struct CreatedRecord {
    /// The new record's id.
    pub id: RecordId,
    /// The new record, if the vendor's response holds all of it, its version included.
    pub record: Option<VendorRecord>,
}

/// One record of a list.
#[derive(Clone, Debug)]
pub struct ListItem {
    /// The record's id.
    pub id: RecordId,
    /// What the list shows of the record.
    pub record: VendorRecord,
    /// Whether the list shows only a part of the record.
    pub partial: bool,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct ListPage {
    /// At most as many records as requested. An empty page may have a successor.
    pub items: Vec<ListItem>,
    /// The position of the next page, in a form that only the adapter interprets; `None` on the
    /// last page.
    pub next: Option<String>,
}

/// One vendor.
///
/// An adapter translates and decides nothing else: no retries, no timeouts, no caches of records,
/// no locks. It adds these rules of the vendor to the transport and the write pipeline:
///
/// - [`VendorProtocol`]: how a request is authorized and which response is which error;
/// - [`capabilities`](Self::capabilities): what the vendor can do;
/// - `parse_*`, `is_*`, [`validate_patch`](Self::validate_patch) and `plan_*`: pure functions that
///   are called before anything is sent;
/// - [`read`](Self::read), [`list`](Self::list) and [`find_matching`](Self::find_matching): reads,
///   over as many calls as the vendor needs.
///
/// No method has a default body, so that no vendor succeeds by omission. A method for an action
/// that the vendor lacks returns [`VendorError::unsupported`], and `capabilities().actions` does
/// not list the action.
///
/// What the gateway relies on, for every vendor:
///
/// - `fields` hold the vendor's values byte for byte; numbers keep their form;
/// - a read that succeeds shows the whole record, and a missing record is `NotFound`, never an
///   empty record;
/// - planning the same write twice gives the same bytes;
/// - [`SideEffect::None`](crate::record::SideEffect::None) on an error means that the vendor
///   certainly did nothing.
///
/// Every vendor has golden files in `tests/golden`, a fake vendor in `src/sandbox`, and runs all
/// behaviour tests.
#[async_trait(?Send)]
pub trait Adapter: VendorProtocol {
    /// What the vendor can do.
    fn capabilities(&self) -> &Capabilities;

    /// The canonical spelling of a collection; `None` if the text does not have the vendor's form.
    fn parse_collection(&self, raw: &str) -> Option<String>;

    /// The canonical spelling of a record's key; `None` if the text does not have the vendor's
    /// form.
    fn parse_key(&self, raw: &str) -> Option<String>;

    /// Whether a member of this name carries the id or the version, which the gateway shows
    /// outside `fields`: no patch may name it. If the vendor ignores the case of names, so must
    /// this method.
    fn is_reserved(&self, member: &str) -> bool;

    /// Whether `fields` shows a member of this name and no update can change it. A patch may repeat
    /// its value.
    fn is_read_only(&self, member: &str) -> bool;

    /// Reads one record.
    ///
    /// # Errors
    /// `NotFound` for a missing record, however the vendor reports it (200 with `null`, 400, 500,
    /// or the end of a list).
    async fn read(&self, transport: &dyn Transport, id: &RecordId) -> Result<VendorRecord, VendorError>;

    /// Whether a read goes through a list of the collection, so that reading many records at once
    /// costs less.
    fn reads_by_scanning(&self) -> bool {
        false
    }

    /// Reads records of one collection; the results are in the order of `ids`.
    async fn read_many(&self, transport: &dyn Transport, ids: &[RecordId]) -> Vec<Result<VendorRecord, VendorError>> {
        let mut results = Vec::with_capacity(ids.len());
        for id in ids {
            results.push(self.read(transport, id).await);
        }
        results
    }

    /// Reads a page of at most `limit` records, from the beginning or from the `next` of an earlier
    /// page.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection, `Rejected` for a cursor that is not the adapter's.
    async fn list(
        &self,
        transport: &dyn Transport,
        collection: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage, VendorError>;

    /// What is wrong with a merge patch of `fields`, whatever the record holds. The gateway rejects
    /// such a patch before it reads the record.
    fn validate_patch(&self, patch: &RawObject) -> Vec<FieldError>;

    /// Plans an update. `expected` is the version to bind it to; with
    /// [`Versioning::Native`](super::Versioning::Native) an update without one is an error, because
    /// it would overwrite blindly.
    ///
    /// # Errors
    /// The values that cannot be sent, and why.
    fn plan_update(
        &self,
        id: &RecordId,
        change: &UpdateInput<'_>,
        expected: Option<&Version>,
    ) -> Result<PlannedRequest, Vec<FieldError>>;

    /// Plans a delete; `before` is the current record.
    ///
    /// # Errors
    /// Why the record cannot be deleted in its current state.
    fn plan_delete(&self, id: &RecordId, before: &VendorRecord) -> Result<PlannedRequest, Vec<FieldError>>;

    /// Plans a create.
    ///
    /// # Errors
    /// The values that cannot be sent, and why.
    fn plan_create(&self, collection: &str, fields: &Map<String, Value>) -> Result<PlannedRequest, Vec<FieldError>>;

    /// Reads the id of the new record from the response to a create.
    ///
    /// # Errors
    /// `InvalidResponse` with `SideEffect::Unknown` if the response names no record.
    fn parse_created(&self, collection: &str, response: &VendorResponse) -> Result<CreatedRecord, VendorError>;

    /// The records of a collection that show all of `fields`. The gateway calls it before a create,
    /// and again if the response to the create is lost. `None` if the collection has too many
    /// records to read.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection, `Rejected` for an unknown field, and every other error
    /// of the calls.
    async fn find_matching(
        &self,
        transport: &dyn Transport,
        collection: &str,
        fields: &Map<String, Value>,
    ) -> Result<Option<Vec<RecordId>>, VendorError>;

    /// When the record was created, if its id contains the time (see
    /// [`Capabilities::ids_are_timestamped`]); `None` otherwise.
    fn created_at(&self, id: &RecordId) -> Option<Timestamp>;
}
