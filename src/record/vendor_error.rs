//! The failure of a vendor call, classified once, where the response is read.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json_pointer::json_pointer;
use super::nearest::nearest_name;

/// The kind of a failure. `Problem::from_vendor_error` maps it to the problem of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VendorErrorKind {
    /// The record or the collection does not exist.
    NotFound,
    /// The vendor compared versions and rejected the write: the record has changed.
    Conflict,
    /// The vendor has finished the call with a status of several meanings (Pretectum's 400,
    /// Matrix42's 500). Only a read shows which one applies.
    Ambiguous,
    /// The vendor is busy with another change of the record and did nothing.
    Busy,
    /// The vendor found invalid values and did nothing.
    Rejected,
    /// The gateway's account lacks the permission.
    Forbidden,
    /// The vendor does not accept the token, which may have expired: one refresh is worthwhile.
    #[serde(rename = "TokenRefused")]
    TokenRejected,
    /// The vendor does not accept the configured credentials.
    CredentialsRejected,
    /// The vendor's rate limit, or the configured one, is exceeded.
    RateLimited,
    /// There is no connection, or the vendor reports that it is out of service.
    Unavailable,
    /// The circuit is open: nothing is sent to a vendor that is failing.
    CircuitOpen,
    /// The queue in front of the vendor is full, or the deadline passed in the queue.
    Overloaded,
    /// The vendor did not respond in time.
    Timeout,
    /// The connection broke, or the response is truncated.
    #[serde(rename = "Broken")]
    ConnectionLost,
    /// The response is not one that the vendor documents: HTML, other JSON, a redirect, an
    /// oversized body.
    #[serde(rename = "Protocol")]
    InvalidResponse,
    /// The vendor reports a failure of its own (5xx).
    #[serde(rename = "VendorError")]
    ServerError,
    /// The vendor does not have this action.
    Unsupported,
    /// The vendor compares no versions in this collection, and did nothing.
    NotCompared,
}

impl VendorErrorKind {
    /// The word in health reports and in the log, as in the label `reason` of the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Ambiguous => "ambiguous",
            Self::Busy => "busy",
            Self::Rejected => "rejected",
            Self::Forbidden => "forbidden",
            Self::TokenRejected => "token_refused",
            Self::CredentialsRejected => "credentials_rejected",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::CircuitOpen => "circuit_open",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::ConnectionLost => "broken",
            Self::InvalidResponse => "protocol",
            Self::ServerError => "vendor_error",
            Self::Unsupported => "unsupported",
            Self::NotCompared => "not_compared",
        }
    }
}

/// Whether a call may have changed something at the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SideEffect {
    /// It certainly changed nothing: it was not sent, or the vendor did nothing.
    None,
    /// It may have changed something. Only a write can leave this open.
    Unknown,
}

/// When the same call is worth sending again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    /// Never: the response would be the same.
    Never,
    /// After a short pause.
    Soon,
    /// After this time, which the vendor or the limit gives.
    After(Duration),
}

/// An invalid value of a request body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Finding)]
pub struct FieldError {
    /// JSON Pointer into the request body (RFC 6901), such as `/fields/Email`; empty for the whole
    /// body. For a condition of a list, the member of the records that it names.
    #[schema(example = "/fields/Email")]
    pub pointer: String,
    /// What is wrong, and what would be right.
    pub detail: String,
    /// For a member that does not exist: the one that was probably meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub nearest: Option<String>,
    /// The rule of the collection's schema that the value breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rule: Option<SchemaRule>,
    /// For a value of a model: the pointer of the vendor's place, such as `/vendor/Status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub vendor_pointer: Option<String>,
    /// Whether the pointer is one of a model's document already. Neither returned nor stored.
    #[serde(skip)]
    pub is_in_model: bool,
    /// The values, or the bound, that the detail ends with. Neither returned nor stored.
    #[serde(skip)]
    pub limit: Option<Box<Value>>,
}

/// A rule of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SchemaRule {
    /// There is such a member.
    Unknown,
    /// The value has this type.
    Type,
    /// The value is one of these.
    Enum,
    /// The text has this length.
    Length,
    /// The number lies within these bounds.
    Range,
    /// The text has this form.
    Format,
    /// The member is there.
    Required,
}

impl SchemaRule {
    /// Every rule.
    pub const ALL: &'static [Self] =
        &[Self::Unknown, Self::Type, Self::Enum, Self::Length, Self::Range, Self::Format, Self::Required];

    /// The word in problems and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Type => "type",
            Self::Enum => "enum",
            Self::Length => "length",
            Self::Range => "range",
            Self::Format => "format",
            Self::Required => "required",
        }
    }
}

impl FieldError {
    /// An error at a pointer.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
            nearest: None,
            rule: None,
            vendor_pointer: None,
            is_in_model: false,
            limit: None,
        }
    }

    /// Sets the rule of the schema that is broken.
    #[must_use]
    pub fn rule(mut self, rule: SchemaRule) -> Self {
        self.rule = Some(rule);
        self
    }

    /// Sets the values, or the bound, that the detail ends with.
    #[must_use]
    pub fn limit(mut self, limit: Option<&Value>) -> Self {
        self.limit = limit.cloned().map(Box::new);
        self
    }

    /// An error at a pointer into a model's document.
    #[must_use]
    pub fn in_model(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { is_in_model: true, ..Self::new(pointer, detail) }
    }

    /// How many unknown members of one request get a suggestion: each costs a comparison with every
    /// known name, and more are no slips of the pen.
    pub const MAX_SUGGESTIONS: usize = 20;

    /// The error of a member of `fields` that the record does not have. `known` are those that it
    /// has.
    #[must_use]
    pub fn unknown_member<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Self {
        let nearest = nearest_name(name, known).map(str::to_owned);
        let detail = match &nearest {
            Some(nearest) => format!("there is no such member; did you mean {nearest:?}?"),
            None => "there is no such member".to_owned(),
        };
        Self { nearest, ..Self::new(json_pointer("/fields", &[name]), detail) }
    }
}

/// The failure of one vendor call.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{kind:?} (effect {effect:?}, status {status:?}): {}", message.as_deref().unwrap_or("-"))]
pub struct VendorError {
    /// The kind of the failure.
    pub kind: VendorErrorKind,
    /// Whether the call may have changed something at the vendor.
    pub effect: SideEffect,
    /// When the same call is worth sending again.
    pub retry: Retry,
    /// The vendor's HTTP status; `None` if it did not respond.
    pub status: Option<u16>,
    /// The vendor's own error code or trace id.
    pub code: Option<String>,
    /// The vendor's text, sanitized: short, without markup, stack traces and secrets.
    pub message: Option<String>,
    /// The values that the vendor names as invalid.
    pub invalid: Vec<FieldError>,
}

impl VendorError {
    /// An error with the cautious effect and retry of its kind, for a call that was sent:
    /// `SideEffect::None` only for kinds that mean that nothing was done.
    #[must_use]
    pub fn new(kind: VendorErrorKind) -> Self {
        let (effect, retry) = match kind {
            VendorErrorKind::NotFound
            | VendorErrorKind::Conflict
            | VendorErrorKind::Rejected
            | VendorErrorKind::Forbidden
            | VendorErrorKind::TokenRejected
            | VendorErrorKind::CredentialsRejected
            | VendorErrorKind::Unsupported
            | VendorErrorKind::NotCompared => (SideEffect::None, Retry::Never),
            VendorErrorKind::Busy
            | VendorErrorKind::RateLimited
            | VendorErrorKind::CircuitOpen
            | VendorErrorKind::Overloaded
            | VendorErrorKind::Unavailable => (SideEffect::None, Retry::Soon),
            VendorErrorKind::Ambiguous | VendorErrorKind::InvalidResponse => (SideEffect::Unknown, Retry::Never),
            VendorErrorKind::Timeout | VendorErrorKind::ConnectionLost | VendorErrorKind::ServerError => {
                (SideEffect::Unknown, Retry::Soon)
            }
        };
        Self { kind, effect, retry, status: None, code: None, message: None, invalid: Vec::new() }
    }

    /// The vendor does not have an action.
    #[must_use]
    pub fn unsupported(detail: &str) -> Self {
        Self::new(VendorErrorKind::Unsupported).message(detail)
    }

    /// A response that the vendor does not document.
    #[must_use]
    pub fn invalid_response(detail: impl Into<String>) -> Self {
        Self::new(VendorErrorKind::InvalidResponse).message(detail)
    }

    /// Sets the text: the vendor's, sanitized, or the gateway's own.
    #[must_use]
    pub fn message(mut self, text: impl Into<String>) -> Self {
        self.message = Some(text.into());
        self
    }

    /// Sets the vendor's status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Sets the vendor's own code.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Records that nothing changed at the vendor.
    #[must_use]
    pub fn without_effect(mut self) -> Self {
        self.effect = SideEffect::None;
        self
    }

    /// Sets when the same call is worth sending again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
}
