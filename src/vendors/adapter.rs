//! The adapter trait: what the gateway needs from a vendor.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::capabilities::{Capabilities, Completion, DataLoss};
use super::filter::FieldFilter;
use super::schema::{CollectionList, RecordSchema};
use crate::record::{Action, FieldError, RawJson, RawObject, RecordId, VendorError, VendorRecord, Version};
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

/// What an update is bound to, and what its response should hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpdateTerms<'t> {
    /// The version that the vendor compares; `None` where the gateway compares under a lease.
    pub expected: Option<&'t Version>,
    /// Whether the caller gets the record back. A vendor that can return it saves a read.
    pub return_record: bool,
}

impl<'t> UpdateTerms<'t> {
    /// Bound to this version, without the record in the response.
    #[must_use]
    pub fn bound_to(version: &'t Version) -> Self {
        Self { expected: Some(version), return_record: false }
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
    /// to a version, or it deletes an id that is never used again. The gateway sends an update
    /// again only if the vendor compares versions, and a delete only while a read shows the version
    /// that was compared.
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

/// What the response to an update shows of the new state.
#[derive(Clone, Debug, Default)]
pub struct UpdatedRecord {
    /// The version that the update made.
    pub version: Option<Version>,
    /// The whole record, its version included.
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
/// - `parse_*`, `is_*`, `validate_*` and `plan_*`: pure functions that
///   are called before anything is sent;
/// - [`read`](Self::read), [`list`](Self::list) and [`find_matching`](Self::find_matching): reads,
///   over as many calls as the vendor needs.
///
/// Only `reads_by_scanning` and `read_many` have default bodies, so that no vendor succeeds by
/// omission. A method for an action that the vendor lacks
/// returns [`VendorError::unsupported`], and `capabilities().actions` does not list the action.
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

    /// Whether the vendor compares versions before this action on records of this collection. Some
    /// vendors do so in some collections only, and the adapter may learn it from a response.
    fn compares(&self, action: Action, collection: &str) -> bool;

    /// Whether a member of this name carries the id or the version, which the gateway shows
    /// outside `fields`: no patch may name it. If the vendor ignores the case of names, so must
    /// this method.
    fn is_reserved(&self, collection: &str, member: &str) -> bool;

    /// Whether `fields` shows a member of this name and no update can change it. A patch may repeat
    /// its value.
    fn is_read_only(&self, collection: &str, member: &str) -> bool;

    /// Whether the vendor itself changes a member of this name with every write, such as the time
    /// of the last change. Its new value is not reported as somebody's change.
    fn is_stamped(&self, collection: &str, member: &str) -> bool;

    /// The form in which a read shows a value that a write may give in another form; `None` if it
    /// is the same.
    fn to_read_form(&self, collection: &str, member: &str, value: &RawJson) -> Option<RawJson>;

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

    /// Reads a page of at most `limit` records that show all values of `filters`, by the vendor's
    /// own means where it has some; from the beginning or from the `next` of an earlier page. The
    /// gateway has checked that [`Capabilities::filters`] allows the members, and that the values
    /// have their types.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection, `Rejected` for a cursor that is not the adapter's.
    async fn list(
        &self,
        transport: &dyn Transport,
        collection: &str,
        filters: &[FieldFilter],
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage, VendorError>;

    /// The collections that the vendor names. The gateway adds the configured ones.
    ///
    /// # Errors
    /// Every error of the calls.
    async fn collections(&self, transport: &dyn Transport) -> Result<CollectionList, VendorError>;

    /// The fields of a collection's records. The gateway calls it only
    /// where [`Capabilities::schema_source`] is not `None`.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection, and every other error of the calls.
    async fn schema(&self, transport: &dyn Transport, collection: &str) -> Result<RecordSchema, VendorError>;

    /// What is wrong with a merge patch of `fields`, whatever the record holds; each error with its
    /// rule. The gateway rejects such a patch before it reads the record, together with what the
    /// schema shows.
    fn validate_patch(&self, patch: &RawObject) -> Vec<FieldError>;

    /// The same for the `fields` of a new record.
    fn validate_create(&self, fields: &Map<String, Value>) -> Vec<FieldError>;

    /// Looks up at the vendor what the values of a write refer to, where a plan needs it or the
    /// vendor accepts a reference to nothing. Most vendors have nothing to look up. For a create,
    /// `before` is empty. Returns the values that refer to nothing.
    ///
    /// # Errors
    /// Every error of the calls.
    async fn find_missing_references(
        &self,
        transport: &dyn Transport,
        collection: &str,
        change: &UpdateInput<'_>,
    ) -> Result<Vec<FieldError>, VendorError>;

    /// Plans an update. Where [`compares`](Self::compares) says that the vendor compares versions,
    /// an update without a version is an error, because it would overwrite blindly.
    ///
    /// # Errors
    /// The values that cannot be sent, and why.
    fn plan_update(
        &self,
        id: &RecordId,
        change: &UpdateInput<'_>,
        terms: &UpdateTerms<'_>,
    ) -> Result<PlannedRequest, Vec<FieldError>>;

    /// Reads what the response to an update shows of the new state. What it does not show, or not
    /// readably, is `None`.
    fn parse_updated(&self, id: &RecordId, response: &VendorResponse) -> UpdatedRecord;

    /// Plans a delete. `before` is the current record. It is `None` only if `expected` is a version
    /// that the vendor compares: then the gateway does not read first.
    ///
    /// # Errors
    /// Why the record cannot be deleted in its current state.
    fn plan_delete(
        &self,
        id: &RecordId,
        before: Option<&VendorRecord>,
        expected: Option<&Version>,
    ) -> Result<PlannedRequest, Vec<FieldError>>;

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
