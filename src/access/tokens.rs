//! Who a caller is, by a signed token (JWT, RFC 7519) of an issuer that the operator trusts.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use moka::future::Cache;
use serde::Deserialize;
use serde_json::{Number, Value};

use super::CallerRights;
use super::jwks::Key;
use super::key_store::{KeySource, KeyStore, Numbered};
use super::ring;
use crate::config::{Allow, Jwt};
use crate::record::{CallerName, sha256};

/// How far the issuer's clock may be off, in seconds.
const LEEWAY: f64 = 30.0;
/// OpenID Connect Core §2: `sub` has at most 255 ASCII characters.
const LONGEST_NAME: usize = 255;
/// Verdicts that are kept: a signature costs more to check than the rest of a request.
const REMEMBERED: u64 = 10_000;
/// While there are no keys at all they are asked for this often.
const WITHOUT_KEYS: Duration = Duration::from_secs(5);
/// So often keys are fetched without a reason, so that one that was withdrawn does not stay good for ever.
const FRESH_FOR: Duration = Duration::from_mins(10);

/// Why a token's bearer is nobody. Never holds a part of the token.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The token is not good; what is wrong with it.
    Token(&'static str),
    /// It cannot be told: the keys cannot be had.
    KeysAway,
}

/// Checks tokens.
pub struct Tokens {
    keys: Arc<KeyStore>,
    issuer: String,
    audience: String,
    /// By SHA-256 of the token: the token itself is kept nowhere.
    verified: Cache<[u8; 32], Verified>,
}

#[derive(Clone)]
struct Verified {
    keys: u64,
    until: f64,
    rights: Arc<CallerRights>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: Number,
    nbf: Option<Number>,
    scope: Option<Value>,
}

impl Tokens {
    /// Takes `[access.jwt]` and where its keys come from. There are none before the first [`refresh`](Self::refresh).
    #[must_use]
    pub fn new(jwt: &Jwt, source: Arc<dyn KeySource>) -> Self {
        ring::lend();
        Self {
            keys: KeyStore::new(source),
            issuer: jwt.issuer.clone(),
            audience: jwt.audience.clone(),
            verified: Cache::builder().max_capacity(REMEMBERED).build(),
        }
    }

    /// Fetches the keys if it is time to. Call this every few seconds, inside a `LocalSet` or an actix system.
    pub async fn keep_fresh(&self) {
        let patience = if self.keys.current().is_some() { FRESH_FOR } else { WITHOUT_KEYS };
        self.keys.fetch_unless_within(patience).await;
    }

    /// Fetches the keys now: at the start, and when their file has changed.
    pub async fn refresh(&self) {
        self.keys.fetch_unless_within(Duration::ZERO).await;
    }

    /// The caller who has this token (what stands after `Bearer `).
    ///
    /// # Errors
    /// Why the token is not taken.
    pub async fn authenticate(&self, token: &str) -> Result<Arc<CallerRights>, Refusal> {
        let digest = sha256([token.as_bytes()]);
        let now = seconds_since_epoch();
        let number = self.keys.current().map(|keys| keys.number);
        if let Some(known) = self.verified.get(&digest).await
            && Some(known.keys) == number
            && now < known.until
        {
            return Ok(known.rights);
        }
        let verified = self.verify(token, now).await?;
        let rights = Arc::clone(&verified.rights);
        self.verified.insert(digest, verified).await;
        Ok(rights)
    }

    async fn verify(&self, token: &str, now: f64) -> Result<Verified, Refusal> {
        let Ok(header) = decode_header(token) else {
            return Err(Refusal::Token("it is not a JWT signed with RS256, ES256 or EdDSA"));
        };
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA) {
            return Err(Refusal::Token("its algorithm is not RS256, ES256 or EdDSA"));
        }
        // RFC 7515 §4.1.11: what is critical and not understood refuses the token.
        if header.crit.is_some() {
            return Err(Refusal::Token("it demands an extension (`crit`) that the gateway does not know"));
        }
        let keys = self.keys_with(header.kid.as_deref()).await?;
        let key = keys.keys.find(header.kid.as_deref()).ok_or(UNKNOWN_KEY)?;
        if key.algorithm != header.alg {
            return Err(Refusal::Token("its algorithm is not that of its key"));
        }
        let claims = self.claims(token, key)?;
        let (rights, until) = caller(&claims, now)?;
        Ok(Verified { keys: keys.number, until, rights: Arc::new(rights) })
    }

    /// A set that has the key of this id, fetched anew if need be.
    async fn keys_with(&self, id: Option<&str>) -> Result<Arc<Numbered>, Refusal> {
        let known = || self.keys.current().filter(|held| held.keys.find(id).is_some());
        if let Some(keys) = known() {
            return Ok(keys);
        }
        self.keys.look_for_new().await;
        known().ok_or_else(|| if self.keys.may_be_behind() { Refusal::KeysAway } else { UNKNOWN_KEY })
    }

    /// Signature, issuer and audience.
    fn claims(&self, token: &str, key: &Key) -> Result<Claims, Refusal> {
        let mut validation = Validation::new(key.algorithm);
        validation.set_required_spec_claims(&["iss", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        // The library cannot read numbers where serde_json keeps their digits, as it does here: times are checked below.
        validation.validate_exp = false;
        let decoded = decode::<Claims>(token, &key.public, &validation);
        decoded.map(|data| data.claims).map_err(|error| {
            Refusal::Token(match error.kind() {
                ErrorKind::InvalidSignature => "its signature is wrong",
                ErrorKind::InvalidIssuer => "it is from another issuer",
                ErrorKind::InvalidAudience => "it is for another audience",
                ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => "it has no issuer (`iss`)",
                ErrorKind::MissingRequiredClaim(_) => "it has no audience (`aud`)",
                ErrorKind::Json(_) => "its claims are not an object with `sub` (a string) and `exp` (a number)",
                _ => "it cannot be verified",
            })
        })
    }
}

const UNKNOWN_KEY: Refusal = Refusal::Token("its key (`kid`) is not in the issuer's JWKS");

/// Time, name and rights; and until when they hold.
fn caller(claims: &Claims, now: f64) -> Result<(CallerRights, f64), Refusal> {
    let until = seconds(&claims.exp).ok_or(Refusal::Token("its `exp` is not a time"))? + LEEWAY;
    if now >= until {
        return Err(Refusal::Token("it has expired"));
    }
    if let Some(not_before) = &claims.nbf {
        let from = seconds(not_before).ok_or(Refusal::Token("its `nbf` is not a time"))? - LEEWAY;
        if now < from {
            return Err(Refusal::Token("it is not valid yet"));
        }
    }
    let name = &*claims.sub;
    if name.trim().is_empty() {
        return Err(Refusal::Token("it names nobody: `sub` is empty"));
    }
    if name.len() > LONGEST_NAME || name.chars().any(char::is_control) || name == crate::config::ANONYMOUS {
        return Err(Refusal::Token("its `sub` cannot be a caller's name"));
    }
    Ok((CallerRights::new(CallerName(name.into()), &allowed(claims.scope.as_ref())), until))
}

/// The `system:action` words of `scope`; an issuer puts other words there too.
fn allowed(scope: Option<&Value>) -> Vec<Allow> {
    match scope {
        Some(Value::String(words)) => words.split(' ').filter_map(Allow::of_word).collect(),
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).filter_map(Allow::of_word).collect(),
        _ => Vec::new(),
    }
}

fn seconds(number: &Number) -> Option<f64> {
    number.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
}

fn seconds_since_epoch() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
