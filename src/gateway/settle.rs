//! Finding out what became of a write (contract 5.3): the same steps while the caller waits, later in the background, and
//! after a crash.
//!
//! A read that shows the old state does not prove that a write whose answer was lost will not still land. So a write bound
//! to a version is sent again (at most one of the two can win), and every other write is only looked for.

use std::time::Duration;

use tokio::time::Instant;

use super::intended::Wanted;
use super::pending::Pending;
use super::read::look_for_effect;
use super::rivals::Others;
use super::session::Session;
use super::{Gateway, System};
use crate::metrics::{DetectedBy, RetryReason};
use crate::problem::{Problem, ProblemName};
use crate::record::{
    Difference, Effect, Fault, FaultKind, Observed, RecordId, Stored, Version, Warning, WarningCode, holds,
};
use crate::transport::Transport as _;

/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a record must stay as it is before a part of what was wanted counts as all that will come.
const STILL: Duration = Duration::from_secs(15);

/// What is known for good about a write.
#[derive(Debug)]
pub(super) enum Settled {
    /// It was done.
    Applied(Seen),
    /// It was certainly not done, and will not be.
    NotApplied(Box<Problem>),
    /// Nobody will ever know: the watching is over, or somebody wrote after it.
    Unknown(Option<Observed>),
}

impl Settled {
    /// The word for a log line.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::NotApplied(_) => "not-applied",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// The record as it was seen when the write was found done.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// As read; `None` when the vendor's answer was enough, or the record is gone.
    pub stored: Option<Stored>,
    /// The record a create made.
    pub made: Option<RecordId>,
    /// What did not take effect.
    pub warnings: Vec<Warning>,
}

impl Gateway {
    /// Looks again and again, with growing pauses, until the outcome is known or `until` has come. The last look is made
    /// then and not before, and may take `least` longer.
    pub(super) async fn follow(
        &self,
        system: &System,
        session: &Session<'_>,
        pending: &Pending,
        until: Instant,
        least: Duration,
    ) -> Option<Settled> {
        let mut pause = system.policy.completion_poll;
        let mut partly_before = None;
        if pending.resend.is_none() && pending.queued {
            // The vendor has only just taken it on.
            tokio::time::sleep_until((Instant::now() + pause).min(until)).await;
        }
        loop {
            // One look may be many calls, each of which has its own time: a vendor's list is read page by page.
            let patience = until.max(Instant::now() + least);
            let settled = match (&pending.refused, &pending.resend) {
                (Some(refused), _) => self.tell_apart(system, session, pending, refused, patience).await,
                (None, Some(saved)) => self.send_again(system, session, pending, saved.restore(), patience).await,
                (None, None) => self.look_for(system, session, pending, patience, &mut partly_before).await,
            };
            if settled.is_some() {
                return settled;
            }
            if Instant::now() >= until {
                return None;
            }
            tokio::time::sleep_until((Instant::now() + pause).min(until)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if let Some(lease) = &pending.lease {
                // Losing the lease changes nothing about what was sent; it only lets others write.
                let _ = self.store.renew(lease, lease_time(system)).await;
            }
        }
    }

    /// One look for the effect of a write that must not be sent again.
    async fn look_for(
        &self,
        system: &System,
        session: &Session<'_>,
        pending: &Pending,
        patience: Instant,
        partly_before: &mut Option<(Version, Instant)>,
    ) -> Option<Settled> {
        if let Wanted::Made { .. } = &pending.wanted {
            return match self.new_records(system, session, pending, patience).await?.as_slice() {
                [made] => Some(Settled::Applied(Seen { made: Some(made.clone()), ..Seen::default() })),
                _ => None,
            };
        }
        let seen = look_for_effect(system, session, pending.id()?, patience).await.ok()?;
        match (&pending.wanted, seen) {
            (Wanted::Gone, None) => Some(Settled::Applied(Seen::default())),
            (Wanted::Values(_) | Wanted::Members(_), Some(stored)) => {
                let wanted = pending.differences();
                let observed = stored.fields.to_map();
                if holds(&wanted, &observed) {
                    return Some(Settled::Applied(Seen { stored: Some(stored), ..Seen::default() }));
                }
                // Part of it is there: perhaps somebody else's work, while this write still waits for its turn at the vendor.
                // Where nothing moves for long enough, the rest will not come.
                let version = stored.version();
                let warnings = unchanged(&wanted, &observed);
                let came = wanted.iter().any(|one| one.holds_in(&observed) && !one.unchanged_in(&observed));
                let partly = came && warnings.len() == missing(&wanted, &observed);
                let since = partly_before
                    .as_ref()
                    .filter(|(then, _)| *then == version)
                    .map_or_else(Instant::now, |(_, at)| *at);
                if partly && since.elapsed() >= STILL.min(system.policy.completion_timeout / 4) {
                    return Some(Settled::Applied(Seen { stored: Some(stored), warnings, ..Seen::default() }));
                }
                *partly_before = partly.then_some((version, since));
                None
            }
            _ => None,
        }
    }

    /// The records that hold all the values of a create and were not there before: exactly one must be the one it made. `None` =
    /// the look failed, or which are new cannot be told.
    async fn new_records(
        &self,
        system: &System,
        session: &Session<'_>,
        pending: &Pending,
        patience: Instant,
    ) -> Option<Vec<RecordId>> {
        let Wanted::Made { collection, fields, known } = &pending.wanted else { return None };
        session.patience(patience);
        let matching = system.adapter.matching(session, collection, fields).await.ok().flatten()?;
        let is_new = |id: &RecordId| match known {
            Some(known) => !known.iter().any(|old| old == id.as_str()),
            None => system.adapter.made_at(id).is_some_and(|made| made.as_millisecond() >= pending.begun_ms),
        };
        if known.is_none() && !system.adapter.profile().ids_tell_time {
            return None;
        }
        self.not_made_by_others(system, pending, matching.into_iter().filter(is_new).collect()).await
    }

    /// Sends a version-bound write again and reads what the vendor has made of it: of the first one, this one, or another's.
    async fn send_again(
        &self,
        system: &System,
        session: &Session<'_>,
        pending: &Pending,
        call: crate::transport::Call,
        patience: Instant,
    ) -> Option<Settled> {
        session.patience(patience);
        self.meter.vendor_retry(system.index, RetryReason::Broken);
        let Err(fault) = session.send(call).await else { return Some(Settled::Applied(Seen::default())) };
        let refused = matches!(
            fault.kind,
            FaultKind::Conflict | FaultKind::Ambiguous | FaultKind::NotFound | FaultKind::Rejected
        );
        if !refused && fault.effect == Effect::None {
            return None;
        }
        // Once the version has moved, what is still on its way of this write comes too late.
        let stored = look_for_effect(system, session, pending.id()?, patience).await.ok()?;
        if stored.is_none() && !refused {
            return None;
        }
        self.compare(system, pending, stored).await
    }

    /// What became of a write bound to a version, and of its repeats, given what the record shows now.
    pub(super) async fn compare(&self, system: &System, pending: &Pending, stored: Option<Stored>) -> Option<Settled> {
        // Whether it was changed first and then deleted, nobody can tell.
        let Some(stored) = stored else { return Some(Settled::Unknown(Some(Observed::Other))) };
        let now = system.tag(pending.id()?, &stored.version()).text();
        if Some(&now) == pending.before.as_ref() {
            // Nothing has changed yet: the first one may still be under way.
            return None;
        }
        let shown = holds(&pending.differences(), &stored.fields.to_map());
        let others = self.others(system, pending).await?;
        if others.won {
            return Some(Settled::NotApplied(Box::new(self.stale(system, pending, &stored).await)));
        }
        if others.undecided && shown {
            // The values may be their work.
            return None;
        }
        if system.adapter.profile().version_counts_up {
            // Exactly one write makes the version after `before`: ours if its values are there, somebody else's if all of the
            // places still show the old values. Anything else may be ours, in part or in the vendor's own form.
            let next = Some(&now) == pending.after.as_ref();
            let observed = stored.fields.to_map();
            let differences = pending.differences();
            let known = matches!(pending.wanted, Wanted::Values(_));
            let untouched = known && differences.iter().all(|one| one.unchanged_in(&observed));
            let in_part = differences.iter().any(|one| one.holds_in(&observed));
            return Some(match (next, shown) {
                (true, true) => Settled::Applied(Seen { stored: Some(stored), ..Seen::default() }),
                (true, false) if untouched => Settled::NotApplied(Box::new(self.stale(system, pending, &stored).await)),
                // In part, or in the vendor's own form, it may be this one's work.
                _ => Settled::Unknown(Some(if in_part { Observed::Wanted } else { Observed::Other })),
            });
        }
        Some(if shown {
            Settled::Applied(Seen { stored: Some(stored), ..Seen::default() })
        } else {
            Settled::Unknown(Some(Observed::Other))
        })
    }

    /// `precondition-failed` that the vendor has detected, with what is known of the record now.
    async fn stale(&self, system: &System, pending: &Pending, now: &Stored) -> Problem {
        let mut problem = self.failed_precondition(system, DetectedBy::Vendor);
        if let Some(id) = pending.id() {
            problem.current_etag = Some(system.tag(id, &now.version()).text());
        }
        if let Some(before) = &pending.before {
            problem.changed = self.shown.changed_since(before, &now.fields.to_map()).await;
        }
        problem
    }

    /// `precondition-failed`, counted.
    pub fn failed_precondition(&self, system: &System, detected_by: DetectedBy) -> Problem {
        self.meter.precondition_failure(system.index, detected_by);
        let detail = "the record's tag is another one than the request asks for: it was changed meanwhile; \
                      read it again and decide anew";
        ProblemName::PreconditionFailed.with(detail).system(system.name.as_str())
    }

    /// What a vendor's finished but ambiguous refusal of a write means (Pretectum's 400, Matrix42's 500): only reading again
    /// tells. `None` = the reading failed.
    pub(super) async fn tell_apart(
        &self,
        system: &System,
        session: &Session<'_>,
        pending: &Pending,
        fault: &Fault,
        patience: Instant,
    ) -> Option<Settled> {
        if let Wanted::Made { .. } = pending.wanted {
            return match self.new_records(system, session, pending, patience).await?.as_slice() {
                [] => Some(Settled::NotApplied(Box::new(refused_as_it_is(system, fault)))),
                [made] => Some(Settled::Applied(Seen { made: Some(made.clone()), ..Seen::default() })),
                _ => None,
            };
        }
        let stored = look_for_effect(system, session, pending.id()?, patience).await.ok()?;
        self.refused(system, pending, fault, stored).await
    }

    /// The same, given what the record shows now.
    pub(super) async fn refused(
        &self,
        system: &System,
        pending: &Pending,
        fault: &Fault,
        stored: Option<Stored>,
    ) -> Option<Settled> {
        let id = pending.id()?;
        let Some(stored) = stored else {
            return Some(match pending.wanted {
                Wanted::Gone if fault.effect == Effect::Unknown => Settled::Applied(Seen::default()),
                _ => {
                    Settled::NotApplied(Box::new(super::read::missing_or(system, id, &Fault::new(FaultKind::NotFound))))
                }
            });
        };
        let now = system.tag(id, &stored.version()).text();
        if fault.kind == FaultKind::Conflict && Some(&now) == pending.before.as_ref() {
            // In so many words: it knows of a change that a read does not show (yet).
            let mut stale = self.failed_precondition(system, DetectedBy::Vendor);
            stale.vendor = system.problem(fault).vendor;
            return Some(Settled::NotApplied(Box::new(stale)));
        }
        if matches!(pending.wanted, Wanted::Gone) || Some(&now) == pending.before.as_ref() {
            return Some(Settled::NotApplied(Box::new(refused_as_it_is(system, fault))));
        }
        let wanted = pending.differences();
        let observed = stored.fields.to_map();
        let none_shown = wanted.iter().all(|one| !one.holds_in(&observed));
        let surely_not = fault.effect == Effect::None || fault.kind == FaultKind::Conflict;
        let others = if surely_not { Others::default() } else { self.others(system, pending).await? };
        // Done first and written over by a later write of this gateway, it would not show either. Who asked for any state has no
        // precondition that could have failed, and on this answer the write would be sent once more.
        if surely_not || others.won || (none_shown && !others.later && !pending.any_state) {
            let mut stale = self.stale(system, pending, &stored).await;
            stale.vendor = system.problem(fault).vendor;
            return Some(Settled::NotApplied(Box::new(stale)));
        }
        // The vendor may have committed and failed afterwards, or another writer wanted the same.
        let shown = holds(&wanted, &observed);
        Some(Settled::Unknown(Some(if shown { Observed::Wanted } else { Observed::Other })))
    }
}

/// Whether the record as read is what a write that must not be sent again wanted.
pub(super) fn shows_it_done(pending: &Pending, stored: Option<Stored>) -> Option<Settled> {
    match (&pending.wanted, stored) {
        (Wanted::Gone, None) => Some(Settled::Applied(Seen::default())),
        (Wanted::Values(_) | Wanted::Members(_), Some(stored)) => {
            let done = holds(&pending.differences(), &stored.fields.to_map());
            done.then(|| Settled::Applied(Seen { stored: Some(stored), ..Seen::default() }))
        }
        _ => None,
    }
}

/// The vendor refused a write although the record is as the caller knows it: its values were wrong, or the vendor failed.
fn refused_as_it_is(system: &System, fault: &Fault) -> Problem {
    let client_error = fault.status.is_some_and(|status| (400..500).contains(&status));
    let kind = if client_error { FaultKind::Rejected } else { FaultKind::VendorError };
    system.problem(&Fault { kind, ..fault.clone() })
}

/// A warning for each wanted value that still shows the old one.
pub(super) fn unchanged(wanted: &[Difference], observed: &serde_json::Map<String, serde_json::Value>) -> Vec<Warning> {
    wanted.iter().filter(|one| !one.holds_in(observed) && one.unchanged_in(observed)).map(not_applied).collect()
}

/// A warning for each wanted value that is not shown.
pub(super) fn unfulfilled(
    wanted: &[Difference],
    observed: &serde_json::Map<String, serde_json::Value>,
) -> Vec<Warning> {
    wanted.iter().filter(|one| !one.holds_in(observed)).map(not_applied).collect()
}

fn not_applied(one: &Difference) -> Warning {
    Warning {
        code: WarningCode::NotApplied,
        pointer: one.pointer.clone(),
        detail: "the vendor answered success and still shows the old value".to_owned(),
    }
}

fn missing(wanted: &[Difference], observed: &serde_json::Map<String, serde_json::Value>) -> usize {
    wanted.iter().filter(|one| !one.holds_in(observed)).count()
}

/// How long a lease lasts without being renewed: longer than one vendor call and its verification.
pub(super) fn lease_time(system: &System) -> Duration {
    (system.policy.timeout * 2 + Duration::from_secs(5)).max(Duration::from_secs(30))
}
