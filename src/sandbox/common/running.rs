//! A running fake vendor, whichever it is.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::faults::{Faults, InjectedFault};
use super::log::RequestLog;
use super::model::VendorModel;
use super::server::FakeVendor;
use super::system::SandboxSystem;

/// A running fake vendor, whichever it is.
pub trait SandboxVendor: Send + Sync {
    /// The system in front of it.
    fn system(&self) -> SandboxSystem;
    /// The injected faults.
    fn faults(&self) -> &Arc<Faults>;
    /// The received requests.
    fn log(&self) -> &Arc<RequestLog>;
    /// Changes a text of a record as another client would; see [`VendorModel::external_update`].
    fn write_text(&self, record: &[String], text: String) -> bool;
    /// Its response to a write while it is busy.
    fn busy(&self) -> InjectedFault;
}

impl<M: VendorModel> SandboxVendor for FakeVendor<M> {
    fn system(&self) -> SandboxSystem {
        SandboxSystem::of::<M>(self.base_url())
    }

    fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    fn log(&self) -> &Arc<RequestLog> {
        &self.log
    }

    fn write_text(&self, record: &[String], text: String) -> bool {
        let members = Map::from_iter([(M::TEXT_MEMBER.to_owned(), Value::from(text))]);
        self.state.external_update(record, &members)
    }

    fn busy(&self) -> InjectedFault {
        M::busy()
    }
}
