//! What went wrong at a vendor, judged once, where the reply is read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What kind of failure a vendor call had. The caller's problem document follows from this and the verb, in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VendorErrorKind {
    /// The record (or the collection) is not there.
    NotFound,
    /// The vendor compared versions and refused: somebody changed the record.
    Conflict,
    /// The status covers several meanings (Pretectum's 400, Matrix42's 500): only reading again tells which.
    /// The vendor has finished with the call.
    Ambiguous,
    /// The vendor works on the record just now and did nothing.
    Busy,
    /// The vendor found values wrong and did nothing.
    Rejected,
    /// The vendor does not let the gateway's account do this.
    Forbidden,
    /// The vendor does not know the token (any more): one refresh is worth it.
    #[serde(rename = "TokenRefused")]
    TokenRejected,
    /// The vendor does not accept the configured credentials.
    CredentialsRejected,
    /// Too many calls: the vendor's limit or the configured one.
    RateLimited,
    /// No connection, or the vendor says it is out of service, or the circuit is open.
    Unavailable,
    /// The queue in front of the vendor is full, or the deadline passed in it.
    Overloaded,
    /// No answer in time.
    Timeout,
    /// The connection broke, or the answer was cut short.
    #[serde(rename = "Broken")]
    ConnectionLost,
    /// An answer that the vendor's documentation does not allow for: HTML, wrong JSON, a redirect, a huge body.
    #[serde(rename = "Protocol")]
    InvalidResponse,
    /// The vendor says that it failed (5xx).
    #[serde(rename = "VendorError")]
    ServerError,
    /// The vendor has no such action.
    Unsupported,
}

/// Whether the call may have changed something at the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SideEffect {
    /// Certainly not: nothing was sent, or the vendor said that it did nothing.
    None,
    /// Perhaps. Only a write can leave this open.
    Unknown,
}

/// When the same call may be worth sending again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    /// Sending it again gives the same answer.
    Never,
    /// After a short pause.
    Soon,
    /// After this long, as the vendor (or the limit) says.
    After(Duration),
}

/// One value that was found wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// JSON Pointer into the request body (RFC 6901), such as `/fields/Email`; empty for the whole body.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl FieldError {
    /// A finding at a place.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// The failure of one vendor call.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{kind:?} (effect {effect:?}, status {status:?}): {}", message.as_deref().unwrap_or("-"))]
pub struct VendorError {
    /// What kind of failure.
    pub kind: VendorErrorKind,
    /// Whether the call may have changed something.
    pub effect: SideEffect,
    /// When to try again.
    pub retry: Retry,
    /// The vendor's HTTP status, when it answered at all.
    pub status: Option<u16>,
    /// The vendor's own code, if it has one.
    pub code: Option<String>,
    /// The vendor's text, cleaned (`transport::sanitize_text`): short, no markup, no stack trace, no secret.
    pub message: Option<String>,
    /// The values the vendor found wrong, where it names them.
    pub invalid: Vec<FieldError>,
}

impl VendorError {
    /// A fault of a kind, with the effect and retry that go with it when nothing else is known.
    ///
    /// The defaults are the cautious ones for a call that was sent: `SideEffect::None` only for kinds that mean that the vendor
    /// (or the gateway, before sending) did nothing.
    #[must_use]
    pub fn new(kind: VendorErrorKind) -> Self {
        let (effect, retry) = match kind {
            VendorErrorKind::NotFound
            | VendorErrorKind::Conflict
            | VendorErrorKind::Rejected
            | VendorErrorKind::Forbidden
            | VendorErrorKind::TokenRejected
            | VendorErrorKind::CredentialsRejected
            | VendorErrorKind::Unsupported => (SideEffect::None, Retry::Never),
            VendorErrorKind::Busy
            | VendorErrorKind::RateLimited
            | VendorErrorKind::Overloaded
            | VendorErrorKind::Unavailable => (SideEffect::None, Retry::Soon),
            VendorErrorKind::Ambiguous | VendorErrorKind::InvalidResponse => (SideEffect::Unknown, Retry::Never),
            VendorErrorKind::Timeout | VendorErrorKind::ConnectionLost | VendorErrorKind::ServerError => {
                (SideEffect::Unknown, Retry::Soon)
            }
        };
        Self { kind, effect, retry, status: None, code: None, message: None, invalid: Vec::new() }
    }

    /// A vendor lacks an action: never a silent success.
    #[must_use]
    pub fn unsupported(what: &str) -> Self {
        Self::new(VendorErrorKind::Unsupported).message(what)
    }

    /// An answer the gateway cannot make sense of.
    #[must_use]
    pub fn invalid_response(what: impl Into<String>) -> Self {
        Self::new(VendorErrorKind::InvalidResponse).message(what)
    }

    /// Adds the vendor's (cleaned) text or the gateway's own.
    #[must_use]
    pub fn message(mut self, text: impl Into<String>) -> Self {
        self.message = Some(text.into());
        self
    }

    /// Adds the vendor's status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds the vendor's own code.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Says that nothing happened at the vendor.
    #[must_use]
    pub fn without_effect(mut self) -> Self {
        self.effect = SideEffect::None;
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
}
