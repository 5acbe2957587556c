//! The cursor of a list: opaque to callers, bound to the query it came from.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::sha256;

const CHECK_BYTES: usize = 6;

/// Makes the cursor of the page of this query that begins at this place, whatever the place means to who lists.
#[must_use]
pub fn seal_cursor(query: &[&str], place: &str) -> String {
    let mut bytes = check(query, place);
    bytes.extend_from_slice(place.as_bytes());
    BASE64.encode(bytes)
}

/// Gives the place back, if the cursor is whole and came from the same query.
#[must_use]
pub fn open_cursor(query: &[&str], cursor: &str) -> Option<String> {
    let bytes = BASE64.decode(cursor).ok()?;
    let (sum, place) = bytes.split_at_checked(CHECK_BYTES)?;
    let place = std::str::from_utf8(place).ok()?;
    (check(query, place) == sum).then(|| place.to_owned())
}

/// Not a secret: it catches what is another query's, or was cut, edited or made up by accident. A forged cursor shows nothing
/// its caller may not list anyway.
fn check(query: &[&str], place: &str) -> Vec<u8> {
    let parts = query.iter().flat_map(|part| [part.as_bytes(), &[0xff]]);
    sha256(parts.chain([place.as_bytes()])).iter().take(CHECK_BYTES).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_serves_only_the_query_it_came_from() {
        let cursor = seal_cursor(&["crm", "a:b:c", "10"], "next");
        assert_eq!(open_cursor(&["crm", "a:b:c", "10"], &cursor).as_deref(), Some("next"));
        for other in
            [&["itsm", "a:b:c", "10"][..], &["crm", "a:b:d", "10"], &["crm", "a:b:c", "11"], &["crm", "a:b:c10"]]
        {
            assert_eq!(open_cursor(other, &cursor), None, "{other:?}");
        }
    }

    #[test]
    fn a_changed_or_cut_cursor_is_refused() {
        let query = ["crm", "a:b:c", "10"];
        let cursor = seal_cursor(&query, "next");
        for index in 0..cursor.len() {
            let mut bytes = cursor.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert_eq!(open_cursor(&query, &changed), None, "changed at {index}");
            assert_eq!(open_cursor(&query, &cursor[..index]), None, "cut at {index}");
        }
    }
}
