//! An issuer of tokens (EdDSA).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::test_config::{JWT_AUDIENCE, JWT_ISSUER};

pub(crate) struct JwtIssuer(Ed25519KeyPair);

impl JwtIssuer {
    pub(crate) fn new() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    /// A JWKS document that holds the public key alone.
    pub(crate) fn jwks(&self, id: &str) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x }] }).to_string()
    }

    pub(crate) fn token(&self, id: &str, subject: &str, scope: &str) -> String {
        let exp = jiff::Timestamp::now().as_second() + 600;
        let claims = json!({ "iss": JWT_ISSUER, "aud": JWT_AUDIENCE, "sub": subject, "exp": exp, "scope": scope });
        self.sign(&json!({ "alg": "EdDSA", "kid": id }), &claims)
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes())))
    }
}
