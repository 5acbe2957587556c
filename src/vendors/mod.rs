//! What each vendor says: one folder per vendor, `mod` for the conversation and `dialect` for URLs, bodies and replies.
//!
//! Adapters hold no client: they are lent a [`Transport`]. What a vendor lacks is data in its [`Capabilities`]; the gateway
//! completes it once for all of them.

pub mod bluedolphin;
pub mod matrix42;
pub mod pretectum;

mod common;
mod registry;
#[cfg(test)]
mod testing;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

pub use registry::{AdapterFactory, InvalidSetting, SettingFormat, SettingSpec, Settings, VENDORS, find_vendor};

use crate::record::{Action, FieldError, RawObject, RecordId, VendorError, VendorRecord, Version};
use crate::transport::{Transport, VendorProtocol, VendorRequest, VendorResponse};

/// How a vendor tells states apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It has versions and compares them on update: compare-and-swap.
    Native,
    /// It has none: the gateway hashes the record and compares under a lease.
    None,
}

/// What an update does to members that it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStyle {
    /// Leaves them alone, at the top level of the record; nested values are replaced.
    Partial,
    /// Removes them.
    Replace,
}

/// When the effect of a write can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// When the vendor has answered.
    Now,
    /// Some time after the vendor has answered; only reading shows it.
    Queued,
}

/// Something a vendor is documented to destroy although the caller did not touch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DataLoss {
    /// Its name in `Accept-DataLoss`, problems, warnings, ledger and metrics.
    pub name: &'static str,
    /// What is destroyed, in a sentence.
    pub detail: &'static str,
    /// The actions whose writes may destroy it.
    pub actions: &'static [Action],
    /// Whether only the caller may accept it, whatever `on_lossy_write` says.
    pub caller_must_accept: bool,
}

/// What a vendor can and cannot do: data, shown by `GET /systems/{system}`.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// The word in `vendor = "…"`.
    pub vendor: &'static str,
    /// The form of an id, for people: `{collection}:{key}` with what each part is.
    pub id_form: &'static str,
    /// An id of that form.
    pub id_example: &'static str,
    /// How states are told apart.
    pub versioning: Versioning,
    /// What an update does to what it does not name.
    pub update_style: UpdateStyle,
    /// What the vendor can do at all.
    pub actions: &'static [Action],
    /// Everything a write of this vendor may destroy besides what it is asked to.
    pub losses: &'static [DataLoss],
    /// Whether a new version can be foretold: a counter grows by one with each change.
    pub version_is_sequence: bool,
    /// Whether ids tell when their record was made ([`Adapter::made_at`]).
    pub ids_are_timestamped: bool,
    /// Whether items of a list are whole records with the tag that GET gives.
    pub list_is_complete: bool,
}

/// What an update is to do, in the form the vendor's [`UpdateStyle`] needs.
#[derive(Clone, Debug)]
pub enum UpdateInput<'c> {
    /// For [`UpdateStyle::Partial`]: the members of `fields` to set, `null` = reset.
    Members(&'c RawObject),
    /// For [`UpdateStyle::Replace`]: the whole record as read and as wanted.
    FullRecord {
        /// As read.
        before: &'c Map<String, Value>,
        /// As wanted.
        after: &'c Map<String, Value>,
    },
}

impl<'c> UpdateInput<'c> {
    /// What a vendor with partial update is to set.
    ///
    /// # Errors
    /// It is a whole record.
    fn members(&self) -> Result<&'c RawObject, Vec<FieldError>> {
        match self {
            Self::Members(members) => Ok(members),
            Self::FullRecord { .. } => {
                Err(vec![FieldError::new("", "this vendor takes the members that change, not whole records")])
            }
        }
    }
}

/// A write worked out to the byte and not sent yet.
#[derive(Clone, Debug)]
pub struct PlannedRequest {
    /// The one vendor call that does it.
    pub request: VendorRequest,
    /// What it destroys besides.
    pub losses: Vec<DataLoss>,
    /// When its effect can be seen.
    pub completion: Completion,
    /// Whether sending it twice is harmless by construction: bound to a version, or a delete of an id never used again. Made use of
    /// where the vendor compares versions; a guarded write is only looked for, because others may write between the two.
    pub idempotent: bool,
}

impl PlannedRequest {
    /// A write that destroys nothing besides and is done when the vendor says so.
    fn immediate(call: VendorRequest, repeatable: bool) -> Self {
        Self { request: call, losses: Vec::new(), completion: Completion::Now, idempotent: repeatable }
    }
}

/// What a create made.
#[derive(Clone, Debug)]
pub struct CreatedRecord {
    /// The new record's id.
    pub id: RecordId,
    /// The new record, where the vendor's answer holds all of it (version included).
    pub record: Option<VendorRecord>,
}

/// A list item.
#[derive(Clone, Debug)]
pub struct ListItem {
    /// Its id.
    pub id: RecordId,
    /// What the list tells of it.
    pub record: VendorRecord,
    /// Whether the list cannot carry the whole record.
    pub partial: bool,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct ListPage {
    /// At most as many as asked for; perhaps none although there is a next page.
    pub items: Vec<ListItem>,
    /// Where the next page begins, in the adapter's own words; `None` = this was the last.
    pub next: Option<String>,
}

/// One vendor.
///
/// There are no default bodies: what a vendor lacks is `Err(VendorError::unsupported(…))`, and its profile says the same.
#[async_trait(?Send)]
pub trait Adapter: VendorProtocol {
    /// What the vendor can do.
    fn capabilities(&self) -> &Capabilities;

    /// Takes a collection's name if it has the vendor's form; gives its canonical spelling.
    fn parse_collection(&self, raw: &str) -> Option<String>;

    /// Takes a record's key if it has the vendor's form; gives its canonical spelling.
    fn parse_key(&self, raw: &str) -> Option<String>;

    /// Whether this member of `fields` is set by the vendor or by the gateway and cannot be patched or created.
    /// Vendors that read member names in any case must answer for any case.
    fn is_read_only(&self, member: &str) -> bool;

    /// Reads one record.
    ///
    /// # Errors
    /// `NotFound` however the vendor hides it (200 `null`, 400, 500, the end of a list).
    async fn read(&self, transport: &dyn Transport, id: &RecordId) -> Result<VendorRecord, VendorError>;

    /// Reads a page of at most `limit` records; `cursor` is a former page's `next`, unchanged.
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

    /// What is wrong with a merge patch of `fields`, whatever the record holds: told before the record is looked at.
    fn validate_patch(&self, patch: &RawObject) -> Vec<FieldError>;

    /// Works an update out. `expected` is the version to bind it to; a native vendor must never be called without one.
    ///
    /// # Errors
    /// The values that cannot be sent, and why.
    fn plan_update(
        &self,
        id: &RecordId,
        change: &UpdateInput<'_>,
        expected: Option<&Version>,
    ) -> Result<PlannedRequest, Vec<FieldError>>;

    /// Works a delete out; `before` is the record as read.
    ///
    /// # Errors
    /// Why the record cannot be deleted as it is.
    fn plan_delete(&self, id: &RecordId, before: &VendorRecord) -> Result<PlannedRequest, Vec<FieldError>>;

    /// Works a create out.
    ///
    /// # Errors
    /// The values that cannot be sent, and why.
    fn plan_create(&self, collection: &str, fields: &Map<String, Value>) -> Result<PlannedRequest, Vec<FieldError>>;

    /// Reads the answer to a create.
    ///
    /// # Errors
    /// `Protocol` (with `Effect::Unknown`) when the answer names no record.
    fn parse_created(&self, collection: &str, reply: &VendorResponse) -> Result<CreatedRecord, VendorError>;

    /// The records of a collection that hold all of `fields`: before a create is sent, and after one whose answer was lost.
    /// `None` = there are too many records to look at all of them.
    ///
    /// # Errors
    /// `NotFound` when the vendor has no such collection, `Rejected` when it has no such field; any other fault of the calls.
    async fn find_matching(
        &self,
        transport: &dyn Transport,
        collection: &str,
        fields: &Map<String, Value>,
    ) -> Result<Option<Vec<RecordId>>, VendorError>;

    /// When a record was made, where its id tells (Pretectum's begin with the time); `None` where it does not.
    fn created_at(&self, id: &RecordId) -> Option<Timestamp>;
}
