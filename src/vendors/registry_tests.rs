//! The list of vendors.

use super::*;
use crate::record::Secret;
use crate::vendors::factory::{BASE_URL, SettingFormat, SettingSpec, Settings};

fn complete_settings(factory: &AdapterFactory) -> Settings {
    let own = factory.settings.iter().map(|key| (key.key, key.default.unwrap_or("value")));
    let all = own.chain([(BASE_URL, "https://vendor.example")]);
    all.map(|(key, value)| (key, Secret::new(value))).collect()
}

#[test]
fn every_vendor_is_found_by_name_and_built_from_its_own_settings() {
    for factory in VENDORS {
        let found = find_vendor(factory.vendor).expect("a factory");
        let adapter = (found.build)(&complete_settings(factory)).expect("an adapter");
        assert_eq!(adapter.capabilities().vendor, factory.vendor);
        let capabilities = adapter.capabilities();
        let (collection, key) = capabilities.id_example.rsplit_once(':').expect("collection:key");
        assert!(
            adapter.parse_collection(collection).is_some() && adapter.parse_key(key).is_some(),
            "{}",
            capabilities.id_example
        );
        for text in [collection, "", "a", "A_1", "9a", "a:b:c", "object-definitions", "ä"] {
            assert_eq!((factory.is_collection)(text), adapter.parse_collection(text).is_some(), "{text:?}");
        }
    }
    assert!(find_vendor("Pretectum").is_none());
}

#[test]
fn a_missing_setting_is_named_in_the_error() {
    for factory in VENDORS {
        for key in factory.settings {
            let mut settings = complete_settings(factory);
            settings.remove(key.key);
            assert_eq!((factory.build)(&settings).err().map(|error| error.key), Some(key.key), "{}", factory.vendor);
        }
    }
}

#[test]
fn a_secret_that_no_header_can_carry_is_rejected_and_not_echoed() {
    let is_header = |setting: &&SettingSpec| setting.is_secret && setting.format == SettingFormat::Header;
    let all =
        VENDORS.iter().flat_map(|factory| factory.settings.iter().filter(is_header).map(move |one| (factory, one)));
    for (factory, setting) in all {
        let mut settings = complete_settings(factory);
        settings.insert(setting.key, Secret::new("a\nb"));
        let error = (factory.build)(&settings).err().expect("an error");
        assert_eq!(error.key, setting.key, "{}", factory.vendor);
        assert!(!error.to_string().contains("a\nb"));
    }
}
