//! A fake vendor as the gateway's configuration and the rehearsal of failures see it, whichever it
//! is.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::faults::{Faults, InjectedFault};
use super::log::RequestLog;
use super::model::VendorModel;
use super::server::FakeVendor;

/// A system in front of a fake vendor: a table of the gateway's configuration.
#[derive(Clone, Debug)]
pub struct SandboxSystem {
    /// The system's name.
    pub name: &'static str,
    /// The vendor's name.
    pub vendor: &'static str,
    /// The fake vendor's address.
    pub base_url: String,
    /// The other keys and their values.
    pub settings: Vec<(&'static str, String)>,
}

impl SandboxSystem {
    pub(super) fn of<M: VendorModel>(base_url: String) -> Self {
        Self { name: M::SYSTEM, vendor: M::NAME, settings: M::settings(&base_url), base_url }
    }

    /// The table `[systems.NAME]` as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let quoted = |(key, value): (&str, &str)| format!("{key} = {}\n", Value::from(value));
        let own = [("vendor", self.vendor), ("base_url", self.base_url.as_str())];
        let settings = self.settings.iter().map(|(key, value)| (*key, value.as_str()));
        let lines: String = own.into_iter().chain(settings).map(quoted).collect();
        format!("[systems.{}]\n{lines}", self.name)
    }
}

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
