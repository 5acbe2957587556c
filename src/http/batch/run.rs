//! A batch in memory: runs its items, at most `concurrency` of them at once (contract 4.10).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::header::{ETAG, LOCATION};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use super::context::{BatchContext, StopReason, not_begun_problem};
use super::dependency::{DependencyResult, EndedItem};
use super::earlier_attempts::{EarlierAttempt, find_claimed};
use super::item_end::follow;
use super::item_names::key_prefix;
use super::item_records::record_keys;
use super::item_run::ItemRun;
use super::item_step::ItemStep;
use super::outcome::ItemOutcome;
use super::request::{BatchItem, BatchRequest};
use super::schedule::{NextItem, Schedule};
use crate::http::batch_registry::BatchMemory;
use crate::http::item_request::{ItemRequest, segment};
use crate::http::request_state::RequestState;
use crate::http::route::Route;
use crate::journal::JournalError;
use crate::metrics::Metrics;
use crate::record::OperationId;
use crate::system::BatchSlots;

/// How many items take part in one scan, at most.
const MAX_SCAN_READERS: usize = 64;

/// A batch that runs. Dropping it lets nothing new begin; writes that have begun continue.
pub(in crate::http) struct Runner {
    pub(super) context: Rc<BatchContext>,
    pub(super) items: Vec<BatchItem>,
    /// The most items that are started at the same time: they run, or wait for a slot or a scan.
    max_started: usize,
    /// How many of them run at once.
    slots: Rc<BatchSlots>,
    stop: Rc<Cell<Option<StopReason>>>,
    /// The items that began before: they get their outcomes, whatever the others come to now, and
    /// even if their batch is cancelled.
    pub(super) earlier: HashMap<usize, EarlierAttempt>,
    /// What items with an operation run with: the caller's permissions when the batch was accepted.
    accepted_state: Option<Rc<RequestState>>,
    /// What the other items run with: the caller's permissions now.
    state: Rc<RefCell<Rc<RequestState>>>,
    memory: BatchMemory,
    schedule: Schedule,
    pub(super) results: Vec<DependencyResult>,
    running: usize,
    steps: FuturesUnordered<LocalBoxFuture<'static, ItemStep>>,
    not_begun: Vec<usize>,
    /// No new item begins; those that had begun before are finished.
    only_resumes: bool,
}

impl Runner {
    pub(in crate::http) fn new(context: BatchContext, request: BatchRequest, memory: BatchMemory) -> Self {
        let BatchRequest { items, stop_on_failure, concurrency } = request;
        let slots = BatchSlots::new(concurrency);
        // After a failure none may begin, so that none is started and waits for a slot.
        let max_started = if stop_on_failure { concurrency } else { concurrency.max(MAX_SCAN_READERS) };
        let depends_on = items.iter().map(|item| item.depends_on.clone()).collect();
        let schedule = Schedule::new(depends_on, record_keys(&context.state, &items), stop_on_failure);
        let results = items
            .iter()
            .map(|item| DependencyResult { path: item.path.clone(), ..DependencyResult::default() })
            .collect();
        Self {
            state: Rc::new(RefCell::new(Rc::clone(&context.state))),
            accepted_state: None,
            context: Rc::new(context),
            items,
            max_started,
            slots,
            stop: Rc::default(),
            earlier: HashMap::new(),
            memory,
            schedule,
            results,
            running: 0,
            steps: FuturesUnordered::new(),
            not_begun: Vec::new(),
            only_resumes: false,
        }
    }

    /// Takes the result of an item that ended in an earlier process.
    pub(super) fn restore(&mut self, item: usize, ended: &EndedItem) {
        let sent = self.items.get(item);
        let own = match sent.and_then(|sent| sent.record_of) {
            Some(of) => self.results.get(of).and_then(|result| result.record.clone()),
            None => sent.and_then(|sent| segment(&sent.params, "id")).map(str::to_owned),
        };
        if let Some(result) = self.results.get_mut(item) {
            result.record = ended.last_segment("location").filter(|_| ended.status == 201).or(own);
            result.etag = ended.headers.get("etag").cloned();
            result.ended = ended.status.to_string();
            result.is_applied = ended.is_success();
        }
        self.schedule.restore(item);
        let operation = ended.last_segment("operation").and_then(|id| OperationId::parse(&id));
        let queued = operation.filter(|_| ended.status == 202);
        self.end_item(item, queued, ended.is_success(), ended.is_failure());
    }

    /// Ends an item that has its response. Those that depend on a queued write wait for its end.
    fn end_item(&mut self, item: usize, queued: Option<OperationId>, is_success: bool, is_failure: bool) {
        match queued {
            Some(operation) if self.schedule.has_followers(item) => self.follow(item, operation),
            // A write that continues is no failure, and nothing waits for it.
            Some(_) => self.schedule.end(item, !is_failure),
            None => self.schedule.end(item, is_success),
        }
        if is_failure {
            self.schedule.fail(item);
        }
    }

    /// Names the items that began in an earlier process, and what they are to run with: whatever
    /// the caller may do now, they get their outcomes.
    pub(super) fn set_begun(&mut self, begun: HashMap<usize, EarlierAttempt>, accepted: Rc<RequestState>) {
        self.schedule.set_begun(begun.keys().copied().collect());
        (self.earlier, self.accepted_state) = (begun, Some(accepted));
    }

    /// Looks the keys of the items up, where the batch has a key: one that is sent again finds what
    /// it has made, and repeats only the rest.
    pub(in crate::http) async fn load_claimed_items(&mut self) -> Result<(), JournalError> {
        let (Some(key), Some(caller)) = (&self.context.key, self.context.state.principal()) else { return Ok(()) };
        let journal = self.context.state.api.gateway.journal();
        for (item, claimed) in find_claimed(journal, (&caller.name().0, &key_prefix(key)), &self.items).await? {
            self.earlier.entry(item).or_insert(claimed);
        }
        self.schedule.set_begun(self.earlier.keys().copied().collect());
        Ok(())
    }

    /// The state of the request that items begin with from now on.
    pub(super) fn set_state(&mut self, state: Rc<RequestState>) {
        self.state.replace(state);
    }

    /// Lets nothing new begin; what has not begun never ends. `false` = it was cancelled before.
    pub(super) fn cancel(&mut self) -> bool {
        if self.stop.replace(Some(StopReason::Cancelled)) == Some(StopReason::Cancelled) {
            return false;
        }
        // They never end: the batch shows them without a status.
        self.schedule.abandon_not_begun();
        true
    }

    /// Lets nothing new begin, because the caller has closed its connection.
    pub(super) fn stop_for_disconnect(&mut self) {
        if self.stop.get().is_none() {
            self.stop.set(Some(StopReason::CallerDisconnected));
            self.take_not_begun();
        }
    }

    /// Keeps the response to an item in memory. Where there is no room for it, nothing new begins.
    pub(super) fn keep_in_memory(&mut self, bytes: usize) {
        if !self.memory.grow(bytes) && self.stop.get().is_none() {
            self.stop.set(Some(StopReason::NoMemory));
            self.take_not_begun();
        }
    }

    fn take_not_begun(&mut self) {
        self.only_resumes = true;
        let not_begun = self.schedule.abandon_not_begun();
        self.not_begun.splice(0..0, not_begun.into_iter().rev());
    }

    /// The next item that ends, in the order in which they end; `None` after the last.
    pub(in crate::http) async fn next(&mut self) -> Option<(usize, ItemOutcome)> {
        loop {
            if let Some(late) = self.not_begun.pop() {
                return Some((late, self.not_begun_outcome(late)));
            }
            if let Some(decided) = self.begin_items() {
                return Some(decided);
            }
            let step = if let Ok(Some(step)) = timeout_at(self.context.deadline, self.steps.next()).await {
                step
            } else {
                // Nothing runs, or nothing more may begin but what had begun before.
                if !self.only_resumes {
                    self.take_not_begun();
                    continue;
                }
                self.steps.next().await?
            };
            if let Some(ended) = self.handle_step(step) {
                return Some(ended);
            }
        }
    }

    /// Begins what may begin. An item that is decided without a beginning is returned.
    fn begin_items(&mut self) -> Option<(usize, ItemOutcome)> {
        while self.running < self.max_started && (self.only_resumes || Instant::now() < self.context.deadline) {
            match self.schedule.take_next()? {
                NextItem::Skip { item, because } => {
                    let outcome = self.dependency_failed(item, because, None);
                    self.schedule.end(item, false);
                    return Some((item, outcome));
                }
                NextItem::Begin(item) => match self.build_item_request(item) {
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
        self.running += 1;
        let begun = self.earlier.get(&item).and_then(|earlier| earlier.operation.clone());
        let accepted = self.accepted_state.clone().filter(|_| begun.is_some());
        let run = ItemRun {
            context: Rc::clone(&self.context),
            state: accepted.map_or_else(|| Rc::clone(&self.state), |accepted| Rc::new(RefCell::new(accepted))),
            slots: Rc::clone(&self.slots),
            stop: Rc::clone(&self.stop),
            begun,
        };
        self.steps.push(run.run(item, route, request).boxed_local());
    }

    fn handle_step(&mut self, step: ItemStep) -> Option<(usize, ItemOutcome)> {
        match step {
            ItemStep::Responded(item, outcome) => {
                self.running -= 1;
                self.keep_result(item, &outcome);
                self.end_item(item, outcome.queued_operation(), outcome.is_success(), outcome.is_failure());
                Some((item, *outcome))
            }
            ItemStep::NotBegun(item) => {
                self.running -= 1;
                self.schedule.end(item, false);
                let is_skipped = self.stop.get() == Some(StopReason::Cancelled);
                (!is_skipped).then(|| (item, self.not_begun_outcome(item)))
            }
            ItemStep::KeyFree(item) => {
                self.earlier.remove(&item);
                if self.only_resumes {
                    return self.handle_step(ItemStep::NotBegun(item));
                }
                self.running -= 1;
                self.schedule.return_not_begun(item);
                None
            }
            ItemStep::Followed(item, end) => {
                if let (Some(result), Some(end)) = (self.results.get_mut(item), end) {
                    result.record = result.record.take().or(end.record);
                    result.etag = end.etag;
                    result.is_applied = end.applied;
                    if !end.applied {
                        "an operation that was not applied".clone_into(&mut result.ended);
                    }
                }
                let is_applied = self.results.get(item).is_some_and(|result| result.is_applied);
                self.schedule.end(item, is_applied);
                None
            }
        }
    }

    /// Waits for the end of a queued write, at most until the batch's deadline.
    fn follow(&mut self, item: usize, operation: OperationId) {
        let followed = follow(Rc::clone(&self.context), item, operation);
        self.steps.push(followed.boxed_local());
    }

    /// Keeps what later items need of this one.
    fn keep_result(&mut self, item: usize, outcome: &ItemOutcome) {
        let Some(result) = self.results.get_mut(item) else { return };
        let created = outcome.header(&LOCATION).filter(|_| outcome.status == 201);
        let created = created.and_then(|path| path.rsplit('/').next()).map(str::to_owned);
        result.record = created.or_else(|| result.record.take());
        result.etag = outcome.header(&ETAG).map(str::to_owned);
        let name = outcome.problem.as_ref().map(|problem| problem.kind.as_str()).unwrap_or_default();
        format!("{} {name}", outcome.status).trim_end().clone_into(&mut result.ended);
    }

    /// An item that does not begin, because nothing of the batch may.
    pub(super) fn not_begun_outcome(&self, item: usize) -> ItemOutcome {
        let problem = not_begun_problem(self.stop.get());
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
