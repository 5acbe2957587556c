//! Which item of a batch is next (contract 4.10): pure, so that its rules are tested without time.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;

/// The state of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ItemState {
    /// It waits for this many others.
    Waiting(usize),
    /// It has begun, or was decided without a beginning.
    Begun,
    /// It has ended; its followers may begin.
    Ended { succeeded: bool },
}

/// What to do with the next item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextItem {
    /// Begin it.
    Begin(usize),
    /// Do not begin it, because another item failed.
    Skip { item: usize, because: usize },
}

/// The order of a batch's items. An item waits for those that it depends on, and for the one before
/// it that names the same record.
pub(super) struct Schedule {
    states: Vec<ItemState>,
    depends_on: Vec<Vec<usize>>,
    followers: Vec<Vec<usize>>,
    ready: BTreeSet<usize>,
    stop_on_failure: bool,
    first_failure: Option<usize>,
    /// Items that began before, in an earlier process or when the batch was sent before: neither a
    /// failure nor a cancellation undoes that.
    begun: HashSet<usize>,
}

impl Schedule {
    /// `records` names the record of each item; items of one record run one after another.
    pub(super) fn new<R: Eq + Hash>(
        depends_on: Vec<Vec<usize>>,
        records: impl IntoIterator<Item = Option<R>>,
        stop_on_failure: bool,
    ) -> Self {
        let count = depends_on.len();
        let mut followers = vec![Vec::new(); count];
        let mut states = Vec::with_capacity(count);
        let mut latest: HashMap<R, usize> = HashMap::new();
        for (item, (needs, record)) in depends_on.iter().zip(records).enumerate() {
            let mut before: BTreeSet<usize> = needs.iter().copied().collect();
            before.extend(record.and_then(|record| latest.insert(record, item)));
            for earlier in &before {
                if let Some(list) = followers.get_mut(*earlier) {
                    list.push(item);
                }
            }
            states.push(ItemState::Waiting(before.len()));
        }
        let is_free = |(item, state): (usize, &ItemState)| (*state == ItemState::Waiting(0)).then_some(item);
        let ready = states.iter().enumerate().filter_map(is_free).collect();
        Self { states, depends_on, followers, ready, stop_on_failure, first_failure: None, begun: HashSet::new() }
    }

    /// Names the items that began before.
    pub(super) fn set_begun(&mut self, begun: HashSet<usize>) {
        self.begun = begun;
    }

    /// Whether other items wait for this one.
    pub(super) fn has_followers(&self, item: usize) -> bool {
        self.followers.get(item).is_some_and(|followers| !followers.is_empty())
    }

    /// Takes the first item, in the order given, that waits for nothing.
    pub(super) fn take_next(&mut self) -> Option<NextItem> {
        let item = self.ready.pop_first()?;
        self.set(item, ItemState::Begun);
        let failed =
            |dependency: &&usize| self.states.get(**dependency) == Some(&ItemState::Ended { succeeded: false });
        let dependency = self.depends_on.get(item).and_then(|needs| needs.iter().find(failed)).copied();
        let stopped = self.first_failure.filter(|_| self.stop_on_failure);
        let because = dependency.or(stopped).filter(|_| !self.begun.contains(&item));
        Some(because.map_or(NextItem::Begin(item), |because| NextItem::Skip { item, because }))
    }

    /// Takes an item that ended before: it is not begun, and [`end`](Self::end) follows.
    pub(super) fn restore(&mut self, item: usize) {
        self.ready.remove(&item);
        self.set(item, ItemState::Begun);
    }

    /// Records that an item failed, before those that wait for it may start.
    pub(super) fn fail(&mut self, item: usize) {
        self.first_failure.get_or_insert(item);
    }

    /// Ends an item.
    pub(super) fn end(&mut self, item: usize, succeeded: bool) {
        if !succeeded {
            self.fail(item);
        }
        self.set(item, ItemState::Ended { succeeded });
        self.release_followers(item);
    }

    /// Those that wait for an item wait for one less.
    fn release_followers(&mut self, item: usize) {
        for follower in self.followers.get(item).cloned().unwrap_or_default() {
            if let Some(ItemState::Waiting(left)) = self.states.get_mut(follower) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.ready.insert(follower);
                }
            }
        }
    }

    /// The items that have not begun, in the order given. None of them begins any more, and those
    /// that began before do not wait for them.
    pub(super) fn abandon_not_begun(&mut self) -> Vec<usize> {
        let waits = |(item, state): (usize, &ItemState)| matches!(state, ItemState::Waiting(_)).then_some(item);
        let waiting = self.states.iter().enumerate().filter_map(waits);
        let left: Vec<usize> = waiting.filter(|item| !self.begun.contains(item)).collect();
        for item in &left {
            self.ready.remove(item);
            self.set(*item, ItemState::Ended { succeeded: false });
        }
        for item in &left {
            self.release_followers(*item);
        }
        left
    }

    /// Returns an item that turned out not to have begun.
    pub(super) fn return_not_begun(&mut self, item: usize) {
        self.begun.remove(&item);
        self.set(item, ItemState::Waiting(0));
        self.ready.insert(item);
    }

    fn set(&mut self, item: usize, state: ItemState) {
        if let Some(slot) = self.states.get_mut(item) {
            *slot = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(schedule: &mut Schedule) -> Vec<NextItem> {
        std::iter::from_fn(|| schedule.take_next()).collect()
    }

    #[test]
    fn items_of_one_record_run_in_the_order_given() {
        let records = [Some("a"), Some("b"), Some("a"), None, Some("a")];
        let mut schedule = Schedule::new(vec![Vec::new(); 5], records, false);
        assert_eq!(all(&mut schedule), [NextItem::Begin(0), NextItem::Begin(1), NextItem::Begin(3)]);
        schedule.end(0, false);
        assert_eq!(all(&mut schedule), [NextItem::Begin(2)], "a failure does not stop its record");
        schedule.end(2, true);
        assert_eq!(all(&mut schedule), [NextItem::Begin(4)]);
        assert!(schedule.has_followers(0) && !schedule.has_followers(1));
    }

    #[test]
    fn a_failed_dependency_skips_its_dependents_one_after_another() {
        let mut schedule = Schedule::new(vec![vec![], vec![0], vec![1], vec![]], [None::<&str>; 4], false);
        assert_eq!(all(&mut schedule), [NextItem::Begin(0), NextItem::Begin(3)]);
        schedule.end(0, false);
        assert_eq!(all(&mut schedule), [NextItem::Skip { item: 1, because: 0 }]);
        schedule.end(1, false);
        assert_eq!(all(&mut schedule), [NextItem::Skip { item: 2, because: 1 }]);
    }

    #[test]
    fn after_a_stop_no_item_begins() {
        let mut schedule = Schedule::new(vec![vec![], vec![], vec![0]], [None::<&str>; 3], true);
        assert_eq!(schedule.take_next(), Some(NextItem::Begin(0)));
        schedule.fail(0);
        assert_eq!(schedule.take_next(), Some(NextItem::Skip { item: 1, because: 0 }));
        schedule.end(0, false);
        assert_eq!(schedule.abandon_not_begun(), [2]);
        assert_eq!(schedule.take_next(), None);
    }

    #[test]
    fn an_item_that_had_begun_is_kept_when_nothing_more_may_begin() {
        let records = [Some("a"), Some("a"), None, Some("b")];
        let mut schedule = Schedule::new(vec![vec![], vec![], vec![], vec![2]], records, false);
        schedule.set_begun(HashSet::from([0, 3]));
        assert_eq!(schedule.abandon_not_begun(), [1, 2]);
        assert_eq!(all(&mut schedule), [NextItem::Begin(0), NextItem::Begin(3)]);
    }

    #[test]
    fn an_item_that_had_begun_waits_only_for_what_runs() {
        let mut schedule = Schedule::new(vec![vec![], vec![], vec![0, 1]], [None::<&str>; 3], false);
        schedule.set_begun(HashSet::from([2]));
        assert_eq!(schedule.take_next(), Some(NextItem::Begin(0)));
        assert_eq!(schedule.abandon_not_begun(), [1]);
        assert_eq!(schedule.take_next(), None, "what it may refer to has not ended");
        schedule.end(0, true);
        assert_eq!(schedule.take_next(), Some(NextItem::Begin(2)));
    }

    #[test]
    fn an_item_that_turns_out_not_to_have_begun_is_skipped_like_others() {
        let mut schedule = Schedule::new(vec![vec![], vec![0]], [None::<&str>; 2], false);
        schedule.set_begun(HashSet::from([1]));
        assert_eq!(schedule.take_next(), Some(NextItem::Begin(0)));
        schedule.end(0, false);
        assert_eq!(schedule.take_next(), Some(NextItem::Begin(1)));
        schedule.return_not_begun(1);
        assert_eq!(schedule.take_next(), Some(NextItem::Skip { item: 1, because: 0 }));
    }

    #[test]
    fn an_item_that_had_begun_is_not_skipped_after_a_failure() {
        let mut schedule = Schedule::new(vec![vec![]; 3], [None::<&str>; 3], true);
        schedule.set_begun(HashSet::from([1]));
        schedule.restore(0);
        schedule.end(0, false);
        assert_eq!(all(&mut schedule), [NextItem::Begin(1), NextItem::Skip { item: 2, because: 0 }]);
    }
}
