//! The keys of `[systems.NAME]` that belong to its vendor: those that the vendor's adapter lists.

use super::spanned_value::SpannedValue;
use super::table_reader::TableReader;
use super::value_error::list_alternatives;
use crate::record::Secret;
use crate::vendors::{AdapterFactory, BASE_URL, SettingFormat, SettingSpec, Settings, VENDORS};

const TWO_SECRETS: &str = "one value, or a list of two: the second is used while the vendor rejects the first";

/// A vendor with the values of its own keys.
#[derive(Clone)]
pub struct VendorConfig {
    /// The vendor.
    pub factory: &'static AdapterFactory,
    /// The values of its keys, with defaults filled in.
    pub settings: Settings,
    /// The same with the second value of each secret that has two.
    pub second_settings: Option<Settings>,
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
        self.is_same_vendor(other) && self.settings == other.settings && self.second_settings == other.second_settings
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
        let values: Vec<_> = factory.settings.iter().map(|spec| Some((spec.key, read_values(table, spec)?))).collect();
        let values: Vec<_> = values.into_iter().collect::<Option<_>>()?;
        let has_second = values.iter().any(|(_, (_, second))| second.is_some());
        let settings: Settings = values.iter().map(|(key, (first, _))| (*key, first.clone())).collect();
        let second = values.into_iter().map(|(key, (first, second))| (key, second.unwrap_or(first)));
        Some(Self { factory, settings, second_settings: has_second.then(|| second.collect()) })
    }

    /// Completes the settings with the system's address.
    pub(super) fn set_base_url(&mut self, url: &str) {
        for settings in std::iter::once(&mut self.settings).chain(self.second_settings.as_mut()) {
            settings.insert(BASE_URL, Secret::new(url));
        }
    }

    /// All values of the keys that are secret.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let second = self.second_settings.iter().flat_map(|settings| {
            let specs = self.factory.settings.iter().filter(|spec| spec.is_secret);
            specs.filter_map(|spec| settings.get(spec.key))
        });
        self.values_where(|spec| spec.is_secret).chain(second)
    }
}

/// Every vendor's name, for error messages.
pub(super) fn vendor_choices() -> String {
    list_alternatives(&VENDORS.iter().map(|factory| factory.vendor).collect::<Vec<_>>())
}

/// The values of one key: a secret may have two.
fn read_values(table: &TableReader<'_>, spec: &SettingSpec) -> Option<(Secret, Option<Secret>)> {
    let value = table.get(spec.key).filter(|value| spec.is_secret && value.value.is_array());
    let Some(value) = value else { return Some((read_setting(table, spec)?, None)) };
    let values = value.elements(TWO_SECRETS)?;
    if values.len() > 2 {
        value.error("has more than two values", TWO_SECRETS);
        return None;
    }
    let read = |value: &SpannedValue<'_>| {
        let text: String = value.read()?;
        match check_text(spec, text) {
            Ok(secret) => Some(secret),
            Err((message, expected)) => {
                value.error(message, expected);
                None
            }
        }
    };
    let secrets: Vec<Option<Secret>> = values.iter().map(read).collect();
    let mut secrets = secrets.into_iter().collect::<Option<Vec<_>>>()?.into_iter();
    Some((secrets.next()?, secrets.next()))
}

fn read_setting(table: &TableReader<'_>, spec: &SettingSpec) -> Option<Secret> {
    if let (Some(default), None) = (spec.default, table.get(spec.key)) {
        return Some(Secret::new(default));
    }
    let text = table.required_text(spec.key, spec.description)?;
    let checked = check_text(spec, text);
    checked.map_err(|(message, expected)| table.error(spec.key, message, expected)).ok()
}

fn check_text(spec: &SettingSpec, text: String) -> Result<Secret, (&'static str, &'static str)> {
    match spec.format {
        _ if text.is_empty() => Err(("is empty", spec.description)),
        SettingFormat::Header if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(("holds a character that cannot be sent in a header", "visible ASCII characters, no spaces"))
        }
        SettingFormat::Path if !is_path(&text) => Err(("is not a path", spec.description)),
        SettingFormat::Text | SettingFormat::Header | SettingFormat::Path | SettingFormat::SignInUrl => {
            Ok(Secret::new(text))
        }
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && !text.contains("//")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\\"<>^`{|}".contains(&byte))
}
