//! A set of public keys (RFC 7517), reduced to those that the gateway can use.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// The shortest modulus of an RSA key that is accepted (RFC 7518 §3.3).
const MIN_MODULUS_BYTES: usize = 2048 / 8;

/// One usable key.
pub(super) struct Key {
    id: Option<String>,
    /// The one algorithm that the key is used with, whatever a token says.
    pub(super) algorithm: Algorithm,
    /// The key itself.
    pub(super) public: DecodingKey,
}

/// The usable keys of a document.
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// The number of keys in the document that cannot be used.
    pub(super) ignored: usize,
}

#[derive(Deserialize)]
struct JwksDocument {
    keys: Vec<Value>,
}

impl KeySet {
    /// Parses a document. Keys of other kinds, keys for encryption and keys that are too short are
    /// ignored, as RFC 7517 §5 requires.
    ///
    /// # Errors
    /// Why the document is not a key set.
    pub(super) fn parse(document: &[u8]) -> Result<Self, String> {
        // The parser's own message may quote the document.
        let document: JwksDocument = serde_json::from_slice(document)
            .map_err(|_| "it is not a JSON object with a list `keys` (RFC 7517 §5)".to_owned())?;
        let all = document.keys.len();
        let keys: Vec<Key> = document.keys.into_iter().filter_map(parse_key).collect();
        let ignored = all - keys.len();
        Ok(Self { keys, ignored })
    }

    /// The number of usable keys.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key that a token names. If there is only one key, a token without a key id matches it,
    /// and a key without an id matches every token.
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
    let is_usable = common.key_algorithm.is_none_or(|stated| stated == KeyAlgorithm::from(algorithm))
        && common.public_key_use.as_ref().is_none_or(|stated| *stated == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|stated| stated.contains(&KeyOperations::Verify));
    let public = DecodingKey::from_jwk(&jwk).ok().filter(|key| is_usable && has_valid_length(key))?;
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
