//! From credentials to a caller.

use std::sync::Arc;
use std::time::Duration;

use crate::access::{ApiKeyAuth, AuthError, CallerStatus, JwtVerifier, KeyError, Principal};
use crate::problem::{Problem, ProblemKind};
use crate::record::CallerName;

/// When a caller may try again whose token's key could not be fetched: the keys are fetched again
/// about then.
const JWKS_RETRY_AFTER: Duration = Duration::from_secs(30);

/// How callers are authenticated (`[access]`).
pub enum Authenticator {
    /// By keys, or not at all where access is open.
    ApiKeys(ApiKeyAuth),
    /// By tokens of an issuer.
    Jwt(Arc<JwtVerifier>),
}

impl Authenticator {
    /// Whether no credentials are needed.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::ApiKeys(keys) if keys.anonymous().is_some())
    }

    /// The caller with this key or token; `None` = no `Authorization: Bearer` was sent.
    ///
    /// # Errors
    /// 401; 503 when the issuer's keys cannot be fetched.
    pub(super) async fn authenticate(&self, bearer: Option<&str>) -> Result<Arc<Principal>, Problem> {
        match self {
            Self::ApiKeys(keys) => {
                if let Some(anonymous) = keys.anonymous() {
                    return Ok(anonymous);
                }
                keys.authenticate(bearer.ok_or_else(missing_credentials)?).map_err(|error| match error {
                    KeyError::Unknown => unauthenticated("this gateway does not know the key in Authorization"),
                    KeyError::Expired => unauthenticated("this key has expired"),
                })
            }
            Self::Jwt(verifier) => {
                let token = bearer.ok_or_else(|| unauthenticated("send Authorization: Bearer TOKEN"))?;
                verifier.authenticate(token).await.map_err(|error| match error {
                    AuthError::Token(why) => {
                        unauthenticated(&format!("the token in Authorization is not accepted: {why}"))
                    }
                    AuthError::KeysUnavailable => ProblemKind::Overloaded
                        .with_detail("the keys that tokens are checked with cannot be fetched at the moment")
                        .retry_after(JWKS_RETRY_AFTER),
                })
            }
        }
    }
}

impl Authenticator {
    /// The caller's name if the configuration has it: names of tokens are no closed set.
    pub(super) fn configured_name<'c>(&self, caller: &'c Principal) -> Option<&'c CallerName> {
        match self {
            Self::ApiKeys(_) => Some(caller.name()),
            Self::Jwt(_) => None,
        }
    }

    /// Whether callers have tokens, whose permissions no configuration holds.
    pub(super) fn has_tokens(&self) -> bool {
        matches!(self, Self::Jwt(_))
    }

    /// What the caller of a stored batch may do now. With keys it is what the configuration says: a
    /// caller that it does not name any more may do nothing. The permissions of a token are those
    /// that it had when the batch was accepted.
    pub(super) async fn current_principal(&self, stored: &Principal, had_token: bool) -> Arc<Principal> {
        match self {
            Self::ApiKeys(keys) if !had_token => {
                keys.principal(stored.name()).unwrap_or_else(|| Arc::new(stored.without_permissions()))
            }
            Self::Jwt(verifier) if had_token => Arc::new(verifier.limit(stored.clone()).await),
            _ => Arc::new(stored.without_permissions()),
        }
    }

    /// The configured callers; none with tokens and where access is open.
    #[must_use]
    pub fn callers(&self) -> Vec<CallerStatus> {
        match self {
            Self::ApiKeys(keys) => keys.callers(),
            Self::Jwt(_) => Vec::new(),
        }
    }
}

/// 401 for a request without credentials.
pub(super) fn missing_credentials() -> Problem {
    unauthenticated("send Authorization: Bearer KEY")
}

fn unauthenticated(detail: &str) -> Problem {
    ProblemKind::Unauthenticated.with_detail(detail)
}
