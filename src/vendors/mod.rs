//! The adapters: everything that is specific to a vendor.
//!
//! Each vendor is a folder. Its `adapter.rs` implements [`Adapter`], the requests to the
//! vendor; its `protocol.rs` holds the URLs, bodies, responses and errors as pure functions.
//! [`VENDORS`] lists them.
//!
//! An adapter holds no HTTP client: each method is lent a
//! [`Transport`](crate::transport::Transport). What a vendor cannot do is data in its
//! [`Capabilities`]; the gateway completes it once for all vendors.
//!
//! In comments, OBSERVED means seen on a real server, and INFERRED means concluded from examples;
//! the vendor's documentation states neither.

mod adapter;
mod capabilities;
mod factory;
mod filter;
mod schema;

mod common;

pub mod bluedolphin;
pub mod dataverse;
pub mod matrix42;
pub mod pretectum;

#[cfg(test)]
mod registry_tests;
#[cfg(test)]
mod testing;

pub use adapter::{
    Adapter, CreatedRecord, ListItem, ListPage, PlannedRequest, UpdateInput, UpdateTerms, UpdatedRecord,
};
pub use capabilities::{Capabilities, Completion, DataLoss, Filterable, UpdateStyle};
pub(crate) use common::MAX_DESCRIPTION_WAIT;
pub use common::reports_other_writer;
pub use factory::{AdapterFactory, BASE_URL, InvalidSetting, SettingFormat, SettingSpec, Settings, VendorSamples};
pub use filter::{FieldFilter, ValueForm};
pub use schema::{CollectionInfo, CollectionList, FieldSchema, RecordSchema, SchemaSource};

/// Every vendor: a new one is a module above and a line here.
pub const VENDORS: &[AdapterFactory] =
    &[pretectum::FACTORY, bluedolphin::FACTORY, matrix42::FACTORY, dataverse::FACTORY];

/// The vendor of this name.
#[must_use]
pub fn find_vendor(name: &str) -> Option<&'static AdapterFactory> {
    VENDORS.iter().find(|factory| factory.vendor == name)
}
