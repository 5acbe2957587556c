//! Ids as callers write them.

use std::sync::{Arc, LazyLock};

use records_gateway::record::{EntityTag, RecordId, Secret, SystemName, Version};
use records_gateway::vendors::{Adapter, BASE_URL, VENDORS};

/// The value of every secret setting.
pub const CREDENTIAL: &str = "0123456789abcdef";

/// One adapter per vendor.
pub fn adapters() -> &'static [Arc<dyn Adapter>] {
    static ADAPTERS: LazyLock<Vec<Arc<dyn Adapter>>> = LazyLock::new(build_adapters);
    &ADAPTERS
}

fn build_adapters() -> Vec<Arc<dyn Adapter>> {
    let built = VENDORS.iter().map(|entry| {
        let value = |default: Option<&str>| Secret::new(default.unwrap_or(CREDENTIAL));
        let own = entry.settings.iter().map(|key| (key.key, value(key.default)));
        let settings = own.chain([(BASE_URL, Secret::new("https://vendor.example"))]).collect();
        (entry.build)(&settings).expect("valid settings")
    });
    built.collect()
}

/// An accepted id is printed in a canonical form that is accepted as the same id; it contains
/// nothing with a meaning in a path, a header or a log line; and an ETag matches one id alone.
pub fn ids(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (collection, key) = text.rsplit_once(':').unwrap_or((text, text));
    for adapter in adapters() {
        let canonical = adapter.parse_collection(collection);
        if let Some(canonical) = &canonical {
            assert_eq!(adapter.parse_collection(canonical).as_ref(), Some(canonical), "a canonical collection");
            assert!(is_plain(canonical), "{canonical:?}");
        }
        let Some(key) = adapter.parse_key(key) else { continue };
        assert_eq!(adapter.parse_key(&key).as_ref(), Some(&key), "a canonical key");
        assert!(is_plain(&key) && !key.contains(':'), "{key:?}");
        let Some(collection) = canonical else { continue };
        let id = RecordId::new(&collection, &key);
        assert_eq!((id.collection(), id.key()), (collection.as_str(), key.as_str()));
        let (again_collection, again_key) = id.as_str().rsplit_once(':').expect("two parts");
        assert_eq!(adapter.parse_collection(again_collection).as_deref(), Some(collection.as_str()));
        assert_eq!(adapter.parse_key(again_key).as_deref(), Some(key.as_str()));
        check_etags(&id);
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_:".contains(&byte))
}

fn check_etags(id: &RecordId) {
    let system = SystemName::parse("crm").expect("a name");
    let elsewhere = RecordId::new(id.collection(), &format!("{}0", id.key()));
    let text = Version::Text("W/\"7\"".into());
    for version in [Version::Sequence(7), Version::RowVersion([7; 8]), text, Version::Digest([7; 16])] {
        let tag = EntityTag::for_version(&system, id, &version);
        assert_eq!(tag.version_for(&system, id).as_ref(), Some(&version));
        assert_eq!(tag.version_for(&system, &elsewhere), None);
    }
}
