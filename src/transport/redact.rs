//! Redacts secrets from vendors' texts, before anything logs or returns them.
//!
//! A vendor may repeat in an error what it received, secrets included. It may even show in the
//! response to a read what it logged of a sign-in, so all secrets of the system are redacted from
//! every text.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use actix_web::http::header::HeaderValue;

use super::lock::lock;
use super::request::VendorRequest;
use crate::record::{Secret, VendorError, VendorRequestKind, redact_secrets};

/// Tokens to keep: a response may still contain the token that has just been replaced.
const MAX_TOKENS: usize = 2;

/// The configured secrets and the latest tokens of one system.
#[derive(Debug)]
pub(super) struct SecretRedactor {
    configured: Vec<Secret>,
    tokens: Mutex<VecDeque<HeaderValue>>,
}

impl SecretRedactor {
    pub(super) fn new(configured: &[Secret]) -> Arc<Self> {
        Arc::new(Self { configured: configured.to_vec(), tokens: Mutex::default() })
    }

    /// Adds a token that the vendor issued.
    pub(super) fn add_token(&self, token: &HeaderValue) {
        let mut tokens = lock(&self.tokens);
        tokens.truncate(MAX_TOKENS - 1);
        tokens.push_front(token.clone());
    }

    /// Redacts the secrets of the system and of this request: its sensitive headers and the body of
    /// a sign-in.
    pub(super) fn redact_for_call(&self, request: &VendorRequest, fault: VendorError) -> VendorError {
        let sensitive = request.headers.iter().filter(|(_, value)| value.is_sensitive());
        let mut request_secrets: Vec<&[u8]> = sensitive.map(|(_, value)| value.as_bytes()).collect();
        if request.kind == VendorRequestKind::SignIn {
            request_secrets.extend(request.body.as_deref());
        }
        self.redact_fault_with(request_secrets, fault)
    }

    /// Redacts the secrets of the system.
    pub(super) fn redact_fault(&self, fault: VendorError) -> VendorError {
        self.redact_fault_with(Vec::new(), fault)
    }

    /// Redacts the secrets of the system.
    pub(super) fn redact_texts<'t>(&self, texts: impl Iterator<Item = &'t mut String>) {
        self.redact_in_place(Vec::new(), texts);
    }

    fn redact_fault_with(&self, request_secrets: Vec<&[u8]>, mut fault: VendorError) -> VendorError {
        let texts = fault.message.iter_mut().chain(fault.code.iter_mut());
        self.redact_in_place(request_secrets, texts.chain(fault.invalid.iter_mut().map(|invalid| &mut invalid.detail)));
        fault
    }

    fn redact_in_place<'t>(&self, request_secrets: Vec<&[u8]>, texts: impl Iterator<Item = &'t mut String>) {
        let tokens = lock(&self.tokens);
        let mut secrets = request_secrets;
        secrets.extend(self.configured.iter().map(|secret| secret.expose().as_bytes()));
        secrets.extend(tokens.iter().map(HeaderValue::as_bytes));
        for text in texts {
            if let Some(redacted) = redact_secrets(text, &secrets) {
                *text = redacted;
            }
        }
    }
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
        let mut call = VendorRequest::new(VendorRequestKind::Update, Method::PATCH, "/");
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
        let redacted = SecretRedactor::new(&[]).redact_for_call(&call, fault.code("c2lnOTHER"));
        assert_eq!((redacted.code.as_deref(), &*redacted.invalid[0].detail), (Some("c2lnOTHER"), "not …"));
    }

    #[test]
    fn the_whole_body_of_a_sign_in_is_redacted() {
        let call = VendorRequest::new(VendorRequestKind::SignIn, Method::POST, "/")
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
        let request = VendorRequest::new(VendorRequestKind::Read, Method::GET, "/");
        let redact = |text: &str| {
            let fault = VendorError::new(VendorErrorKind::ServerError).message(text);
            let for_call = secrets.redact_for_call(&request, fault.clone()).message;
            assert_eq!(for_call, secrets.redact_fault(fault).message);
            for_call.expect("a text")
        };
        assert_eq!(redact("no p@ss:w0rd, with blanks!"), "no …!");
        assert_eq!(redact("short is too short to be one"), "short is too short to be one");
        assert_eq!(redact("token-number-three replaced token-number-two"), "… replaced …");
        assert_eq!(redact("token-number-one is long gone"), "token-number-one is long gone");
    }
}
