//! A set of public keys (RFC 7517), as far as the gateway can use it.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Below this an RSA key is too weak to be believed (RFC 7518 §3.3), in bytes of the modulus.
const MIN_MODULUS_BYTES: usize = 2048 / 8;

/// One usable key.
pub(super) struct Key {
    id: Option<String>,
    /// The one algorithm it is good for, whatever a token says.
    pub(super) algorithm: Algorithm,
    /// The key itself.
    pub(super) public: DecodingKey,
}

/// The usable keys of a document.
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// How many keys of the document cannot be used here.
    pub(super) ignored: usize,
}

#[derive(Deserialize)]
struct JwksDocument {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a document. Keys that are not for this (of other kinds, for encryption, too short) are left out, as RFC 7517 §5
    /// wants it.
    ///
    /// # Errors
    /// What is wrong with the document as a whole.
    pub(super) fn parse(document: &[u8]) -> Result<Self, String> {
        // The parser's own words may quote the document.
        let document: JwksDocument = serde_json::from_slice(document)
            .map_err(|_| "it is not a JSON object with a list `keys` (RFC 7517 §5)".to_owned())?;
        let all = document.keys.len();
        let keys: Vec<Key> = document.keys.into_iter().filter_map(parse_key).collect();
        let ignored = all - keys.len();
        Ok(Self { keys, ignored })
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key that a token names. A key without a name serves every token, and every key one without a name, if it is the
    /// only one.
    pub(super) fn find(&self, id: Option<&str>) -> Option<&Key> {
        if let [only] = &*self.keys
            && (id.is_none() || only.id.is_none())
        {
            return Some(only);
        }
        let id = id?;
        self.keys.iter().find(|key| key.id.as_deref() == Some(id))
    }
}

fn parse_key(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return None,
    };
    let common = &jwk.common;
    let is_for_this = common.key_algorithm.is_none_or(|stated| stated == KeyAlgorithm::from(algorithm))
        && common.public_key_use.as_ref().is_none_or(|stated| *stated == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|stated| stated.contains(&KeyOperations::Verify));
    let public = DecodingKey::from_jwk(&jwk).ok().filter(|key| is_for_this && has_valid_length(key))?;
    Some(Key { id: jwk.common.key_id, algorithm, public })
}

fn has_valid_length(key: &DecodingKey) -> bool {
    use jsonwebtoken::{AlgorithmFamily, DecodingKeyKind};
    match (key.family(), key.kind()) {
        (AlgorithmFamily::Rsa, DecodingKeyKind::RsaModulusExponent { n, .. }) => {
            n.iter().skip_while(|byte| **byte == 0).count() >= MIN_MODULUS_BYTES
        }
        (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point)) => point.len() == 65,
        (AlgorithmFamily::Ed, DecodingKeyKind::SecretOrDer(point)) => point.len() == 32,
        _ => false,
    }
}
