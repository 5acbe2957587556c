//! Authentication of callers by key or token, their permissions and their limits.

mod jwks;
mod jwks_cache;
mod jwt;
mod jwt_crypto;
mod keys;
mod principal;
mod quota;

pub use crate::config::Permission;
pub use jwks_cache::JwksSource;
pub use jwt::{AuthError, JwtVerifier};
pub use keys::{ApiKeyAuth, CallerStatus, KeyError};
pub use principal::Principal;
pub use quota::{AdmittedRequest, CallerQuota, QuotaExceeded, QuotaPolicy, RateUsage};
