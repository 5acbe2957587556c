//! What each vendor needs to be told besides what every system takes: the keys that its adapter names.

use super::section::Section;
use crate::record::Secret;
use crate::vendors::{AdapterFactory, SettingFormat, SettingSpec, Settings, VENDORS};

/// A vendor with the values of its own keys.
#[derive(Clone)]
pub struct VendorConfig {
    /// Which.
    pub factory: &'static AdapterFactory,
    /// Its keys' values, defaults filled in.
    pub settings: Settings,
}

impl std::fmt::Debug for VendorConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_map();
        shown.entry(&"vendor", &self.factory.vendor);
        for (key, value) in &self.settings {
            match self.factory.find_setting(key) {
                Some(setting) if !setting.is_secret => shown.entry(key, &value.expose()),
                _ => shown.entry(key, value),
            };
        }
        shown.finish()
    }
}

impl PartialEq for VendorConfig {
    fn eq(&self, other: &Self) -> bool {
        self.is_same_vendor(other) && self.settings == other.settings
    }
}

impl Eq for VendorConfig {}

impl VendorConfig {
    /// Whether another system is of the same vendor.
    #[must_use]
    pub fn is_same_vendor(&self, other: &Self) -> bool {
        self.factory.vendor == other.factory.vendor
    }

    /// The values of the keys that are so.
    pub fn values_where(&self, are_so: fn(&SettingSpec) -> bool) -> impl Iterator<Item = &Secret> {
        self.factory.settings.iter().filter(move |setting| are_so(setting)).filter_map(|one| self.settings.get(one.key))
    }

    /// Reads the vendor's own keys; `None` if one of them is missing or wrong.
    pub(super) fn read(entry: &'static AdapterFactory, section: &mut Section<'_, '_>) -> Option<Self> {
        // All of them are read, so that all that is wrong is told at once.
        let values: Vec<_> =
            entry.settings.iter().map(|setting| Some((setting.key, value(section, setting)?))).collect();
        Some(Self { factory: entry, settings: values.into_iter().collect::<Option<_>>()? })
    }
}

/// Every vendor by its word.
pub(super) fn words() -> Vec<(&'static str, &'static AdapterFactory)> {
    VENDORS.iter().map(|entry| (entry.vendor, entry)).collect()
}

fn value(section: &mut Section<'_, '_>, setting: &SettingSpec) -> Option<Secret> {
    let given = match setting.default {
        Some(default) if !section.has(setting.key) => {
            section.entry(setting.key);
            return Some(Secret::new(default));
        }
        _ => section.required(setting.key, setting.description)?,
    };
    match setting.format {
        SettingFormat::Text => Some(given.secret()),
        SettingFormat::Header => Some(given.for_header(section.reader)?.secret()),
        SettingFormat::Path if is_path(&given.value) => Some(given.secret()),
        SettingFormat::Path => {
            section.reader.fault(&given.place, format!("{} is not a path", given.shown()), setting.description);
            None
        }
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && !text.contains("//")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\\"<>^`{|}".contains(&byte))
}
