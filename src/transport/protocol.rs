//! What the layers need to know about a vendor's protocol.

use actix_web::http::header::HeaderValue;
use async_trait::async_trait;
use tokio::time::Instant;

use super::layer::Transport;
use super::request::VendorRequest;
use super::response::VendorResponse;
use crate::record::VendorError;

/// A vendor's access token or API key. Its `Debug` output does not show the secret.
#[derive(Clone)]
pub struct Token {
    /// The header value, or the secret part of it.
    pub secret: HeaderValue,
    /// When the vendor stops accepting it; `None` = an API key that does not expire.
    pub expires: Option<Instant>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Token").field("secret", &"…").field("expires", &self.expires).finish()
    }
}

/// A vendor's rules for credentials and for errors. Every adapter implements it.
#[async_trait(?Send)]
pub trait VendorProtocol: Send + Sync {
    /// Returns the error that a response stands for; `None` = the success documented for this
    /// request.
    fn classify(&self, request: &VendorRequest, response: &VendorResponse) -> Option<VendorError>;

    /// The response headers, in lower case, that the adapter reads: no other one gets past the
    /// client. `Content-Type` and `Retry-After` have members of their own in [`VendorResponse`].
    fn kept_headers(&self) -> &'static [&'static str];

    /// Adds the token, and any other header with a secret, to a request.
    fn sign(&self, request: &mut VendorRequest, token: &Token);

    /// Requests a token over a transport that adds no credentials.
    ///
    /// # Errors
    /// [`CredentialsRejected`](crate::record::VendorErrorKind::CredentialsRejected) if the vendor
    /// does not accept the configured credentials.
    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, VendorError>;
}
