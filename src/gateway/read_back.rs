//! Reading the record again after a write that the vendor says it has done: what to show, and what did not take effect.

use tokio::time::Instant;

use super::Record;
use super::intended::Wanted;
use super::line::Context;
use super::pending::Pending;
use super::read::look;
use super::settle::{Seen, Settled, unchanged, unfulfilled};
use crate::record::{Invalid, RecordId, Stored, Warning, holds};

/// What a read after a write shows to be as it was.
#[derive(Default)]
struct StillOld {
    /// A warning for each place.
    warnings: Vec<Warning>,
    /// Whether that is all there was to do.
    nothing_done: bool,
}

impl Context<'_> {
    /// Reads the record again where an answer needs it: `return=representation`, a create, a loss to be named.
    pub(super) async fn read_back(&self, pending: &Pending, mut seen: Seen) -> (Settled, Option<Record>) {
        let id = seen.made.clone().or_else(|| pending.id().cloned());
        let created = seen.made.is_some();
        let needed = created || self.write.prefer.representation || !pending.losses.is_empty();
        let Some(id) = id.filter(|_| needed && !matches!(pending.wanted, Wanted::Gone)) else {
            return (Settled::Applied(seen), None);
        };
        if seen.stored.is_none() {
            seen.stored = look(self.system, &self.session, &id, self.ask.deadline).await.ok().flatten();
        }
        let late = |stored: &Stored| {
            self.is_as_before(pending, &id, stored) && !holds(&pending.differences(), &stored.fields.to_map())
        };
        if seen.stored.as_ref().is_some_and(late) {
            // The vendor said yes: what it shows may only be late.
            let soon = Instant::now() + self.system.policy.completion_poll;
            tokio::time::sleep_until(soon.min(self.ask.deadline)).await;
            seen.stored = look(self.system, &self.session, &id, self.ask.deadline).await.ok().flatten();
        }
        let Some(stored) = &seen.stored else {
            let blank = created.then(|| self.system.as_sent(&id, pending));
            return (Settled::Applied(seen), blank);
        };
        let still_old = self.still_old(pending, &id, stored).await;
        if still_old.nothing_done {
            let errors = still_old.warnings.into_iter().map(|one| Invalid::at(one.pointer, one.detail)).collect();
            return (Settled::NotApplied(Box::new(self.system.rejected(errors))), None);
        }
        let record = self.system.show(&id, stored, None);
        if seen.warnings.is_empty() {
            seen.warnings = still_old.warnings;
        }
        (Settled::Applied(seen), Some(record))
    }

    /// What a write that the vendor has done did not change.
    async fn still_old(&self, pending: &Pending, id: &RecordId, stored: &Stored) -> StillOld {
        let observed = stored.fields.to_map();
        let mut changes = pending.differences();
        if holds(&changes, &observed) {
            return StillOld::default();
        }
        if self.is_as_before(pending, id, stored) {
            // Where the version stands, whatever is not as wanted is as it was, even if nobody knows what that was.
            let warnings = unfulfilled(&changes, &observed);
            return StillOld { nothing_done: !warnings.is_empty(), warnings };
        }
        let Some(before) = &pending.before else { return StillOld::default() };
        if let Wanted::Members(_) = &pending.wanted {
            // Nobody has read for this write, but its caller has seen the state it is about.
            let Some(then) = self.gateway.shown.state(before).await else { return StillOld::default() };
            changes.retain(|one| !one.holds_in(&then));
            for one in &mut changes {
                one.before = one.value_in(&then).cloned();
            }
        }
        let warnings = unchanged(&changes, &observed);
        if warnings.is_empty() || warnings.len() < changes.len() {
            return StillOld { nothing_done: false, warnings };
        }
        // Unless it was done and another write has put the old values back: the version that this one made is proof that nobody has.
        let now = self.system.tag(id, &stored.version()).text();
        if pending.after.as_ref().is_some_and(|after| *after != now) {
            return StillOld { warnings, nothing_done: false };
        }
        let others = self.gateway.others(self.system, pending).await;
        let nothing_done = others.is_some_and(|others| !others.undecided && !others.later);
        StillOld { warnings, nothing_done }
    }

    /// Whether the version stands where it stood before the write.
    fn is_as_before(&self, pending: &Pending, id: &RecordId, stored: &Stored) -> bool {
        Some(self.system.tag(id, &stored.version()).text()) == pending.before
    }
}
