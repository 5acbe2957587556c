//! A rate limit that holds for every second, not on average: no window of one second has more
//! starts than `rate_limit`.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// The starts of the last second.
pub(super) struct RateLimiter {
    per_second: usize,
    /// Oldest first; at most `per_second` of them.
    recent_starts: VecDeque<Instant>,
}

impl RateLimiter {
    /// `None` if `per_second` is 0, which means no limit.
    pub(super) fn new(per_second: u32) -> Option<Self> {
        let per_second = usize::try_from(per_second).ok().filter(|number| *number > 0)?;
        Some(Self { per_second, recent_starts: VecDeque::new() })
    }

    /// Predicts when a request with `ahead` others before it can start.
    pub(super) fn next_slot(&self, ahead: usize) -> Instant {
        let now = Instant::now();
        let recent = self.recent_starts.iter().filter(|start| **start + SECOND > now);
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

    /// Takes a slot now, if there is one.
    pub(super) fn try_take(&mut self) -> bool {
        let now = Instant::now();
        while self.recent_starts.front().is_some_and(|oldest| *oldest + SECOND <= now) {
            self.recent_starts.pop_front();
        }
        let is_free = self.recent_starts.len() < self.per_second;
        if is_free {
            self.recent_starts.push_back(now);
        }
        is_free
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep_until};

    use super::*;

    /// Waits for a slot and takes it.
    async fn acquire(limiter: &mut RateLimiter) {
        while !limiter.try_take() {
            sleep_until(limiter.next_slot(0)).await;
        }
    }

    #[test]
    fn a_zero_rate_disables_the_limiter() {
        assert!(RateLimiter::new(0).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_starts_than_the_rate() {
        let mut limiter = RateLimiter::new(4).expect("a limit");
        let started = Instant::now();
        let mut starts = Vec::new();
        for _ in 0..14 {
            acquire(&mut limiter).await;
            starts.push(started.elapsed());
        }
        for (position, start) in starts.iter().enumerate() {
            let within = starts[position..].iter().take_while(|other| **other < *start + SECOND).count();
            assert!(within <= 4, "{starts:?}");
        }
        assert_eq!(starts[13].as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_predicted_slot_is_the_slot_that_is_granted() {
        let mut limiter = RateLimiter::new(2).expect("a limit");
        let started = Instant::now();
        assert!(limiter.try_take());
        advance(Duration::from_millis(400)).await;
        assert!(limiter.try_take());
        assert!(!limiter.try_take());
        let predicted: Vec<u128> = (0..4).map(|ahead| (limiter.next_slot(ahead) - started).as_millis()).collect();
        assert_eq!(predicted, [1000, 1400, 2000, 2400]);
        for expected in predicted {
            acquire(&mut limiter).await;
            // The clock's timer has a resolution of one millisecond.
            assert!(started.elapsed().as_millis().abs_diff(expected) <= 1);
        }
    }
}
