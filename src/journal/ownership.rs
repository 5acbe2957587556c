//! How long the writes that this instance has begun are its own. Others take over the writes of an
//! instance that has had no heartbeat for [`DEAD_AFTER`]; it must then send none of them any more.

use std::time::{Duration, Instant};

/// An instance without a heartbeat for this long is dead. All that one hung replica can hold up
/// takes less: its lock is freed after 3 s.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(8);

/// After a heartbeat, writes are sent for so long: the rest of [`DEAD_AFTER`] is left for a request
/// that is sent at the last moment to connect, twice [`MAX_CONNECT_TIMEOUT`].
const OWNED_FOR: Duration = Duration::from_secs(4);

/// Without a heartbeat for this long others may have taken over what this instance had begun. It is
/// less than [`DEAD_AFTER`], because their clock is the database's.
const LOST_AFTER: Duration = Duration::from_secs(7);

/// The longest `connect_timeout` where replicas share the store. A TLS handshake may take as long
/// again.
pub const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The times of this instance's heartbeats.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    /// When the last heartbeat that is stored began; `None` where no other instance exists.
    last_heartbeat: Option<Instant>,
    /// Counts the times that others may have taken over what this instance had begun.
    epoch: u64,
}

impl Ownership {
    /// A heartbeat that began at `start` is stored.
    pub(super) fn renew(&mut self, start: Instant, now: Instant) {
        if !self.is_younger_than(LOST_AFTER, now) {
            self.epoch += 1;
        }
        self.last_heartbeat = Some(start);
    }

    fn is_younger_than(&self, time: Duration, now: Instant) -> bool {
        self.last_heartbeat.is_none_or(|last| now.saturating_duration_since(last) < time)
    }

    /// The present epoch, which [`is_unbroken`](Self::is_unbroken) takes.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether nobody can have taken over what began in this epoch.
    pub(super) fn is_unbroken(&self, epoch: u64, now: Instant) -> bool {
        self.epoch == epoch && self.is_younger_than(OWNED_FOR, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_may_have_another_owner_after_a_pause_in_the_heartbeats() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut ownership = Ownership::default();
        assert!(ownership.is_unbroken(0, at(1000)), "a file has one owner");
        ownership.renew(at(0), at(0));
        assert!(ownership.is_unbroken(0, at(3)));
        assert!(!ownership.is_unbroken(0, at(4)), "others count from 8 s on");
        assert_eq!(OWNED_FOR + 2 * MAX_CONNECT_TIMEOUT, DEAD_AFTER);
        ownership.renew(at(3), at(3));
        assert!(ownership.is_unbroken(0, at(6)));
        ownership.renew(at(9), at(9));
        assert!(ownership.is_unbroken(0, at(9)), "others have waited for longer");
        ownership.renew(at(20), at(20));
        assert!(!ownership.is_unbroken(0, at(20)), "begun before the pause");
        assert!(ownership.is_unbroken(ownership.epoch(), at(20)), "begun after it");
    }
}
