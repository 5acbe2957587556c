//! A vendor as configuration sees it: its settings, and how its adapter is built.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::adapter::Adapter;
use super::capabilities::Capabilities;
use crate::record::{Action, Secret};

/// The form of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingFormat {
    /// Any text.
    Text,
    /// A header value: visible ASCII without spaces (RFC 9110 §5.5).
    Header,
    /// A path that begins with `/`.
    Path,
    /// The address of the host that issues tokens, checked like `base_url`. A vendor has at most
    /// one such setting; requests with [`RequestOrigin::SignIn`](crate::transport::RequestOrigin)
    /// go there.
    SignInUrl,
}

/// A key of `[systems.NAME]` that is specific to a vendor.
#[derive(Clone, Copy, Debug)]
pub struct SettingSpec {
    /// The key.
    pub key: &'static str,
    /// What the value is, in a few words, for the error that the key is missing.
    pub description: &'static str,
    /// The form of the value.
    pub format: SettingFormat,
    /// Whether the value is secret.
    pub is_secret: bool,
    /// Whether the value selects the data, as a tenant's name does and a renewed API key does not.
    pub identifies_tenant: bool,
    /// The default; `None` if the key is required.
    pub default: Option<&'static str>,
}

impl SettingSpec {
    /// A required text that is not secret.
    #[must_use]
    pub const fn text(key: &'static str, description: &'static str) -> Self {
        Self {
            key,
            description,
            format: SettingFormat::Text,
            is_secret: false,
            identifies_tenant: false,
            default: None,
        }
    }

    /// A required secret text.
    #[must_use]
    pub const fn secret(key: &'static str, description: &'static str) -> Self {
        Self { is_secret: true, ..Self::text(key, description) }
    }

    /// The same setting with another form.
    #[must_use]
    pub const fn format(self, format: SettingFormat) -> Self {
        Self { format, ..self }
    }
}

/// The key of the system's address, which every vendor's settings hold besides its own.
pub const BASE_URL: &str = "base_url";

/// The values of a vendor's settings, defaults included, and [`BASE_URL`]. All of them are kept as
/// secrets, because none needs to be printed.
pub type Settings = BTreeMap<&'static str, Secret>;

/// A setting that cannot be used. The error does not repeat the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {detail}")]
pub struct InvalidSetting {
    /// The key.
    pub key: &'static str,
    /// What is wrong, and what would be right.
    pub detail: &'static str,
}

impl InvalidSetting {
    /// An error about a key.
    #[must_use]
    pub fn new(key: &'static str, detail: &'static str) -> Self {
        Self { key, detail }
    }
}

/// Examples for the documentation: a configuration, and bodies that fit the vendor's sandbox.
#[derive(Clone, Copy, Debug)]
pub struct VendorSamples {
    /// The vendor's name for people.
    pub title: &'static str,
    /// The table of a system in an example configuration: every key of the vendor.
    pub configuration: &'static str,
    /// What the merge patch changes, in a few words.
    pub patch_summary: &'static str,
    /// The JSON of a merge patch.
    pub patch: &'static str,
    /// What the create makes, in a few words.
    pub create_summary: &'static str,
    /// The JSON of the body of a create.
    pub create: &'static str,
    /// A record that can be deleted, if the one of `id_example` cannot.
    pub deletable_id: Option<&'static str>,
    /// Records of other collections than the one of `id_example`.
    pub other_ids: &'static [&'static str],
}

/// One vendor: its settings, and how its adapter is built.
#[derive(Clone, Copy, Debug)]
pub struct AdapterFactory {
    /// The vendor's name in `vendor = "…"`.
    pub vendor: &'static str,
    /// The settings that only this vendor has.
    pub settings: &'static [SettingSpec],
    /// Paths that the adapter appends to `base_url` although the vendor's pages show them as a part
    /// of it.
    pub added_paths: &'static [&'static str],
    /// The form of a collection's name, for people.
    pub collection_form: &'static str,
    /// Whether a text has the form of a collection's name.
    pub is_collection: fn(&str) -> bool,
    /// Whether callers never see a member of this name: it is the gateway's business, or has
    /// another shape in `fields`.
    pub is_hidden: fn(&str) -> bool,
    /// An example configuration, and bodies to try out in the sandbox.
    pub samples: VendorSamples,
    /// When the key of a system expires, where the key itself says so.
    pub key_expires: fn(&Settings) -> Option<Timestamp>,
    /// What the vendor can do.
    pub capabilities: &'static Capabilities,
    /// Builds the adapter of one system.
    pub build: fn(&Settings) -> Result<Arc<dyn Adapter>, InvalidSetting>,
}

impl AdapterFactory {
    /// The setting with this key.
    #[must_use]
    pub fn find_setting(&self, key: &str) -> Option<&'static SettingSpec> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// The id of a sample record of a collection; of any collection if it is `None`.
    #[must_use]
    pub fn sample_id(&self, collection: Option<&str>) -> &'static str {
        let first = self.capabilities.id_example;
        let is_in = |id: &&str| id.rsplit_once(':').is_some_and(|(own, _)| collection.is_none_or(|one| one == own));
        [first].iter().chain(self.samples.other_ids).copied().find(is_in).unwrap_or(first)
    }

    /// The losses that an action may cause, as `Accept-Loss` names them.
    #[must_use]
    pub fn losses_of(&self, action: Action) -> Option<String> {
        let losses = self.capabilities.losses.iter().filter(|loss| loss.actions.contains(&action));
        let names: Vec<&str> = losses.map(|loss| loss.name).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// The value of a required setting, which must not be empty.
pub(super) fn require_setting(settings: &Settings, key: &'static str) -> Result<Secret, InvalidSetting> {
    let present = settings.get(key).filter(|value| !value.expose().is_empty());
    present.cloned().ok_or(InvalidSetting::new(key, "is required and must not be empty"))
}
