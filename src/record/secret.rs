//! Values that must not be printed, and how they are taken out of texts.

use std::fmt;

/// What a reader sees instead of a secret.
const MASK: &str = "…";
/// Shorter words are not recognized as parts of secrets: hiding them would make texts unreadable.
const MIN_WORD_LEN: usize = 8;

/// A secret. `Debug` prints `"…"`, there is no `Display`, and only [`Secret::expose`] gives the
/// value.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The value itself, for the code that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{MASK}\"")
    }
}

/// Replaces every occurrence of a secret, of any length, with `…`. A leading `Bearer ` is not part
/// of the secret.
#[must_use]
pub fn hide_secret(text: &str, secret: &str) -> String {
    let secret = secret.strip_prefix("Bearer ").unwrap_or(secret);
    if secret.is_empty() { text.to_owned() } else { text.replace(secret, MASK) }
}

/// Replaces every secret, and every word that is a part of one (a vendor may cut a text short),
/// with `…`. Secrets and words of fewer than 8 characters stay.
///
/// `None` if the text holds no secret.
#[must_use]
pub fn redact_secrets(text: &str, secrets: &[&[u8]]) -> Option<String> {
    let mut clean = text.to_owned();
    // Whole secrets first: one may hold characters that end a word.
    for secret in secrets.iter().filter_map(|secret| std::str::from_utf8(secret).ok()) {
        if secret.trim_start_matches("Bearer ").len() >= MIN_WORD_LEN {
            clean = hide_secret(&clean, secret);
        }
    }
    let is_part = |word: &str| {
        word.len() >= MIN_WORD_LEN
            && secrets.iter().any(|secret| secret.windows(word.len()).any(|part| part == word.as_bytes()))
    };
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "-._~+/=".contains(c))) {
        // A full stop, or the end of a quoted pair, is not part of the word.
        for form in [word, word.trim_matches(['.', '=', '/'])] {
            if is_part(form) {
                clean = clean.replace(form, MASK);
            }
        }
    }
    (clean != text).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_whole_or_in_parts() {
        assert_eq!(format!("{:?}", Secret::new("s3cret")), "\"…\"");
        assert_eq!(hide_secret("no client with s3cret", "Bearer s3cret"), "no client with …");
        assert_eq!(hide_secret("text", ""), "text");
        let secrets = [&b"p@ss:w0rd, with blanks"[..], b"short"];
        assert_eq!(redact_secrets("no p@ss:w0rd, with blanks!", &secrets).as_deref(), Some("no …!"));
        assert_eq!(redact_secrets("short is too short to be one", &secrets), None);
    }
}
