//! A quota of calls a second, kept exactly: never more than so many begin in any one second.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

const SECOND: Duration = Duration::from_secs(1);

/// The starts of the last second, and the line of those that wait.
pub(super) struct RateLimiter {
    per_second: usize,
    /// Oldest first; at most `per_second` of them.
    recent_starts: Mutex<VecDeque<Instant>>,
    /// Tokio's mutex is fair: the line is first come, first served, and leaving it costs the others nothing.
    queue_lock: tokio::sync::Mutex<()>,
}

impl RateLimiter {
    /// `None` for no quota.
    pub(super) fn new(per_second: u32) -> Option<Self> {
        let per_second = usize::try_from(per_second).ok().filter(|number| *number > 0)?;
        Some(Self { per_second, recent_starts: Mutex::default(), queue_lock: tokio::sync::Mutex::new(()) })
    }

    /// When a call can begin that has `ahead` others before it.
    pub(super) fn next_slot(&self, ahead: usize) -> Instant {
        let now = Instant::now();
        let starts = self.recent_starts.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = starts.iter().filter(|start| **start + SECOND > now);
        let free = self.per_second - recent.clone().count().min(self.per_second);
        // Each second repeats the pattern of the one before: what is free now, then each start of the last second plus one.
        let rounds = u32::try_from(ahead / self.per_second).unwrap_or(u32::MAX);
        let place = ahead % self.per_second;
        let in_this_round = place
            .checked_sub(free)
            .map_or(now, |behind| recent.clone().nth(behind).map_or(now, |start| *start + SECOND));
        in_this_round + SECOND.saturating_mul(rounds).min(Duration::from_hours(24))
    }

    /// Takes a start right now if nobody waits for one.
    pub(super) fn try_acquire(&self) -> bool {
        self.queue_lock.try_lock().is_ok_and(|_in_line| self.try_take(Instant::now()))
    }

    /// Waits in line for a start and takes it.
    pub(super) async fn acquire(&self) {
        let _in_line = self.queue_lock.lock().await;
        loop {
            let turn = self.next_slot(0);
            sleep_until(turn).await;
            if self.try_take(Instant::now()) {
                return;
            }
        }
    }

    fn try_take(&self, now: Instant) -> bool {
        let mut starts = self.recent_starts.lock().unwrap_or_else(PoisonError::into_inner);
        while starts.front().is_some_and(|oldest| *oldest + SECOND <= now) {
            starts.pop_front();
        }
        let room = starts.len() < self.per_second;
        if room {
            starts.push_back(now);
        }
        room
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
        let pace = RateLimiter::new(4).expect("a quota");
        let begun = Instant::now();
        let starts = join_all((0..14).map(|_| async {
            pace.acquire().await;
            begun.elapsed()
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
        let pace = RateLimiter::new(2).expect("a quota");
        let begun = Instant::now();
        assert!(pace.try_acquire());
        advance(Duration::from_millis(400)).await;
        assert!(pace.try_acquire());
        assert!(!pace.try_acquire());
        let foretold: Vec<u128> = (0..4).map(|ahead| (pace.next_slot(ahead) - begun).as_millis()).collect();
        assert_eq!(foretold, [1000, 1400, 2000, 2400]);
        for expected in foretold {
            pace.acquire().await;
            // The clock's timer has a resolution of one millisecond.
            assert!(begun.elapsed().as_millis().abs_diff(expected) <= 1);
        }
    }
}
