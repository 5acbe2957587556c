//! Finds the record of a create whose response was lost.

use std::time::Duration;

use tokio::time::Instant;

use super::OutcomeProbe;
use crate::record::RecordId;
use crate::writes::concurrent_creates::exclude_others_creates;
use crate::writes::in_flight_write::InFlightWrite;
use crate::writes::intent::ExpectedState;

/// The longest time from the beginning of a create to the time in its record's id.
const MAX_CREATE_TIME: Duration = Duration::from_mins(1);

impl OutcomeProbe<'_> {
    /// The new records that have all the values of a create; the one it made is known only if there
    /// is exactly one. `None`: the search failed, or new records cannot be distinguished from old
    /// ones.
    pub(super) async fn find_created(&self, write: &InFlightWrite, deadline: Instant) -> Option<Vec<RecordId>> {
        let ExpectedState::Created { collection, fields, preexisting_ids } = &write.expected else {
            return None;
        };
        let adapter = &self.system.adapter;
        self.session.set_deadline(deadline);
        let matching = adapter.find_matching(self.session, collection, fields).await.ok().flatten()?;
        let is_new = |id: &RecordId| match preexisting_ids {
            Some(preexisting) => !preexisting.iter().any(|old| old == id.as_str()),
            None => adapter
                .created_at(id)
                .is_some_and(|created| is_time_of_create(created.as_millisecond(), write.begun_ms)),
        };
        if preexisting_ids.is_none() && !adapter.capabilities().ids_are_timestamped {
            return None;
        }
        let new = matching.into_iter().filter(is_new).collect();
        exclude_others_creates(&self.services.journal, self.system, write, new).await
    }
}

/// Whether an id of this time can be that of a create that began at `begun_ms`. A later time shows
/// that the vendor's clock, or the zone of its ids, is not the gateway's: then no id shows whether
/// its record was there before.
fn is_time_of_create(created_ms: i64, begun_ms: i64) -> bool {
    let longest = i64::try_from(MAX_CREATE_TIME.as_millis()).unwrap_or(i64::MAX);
    (begun_ms..=begun_ms.saturating_add(longest)).contains(&created_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_new_only_if_its_time_is_within_the_request() {
        for (created_ms, expected) in
            [(99_999, false), (100_000, true), (160_000, true), (160_001, false), (3_700_000, false)]
        {
            assert_eq!(is_time_of_create(created_ms, 100_000), expected, "{created_ms}");
        }
    }
}
