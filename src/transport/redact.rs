//! A vendor may repeat in its error what it was sent, secrets included: they are taken out before anybody reads it. Not only
//! what this very call holds: a vendor that logs a sign-in may show it in the answer to a read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::header::HeaderValue;

use super::{VendorCallKind, VendorRequest};
use crate::record::{Secret, VendorError};

/// What stands in for a secret.
const MASK: &str = "…";
/// Shorter words are no secrets, and hiding them would make the text unreadable.
const MIN_SECRET_LEN: usize = 8;
/// How many tokens are remembered: one that has just been replaced may still be in an answer that is under way.
const MAX_TOKENS: usize = 2;

/// All that one system's vendor has been given, or has given, as a secret.
#[derive(Debug)]
pub(super) struct SecretRedactor {
    configured: Vec<Secret>,
    tokens: Mutex<VecDeque<HeaderValue>>,
}

impl SecretRedactor {
    pub(super) fn new(configured: &[Secret]) -> Arc<Self> {
        Arc::new(Self { configured: configured.to_vec(), tokens: Mutex::default() })
    }

    /// A vendor gave this token.
    pub(super) fn add_token(&self, token: &HeaderValue) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.truncate(MAX_TOKENS - 1);
        tokens.push_front(token.clone());
    }

    /// The fault without any secret: those of the system, and those that this call holds in a header that is marked so or in
    /// the body of a sign-in.
    pub(super) fn redact_for_call(&self, call: &VendorRequest, fault: VendorError) -> VendorError {
        let mut own: Vec<&[u8]> =
            call.headers.iter().filter(|(_, value)| value.is_sensitive()).map(|(_, value)| value.as_bytes()).collect();
        if call.kind == VendorCallKind::SignIn {
            own.extend(call.body.as_deref());
        }
        self.redact_fault_with(own, fault)
    }

    /// The fault without any secret of the system.
    pub(super) fn redact_fault(&self, fault: VendorError) -> VendorError {
        self.redact_fault_with(Vec::new(), fault)
    }

    /// Takes every secret of the system out of texts.
    pub(super) fn redact_texts<'t>(&self, texts: impl Iterator<Item = &'t mut String>) {
        self.redact_in_place(Vec::new(), texts);
    }

    fn redact_fault_with(&self, own: Vec<&[u8]>, mut fault: VendorError) -> VendorError {
        let texts = fault.message.iter_mut().chain(fault.code.iter_mut());
        self.redact_in_place(own, texts.chain(fault.invalid.iter_mut().map(|invalid| &mut invalid.detail)));
        fault
    }

    fn redact_in_place<'t>(&self, own: Vec<&[u8]>, texts: impl Iterator<Item = &'t mut String>) {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let mut secrets = own;
        secrets.extend(self.configured.iter().map(|secret| secret.expose().as_bytes()));
        secrets.extend(tokens.iter().map(HeaderValue::as_bytes));
        for text in texts {
            if let Some(clean) = redact_text(text, &secrets) {
                *text = clean;
            }
        }
    }
}

/// The text with hidden words, or `None` if there is none to hide. A word that was cut short is found as well.
fn redact_text(text: &str, secrets: &[&[u8]]) -> Option<String> {
    let mut clean = text.to_owned();
    // As a whole first: a secret may hold what ends a word.
    for whole in secrets.iter().filter_map(|secret| std::str::from_utf8(secret).ok()) {
        let bare = whole.strip_prefix("Bearer ").unwrap_or(whole);
        if bare.len() >= MIN_SECRET_LEN {
            clean = clean.replace(bare, MASK);
        }
    }
    let is_secret = |word: &str| {
        word.len() >= MIN_SECRET_LEN
            && secrets.iter().any(|secret| secret.windows(word.len()).any(|part| part == word.as_bytes()))
    };
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "-._~+/=".contains(c))) {
        // A sentence's full stop, or the end of a quoted pair, is not part of the word.
        let bare = word.trim_matches(['.', '=', '/']);
        for form in [word, bare] {
            if is_secret(form) {
                clean = clean.replace(form, MASK);
            }
        }
    }
    (clean != text).then_some(clean)
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::http::header::{AUTHORIZATION, HeaderValue};

    use super::*;
    use crate::record::{FieldError, VendorErrorKind};

    fn redact_message(call: &VendorRequest, text: &str) -> String {
        SecretRedactor::new(&[])
            .redact_for_call(call, VendorError::new(VendorErrorKind::Rejected).message(text))
            .message
            .expect("a text")
    }

    #[test]
    fn an_echoed_secret_is_redacted_and_other_text_is_kept() {
        let mut call = VendorRequest::new(VendorCallKind::Update, Method::PATCH, "/");
        let mut secret = HeaderValue::from_static("Bearer eyJhbGciOi.J9-secret_token.c2ln");
        secret.set_sensitive(true);
        call.headers.push((AUTHORIZATION, secret));
        let call = call.body("{\"Status\":\"Premiumcustomer\"}");
        for (text, expected) in [
            ("the token eyJhbGciOi.J9-secret_token.c2ln. It is no good", "the token …. It is no good"),
            ("bad: \"Bearer eyJhbGciOi.J9-secret_token.c2ln\"", "bad: \"Bearer …\""),
            ("cut: eyJhbGciOi.J9-sec", "cut: …"),
            ("Status Premiumcustomer is unknown", "Status Premiumcustomer is unknown"),
        ] {
            assert_eq!(redact_message(&call, text), expected);
        }
        let fault = VendorError {
            invalid: vec![FieldError::new("/fields/A", "not J9-secret_token")],
            ..VendorError::new(VendorErrorKind::Rejected)
        };
        let scrubbed = SecretRedactor::new(&[]).redact_for_call(&call, fault.code("c2lnOTHER"));
        assert_eq!((scrubbed.code.as_deref(), &*scrubbed.invalid[0].detail), (Some("c2lnOTHER"), "not …"));
    }

    #[test]
    fn the_whole_body_of_a_sign_in_is_redacted() {
        let call = VendorRequest::new(VendorCallKind::SignIn, Method::POST, "/")
            .body("client_id=me&client_secret=s3cr3t-of-client");
        assert_eq!(redact_message(&call, "client me with s3cr3t-of-client is unknown"), "client me with … is unknown");
        assert_eq!(redact_message(&call, "client_secret=s3cr3t-of-client"), "…");
    }

    #[test]
    fn the_systems_secrets_are_redacted_on_every_call() {
        let secrets = SecretRedactor::new(&[Secret::new("p@ss:w0rd, with blanks"), Secret::new("short")]);
        for token in ["token-number-one", "token-number-two", "Bearer token-number-three"] {
            secrets.add_token(&HeaderValue::from_static(token));
        }
        let call = VendorRequest::new(VendorCallKind::Read, Method::GET, "/");
        let told = |text: &str| {
            let fault = VendorError::new(VendorErrorKind::ServerError).message(text);
            let on_the_call = secrets.redact_for_call(&call, fault.clone()).message;
            assert_eq!(on_the_call, secrets.redact_fault(fault).message);
            on_the_call.expect("a text")
        };
        assert_eq!(told("no p@ss:w0rd, with blanks!"), "no …!");
        assert_eq!(told("short is too short to be one"), "short is too short to be one");
        assert_eq!(told("token-number-three replaced token-number-two"), "… replaced …");
        assert_eq!(told("token-number-one is long gone"), "token-number-one is long gone");
    }
}
