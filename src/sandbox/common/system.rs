//! A system in front of a fake vendor, as the gateway's configuration has it.

use serde_json::Value;

use super::model::VendorModel;

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
