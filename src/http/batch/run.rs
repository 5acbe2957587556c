//! Runs the items of a batch: as many at once as it asks for, each in its turn (contract 4.10).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{ETAG, IF_MATCH, LOCATION};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use super::item::respond;
use super::outcome::ItemOutcome;
use super::request::{BatchItem, BatchRequest};
use super::schedule::{Next, Schedule};
use crate::http::context::RequestState;
use crate::http::item_request::{ItemRequest, PathParams, segment};
use crate::http::request_target::percent_decode;
use crate::http::response::H_OPERATION;
use crate::http::route::Route;
use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemKind};
use crate::record::{OperationId, OperationState, RecordId, percent_encode_id};

/// The pauses between two looks at an operation that items wait for.
const MIN_POLL: Duration = Duration::from_millis(50);
const MAX_POLL: Duration = Duration::from_secs(1);

/// What all items of a batch share.
pub(in crate::http) struct BatchContext {
    /// The state of the request that brought the batch.
    pub(in crate::http) state: Rc<RequestState>,
    /// `Idempotency-Key` of the batch.
    pub(in crate::http) key: Option<String>,
    /// What the ledger calls the batch: the id of its request.
    pub(in crate::http) name: String,
    /// When no further item begins.
    pub(in crate::http) deadline: Instant,
}

/// What the future of an item has come to.
enum Step {
    Answered(usize, Box<ItemOutcome>),
    /// The operation of a queued write that other items waited for has ended, or time is up.
    Followed(usize, Option<OperationEnd>),
}

/// How a queued write ended.
struct OperationEnd {
    applied: bool,
    record: Option<String>,
    etag: Option<String>,
}

/// What an item leaves to those that depend on it.
#[derive(Default)]
struct Left {
    /// The id of its record, as a segment of a path.
    record: Option<String>,
    etag: Option<String>,
    /// Its path as it was sent, and the status and problem that it ended with.
    path: String,
    ended: String,
}

/// A batch that runs. Dropping it lets nothing new begin; writes that have begun go on.
pub(in crate::http) struct Runner {
    context: Rc<BatchContext>,
    items: Vec<BatchItem>,
    concurrency: usize,
    schedule: Schedule,
    left: Vec<Left>,
    running: usize,
    steps: FuturesUnordered<LocalBoxFuture<'static, Step>>,
    given_up: Vec<usize>,
}

impl Runner {
    pub(in crate::http) fn new(context: BatchContext, request: BatchRequest) -> Self {
        let BatchRequest { items, stop_on_failure, concurrency } = request;
        let depends_on = items.iter().map(|item| item.depends_on.clone()).collect();
        let schedule = Schedule::new(depends_on, record_keys(&context.state, &items), stop_on_failure);
        let left = items.iter().map(|item| Left { path: item.path.clone(), ..Left::default() }).collect();
        Self {
            context: Rc::new(context),
            items,
            concurrency,
            schedule,
            left,
            running: 0,
            steps: FuturesUnordered::new(),
            given_up: Vec::new(),
        }
    }

    /// The next item that ends, in the order in which they end; `None` after the last.
    pub(in crate::http) async fn next(&mut self) -> Option<(usize, ItemOutcome)> {
        loop {
            if let Some(late) = self.given_up.pop() {
                return Some((late, self.decide(late, not_begun())));
            }
            if let Some(decided) = self.begin_items() {
                return Some(decided);
            }
            let step = match timeout_at(self.context.deadline, self.steps.next()).await {
                Ok(step) => step?,
                Err(_) => {
                    self.given_up = self.schedule.give_up();
                    self.given_up.reverse();
                    if self.given_up.is_empty() {
                        self.steps.next().await?
                    } else {
                        continue;
                    }
                }
            };
            if let Some(ended) = self.take(step) {
                return Some(ended);
            }
        }
    }

    /// Begins what may begin. An item that is decided without a beginning is returned.
    fn begin_items(&mut self) -> Option<(usize, ItemOutcome)> {
        while self.running < self.concurrency && Instant::now() < self.context.deadline {
            match self.schedule.take_next()? {
                Next::Skip { item, because } => {
                    let outcome = self.dependency_failed(item, because, None);
                    self.schedule.end(item, false);
                    return Some((item, outcome));
                }
                Next::Begin(item) => match self.request(item) {
                    Ok((route, request)) => self.begin(item, route, request),
                    Err(outcome) => {
                        self.schedule.end(item, false);
                        return Some((item, *outcome));
                    }
                },
            }
        }
        None
    }

    fn begin(&mut self, item: usize, route: Rc<Route>, request: ItemRequest) {
        let state = Rc::clone(&self.context.state);
        self.running += 1;
        self.steps
            .push(async move { Step::Answered(item, Box::new(respond(&state, &route, request).await)) }.boxed_local());
    }

    fn take(&mut self, step: Step) -> Option<(usize, ItemOutcome)> {
        match step {
            Step::Answered(item, outcome) => {
                self.running -= 1;
                self.keep(item, &outcome);
                let operation = outcome.header(&H_OPERATION).and_then(|path| path.rsplit('/').next());
                match operation.and_then(OperationId::parse).filter(|_| outcome.status == 202) {
                    Some(operation) if self.schedule.has_followers(item) => self.follow(item, operation),
                    _ => self.schedule.end(item, outcome.is_success()),
                }
                if outcome.is_failure() {
                    self.schedule.fail(item);
                }
                Some((item, *outcome))
            }
            Step::Followed(item, end) => {
                let applied = end.as_ref().is_some_and(|end| end.applied);
                if let (Some(left), Some(end)) = (self.left.get_mut(item), end) {
                    left.record = left.record.take().or(end.record);
                    left.etag = end.etag;
                    if !applied {
                        "an operation that was not applied".clone_into(&mut left.ended);
                    }
                }
                self.schedule.end(item, applied);
                None
            }
        }
    }

    /// Waits for the end of a queued write, at most until the batch's deadline.
    fn follow(&mut self, item: usize, operation: OperationId) {
        let context = Rc::clone(&self.context);
        let end = async move {
            let gateway = &context.state.api.gateway;
            let mut pause = MIN_POLL;
            loop {
                // A store that cannot be read may be read later.
                let found = gateway.journal().operation(&operation).await.ok().flatten();
                if let Some(found) = found.filter(|found| found.state != OperationState::Running) {
                    let record = found.record.as_deref().map(|id| percent_encode_id(id).to_string());
                    let applied = found.state == OperationState::Applied;
                    return Step::Followed(item, Some(OperationEnd { applied, record, etag: found.etag }));
                }
                if Instant::now() + pause >= context.deadline {
                    return Step::Followed(item, None);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_POLL);
            }
        };
        self.steps.push(end.boxed_local());
    }

    /// Keeps what later items need of this one.
    fn keep(&mut self, item: usize, outcome: &ItemOutcome) {
        let Some(left) = self.left.get_mut(item) else { return };
        let created = outcome.header(&LOCATION).filter(|_| outcome.status == 201);
        let created = created.and_then(|path| path.rsplit('/').next()).map(str::to_owned);
        left.record = created.or_else(|| left.record.take());
        left.etag = outcome.header(&ETAG).map(str::to_owned);
        let name = outcome.problem.as_ref().map(|problem| problem.name.as_str()).unwrap_or_default();
        left.ended = format!("{} {name}", outcome.status).trim_end().to_owned();
    }

    /// The request of an item, with what `{x}` stands for.
    ///
    /// # Errors
    /// 424 where the item before has no record or no tag.
    fn request(&mut self, index: usize) -> Result<(Rc<Route>, ItemRequest), Box<ItemOutcome>> {
        let Some(mut item) = self.items.get(index).cloned() else {
            return Err(Box::new(self.decide(index, not_begun())));
        };
        let missing = |what: &str, of: usize| {
            let id = self.items.get(of).map(|item| item.id.as_str()).unwrap_or_default();
            format!("the response of item {id} has no {what}")
        };
        if let Some(of) = item.record_of {
            let Some(record) = self.left.get(of).and_then(|left| left.record.clone()) else {
                let detail = missing("record's id", of);
                return Err(Box::new(self.dependency_failed(index, of, Some(detail))));
            };
            for (name, segment) in &mut item.params {
                if *name == "id" {
                    segment.clone_from(&record);
                }
            }
            item.path = fill(item.route.path, &item.params);
        }
        if let Some(of) = item.tag_of {
            let tag = self.left.get(of).and_then(|left| left.etag.as_deref());
            let Some(tag) = tag.and_then(|tag| tag.parse().ok()) else {
                let detail = format!("{}; add Prefer: return=representation to it", missing("ETag", of));
                return Err(Box::new(self.dependency_failed(index, of, Some(detail))));
            };
            item.headers.insert(IF_MATCH, tag);
        }
        if let Some(left) = self.left.get_mut(index) {
            left.record = segment(&item.params, "id").map(str::to_owned);
            left.path.clone_from(&item.path);
        }
        let BatchItem { id, method, path, route, params, headers, body, .. } = item;
        let name = format!("{}/{id}", self.context.name).into();
        let key = self.context.key.as_ref().map(|key| format!("batch {key} {id}"));
        Ok((route, ItemRequest { method, path, params, headers, body, name, key }))
    }

    /// 424; its `instance` is the path of the item that failed.
    fn dependency_failed(&self, item: usize, because: usize, detail: Option<String>) -> ItemOutcome {
        let detail = detail.unwrap_or_else(|| {
            let id = self.items.get(because).map(|item| item.id.as_str()).unwrap_or_default();
            let ended = self.left.get(because).map(|left| left.ended.as_str()).unwrap_or_default();
            format!("item {id} ended with {ended}; this item was not begun, and nothing was sent for it")
        });
        let instance = self.left.get(because).map(|left| left.path.clone()).unwrap_or_default();
        let problem = ProblemKind::DependencyFailed.with_detail(detail);
        ItemOutcome::not_begun(&self.context.state, self.items.get(item), &instance, problem)
    }

    /// An item that ends with a problem of the batch.
    fn decide(&self, item: usize, problem: Problem) -> ItemOutcome {
        let sent = self.items.get(item);
        let path = sent.map(|item| item.path.clone()).unwrap_or_default();
        ItemOutcome::not_begun(&self.context.state, sent, &path, problem)
    }

    /// The id of an item.
    pub(in crate::http) fn id(&self, item: usize) -> &str {
        self.items.get(item).map(|item| item.id.as_str()).unwrap_or_default()
    }

    /// Where its items are counted.
    pub(in crate::http) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.context.state.api.metrics)
    }

    /// How many items there are.
    pub(in crate::http) fn len(&self) -> usize {
        self.items.len()
    }
}

fn not_begun() -> Problem {
    let detail = "the batch's time was over before this item began, so nothing was sent; send it again";
    ProblemKind::Overloaded.with_detail(detail).retry_after(Duration::from_secs(1))
}

/// The path of a route with its segments.
fn fill(pattern: &str, params: &PathParams) -> String {
    let named = |part: &str| segment(params, part.strip_prefix('{')?.strip_suffix('}')?).map(str::to_owned);
    pattern.split('/').map(|part| named(part).unwrap_or_else(|| part.to_owned())).collect::<Vec<_>>().join("/")
}

/// The record of an item, however its id is spelled.
#[derive(Clone, PartialEq, Eq, Hash)]
enum RecordKey {
    Known(String, RecordId),
    /// The record that this item creates.
    CreatedBy(usize),
}

fn record_keys(state: &RequestState, items: &[BatchItem]) -> Vec<Option<RecordKey>> {
    let mut keys: Vec<Option<RecordKey>> = Vec::with_capacity(items.len());
    for item in items {
        let of = |name: &str| segment(&item.params, name);
        let key = match (item.record_of, of("id")) {
            (Some(earlier), _) => keys.get(earlier).cloned().flatten().or(Some(RecordKey::CreatedBy(earlier))),
            (None, Some(id)) => of("system").and_then(|system| known_record(state, system, id)),
            (None, None) => None,
        };
        keys.push(key);
    }
    keys
}

/// `None` for an id that no record has: such an item fails whatever runs beside it.
fn known_record(state: &RequestState, system: &str, id: &str) -> Option<RecordKey> {
    let system = state.api.find_system(&percent_decode(system, "path").ok()?).ok()?;
    let id = system.record_id(&percent_decode(id, "path").ok()?).ok()?;
    Some(RecordKey::Known(system.name.as_str().to_owned(), id))
}
