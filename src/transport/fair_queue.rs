//! Who is next when the calls of one system wait.
//!
//! Three lanes are served in order: sign-ins and calls that reconcile a write, single requests,
//! items of batches. While callers wait, the first lane gets at most every second permit: after an
//! outage there may be more writes to reconcile than the vendor can serve for long. Such a write
//! has one call at a time. Within the other two lanes, callers share the permits: the next one goes
//! to the caller with the fewest, held now and granted since it began to wait, divided by its
//! weight. This is start-time fair queueing: each caller has a tag that grows by 1 / weight with
//! each call, and one that begins to wait starts level with the others, not with the credit of the
//! time in which it sent nothing. Within a caller the oldest is first.
//!
//! No call waits while a permit is free. While none waits, only the permits held are counted.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use super::priority::{Lane, Priority};
use super::rate_limiter::RateLimiter;
use super::settings::StackSettings;
use crate::record::CallerShare;

/// A caller may always have this many calls in the queue, however many callers wait.
const MIN_WAITING_PER_CALLER: usize = 2;

/// Callers that neither wait nor hold a permit are forgotten when there are more than this.
const MAX_KEPT_CALLERS: usize = 1024;

/// The permits of one system, their holders, and the calls that wait for one. `W` is how a waiter
/// is notified; dropping it rejects the waiter.
pub(super) struct FairQueue<W> {
    max_in_flight: usize,
    max_bulk: usize,
    max_queue: usize,
    rate_limiter: Option<RateLimiter>,
    in_flight: usize,
    bulk_in_flight: usize,
    reconciling: VecDeque<Waiter<W>>,
    /// Whether the last waiter that got a permit was one of these.
    reconciled_last: bool,
    callers: HashMap<u64, Caller<W>, foldhash::fast::RandomState>,
    /// The calls in the lanes of the callers.
    waiting: usize,
    bulk_waiting: usize,
    /// The tag of the caller that was last granted a permit: where one that begins to wait starts.
    virtual_time: f64,
    next_number: u64,
}

struct Caller<W> {
    weight: f64,
    held: usize,
    /// Grows by 1 / weight with each call that ends while others wait.
    tag: f64,
    single: VecDeque<Waiter<W>>,
    bulk: VecDeque<Waiter<W>>,
}

struct Waiter<W> {
    number: u64,
    notify: W,
}

/// A position in the queue.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    pub(super) priority: Priority,
    number: u64,
}

impl<W> Caller<W> {
    fn new(priority: Priority) -> Self {
        let weight = f64::from(priority.share.weight.get());
        Self { weight, held: 0, tag: 0.0, single: VecDeque::new(), bulk: VecDeque::new() }
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Waiter<W>> {
        if lane == Lane::Bulk { &mut self.bulk } else { &mut self.single }
    }

    fn waiting(&self) -> usize {
        self.single.len() + self.bulk.len()
    }

    /// The lower, the sooner it is this caller's turn.
    fn rank(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far fewer calls are held than a float counts exactly")]
        let held = self.held as f64;
        self.tag + held / self.weight
    }
}

impl<W> FairQueue<W> {
    pub(super) fn new(settings: &StackSettings) -> Self {
        let max_in_flight = settings.max_in_flight.max(1);
        Self {
            max_in_flight,
            max_bulk: (max_in_flight / 2).max(1),
            max_queue: settings.max_queue,
            rate_limiter: RateLimiter::new(settings.rate_limit),
            in_flight: 0,
            bulk_in_flight: 0,
            reconciling: VecDeque::new(),
            reconciled_last: false,
            callers: HashMap::default(),
            waiting: 0,
            bulk_waiting: 0,
            virtual_time: 0.0,
            next_number: 0,
        }
    }

    /// Takes a permit at once, if one is free and no call waits for it.
    pub(super) fn try_take(&mut self, priority: Priority) -> bool {
        let is_free = self.has_room(priority.lane) && self.next_lane().is_none();
        if !is_free || !self.try_start() {
            return false;
        }
        self.count_held(priority);
        true
    }

    /// Puts a call into the queue.
    ///
    /// # Errors
    /// The caller, or all of them together, have too many there already.
    pub(super) fn push(&mut self, priority: Priority, notify: W) -> Result<Ticket, &'static str> {
        let ticket = Ticket { priority, number: self.next_number };
        self.next_number += 1;
        let waiter = Waiter { number: ticket.number, notify };
        if priority.lane == Lane::Reconcile {
            self.reconciling.push_back(waiter);
            return Ok(ticket);
        }
        self.make_room_for(priority)?;
        let virtual_time = self.virtual_time;
        let caller = self.caller(priority);
        if caller.waiting() == 0 {
            caller.tag = caller.tag.max(virtual_time);
        }
        caller.lane(priority.lane).push_back(waiter);
        self.waiting += 1;
        self.bulk_waiting += usize::from(priority.lane == Lane::Bulk);
        Ok(ticket)
    }

    /// Checks that a caller may have one more call in the queue. Where the queue is full because
    /// another caller has more than its part, that one's youngest call is rejected.
    fn make_room_for(&mut self, priority: Priority) -> Result<(), &'static str> {
        let caller = priority.share.caller;
        let mine = self.callers.get(&caller).map_or(0, Caller::waiting);
        let others = self.callers.iter().filter(|(id, other)| **id != caller && other.waiting() > 0).count();
        let part = (self.max_queue / (others + 1)).max(MIN_WAITING_PER_CALLER);
        if mine >= part {
            return Err("too many requests of this caller wait for this vendor");
        }
        if self.waiting < self.max_queue {
            return Ok(());
        }
        let largest = self.callers.values_mut().max_by_key(|other| other.waiting());
        let Some(largest) = largest.filter(|largest| largest.waiting() > part) else {
            return Err("too many requests wait for this vendor");
        };
        let is_bulk = largest.bulk.pop_back().is_some();
        if !is_bulk {
            largest.single.pop_back();
        }
        self.waiting -= 1;
        self.bulk_waiting -= usize::from(is_bulk);
        Ok(())
    }

    /// Takes a call out of the queue that waits no longer; does nothing if it is not there.
    pub(super) fn remove(&mut self, ticket: Ticket) {
        let lane = ticket.priority.lane;
        let waiters = match self.callers.get_mut(&ticket.priority.share.caller) {
            _ if lane == Lane::Reconcile => &mut self.reconciling,
            Some(caller) => caller.lane(lane),
            None => return,
        };
        let Ok(position) = waiters.binary_search_by_key(&ticket.number, |waiter| waiter.number) else { return };
        waiters.remove(position);
        if lane != Lane::Reconcile {
            self.waiting -= 1;
            self.bulk_waiting -= usize::from(lane == Lane::Bulk);
        }
        self.reset_when_none_waits();
    }

    /// The next waiter that gets a permit, if there is one.
    pub(super) fn grant_next(&mut self) -> Option<(W, Priority)> {
        let lane = self.next_lane()?;
        if !self.try_start() {
            return None;
        }
        self.reconciled_last = lane == Lane::Reconcile;
        if lane == Lane::Reconcile {
            let notify = self.reconciling.pop_front()?.notify;
            self.in_flight += 1;
            return Some((notify, Priority::reconcile()));
        }
        let turn = |caller: &mut Caller<W>| {
            let oldest = caller.lane(lane).front().map(|waiter| waiter.number)?;
            Some((caller.rank(), oldest))
        };
        let ranked = self.callers.iter_mut().filter_map(|(id, caller)| Some((turn(caller)?, *id)));
        let (_, next) = ranked.min_by(|(one, _), (other, _)| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)))?;
        let caller = self.callers.get_mut(&next)?;
        let notify = caller.lane(lane).pop_front()?.notify;
        caller.held += 1;
        self.virtual_time = self.virtual_time.max(caller.tag);
        self.in_flight += 1;
        self.bulk_in_flight += usize::from(lane == Lane::Bulk);
        self.waiting -= 1;
        self.bulk_waiting -= usize::from(lane == Lane::Bulk);
        self.reset_when_none_waits();
        let share = CallerShare { caller: next, ..CallerShare::default() };
        Some((notify, Priority { lane, share }))
    }

    /// Releases a permit. `true` if a waiter may get it.
    pub(super) fn release(&mut self, priority: Priority) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        if priority.lane != Lane::Reconcile {
            self.bulk_in_flight -= usize::from(priority.lane == Lane::Bulk);
            let id = priority.share.caller;
            let is_contended = self.waiting > 0;
            if let Some(caller) = self.callers.get_mut(&id) {
                caller.held = caller.held.saturating_sub(1);
                if is_contended {
                    caller.tag += 1.0 / caller.weight;
                } else if caller.held == 0 {
                    self.callers.remove(&id);
                }
            }
        }
        self.waiting > 0 || !self.reconciling.is_empty()
    }

    /// When the next call may start, if one has a permit and waits for the rate limit alone.
    pub(super) fn next_start(&self) -> Option<Instant> {
        self.next_lane()?;
        self.rate_limiter.as_ref().map(|limiter| limiter.next_slot(0))
    }

    /// When the rate limit would let a call start that comes now; `None` without a limit.
    pub(super) fn predict_start(&self, priority: Priority) -> Option<Instant> {
        let limiter = self.rate_limiter.as_ref()?;
        Some(limiter.next_slot(self.calls_ahead_of(priority)))
    }

    /// How many of those that wait are served before one that comes now.
    fn calls_ahead_of(&self, priority: Priority) -> usize {
        let reconciling = self.reconciling.len();
        if priority.lane == Lane::Reconcile {
            return reconciling + self.waiting.min(reconciling + 1);
        }
        let is_bulk = priority.lane == Lane::Bulk;
        let own = self.callers.get(&priority.share.caller);
        let length = |caller: &Caller<W>| if is_bulk { caller.bulk.len() } else { caller.single.len() };
        let own_turn = own.map_or(0, length) + 1;
        let turns = |other: &Caller<W>| {
            #[expect(clippy::cast_precision_loss, reason = "a queue is far shorter than a float counts exactly")]
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and only compared")]
            let turns = (own_turn as f64 * other.weight / f64::from(priority.share.weight.get())).ceil() as usize;
            turns.min(length(other))
        };
        let others = self.callers.iter().filter(|(id, _)| **id != priority.share.caller);
        let in_lane = own_turn - 1 + others.map(|(_, other)| turns(other)).sum::<usize>();
        let before = if is_bulk { self.waiting - self.bulk_waiting } else { 0 };
        let ahead = before + in_lane;
        ahead + reconciling.min(ahead + 1)
    }

    /// The first lane in which a call waits that has room, or the one after it.
    fn next_lane(&self) -> Option<Lane> {
        let has_waiting = |lane: &Lane| match lane {
            Lane::Reconcile => !self.reconciling.is_empty(),
            Lane::Single => self.waiting > self.bulk_waiting,
            Lane::Bulk => self.bulk_waiting > 0,
        };
        let mut lanes = Lane::ALL.iter().copied().filter(|lane| has_waiting(lane) && self.has_room(*lane));
        let first = lanes.next()?;
        let gives_way = first == Lane::Reconcile && self.reconciled_last;
        Some(lanes.next().filter(|_| gives_way).unwrap_or(first))
    }

    fn has_room(&self, lane: Lane) -> bool {
        self.in_flight < self.max_in_flight && (lane != Lane::Bulk || self.bulk_in_flight < self.max_bulk)
    }

    pub(super) fn is_full(&self) -> bool {
        self.in_flight >= self.max_in_flight
    }

    fn try_start(&mut self) -> bool {
        self.rate_limiter.as_mut().is_none_or(RateLimiter::try_take)
    }

    fn count_held(&mut self, priority: Priority) {
        self.in_flight += 1;
        if priority.lane != Lane::Reconcile {
            self.bulk_in_flight += usize::from(priority.lane == Lane::Bulk);
            self.caller(priority).held += 1;
        }
    }

    fn caller(&mut self, priority: Priority) -> &mut Caller<W> {
        if self.callers.len() > MAX_KEPT_CALLERS {
            let virtual_time = self.virtual_time;
            self.callers.retain(|_, caller| caller.held + caller.waiting() > 0 || caller.tag > virtual_time);
        }
        self.callers.entry(priority.share.caller).or_insert_with(|| Caller::new(priority))
    }

    /// Without waiters all callers are level.
    fn reset_when_none_waits(&mut self) {
        if self.waiting == 0 {
            self.virtual_time = 0.0;
            self.callers.retain(|_, caller| {
                caller.tag = 0.0;
                caller.held > 0
            });
        }
    }
}

#[cfg(test)]
mod tests;
