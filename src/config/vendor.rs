//! The keys of `[systems.NAME]` that belong to its vendor: those that the vendor's adapter lists.

use super::table_reader::TableReader;
use super::value_error::list_alternatives;
use crate::record::Secret;
use crate::vendors::{AdapterFactory, SettingFormat, SettingSpec, Settings, VENDORS};

/// A vendor with the values of its own keys.
#[derive(Clone)]
pub struct VendorConfig {
    /// The vendor.
    pub factory: &'static AdapterFactory,
    /// The values of its keys, with defaults filled in.
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

    /// The values of the keys for which `predicate` holds.
    pub fn values_where(&self, predicate: fn(&SettingSpec) -> bool) -> impl Iterator<Item = &Secret> {
        let specs = self.factory.settings.iter().filter(move |spec| predicate(spec));
        specs.filter_map(|spec| self.settings.get(spec.key))
    }

    /// The key and the value of the host that issues tokens, if the vendor has one of its own.
    pub(super) fn sign_in_url(&self) -> Option<(&'static str, &Secret)> {
        let spec = self.factory.settings.iter().find(|spec| spec.format == SettingFormat::SignInUrl)?;
        Some((spec.key, self.settings.get(spec.key)?))
    }

    /// Reads the vendor's own keys; `None` if one of them is missing or wrong.
    pub(super) fn read(factory: &'static AdapterFactory, table: &TableReader<'_>) -> Option<Self> {
        // All of them are read before one is missed, so that every error is reported.
        let values: Vec<_> = factory.settings.iter().map(|spec| Some((spec.key, read_setting(table, spec)?))).collect();
        Some(Self { factory, settings: values.into_iter().collect::<Option<_>>()? })
    }
}

/// Every vendor's name, for error messages.
pub(super) fn vendor_choices() -> String {
    list_alternatives(&VENDORS.iter().map(|factory| factory.vendor).collect::<Vec<_>>())
}

fn read_setting(table: &TableReader<'_>, spec: &SettingSpec) -> Option<Secret> {
    if let (Some(default), None) = (spec.default, table.get(spec.key)) {
        return Some(Secret::new(default));
    }
    let text = table.required_text(spec.key, spec.description)?;
    let (message, expected) = match spec.format {
        SettingFormat::Header if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            ("holds a character that cannot be sent in a header", "visible ASCII characters, no spaces")
        }
        SettingFormat::Path if !is_path(&text) => ("is not a path", spec.description),
        SettingFormat::Text | SettingFormat::Header | SettingFormat::Path | SettingFormat::SignInUrl => {
            return Some(Secret::new(text));
        }
    };
    table.error(spec.key, message, expected);
    None
}

fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && !text.contains("//")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\\"<>^`{|}".contains(&byte))
}
