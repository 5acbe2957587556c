//! A rate limit that holds for every second, not on average: no window of one second has more
//! starts than `rate_limit`.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::lock::lock;

const SECOND: Duration = Duration::from_secs(1);

/// The starts of the last second and the queue of those that wait for one.
pub(super) struct RateLimiter {
    per_second: usize,
    /// Oldest first; at most `per_second` of them.
    recent_starts: Mutex<VecDeque<Instant>>,
    /// Tokio's mutex is fair: waiters are served in order, and one that leaves costs the others
    /// nothing.
    queue_lock: tokio::sync::Mutex<()>,
}

impl RateLimiter {
    /// `None` if `per_second` is 0, which means no limit.
    pub(super) fn new(per_second: u32) -> Option<Self> {
        let per_second = usize::try_from(per_second).ok().filter(|number| *number > 0)?;
        Some(Self { per_second, recent_starts: Mutex::default(), queue_lock: tokio::sync::Mutex::new(()) })
    }

    /// Predicts when a request with `ahead` others before it can start.
    pub(super) fn next_slot(&self, ahead: usize) -> Instant {
        let now = Instant::now();
        let starts = lock(&self.recent_starts);
        let recent = starts.iter().filter(|start| **start + SECOND > now);
        let free = self.per_second - recent.clone().count().min(self.per_second);
        // Each second repeats the one before it: first the free slots, then each start plus one
        // second.
        let rounds = u32::try_from(ahead / self.per_second).unwrap_or(u32::MAX);
        let position = ahead % self.per_second;
        let in_first_round = position
            .checked_sub(free)
            .map_or(now, |behind| recent.clone().nth(behind).map_or(now, |start| *start + SECOND));
        in_first_round + SECOND.saturating_mul(rounds).min(Duration::from_hours(24))
    }

    /// Takes a slot now, if there is one and nothing waits.
    pub(super) fn try_acquire(&self) -> bool {
        self.queue_lock.try_lock().is_ok_and(|_queued| self.try_take(Instant::now()))
    }

    /// Waits in the queue for a slot and takes it.
    pub(super) async fn acquire(&self) {
        let _queued = self.queue_lock.lock().await;
        loop {
            let slot = self.next_slot(0);
            sleep_until(slot).await;
            if self.try_take(Instant::now()) {
                return;
            }
        }
    }

    fn try_take(&self, now: Instant) -> bool {
        let mut starts = lock(&self.recent_starts);
        while starts.front().is_some_and(|oldest| *oldest + SECOND <= now) {
            starts.pop_front();
        }
        let is_free = starts.len() < self.per_second;
        if is_free {
            starts.push_back(now);
        }
        is_free
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::advance;

    use super::*;

    #[test]
    fn a_zero_rate_disables_the_limiter() {
        assert!(RateLimiter::new(0).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_starts_than_the_rate() {
        let limiter = RateLimiter::new(4).expect("a limit");
        let started = Instant::now();
        let starts = join_all((0..14).map(|_| async {
            limiter.acquire().await;
            started.elapsed()
        }))
        .await;
        for (position, start) in starts.iter().enumerate() {
            let within = starts[position..].iter().take_while(|other| **other < *start + SECOND).count();
            assert!(within <= 4, "{starts:?}");
        }
        assert_eq!(starts[13].as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_predicted_slot_is_the_slot_that_is_granted() {
        let limiter = RateLimiter::new(2).expect("a limit");
        let started = Instant::now();
        assert!(limiter.try_acquire());
        advance(Duration::from_millis(400)).await;
        assert!(limiter.try_acquire());
        assert!(!limiter.try_acquire());
        let predicted: Vec<u128> = (0..4).map(|ahead| (limiter.next_slot(ahead) - started).as_millis()).collect();
        assert_eq!(predicted, [1000, 1400, 2000, 2400]);
        for expected in predicted {
            limiter.acquire().await;
            // The clock's timer has a resolution of one millisecond.
            assert!(started.elapsed().as_millis().abs_diff(expected) <= 1);
        }
    }
}
