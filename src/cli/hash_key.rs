//! `hash-key`: the digest by which a caller's key stands in the configuration.

use std::io::{Read, Write};

use super::exit::Exit;
use crate::record::sha256;

/// More than any server accepts in a header.
const MAX_KEY_LEN: u64 = 4096;

/// `hash-key`: reads a key, removes the newline that `echo` adds, and prints its `key_sha256`.
pub fn hash_key(input: &mut dyn Read, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let mut bytes = Vec::new();
    if let Err(error) = input.take(MAX_KEY_LEN + 2).read_to_end(&mut bytes) {
        let _ = writeln!(err, "the key cannot be read: {error}");
        return Exit::Failure;
    }
    let key = bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n")).unwrap_or(&bytes);
    let error = if key.is_empty() {
        "the key is empty"
    } else if key.len() as u64 > MAX_KEY_LEN {
        "the key is longer than 4096 bytes"
    } else if !key.iter().all(u8::is_ascii_graphic) {
        "the key has a character that cannot be sent after `Bearer `: use visible ASCII without spaces"
    } else {
        let written = writeln!(out, "{}", const_hex::encode(sha256([key])));
        return written.map_or(Exit::Failure, |()| Exit::Success);
    };
    let _ = writeln!(err, "{error}");
    Exit::UsageError
}
