//! SHA-256 from `ring`, a dependency of TLS anyway. Without processor support its assembly costs
//! less than half of portable Rust.

use ring::digest::{Context, SHA256};

/// The hash of the concatenated parts.
#[must_use]
pub fn sha256<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_matches_fips_180_for_any_split_of_the_input() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(const_hex::encode(sha256([&b"abc"[..]])), known);
        assert_eq!(const_hex::encode(sha256([&b"a"[..], b"", b"bc"])), known);
    }
}
