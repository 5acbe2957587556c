//! The document of a preview.

use serde::Serialize;

use super::calls::PreviewCall;
use crate::problem::ProblemKind;
use crate::record::{Action, RawJson, Warning};
use crate::system::Guarantee;

/// What a write would do.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Preview {
    /// The tag of the plan: send it in `If-Plan` with the same request to make this very write.
    /// Null if the request repeats an earlier one, by its `Idempotency-Key`.
    #[schema(example = "\"p.AAABnNVyY2x\"")]
    pub plan: Option<String>,
    /// Until when the plan is valid (RFC 3339); null without a plan.
    #[schema(example = "2026-11-21T10:30:30.123Z")]
    pub expires_at: Option<String>,
    /// The kind of write.
    pub action: Action,
    /// The system's name.
    #[schema(example = "architecture")]
    pub system: String,
    /// The record's id; null for a create.
    #[schema(example = "object-definitions:640b3d7d4a28b925fcf8b9a2")]
    pub record: Option<String>,
    /// The tag of the state that the write changes; null for a create and for a repetition.
    pub based_on: Option<String>,
    /// How concurrent writers would be excluded; null for a create.
    pub guarantee: Option<Guarantee>,
    /// When the vendor does the work.
    pub completion: PreviewCompletion,
    /// Whether nothing would be sent, because the record has the new values already or the request
    /// is a repetition.
    pub changes_nothing: bool,
    /// The values that change, at most 1000 of them. A delete shows every member with its value.
    pub changes: Vec<PreviewChange>,
    /// There are more changes than `changes` shows.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub changes_cut: bool,
    /// What the write would destroy although it does not name it.
    pub losses: Vec<PreviewLoss>,
    /// The one call that writes, as it would be sent; empty if nothing changes. Calls that sign in
    /// or read are not listed.
    pub calls: Vec<PreviewCall>,
    /// What follows the call.
    pub then: String,
    /// The response that the write would have.
    pub would: ExpectedResponse,
    /// What the write would warn of before it is sent.
    pub warnings: Vec<Warning>,
}

/// When the vendor does the work of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PreviewCompletion {
    /// Before it responds.
    Direct,
    /// Some time after it has responded.
    Queued,
}

/// A value that a write would change.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Change)]
pub struct PreviewChange {
    /// JSON Pointer into the record.
    pub pointer: String,
    /// The current value; null if there is none.
    #[schema(value_type = Option<Value>)]
    pub from: Option<RawJson>,
    /// The new value; null if there is none.
    #[schema(value_type = Option<Value>)]
    pub to: Option<RawJson>,
}

/// What a write would destroy although it does not name it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PreviewLoss)]
pub struct PreviewLoss {
    /// The name to send in `Accept-Loss`.
    pub name: String,
    /// What is destroyed.
    pub detail: String,
    /// Whether the request or the configuration accepts it.
    pub accepted: bool,
}

/// The response that a write would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ExpectedResponse {
    /// The HTTP status.
    pub status: u16,
    /// The name of the problem that would stop the write.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub problem: Option<&'static str>,
    /// Whether it is the stored response to the first request with this `Idempotency-Key`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub replayed: bool,
}

impl ExpectedResponse {
    pub(super) fn success(status: u16) -> Self {
        Self { status, problem: None, replayed: false }
    }

    pub(super) fn problem(problem: ProblemKind) -> Self {
        Self { status: problem.spec().status, problem: Some(problem.as_str()), replayed: false }
    }
}
