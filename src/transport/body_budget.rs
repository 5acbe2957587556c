//! Limits the memory of one system's large bodies: the vendor's responses, and the responses that
//! are made from them, until the caller has read them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The bytes of all large bodies of one system at once.
const MAX_BYTES: usize = 256 * 1024 * 1024;
/// The length from which on a body counts; `max_in_flight` and `max_queue` bound the shorter ones.
const MIN_COUNTED: usize = 64 * 1024;

/// What the bodies of one system hold.
#[derive(Debug)]
pub(super) struct BodyBudget {
    max: usize,
    used: AtomicUsize,
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self::new(MAX_BYTES)
    }
}

impl BodyBudget {
    pub(super) fn new(max: usize) -> Self {
        Self { max, used: AtomicUsize::new(0) }
    }

    /// A reservation that holds nothing yet.
    pub(super) fn reservation(self: &Arc<Self>) -> BodyReservation {
        BodyReservation { budget: Arc::clone(self), bytes: 0 }
    }
}

/// A part of the budget, given back on drop.
#[derive(Debug)]
pub(super) struct BodyReservation {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl BodyReservation {
    /// Reserves what a body of `length` bytes needs; `false` if there is not so much left.
    pub(super) fn try_grow_to(&mut self, length: usize) -> bool {
        let more = length.saturating_sub(self.bytes);
        if length < MIN_COUNTED || more == 0 {
            return true;
        }
        let before = self.budget.used.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        before.saturating_add(more) <= self.budget.max
    }

    /// The body, which keeps the reservation until its last part is dropped.
    pub(super) fn hold(self, body: Bytes) -> Bytes {
        if self.bytes == 0 { body } else { Bytes::from_owner(ReservedBody { body, _reservation: self }) }
    }
}

impl Drop for BodyReservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct ReservedBody {
    body: Bytes,
    _reservation: BodyReservation,
}

impl AsRef<[u8]> for ReservedBody {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_share_a_budget_and_small_ones_are_free() {
        let budget = Arc::new(BodyBudget::new(3 * MIN_COUNTED));
        let (mut first, mut second) = (budget.reservation(), budget.reservation());
        assert!(first.try_grow_to(MIN_COUNTED) && first.try_grow_to(2 * MIN_COUNTED));
        assert!(!second.try_grow_to(2 * MIN_COUNTED));
        drop(second);
        let mut small = budget.reservation();
        assert!(small.try_grow_to(MIN_COUNTED - 1));
        assert_eq!(budget.used.load(Ordering::Relaxed), 2 * MIN_COUNTED);
        let body = first.hold(Bytes::from(vec![b'x'; 2 * MIN_COUNTED]));
        let part = body.slice(..10);
        drop(body);
        assert!(!budget.reservation().try_grow_to(2 * MIN_COUNTED), "a part is still held");
        drop(part);
        assert!(budget.reservation().try_grow_to(3 * MIN_COUNTED));
    }
}
