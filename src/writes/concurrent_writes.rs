//! What the gateway's other writes of a record reveal about one whose response was lost: a record
//! that shows the expected values may show the effect of another write.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use super::in_flight_write::InFlightWrite;
use crate::journal::{Journal, LedgerEntry, LedgerEvent, LedgerQuery};
use crate::record::{Action, ObservedState, OperationId, OperationState, RecordId, pointers_overlap};
use crate::system::System;

/// How much earlier than this write a concurrent one may have begun, in addition to
/// `completion_timeout`.
const LOOKBACK: Duration = Duration::from_mins(15);
/// Rows per query, and queries per search. A search with more rows than that stays inconclusive.
pub(super) const PAGE_SIZE: usize = 1000;
pub(super) const MAX_PAGES: usize = 32;

/// What the ledger shows of other writes of the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ConcurrentWrites {
    /// One that compared the very same version was applied: only one of such writes can be.
    pub another_applied: bool,
    /// The record's values may be another write's: one that compared the same version runs or ended
    /// `unknown`, or one that may have compared it, or may have followed it unseen, writes the same
    /// paths.
    pub another_unresolved: bool,
    /// One that began after this one was applied, or may have been, perhaps on the version that
    /// this one made.
    pub later_writer: bool,
}

impl ConcurrentWrites {
    /// What a search shows that is not complete: it excludes nothing.
    const INCONCLUSIVE: Self = Self { another_applied: false, another_unresolved: true, later_writer: true };

    /// Whether there is any whose effect the record may show.
    pub(super) fn is_any(self) -> bool {
        self.another_applied || self.another_unresolved || self.later_writer
    }
}

/// Whether a write compared the version of an ETag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum VersionMatch {
    Exact,
    Possible,
    No,
}

impl VersionMatch {
    /// Decides by the version that the vendor compares, or else by the caller's `If-Match`.
    fn classify(compared_etag: Option<&str>, precondition: Option<&str>, etag: &str) -> Self {
        match compared_etag.or(precondition) {
            Some(sent) if sent == etag => Self::Exact,
            None | Some("*") => Self::Possible,
            Some(sent) if sent.split(", ").any(|one| one == etag) => Self::Possible,
            Some(_) => Self::No,
        }
    }
}

/// Whether a later write, which did not compare this write's version, may have written what the
/// record shows. `compared_etag` is the version that the later write compared, perhaps known from
/// its `If-Match` alone. While the record has that version, the later write has had no effect.
fn may_have_written(version_match: VersionMatch, compared_etag: Option<&str>, shown: Option<&str>) -> bool {
    version_match == VersionMatch::No && (compared_etag.is_none() || compared_etag != shown)
}

/// What the end of another write means for this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OtherEnd {
    /// It was applied, and only one of the two can be.
    ExcludesThis,
    /// It was applied before this write began, so what it made was compared.
    AppliedBefore,
    /// It was applied since this write began: the record may show its values.
    AppliedMeanwhile,
    /// It was not applied and never will be.
    NotApplied,
    /// It ended without a known outcome.
    Unknown,
}

impl OtherEnd {
    /// `excludes_this`: only one of the two writes can be applied. `passed_own_intent`: this write
    /// began before the other one ended.
    fn classify(state: &str, excludes_this: bool, passed_own_intent: bool) -> Self {
        if state == OperationState::NotApplied.as_str() {
            return Self::NotApplied;
        }
        match (state == OperationState::Applied.as_str(), excludes_this, passed_own_intent) {
            (true, true, _) => Self::ExcludesThis,
            (true, false, false) => Self::AppliedBefore,
            (true, false, true) => Self::AppliedMeanwhile,
            (false, ..) => Self::Unknown,
        }
    }
}

/// Whether a path of one list overlaps a path of the other.
fn paths_overlap(some: &[String], others: &[String]) -> bool {
    some.iter().any(|one| others.iter().any(|other| pointers_overlap(one, other)))
}

/// Since when (milliseconds since 1970) other writes may have taken effect while this one ran. The
/// vendor's answer to an earlier one is no longer awaited, and its effect has come.
pub(super) fn lookback_start(system: &System, write: &InFlightWrite) -> i64 {
    let lookback = i64::try_from((LOOKBACK + system.policy.completion_timeout).as_millis()).unwrap_or(i64::MAX);
    write.begun_ms.saturating_sub(lookback)
}

/// The query for the ledger entries of a record since a time in milliseconds.
fn first_page(system: &System, id: &RecordId, since: i64) -> LedgerQuery {
    LedgerQuery {
        systems: vec![system.name.as_str().to_owned()],
        record: Some(id.as_str().to_owned()),
        since: Timestamp::from_millisecond(since).ok(),
        limit: PAGE_SIZE,
        ..LedgerQuery::default()
    }
}

/// A search through the ledger's entries of a record, oldest first.
struct ConcurrentSearch<'s> {
    write: &'s InFlightWrite,
    etag_before: &'s str,
    /// The ETag that the record has now.
    shown: Option<&'s str>,
    paths: Vec<String>,
    version_is_sequence: bool,
    /// Whether this write's own entry was found.
    passed_own_intent: bool,
    /// Others whose values the record may show: they are not known to have ended without effect, or
    /// before this one.
    unresolved: HashSet<OperationId>,
    /// Others that began after this one.
    later: HashSet<OperationId>,
}

impl ConcurrentSearch<'_> {
    /// Takes the next entry. The result: whether another write was applied that excludes this one.
    /// `None`: the store is unavailable.
    async fn add(&mut self, journal: &Journal, entry: LedgerEntry) -> Option<bool> {
        let Some(operation) = entry.operation.clone() else { return Some(false) };
        if operation == self.write.operation {
            self.passed_own_intent = true;
            return Some(false);
        }
        // A rebased write compared the state that it was applied to, not that of its tag.
        let compared_etag = entry.compared_etag.as_deref().or(entry.rebased_onto.as_deref());
        let version_match = VersionMatch::classify(compared_etag, entry.precondition.as_deref(), self.etag_before);
        // The id of a deleted record is never used again, whatever version was compared.
        let is_other_delete = self.write.expected.is_deleted() && entry.action == Some(Action::Delete);
        let excludes_this = is_other_delete || version_match == VersionMatch::Exact;
        if entry.event == LedgerEvent::Intent {
            let compared_etag = compared_etag.or(entry.precondition.as_deref());
            let may_show_its_values =
                version_match == VersionMatch::Possible || self.may_follow_unseen(version_match, compared_etag);
            if self.passed_own_intent && version_match != VersionMatch::Exact {
                self.later.insert(operation.clone());
            }
            if excludes_this || may_show_its_values && paths_overlap(&entry.paths, &self.paths) {
                self.unresolved.insert(operation);
            }
            return Some(false);
        }
        match OtherEnd::classify(&entry.state, excludes_this, self.passed_own_intent) {
            OtherEnd::ExcludesThis => return Some(true),
            OtherEnd::NotApplied => {
                self.later.remove(&operation);
                self.unresolved.remove(&operation);
            }
            OtherEnd::AppliedBefore => {
                self.unresolved.remove(&operation);
            }
            OtherEnd::Unknown if ended_without_effect(journal, &operation).await? => {
                self.unresolved.remove(&operation);
            }
            OtherEnd::Unknown | OtherEnd::AppliedMeanwhile => {}
        }
        Some(false)
    }

    /// Where a version does not identify its writer, the values may be those of a later write: this
    /// one was refused, and its response lost.
    fn may_follow_unseen(&self, version_match: VersionMatch, compared_etag: Option<&str>) -> bool {
        self.passed_own_intent
            && !self.version_is_sequence
            && may_have_written(version_match, compared_etag, self.shown)
    }

    fn finish(self) -> ConcurrentWrites {
        ConcurrentWrites {
            another_applied: false,
            another_unresolved: !self.unresolved.is_empty(),
            later_writer: !self.later.is_empty(),
        }
    }
}

/// Searches the ledger for other writes of the record, which has the ETag `shown` now. `None`: the
/// store is unavailable.
pub(super) async fn find_concurrent_writes(
    journal: &Journal,
    system: &System,
    write: &InFlightWrite,
    shown: Option<&str>,
) -> Option<ConcurrentWrites> {
    let (Some(id), Some(etag_before)) = (write.id(), &write.etag_before) else {
        return Some(ConcurrentWrites::default());
    };
    let since = lookback_start(system, write);
    let mut query = first_page(system, id, since);
    // What a cut has taken away cannot be excluded.
    let is_complete = journal.is_complete_since(since).await.ok()?;
    if !is_complete {
        return Some(ConcurrentWrites::INCONCLUSIVE);
    }
    let mut search = ConcurrentSearch {
        write,
        etag_before,
        shown,
        paths: write.paths(),
        version_is_sequence: system.adapter.capabilities().version_is_sequence,
        passed_own_intent: false,
        unresolved: HashSet::new(),
        later: HashSet::new(),
    };
    for _ in 0..MAX_PAGES {
        let page = journal.ledger(query.clone()).await.ok()?;
        for entry in page.items {
            if search.add(journal, entry).await? {
                return Some(ConcurrentWrites { another_applied: true, ..ConcurrentWrites::default() });
            }
        }
        query.after_seq = page.next;
        if page.next.is_none() {
            return Some(search.finish());
        }
    }
    Some(ConcurrentWrites::INCONCLUSIVE)
}

/// Whether the final probe of a write that ended `unknown` showed values that are not its own.
/// `None`: the store is unavailable.
async fn ended_without_effect(journal: &Journal, operation: &OperationId) -> Option<bool> {
    let ended = journal.operation(operation).await.ok()?;
    Some(ended.is_none_or(|ended| matches!(ended.observed, Some(ObservedState::Unchanged | ObservedState::Other))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_paths_overlap_when_any_two_of_their_paths_do() {
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        for (some, others, expected) in [
            (&["/fields/a", "/fields/b"][..], &["/fields/b", "/fields/c"][..], true),
            (&["/fields/p"], &["/fields/p/x/value"], true),
            (&["/fields/a"], &["/fields/ab"], false),
            (&[], &["/fields/a"], false),
        ] {
            assert_eq!(paths_overlap(&owned(some), &owned(others)), expected, "{some:?} {others:?}");
        }
    }

    #[test]
    fn the_end_of_another_write_is_classified_by_state_and_order() {
        use OtherEnd::{AppliedBefore, AppliedMeanwhile, ExcludesThis, NotApplied, Unknown};
        for (state, excludes_this, passed_own_intent, expected) in [
            ("applied", true, false, ExcludesThis),
            ("applied", true, true, ExcludesThis),
            ("applied", false, false, AppliedBefore),
            ("applied", false, true, AppliedMeanwhile),
            ("not-applied", true, false, NotApplied),
            ("not-applied", false, true, NotApplied),
            ("unknown", true, true, Unknown),
            ("unknown", false, false, Unknown),
        ] {
            assert_eq!(
                OtherEnd::classify(state, excludes_this, passed_own_intent),
                expected,
                "{state} {excludes_this} {passed_own_intent}"
            );
        }
    }

    #[test]
    fn the_version_match_uses_the_compared_etag_before_the_precondition() {
        let classify = |compared, precondition| VersionMatch::classify(compared, precondition, "\"v7\"");
        assert!(classify(None, Some("\"v7\"")) == VersionMatch::Exact);
        for possible in [None, Some("*"), Some("\"v6\", \"v7\"")] {
            assert!(classify(None, possible) == VersionMatch::Possible, "{possible:?}");
            assert!(classify(Some("\"v7\""), possible) == VersionMatch::Exact, "{possible:?}");
            assert!(classify(Some("\"v6\""), possible) == VersionMatch::No, "{possible:?}");
        }
        assert!(classify(None, Some("\"v6\"")) == VersionMatch::No);
    }

    #[test]
    fn a_later_write_has_written_nothing_while_its_version_is_shown() {
        let before = "\"v7\"";
        // The ETag that the vendor compared, `If-Match`, and the ETag that the record shows. The
        // write on v7 makes v8.
        for (compared_etag, if_match, shown, expected) in [
            // `If-Match: *`, v8 compared: it writes v9, so it had no effect while v8 is shown.
            (Some("\"v8\""), Some("*"), Some("\"v9\""), true),
            (Some("\"v8\""), Some("*"), Some("\"v8\""), false),
            (Some("\"v8\""), Some("*"), None, true),
            // The ledger names the compared ETag only where `If-Match` does not.
            (None, Some("\"v8\""), Some("\"v9\""), true),
            (None, Some("\"v8\""), Some("\"v8\""), false),
            (None, Some("\"v8\""), None, true),
            // Which of several tags was compared is not known.
            (None, Some("\"v6\", \"v8\""), Some("\"v8\""), true),
            // Rebased onto v8, whatever its tag was.
            (Some("\"v8\""), Some("\"v6\""), Some("\"v8\""), false),
            (Some("\"v8\""), Some("\"v6\""), Some("\"v9\""), true),
            // It compared the very version: another rule excludes one of the two.
            (None, Some(before), Some("\"v8\""), false),
            (Some(before), Some("*"), Some("\"v8\""), false),
            // It may have compared the very version, which counts whatever is shown.
            (None, None, Some("\"v8\""), false),
        ] {
            let version_match = VersionMatch::classify(compared_etag, if_match, before);
            let may_have = may_have_written(version_match, compared_etag.or(if_match), shown);
            assert_eq!(may_have, expected, "{compared_etag:?} {if_match:?} {shown:?}");
        }
    }
}
