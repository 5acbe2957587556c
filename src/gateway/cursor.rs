//! The cursor of a list: opaque to callers, bound to the query it came from.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use crate::record::sha256;

/// What a cursor holds.
#[derive(Serialize, Deserialize)]
struct Held {
    system: String,
    collection: String,
    limit: usize,
    vendor: String,
}

const CHECK_BYTES: usize = 6;

/// Makes the cursor of the page that begins where the vendor's cursor says.
pub(super) fn seal(system: &str, collection: &str, limit: usize, vendor: String) -> String {
    let held = Held { system: system.to_owned(), collection: collection.to_owned(), limit, vendor };
    let text = serde_json::to_string(&held).unwrap_or_default();
    let mut bytes = check(text.as_bytes());
    bytes.extend_from_slice(text.as_bytes());
    BASE64.encode(bytes)
}

/// Gives the vendor's cursor back, if this one is whole and came from the same query.
pub(super) fn open(system: &str, collection: &str, limit: usize, cursor: &str) -> Option<String> {
    let bytes = BASE64.decode(cursor).ok()?;
    let (sum, text) = bytes.split_at_checked(CHECK_BYTES)?;
    if check(text) != sum {
        return None;
    }
    let held: Held = serde_json::from_slice(text).ok()?;
    let same = held.system == system && held.collection == collection && held.limit == limit;
    same.then_some(held.vendor)
}

/// Not a secret: it catches what was cut, edited or made up by accident. A forged cursor shows nothing its caller may not
/// list anyway.
fn check(text: &[u8]) -> Vec<u8> {
    sha256([text]).iter().take(CHECK_BYTES).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_serves_only_the_query_it_came_from() {
        let cursor = seal("crm", "a:b:c", 10, "next".to_owned());
        assert_eq!(open("crm", "a:b:c", 10, &cursor).as_deref(), Some("next"));
        assert_eq!(open("itsm", "a:b:c", 10, &cursor), None);
        assert_eq!(open("crm", "a:b:d", 10, &cursor), None);
        assert_eq!(open("crm", "a:b:c", 11, &cursor), None);
    }

    #[test]
    fn a_changed_or_cut_cursor_is_refused() {
        let cursor = seal("crm", "a:b:c", 10, "next".to_owned());
        for index in 0..cursor.len() {
            let mut bytes = cursor.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert_eq!(open("crm", "a:b:c", 10, &changed), None, "changed at {index}");
            assert_eq!(open("crm", "a:b:c", 10, &cursor[..index]), None, "cut at {index}");
        }
    }
}
