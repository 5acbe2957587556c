//! A vendor may repeat in its error what it was sent, secrets included: they are taken out before anybody reads it. Not only
//! what this very call holds: a vendor that logs a sign-in may show it in the answer to a read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::header::HeaderValue;

use super::{Call, CallName};
use crate::record::{Fault, Secret};

/// What stands in for a secret.
const HIDDEN: &str = "…";
/// Shorter words are no secrets, and hiding them would make the text unreadable.
const SHORTEST: usize = 8;
/// How many tokens are remembered: one that has just been replaced may still be in an answer that is under way.
const TOKENS: usize = 2;

/// All that one system's vendor has been given, or has given, as a secret.
#[derive(Debug)]
pub(super) struct Secrets {
    configured: Vec<Secret>,
    tokens: Mutex<VecDeque<HeaderValue>>,
}

impl Secrets {
    pub(super) fn new(configured: &[Secret]) -> Arc<Self> {
        Arc::new(Self { configured: configured.to_vec(), tokens: Mutex::default() })
    }

    /// A vendor gave this token.
    pub(super) fn add(&self, token: &HeaderValue) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.truncate(TOKENS - 1);
        tokens.push_front(token.clone());
    }

    /// The fault without any secret: those of the system, and those that this call holds in a header that is marked so or in
    /// the body of a sign-in.
    pub(super) fn scrubbed_for(&self, call: &Call, fault: Fault) -> Fault {
        let mut own: Vec<&[u8]> =
            call.headers.iter().filter(|(_, value)| value.is_sensitive()).map(|(_, value)| value.as_bytes()).collect();
        if call.name == CallName::SignIn {
            own.extend(call.body.as_deref());
        }
        self.without(own, fault)
    }

    /// The fault without any secret of the system.
    pub(super) fn scrubbed(&self, fault: Fault) -> Fault {
        self.without(Vec::new(), fault)
    }

    /// Takes every secret of the system out of texts.
    pub(super) fn scrub<'t>(&self, texts: impl Iterator<Item = &'t mut String>) {
        self.hide(Vec::new(), texts);
    }

    fn without(&self, own: Vec<&[u8]>, mut fault: Fault) -> Fault {
        let texts = fault.message.iter_mut().chain(fault.code.iter_mut());
        self.hide(own, texts.chain(fault.invalid.iter_mut().map(|invalid| &mut invalid.detail)));
        fault
    }

    fn hide<'t>(&self, own: Vec<&[u8]>, texts: impl Iterator<Item = &'t mut String>) {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let mut secrets = own;
        secrets.extend(self.configured.iter().map(|secret| secret.expose().as_bytes()));
        secrets.extend(tokens.iter().map(HeaderValue::as_bytes));
        for text in texts {
            if let Some(clean) = without(text, &secrets) {
                *text = clean;
            }
        }
    }
}

/// The text with hidden words, or `None` if there is none to hide. A word that was cut short is found as well.
fn without(text: &str, secrets: &[&[u8]]) -> Option<String> {
    let mut clean = text.to_owned();
    // As a whole first: a secret may hold what ends a word.
    for whole in secrets.iter().filter_map(|secret| std::str::from_utf8(secret).ok()) {
        let bare = whole.strip_prefix("Bearer ").unwrap_or(whole);
        if bare.len() >= SHORTEST {
            clean = clean.replace(bare, HIDDEN);
        }
    }
    let is_secret = |word: &str| {
        word.len() >= SHORTEST
            && secrets.iter().any(|secret| secret.windows(word.len()).any(|part| part == word.as_bytes()))
    };
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "-._~+/=".contains(c))) {
        // A sentence's full stop, or the end of a quoted pair, is not part of the word.
        let bare = word.trim_matches(['.', '=', '/']);
        for form in [word, bare] {
            if is_secret(form) {
                clean = clean.replace(form, HIDDEN);
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
    use crate::record::{FaultKind, Invalid};

    fn told(call: &Call, text: &str) -> String {
        Secrets::new(&[]).scrubbed_for(call, Fault::new(FaultKind::Rejected).message(text)).message.expect("a text")
    }

    #[test]
    fn what_a_vendor_repeats_of_the_secret_is_hidden_and_all_else_is_kept() {
        let mut call = Call::new(CallName::Update, Method::PATCH, "/");
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
            assert_eq!(told(&call, text), expected);
        }
        let fault =
            Fault { invalid: vec![Invalid::at("/fields/A", "not J9-secret_token")], ..Fault::new(FaultKind::Rejected) };
        let scrubbed = Secrets::new(&[]).scrubbed_for(&call, fault.code("c2lnOTHER"));
        assert_eq!((scrubbed.code.as_deref(), &*scrubbed.invalid[0].detail), (Some("c2lnOTHER"), "not …"));
    }

    #[test]
    fn the_body_of_a_sign_in_is_secret_as_a_whole() {
        let call = Call::new(CallName::SignIn, Method::POST, "/").body("client_id=me&client_secret=s3cr3t-of-client");
        assert_eq!(told(&call, "client me with s3cr3t-of-client is unknown"), "client me with … is unknown");
        assert_eq!(told(&call, "client_secret=s3cr3t-of-client"), "…");
    }

    #[test]
    fn what_the_system_holds_is_hidden_on_every_call() {
        let secrets = Secrets::new(&[Secret::new("p@ss:w0rd, with blanks"), Secret::new("short")]);
        for token in ["token-number-one", "token-number-two", "Bearer token-number-three"] {
            secrets.add(&HeaderValue::from_static(token));
        }
        let call = Call::new(CallName::Read, Method::GET, "/");
        let told = |text: &str| {
            let fault = Fault::new(FaultKind::VendorError).message(text);
            let on_the_call = secrets.scrubbed_for(&call, fault.clone()).message;
            assert_eq!(on_the_call, secrets.scrubbed(fault).message);
            on_the_call.expect("a text")
        };
        assert_eq!(told("no p@ss:w0rd, with blanks!"), "no …!");
        assert_eq!(told("short is too short to be one"), "short is too short to be one");
        assert_eq!(told("token-number-three replaced token-number-two"), "… replaced …");
        assert_eq!(told("token-number-one is long gone"), "token-number-one is long gone");
    }
}
