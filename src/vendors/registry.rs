//! Which vendors there are, one line each, and all that configuration has to know of one. A new vendor is a folder, a line here,
//! a stand-in and golden pairs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Adapter, bluedolphin, matrix42, pretectum};
use crate::record::Secret;

/// What a key may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingFormat {
    /// Any text.
    Text,
    /// What can stand in a header: visible ASCII without spaces (RFC 9110 §5.5).
    Header,
    /// A path, beginning with `/`.
    Path,
}

/// A key of `[systems.NAME]` that one vendor needs besides those that every system takes.
#[derive(Clone, Copy, Debug)]
pub struct SettingSpec {
    /// The key.
    pub key: &'static str,
    /// What it is, in a few words, for the message that it is missing.
    pub description: &'static str,
    /// What it may hold.
    pub format: SettingFormat,
    /// Whether it is hidden wherever it turns up.
    pub is_secret: bool,
    /// Whether it tells whose data are meant, as a tenant does; a renewed key does not.
    pub identifies_tenant: bool,
    /// What it is when left out; `None` = it is required.
    pub default: Option<&'static str>,
}

impl SettingSpec {
    /// A required text that is no secret.
    #[must_use]
    pub const fn text(key: &'static str, meaning: &'static str) -> Self {
        Self {
            key,
            description: meaning,
            format: SettingFormat::Text,
            is_secret: false,
            identifies_tenant: false,
            default: None,
        }
    }

    /// A required text that only the gateway and the vendor may know.
    #[must_use]
    pub const fn secret(key: &'static str, meaning: &'static str) -> Self {
        Self { is_secret: true, ..Self::text(key, meaning) }
    }

    /// The same, in another form.
    #[must_use]
    pub const fn format(self, form: SettingFormat) -> Self {
        Self { format: form, ..self }
    }
}

/// The values of a vendor's keys, defaults filled in. All are kept as secrets: nothing of them is ever worth printing.
pub type Settings = BTreeMap<&'static str, Secret>;

/// A setting that cannot be used. Does not repeat the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {detail}")]
pub struct InvalidSetting {
    /// Which key.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub detail: &'static str,
}

impl InvalidSetting {
    /// A finding about a key.
    #[must_use]
    pub fn new(key: &'static str, detail: &'static str) -> Self {
        Self { key, detail }
    }
}

/// One vendor, as configuration sees it.
#[derive(Clone, Copy, Debug)]
pub struct AdapterFactory {
    /// The word in `vendor = "…"`.
    pub vendor: &'static str,
    /// Its own keys.
    pub settings: &'static [SettingSpec],
    /// What the adapter puts after `base_url` and vendors' pages show as part of it.
    pub added_paths: &'static [&'static str],
    /// The form of a collection, for people.
    pub collection_form: &'static str,
    /// Whether a text is a collection of this vendor.
    pub is_collection: fn(&str) -> bool,
    /// Makes the adapter of one system.
    pub build: fn(&Settings) -> Result<Arc<dyn Adapter>, InvalidSetting>,
}

/// Every vendor.
pub const VENDORS: &[AdapterFactory] = &[pretectum::FACTORY, bluedolphin::FACTORY, matrix42::FACTORY];

/// The vendor of a word.
#[must_use]
pub fn find_vendor(word: &str) -> Option<&'static AdapterFactory> {
    VENDORS.iter().find(|entry| entry.vendor == word)
}

impl AdapterFactory {
    /// The key of a name.
    #[must_use]
    pub fn find_setting(&self, name: &str) -> Option<&'static SettingSpec> {
        self.settings.iter().find(|setting| setting.key == name)
    }
}

/// The value of a key that must be there and not be empty.
pub(super) fn require_setting(settings: &Settings, key: &'static str) -> Result<Secret, InvalidSetting> {
    let present = settings.get(key).filter(|value| !value.expose().is_empty());
    present.cloned().ok_or(InvalidSetting::new(key, "is required and must not be empty"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete_settings(entry: &AdapterFactory) -> Settings {
        entry.settings.iter().map(|key| (key.key, Secret::new(key.default.unwrap_or("value")))).collect()
    }

    #[test]
    fn every_vendor_is_found_by_name_and_built_from_its_own_settings() {
        for entry in VENDORS {
            let found = find_vendor(entry.vendor).expect("an entry");
            let adapter = (found.build)(&complete_settings(entry)).expect("an adapter");
            assert_eq!(adapter.capabilities().vendor, entry.vendor);
            let profile = adapter.capabilities();
            let (collection, key) = profile.id_example.rsplit_once(':').expect("collection:key");
            assert!(
                adapter.parse_collection(collection).is_some() && adapter.parse_key(key).is_some(),
                "{}",
                profile.id_example
            );
            for text in [collection, "", "a", "A_1", "9a", "a:b:c", "object-definitions", "ä"] {
                assert_eq!((entry.is_collection)(text), adapter.parse_collection(text).is_some(), "{text:?}");
            }
        }
        assert!(find_vendor("Pretectum").is_none());
    }

    #[test]
    fn a_missing_setting_is_named_in_the_error() {
        for entry in VENDORS {
            for key in entry.settings {
                let mut settings = complete_settings(entry);
                settings.remove(key.key);
                assert_eq!((entry.build)(&settings).err().map(|wrong| wrong.key), Some(key.key), "{}", entry.vendor);
            }
        }
    }

    #[test]
    fn a_secret_that_no_header_can_carry_is_rejected_and_not_echoed() {
        for (word, key) in [("bluedolphin", "api_key"), ("matrix42", "api_token")] {
            let entry = find_vendor(word).expect("an entry");
            let mut settings = complete_settings(entry);
            settings.insert(key, Secret::new("a\nb"));
            let wrong = (entry.build)(&settings).err().expect("refused");
            assert_eq!(wrong.key, key);
            assert!(!wrong.to_string().contains("a\nb"));
        }
    }
}
