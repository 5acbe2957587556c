//! The limits of callers (contract 4.16).

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use super::state::ApiState;
use crate::access::{AdmittedRequest, CallerQuota, Principal, QuotaExceeded, QuotaPolicy, RateUsage};
use crate::problem::{Problem, ProblemKind};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Counts one request, or one item of a batch, against its caller's limits.
///
/// # Errors
/// 429.
pub(super) fn admit(caller: &Principal, api: &ApiState) -> Result<Option<AdmittedRequest>, Problem> {
    caller.admit().map_err(|exceeded| {
        api.metrics.callers().quota_refusal(exceeded.policy, api.authenticator.configured_name(caller));
        quota_problem(exceeded)
    })
}

fn quota_problem(exceeded: QuotaExceeded) -> Problem {
    let detail = match exceeded.policy {
        QuotaPolicy::Rate => "you send more requests per second than you are allowed to",
        QuotaPolicy::InFlight => "you have more requests in flight than you are allowed to",
    };
    let mut problem = ProblemKind::QuotaExceeded.with_detail(detail).retry_after(exceeded.retry_after);
    problem.violated_policies = vec![exceeded.policy.as_str().to_owned()];
    problem
}

/// Adds the fields of draft-ietf-httpapi-ratelimit-headers-11, where there is a rate.
pub(super) fn add_headers(headers: &mut HeaderMap, quota: &CallerQuota, admitted: Option<&AdmittedRequest>) {
    let Some(policy) = quota.rate_policy() else { return };
    let usage = match admitted {
        Some(admitted) => admitted.usage(),
        None => quota.usage(),
    };
    if let Some(RateUsage { remaining, reset_seconds }) = usage {
        let (mut left, mut reset) = (itoa::Buffer::new(), itoa::Buffer::new());
        let value = ["\"rate\";r=", left.format(remaining), ";t=", reset.format(reset_seconds)].concat();
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(RATE_LIMIT, value);
        }
    }
    if let Ok(value) = HeaderValue::from_str(policy) {
        headers.insert(RATE_LIMIT_POLICY, value);
    }
}
