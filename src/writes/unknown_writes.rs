//! Keeps the metric of writes with an unknown outcome true: the store is read at intervals, and
//! when this process changes something.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::write_services::WriteServices;
use crate::metrics::UnknownWriteCounts;

/// How often the store is read for what other replicas change.
const INTERVAL: Duration = Duration::from_secs(5);
/// The shortest pause between two reads.
const MIN_PAUSE: Duration = Duration::from_millis(250);
/// How many times as long as a read the pause after it is, so that a store with very many
/// unresolved writes is not kept busy by counting them.
const PAUSE_FACTOR: u32 = 20;

/// Reads the store until the gateway is dropped.
pub(super) async fn watch_unknown_writes(services: Weak<WriteServices>) {
    loop {
        let (began, changed) = match services.upgrade() {
            Some(services) => {
                let began = Instant::now();
                refresh(&services).await;
                (began, Arc::clone(&services.unknown_writes_changed))
            }
            None => return,
        };
        sleep(began.elapsed().saturating_mul(PAUSE_FACTOR).max(MIN_PAUSE)).await;
        // A change since the read began is not lost: the notification waits.
        let _ = timeout(INTERVAL, changed.notified()).await;
    }
}

/// A store that cannot be read changes nothing: the last numbers stay.
async fn refresh(services: &WriteServices) {
    let Ok(stored) = services.journal.unknown_writes().await else { return };
    for system in services.systems() {
        let found = stored.iter().find(|writes| writes.system == system.name.as_str());
        let counts = found.map_or_else(UnknownWriteCounts::default, |writes| {
            UnknownWriteCounts::stored(writes.reconciled_by_others, writes.ended, writes.oldest_ms / 1000)
        });
        services.metrics.unknown_writes_stored(system.index, counts);
    }
}
