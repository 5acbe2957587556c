//! Ids as callers write them.

use std::sync::{Arc, LazyLock};

use records_gateway::record::{EntityTag, RecordId, Secret, SystemName, Version};
use records_gateway::vendors::{Adapter, VENDORS};

/// Every vendor's secret.
pub const CREDENTIAL: &str = "0123456789abcdef";

/// An adapter of every vendor.
pub fn adapters() -> &'static [Arc<dyn Adapter>] {
    static ADAPTERS: LazyLock<Vec<Arc<dyn Adapter>>> = LazyLock::new(build_adapters);
    &ADAPTERS
}

fn build_adapters() -> Vec<Arc<dyn Adapter>> {
    let built = VENDORS.iter().map(|entry| {
        let value = |default: Option<&str>| Secret::new(default.unwrap_or(CREDENTIAL));
        let settings = entry.settings.iter().map(|key| (key.key, value(key.default))).collect();
        (entry.build)(&settings).expect("settings that fit")
    });
    built.collect()
}

/// An id that is taken prints as one that is taken and is the same; it holds nothing that would mean something in a path, a
/// field or a log line; and a tag is good for it alone.
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
    for version in [Version::Sequence(7), Version::RowVersion([7; 8]), Version::Digest([7; 16])] {
        let tag = EntityTag::for_version(&system, id, &version);
        assert_eq!(tag.version_for(&system, id).as_ref(), Some(&version));
        assert_eq!(tag.version_for(&system, &elsewhere), None);
    }
}
