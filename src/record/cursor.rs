//! The cursor of a list: opaque to callers and bound to its query.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::sha256::sha256;

const CHECKSUM_BYTES: usize = 6;

/// Encodes a position in the list of this query. Only the code that lists interprets the position.
#[must_use]
pub fn encode_cursor(query: &[&str], position: &str) -> String {
    let mut bytes = checksum(query, position);
    bytes.extend_from_slice(position.as_bytes());
    BASE64.encode(bytes)
}

/// The position of a cursor; `None` if the cursor is damaged or belongs to another query.
#[must_use]
pub fn decode_cursor(query: &[&str], cursor: &str) -> Option<String> {
    let bytes = BASE64.decode(cursor).ok()?;
    let (sum, position) = bytes.split_at_checked(CHECKSUM_BYTES)?;
    let position = std::str::from_utf8(position).ok()?;
    (checksum(query, position) == sum).then(|| position.to_owned())
}

/// Not a secret: it detects a cursor of another query and a cursor that was cut or edited. A forged
/// cursor shows nothing that its caller may not list anyway.
fn checksum(query: &[&str], position: &str) -> Vec<u8> {
    let parts = query.iter().flat_map(|part| [part.as_bytes(), &[0xff]]);
    sha256(parts.chain([position.as_bytes()])).iter().take(CHECKSUM_BYTES).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_valid_only_for_its_own_query() {
        let cursor = encode_cursor(&["crm", "a:b:c", "10"], "next");
        assert_eq!(decode_cursor(&["crm", "a:b:c", "10"], &cursor).as_deref(), Some("next"));
        for other in
            [&["itsm", "a:b:c", "10"][..], &["crm", "a:b:d", "10"], &["crm", "a:b:c", "11"], &["crm", "a:b:c10"]]
        {
            assert_eq!(decode_cursor(other, &cursor), None, "{other:?}");
        }
    }

    #[test]
    fn a_modified_or_truncated_cursor_is_rejected() {
        let query = ["crm", "a:b:c", "10"];
        let cursor = encode_cursor(&query, "next");
        for index in 0..cursor.len() {
            let mut bytes = cursor.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert_eq!(decode_cursor(&query, &changed), None, "changed at {index}");
            assert_eq!(decode_cursor(&query, &cursor[..index]), None, "cut at {index}");
        }
    }
}
