//! The outcomes of items, and their summary (contract 4.10).

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::MessageBody as _;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value};

use super::request::BatchItem;
use crate::http::error::ApiError;
use crate::http::headers::names;
use crate::http::item_request::system_of;
use crate::http::middleware::{ProblemTarget, add_common_headers, render_problem};
use crate::http::request_state::RequestState;
use crate::http::response;
use crate::metrics::{RequestAction, RequestOutcome, SystemIndex};
use crate::problem::{Problem, ProblemKind};
use crate::record::{JsonObjectWriter, Operation, OperationId, OperationState};

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static(response::PROBLEM_JSON);
/// The shortest wait for a caller's limits.
const MIN_QUOTA_PAUSE: Duration = Duration::from_millis(20);

/// The response to an item.
pub(in crate::http) struct ItemOutcome {
    pub(super) status: u16,
    headers: HeaderMap,
    body: String,
    /// The problem that it is.
    pub(super) problem: Option<Problem>,
    /// How its metrics name it.
    pub(super) system: Option<SystemIndex>,
    pub(super) action: RequestAction,
    is_skipped: bool,
    /// How the operation of a queued write has ended.
    end: Option<OperationState>,
}

impl ItemOutcome {
    /// `response` is what the request alone would have got.
    pub(super) fn new(response: HttpResponse, problem: Option<Problem>, state: &RequestState) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        // Every body here is a text in memory.
        let body = response.into_body().try_into_bytes().unwrap_or_default();
        let body = String::from_utf8_lossy(&body).into_owned();
        let system = state.system().map(|system| system.index);
        Self { status, headers, body, problem, system, action: state.action(), is_skipped: false, end: None }
    }

    /// An item that was not begun.
    pub(super) fn not_begun(state: &RequestState, item: Option<&BatchItem>, instance: &str, problem: Problem) -> Self {
        let empty = HeaderMap::new();
        let method = item.map_or(&actix_web::http::Method::GET, |item| &item.method);
        let target = ProblemTarget { method, path: instance, headers: &empty };
        let error = ApiError::from(problem);
        let mut response = render_problem(&error, state, &target);
        add_common_headers(response.headers_mut(), state);
        let action = item.map_or(RequestAction::Other, |item| item.route.action(&item.method));
        let system = item.and_then(|item| system_of(&item.params, &state.api)).map(|system| system.index);
        Self { action, system, is_skipped: true, ..Self::new(response, Some(*error.problem), state) }
    }

    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The outcome of an item whose response is lost, from its operation: the problem that the
    /// operation ended with, or else the operation as that of a queued write.
    pub(super) fn of_operation(operation: &Operation, system: Option<SystemIndex>, action: RequestAction) -> Self {
        let problem = operation.problem.as_ref().and_then(Value::as_object);
        let status = problem.and_then(|problem| problem.get("status")?.as_u64()?.try_into().ok());
        let mut headers = HeaderMap::new();
        response::append_header(&mut headers, names::OPERATION, operation.id.path());
        let body = match (status, problem) {
            (Some(_), Some(problem)) => {
                headers.insert(CONTENT_TYPE, PROBLEM_JSON);
                serde_json::to_string(problem)
            }
            _ => serde_json::to_string(operation),
        };
        Self {
            status: status.unwrap_or(202),
            headers,
            body: body.unwrap_or_default(),
            problem: problem.and_then(parse_kind).map(|kind| kind.with_detail("").operation(&operation.id)),
            system,
            action,
            is_skipped: false,
            end: Some(operation.state),
        }
    }

    /// The operation of a write that was queued.
    pub(super) fn queued_operation(&self) -> Option<OperationId> {
        self.operation().filter(|_| self.status == 202)
    }

    /// The operation that it names.
    pub(super) fn operation(&self) -> Option<OperationId> {
        let named = self.problem.as_ref().and_then(|problem| problem.operation.clone());
        let path = self.header(&names::OPERATION);
        named.or_else(|| path?.rsplit('/').next().and_then(OperationId::parse))
    }

    /// Whether an earlier request with its key has this response.
    pub(super) fn is_replay(&self) -> bool {
        self.headers.contains_key(names::IDEMPOTENCY_REPLAYED)
    }

    /// It is the item's own, although its key has replayed it.
    pub(super) fn set_own(&mut self) {
        self.headers.remove(names::IDEMPOTENCY_REPLAYED);
    }

    /// Whether its problem is one of these.
    pub(super) fn is_one_of(&self, kinds: &[ProblemKind]) -> bool {
        self.problem.as_ref().is_some_and(|problem| kinds.contains(&problem.kind))
    }

    /// Sets how the queued write ended.
    pub(super) fn set_queued_end(&mut self, end: OperationState) {
        self.end = Some(end).filter(|_| self.status == 202);
    }

    /// Whether it is done.
    pub(super) fn is_success(&self) -> bool {
        self.end.map_or_else(|| is_success(self.status), |end| end == OperationState::Applied)
    }

    /// Neither a success nor a write that still runs.
    pub(super) fn is_failure(&self) -> bool {
        !self.is_success() && (self.status != 202 || self.end.is_some())
    }

    /// How long to wait where its caller's limits did not allow it.
    pub(super) fn wait_for_quota(&self) -> Option<Duration> {
        let problem = self.problem.as_ref().filter(|problem| problem.kind == ProblemKind::QuotaExceeded)?;
        Some(problem.retry_after.unwrap_or_default().max(MIN_QUOTA_PAUSE))
    }

    /// Its class in the summary.
    pub(super) fn class(&self) -> ItemClass {
        let is_unknown = self.problem.as_ref().is_some_and(|problem| problem.kind == ProblemKind::OutcomeUnknown)
            || self.end == Some(OperationState::Unknown);
        match self {
            _ if self.is_skipped => ItemClass::Skipped,
            _ if is_unknown => ItemClass::Unknown,
            _ if self.is_success() => ItemClass::Ok,
            _ if self.status == 202 && self.end.is_none() => ItemClass::Running,
            _ => ItemClass::Failed,
        }
    }

    /// The `outcome` label.
    pub(super) fn label(&self) -> RequestOutcome {
        self.problem.as_ref().map_or(RequestOutcome::Ok, |problem| RequestOutcome::Problem(problem.kind))
    }

    /// The document of the item in the batch's response.
    pub(super) fn to_json(&self, id: &str) -> String {
        let mut headers = JsonObjectWriter::with_capacity(256);
        let mut names: Vec<&HeaderName> = self.headers.keys().collect();
        names.sort_by_key(|name| name.as_str());
        names.dedup();
        for name in names.into_iter().filter(|name| ![DATE, CONTENT_LENGTH].contains(*name)) {
            let lines: Vec<&str> = self.headers.get_all(name).filter_map(|value| value.to_str().ok()).collect();
            if *name != CONTENT_TYPE || lines != ["application/json"] {
                headers = headers.string(name.as_str(), &lines.join(", "));
            }
        }
        let object = JsonObjectWriter::with_capacity(self.body.len() + 512)
            .string("id", id)
            .raw("status", &self.status.to_string())
            .raw("headers", &headers.finish());
        if self.body.is_empty() { object.finish() } else { object.raw("body", &self.body).finish() }
    }
}

/// The kind of a stored problem.
fn parse_kind(problem: &Map<String, Value>) -> Option<ProblemKind> {
    ProblemKind::parse(problem.get("type")?.as_str()?.rsplit('/').next()?)
}

/// 2xx without 202, and 304.
fn is_success(status: u16) -> bool {
    (matches!(status, 200..=299) && status != 202) || status == 304
}

/// The class of an item in the summary; the numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum ItemClass {
    Ok = 1,
    Failed = 2,
    Running = 3,
    Unknown = 4,
    Skipped = 5,
}

impl ItemClass {
    const ALL: [Self; 5] = [Self::Ok, Self::Failed, Self::Running, Self::Unknown, Self::Skipped];

    /// The class of a stored number; `None` for 0, which is that of an item that has not ended.
    pub(super) fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as i64 == number)
    }
}

/// How many items have ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = BatchSummary)]
pub(in crate::http) struct Summary {
    /// All items of the batch.
    #[schema(example = 4)]
    pub(super) items: usize,
    /// Those that succeeded.
    #[schema(example = 2)]
    pub(super) ok: usize,
    /// Those that failed.
    #[schema(example = 1)]
    pub(super) failed: usize,
    /// Those that were not begun.
    #[schema(example = 1)]
    pub(super) skipped: usize,
    /// Those whose write was accepted and still runs.
    #[schema(example = 0)]
    pub(super) running: usize,
    /// Those whose outcome is not known yet.
    #[schema(example = 0)]
    pub(super) unknown: usize,
}

impl Summary {
    pub(in crate::http) fn of(items: usize) -> Self {
        Self { items, ..Self::default() }
    }

    /// Counts an item that has ended.
    pub(super) fn count(&mut self, outcome: &ItemOutcome) {
        self.add(outcome.class(), 1);
    }

    fn add(&mut self, class: ItemClass, number: usize) {
        let counter = match class {
            ItemClass::Ok => &mut self.ok,
            ItemClass::Failed => &mut self.failed,
            ItemClass::Running => &mut self.running,
            ItemClass::Unknown => &mut self.unknown,
            ItemClass::Skipped => &mut self.skipped,
        };
        *counter += number;
    }

    /// The summary of stored items: their number by [`ItemClass`], 0 for those that have not ended.
    /// Where the batch is over, those were skipped.
    pub(in crate::http) fn of_stored(counts: &[(i64, i64)], is_over: bool) -> Self {
        let mut summary = Self::default();
        for (class, number) in counts {
            let number = usize::try_from(*number).unwrap_or_default();
            summary.items += number;
            match ItemClass::from_number(*class) {
                Some(class) => summary.add(class, number),
                None if is_over => summary.skipped += number,
                None => {}
            }
        }
        summary
    }

    /// Whether no item failed; a write that still runs is no failure.
    pub(in crate::http) fn is_success(&self) -> bool {
        self.ok + self.running == self.items
    }
}
