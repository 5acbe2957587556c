//! Halves of surrogate pairs in vendors' JSON: no Unicode text, so that no reader could take them.
//!
//! A vendor that counts in UTF-16 cuts a text in the middle of a character and sends `\ud83d`
//! alone. One such text would make a record, and every page with it, unreadable. It becomes the
//! replacement character in a spelling that no vendor uses, [`UNREADABLE_TEXT`], so that a warning
//! can name the member.

use bytes::Bytes;
use memchr::memchr;

use crate::record::UNREADABLE_TEXT;

/// The length of `\uXXXX`.
const ESCAPE: usize = 6;

/// The body with [`UNREADABLE_TEXT`] for each half of a pair that stands alone, and these halves.
pub(super) fn replace_lone_surrogates(body: Bytes) -> (Bytes, Vec<u16>) {
    // Most bodies have no escape at all.
    if memchr(b'\\', &body).is_none() {
        return (body, Vec::new());
    }
    let lone = find_lone(&body);
    if lone.is_empty() {
        return (body, Vec::new());
    }
    let mut mended = body.to_vec();
    for (at, _) in &lone {
        if let Some(escape) = mended.get_mut(*at..*at + ESCAPE) {
            escape.copy_from_slice(UNREADABLE_TEXT.as_bytes());
        }
    }
    (mended.into(), lone.into_iter().map(|(_, half)| half).collect())
}

/// Where the escapes of lone halves begin, and the halves. In JSON a backslash stands only in
/// texts.
fn find_lone(body: &[u8]) -> Vec<(usize, u16)> {
    let (mut lone, mut at) = (Vec::new(), 0);
    while let Some(found) = body.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += found;
        at += match (code_unit(body, at), code_unit(body, at + ESCAPE)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 2 * ESCAPE,
            (Some(half @ 0xd800..=0xdfff), _) => {
                lone.push((at, half));
                ESCAPE
            }
            _ => 2,
        };
    }
    lone
}

/// The code unit of the escape `\uXXXX` at this place.
fn code_unit(body: &[u8], at: usize) -> Option<u16> {
    let digits = body.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_halves_that_stand_alone_are_replaced() {
        for (received, expected, halves) in [
            (r#"{"a":"x"}"#, r#"{"a":"x"}"#, &[][..]),
            (r#""Name \ud83d""#, r#""Name \uFFfd""#, &[0xd83d]),
            (
                r#""\uDE00 \uD83D\uDE00 \ud83d\ud83d\ude00""#,
                r#""\uFFfd \uD83D\uDE00 \uFFfd\ud83d\ude00""#,
                &[0xde00, 0xd83d],
            ),
            (r#""\\ud83d \n\u00e9 \\\ud83d""#, r#""\\ud83d \n\u00e9 \\\uFFfd""#, &[0xd83d]),
            (r#""\ud83"#, r#""\ud83"#, &[]),
            (r#""\ud83g \u+d83""#, r#""\ud83g \u+d83""#, &[]),
        ] {
            let (replaced, found) = replace_lone_surrogates(Bytes::from_static(received.as_bytes()));
            assert_eq!((std::str::from_utf8(&replaced), &*found), (Ok(expected), halves), "{received}");
        }
    }
}
