//! A vendor may repeat in its error what it was sent, secrets included: they are taken out before anybody reads it.

use super::{Call, CallName};
use crate::record::Fault;

/// What stands in for a secret.
const HIDDEN: &str = "…";
/// Shorter words are no secrets, and hiding them would make the text unreadable.
const SHORTEST: usize = 8;

/// The fault without the words that the call holds as secrets: in a header that is marked so, or in the body of a sign-in. A
/// word that was cut short is found as well.
pub(super) fn scrubbed(call: &Call, mut fault: Fault) -> Fault {
    let mut secrets: Vec<&[u8]> =
        call.headers.iter().filter(|(_, value)| value.is_sensitive()).map(|(_, value)| value.as_bytes()).collect();
    if call.name == CallName::SignIn {
        secrets.extend(call.body.as_deref());
    }
    let texts = fault.message.iter_mut().chain(fault.code.iter_mut());
    for text in texts.chain(fault.invalid.iter_mut().map(|invalid| &mut invalid.detail)) {
        if let Some(clean) = without(text, &secrets) {
            *text = clean;
        }
    }
    fault
}

/// The text with hidden words, or `None` if there is none to hide.
fn without(text: &str, secrets: &[&[u8]]) -> Option<String> {
    let is_secret = |word: &str| {
        word.len() >= SHORTEST
            && secrets.iter().any(|secret| secret.windows(word.len()).any(|part| part == word.as_bytes()))
    };
    let mut clean = text.to_owned();
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
        scrubbed(call, Fault::new(FaultKind::Rejected).message(text)).message.expect("a text")
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
        assert_eq!(scrubbed(&call, fault.code("c2lnOTHER")).code.as_deref(), Some("c2lnOTHER"));
    }

    #[test]
    fn the_body_of_a_sign_in_is_secret_as_a_whole() {
        let call = Call::new(CallName::SignIn, Method::POST, "/").body("client_id=me&client_secret=s3cr3t-of-client");
        assert_eq!(told(&call, "client me with s3cr3t-of-client is unknown"), "client me with … is unknown");
        assert_eq!(told(&call, "client_secret=s3cr3t-of-client"), "…");
    }
}
