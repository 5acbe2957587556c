//! The ledger's chain, verified in steps (contract 4.15).

use serde::Serialize;

use super::operations::authorized_systems;
use crate::access::Permission;
use crate::http::context::{RequestContext, missing_permission};
use crate::http::error::HandlerResult;
use crate::http::headers::accept;
use crate::http::openapi::LedgerVerifyParams;
use crate::http::response::{self, ReadPreconditions};
use crate::problem::{Problem, ProblemKind};

/// The most entries that one request verifies.
const MAX_VERIFIED: u32 = 10_000;

/// The end of the ledger.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct LedgerHead {
    /// The number of the last entry; 0 if there is none.
    seq: i64,
    /// Its time; null if there is none.
    #[schema(format = "date-time", required = true)]
    at: Option<String>,
    /// Its hash; zeros if there is none.
    hash: String,
}

/// A part of the ledger that was verified.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct VerifiedLedger {
    /// The first entry that was checked.
    from: i64,
    /// The last right entry; one less than `from` if there is none. The next part begins after it.
    to: i64,
    /// Whether all entries are right, and follow the one before.
    ok: bool,
    /// The hash of the last right entry.
    head: String,
    /// The first entry that is wrong or missing; null if there is none.
    #[schema(required = true)]
    first_broken: Option<BrokenEntry>,
}

/// An entry that is not the one that was written.
#[derive(Serialize, utoipa::ToSchema)]
struct BrokenEntry {
    /// Its number.
    seq: i64,
    /// What is wrong with it.
    why: String,
}

/// `GET` and `HEAD /ledger/head`.
#[utoipa::path(get, path = "/ledger/head", tag = "Operations", operation_id = "getLedgerHead",
    summary = "The end of the ledger", description = "Note it elsewhere: it shows later that nothing was cut off. Needs `ledger` on all systems.",
    responses((status = 200, description = "The last entry", body = LedgerHead)))]
pub(in crate::http) async fn head(context: RequestContext) -> HandlerResult {
    require_ledger_everywhere(&context)?;
    accept::require_json(context.headers())?;
    context.query(&[])?;
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let head = context.read_journal(context.gateway().journal().ledger_head()).await?;
    let body = LedgerHead { seq: head.seq, at: head.at, hash: head.hash };
    preconditions.respond(response::to_json(&body), None, None)
}

/// `GET` and `HEAD /ledger/verify`.
#[utoipa::path(get, path = "/ledger/verify", tag = "Operations", operation_id = "verifyLedger",
    summary = "Verify a part of the ledger", description = "Computes the hashes again. Parts that follow each other verify the whole. Needs `ledger` on all systems.",
    params(LedgerVerifyParams),
    responses((status = 200, description = "What was found", body = VerifiedLedger)))]
pub(in crate::http) async fn verify(context: RequestContext) -> HandlerResult {
    context.caller()?;
    let params = context.query(&["from", "limit"])?;
    require_ledger_everywhere(&context)?;
    accept::require_json(context.headers())?;
    let wrong = |what: &str| ProblemKind::MalformedRequest.with_detail(format!("the query parameter {what}"));
    let from: i64 = params.parse_param("from", "a whole number from 1")?.unwrap_or(1);
    let limit: u32 = params.parse_param("limit", "a whole number from 1 to 10000")?.unwrap_or(MAX_VERIFIED);
    if from < 1 {
        return Err(wrong("from must be a whole number from 1").into());
    }
    if !(1..=MAX_VERIFIED).contains(&limit) {
        return Err(wrong("limit must be a whole number from 1 to 10000").into());
    }
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let range = context.read_journal(context.gateway().journal().verify_range(from, i64::from(limit))).await?;
    let first_broken = range.first_error.map(|error| BrokenEntry { seq: error.seq, why: error.reason });
    let (from, to, head) = (range.from, range.to, range.head);
    let body = VerifiedLedger { from, to, ok: first_broken.is_none(), head, first_broken };
    preconditions.respond(response::to_json(&body), None, None)
}

/// # Errors
/// 403 unless the caller may read the ledger of all systems.
fn require_ledger_everywhere(context: &RequestContext) -> Result<(), Problem> {
    let allowed = authorized_systems(context, None, Permission::Ledger)?;
    let lacking = context.api().systems.iter().find(|system| !allowed.iter().any(|name| name == system.name.as_str()));
    lacking.map_or(Ok(()), |system| Err(missing_permission(system.name.as_str(), Permission::Ledger)))
}
