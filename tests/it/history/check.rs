//! Holding what callers were told, and what the gateway's books say, against what really happened at the vendors.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::caller::{Kind, Said, Told, Write};
use super::model::{FOREIGN, Op, is_linearizable};
use super::run::{Books, Run, has_its_verdict};
use super::vendors::{GUARDED, SYSTEMS, UNFORETOLD};
use crate::fault_proxy::FaultProxy;

/// When something began, when it was over, and what it was.
type Deed = (i64, i64, Op);

/// Later than anything.
const NEVER: i64 = i64::MAX / 2;

/// The truth about a run.
pub(crate) struct Truth<'r> {
    pub(super) run: &'r Run,
    books: &'r Books,
    /// The values each record has had.
    history: HashMap<(usize, usize), Vec<u32>>,
    /// How often each value took effect.
    effects: HashMap<u32, usize>,
    /// The state of each operation.
    states: HashMap<String, String>,
    /// The operations for which a look at the vendor failed.
    unseen: HashSet<String>,
    pub(super) wrong: Vec<String>,
    /// How many writes the contract lets be misreported.
    excused: usize,
}

impl<'r> Truth<'r> {
    /// Gathers it.
    pub(crate) fn of(run: &'r Run, books: &'r Books) -> Self {
        let history = run.vendors.history();
        let mut effects = HashMap::new();
        for value in history.values().flatten() {
            *effects.entry(*value).or_default() += 1;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let states = books.operations.iter().map(|one| (text(&one["id"]), text(&one["state"]))).collect();
        let failed = |call: &Value| call["status"] != 200 && (call["call"] == "list" || call["call"] == "read");
        let is_unseen = |entry: &&Value| entry["calls"].as_array().is_some_and(|calls| calls.iter().any(failed));
        let unseen = books.ledger.iter().filter(is_unseen).map(|entry| text(&entry["operation"])).collect();
        let mut truth = Self { run, books, history, effects, states, unseen, wrong: Vec::new(), excused: 0 };
        truth.check_books();
        truth
    }

    /// Checks everything; panics with all that is wrong.
    pub(crate) fn check(mut self) {
        let all = self.run.writes.lock().unwrap().clone();
        let (writes, lives): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|write| write.kind == Kind::Patch);
        self.check_lives(&lives);
        for write in &writes {
            self.check_write(write);
        }
        self.check_that_nothing_was_overwritten(&writes);
        self.check_order(&writes);
        self.report(&all);
        let shown: Vec<_> = self.wrong.iter().take(20).cloned().collect();
        assert!(self.wrong.is_empty(), "{} wrong, seed {}:\n{}", self.wrong.len(), self.run.seed, shown.join("\n"));
    }

    /// Nothing runs; each operation has one intent and, after it, one outcome.
    fn check_books(&mut self) {
        let books = self.books;
        let mut entries: HashMap<&str, Vec<(&str, &str)>> = HashMap::new();
        for entry in &books.ledger {
            let text = |name: &str| entry[name].as_str().unwrap_or_default();
            entries.entry(text("operation")).or_default().push((text("event"), text("state")));
        }
        for (operation, state) in &self.states {
            let expected = [("intent", "running"), ("outcome", state.as_str())];
            if state == "running" || entries.get(operation.as_str()).map(Vec::as_slice) != Some(&expected[..]) {
                self.wrong
                    .push(format!("{operation} is {state}, its entries are {:?}", entries.get(operation.as_str())));
            }
        }
        if entries.len() != self.states.len() {
            self.wrong.push(format!("{} operations, {} in the ledger", self.states.len(), entries.len()));
        }
    }

    /// Whether what was told fits the books: all that does not, and whether the write was said to be done, or to be unknown.
    pub(super) fn books_of(&self, write: &Write) -> (Vec<String>, bool, bool) {
        let mut complaints = Vec::new();
        if !has_its_verdict(write) {
            complaints.push("never came to a verdict".to_owned());
        }
        let (mut applied, mut unknown) = (false, false);
        for told in &write.told {
            let state = told.operation.as_ref().map(|id| self.states.get(id).map_or("missing", String::as_str));
            let fits = match (told.said, state) {
                // Who is told of another one in progress is told its operation.
                (Said::Done, Some("applied"))
                | (Said::Stale | Said::Gone | Said::Refused(_), None | Some("not-applied"))
                | (Said::InProgress | Said::Cut, _)
                | (Said::Unknown, None) => true,
                (Said::Unknown | Said::Accepted, Some(state)) => matches!(state, "applied" | "not-applied" | "unknown"),
                _ => false,
            };
            if !fits {
                complaints.push(format!("{:?}, and its operation is {state:?}", told.said));
            }
            if !matches!(told.said, Said::InProgress) {
                applied |= told.said == Said::Done || state == Some("applied");
                unknown |= state == Some("unknown");
            }
        }
        let was_refused = |operation: &String| self.states.get(operation).is_some_and(|state| state == "not-applied");
        complaints.extend(contradiction(write, was_refused));
        (complaints, applied, unknown)
    }

    /// Whether a create or a delete that was done may end unknown: a look failed, perhaps one
    /// of a process that was killed and has told nobody.
    pub(super) fn may_be_unseen(&self, write: &Write) -> bool {
        let mut operations = write.told.iter().filter_map(|told| told.operation.as_ref());
        self.run.plan.kills > 0 || operations.any(|operation| self.unseen.contains(operation))
    }

    fn check_write(&mut self, write: &Write) {
        let effects = self.effects(write);
        let excusable = self.may_be_taken_for_a_conflict(write);
        let (complaints, applied, unknown) = self.books_of(write);
        let mut complain = |what: String| {
            let system = SYSTEMS[write.system];
            let about = format!("{system}/{} hw-{} on {:?}", write.record, write.value, write.expected);
            self.wrong.push(format!("{about}: {what}; {effects} effects; told {:?}", write.told));
        };
        if effects > 1 {
            complain("done more than once".to_owned());
        }
        complaints.into_iter().for_each(&mut complain);
        match (applied, unknown, effects) {
            (true, _, 1) | (false, true, _) | (false, false, 0) => {}
            (true, ..) => complain("said to be done".to_owned()),
            (false, false, 1) if excusable => self.excused += 1,
            (false, false, _) => complain("said not to be done".to_owned()),
        }
        if unknown && !applied && !self.may_stay_unknown(write) {
            let about = format!("{}: hw-{} on {:?}", SYSTEMS[write.system], write.value, write.expected);
            let evidence = self.evidence(write);
            self.wrong.push(format!("{about} stays unknown; {effects} effects; told {:?}; {evidence}", write.told));
        }
    }

    /// What the vendor and the books know of a write and of those of the same record.
    fn evidence(&self, write: &Write) -> String {
        let history = self.history.get(&(write.system, write.record));
        let key = &self.run.vendors.records[write.system][write.record];
        let fits = |one: &&Value| {
            one["system"] == SYSTEMS[write.system] && one["record"].as_str().is_some_and(|id| id.ends_with(key))
        };
        let told = |all: &[Value]| all.iter().filter(fits).map(Value::to_string).collect::<Vec<_>>().join("\n    ");
        let (operations, entries) = (told(&self.books.operations), told(&self.books.ledger));
        format!("the record has been {history:?}\n  operations\n    {operations}\n  entries\n    {entries}")
    }

    /// Contract 4.2: after a 500 that says nothing, a moved tag without the wanted values is 412. Where the vendor had
    /// committed before it failed, and somebody else wrote before the gateway could look, that is not the truth, and a vendor
    /// whose versions cannot be foretold leaves no way to know.
    fn may_be_taken_for_a_conflict(&self, write: &Write) -> bool {
        let history = self.history.get(&(write.system, write.record)).map(Vec::as_slice).unwrap_or_default();
        write.system == UNFORETOLD
            && (write.heard(Said::Stale).is_some() || self.ended_refused(write))
            && self.run.proxies[UNFORETOLD].has_spoiled(write.value)
            && history.last() != Some(&write.value)
    }

    /// Whether a write whose caller was told 202 is told as not applied by its operation.
    fn ended_refused(&self, write: &Write) -> bool {
        let mut operations = write.told.iter().filter_map(|told| told.operation.as_ref());
        operations.any(|id| self.states.get(id).is_some_and(|state| state == "not-applied"))
    }

    fn effects(&self, write: &Write) -> usize {
        self.effects.get(&write.value).copied().unwrap_or(0)
    }

    /// Contract 5.3: only where somebody wrote after it, or where nothing shows that a guarded write was done.
    fn may_stay_unknown(&self, write: &Write) -> bool {
        let empty = Vec::new();
        let history = self.history.get(&(write.system, write.record)).unwrap_or(&empty);
        let after = |value: u32| match history.iter().position(|one| *one == value) {
            Some(at) => history.len() - at - 1,
            None if value == 0 => history.len(),
            None => 0,
        };
        let Some(expected) = write.expected else { return true };
        match write.system {
            GUARDED => self.effects(write) == 0 || after(write.value) > 0,
            UNFORETOLD => after(expected) >= 1,
            // Whether the one write since then was this one, in the vendor's own form, cannot always be told.
            _ => after(expected) >= 2 - usize::from(self.effects(write) == 0),
        }
    }

    /// Every write took effect on the very state it was meant for. A guarded one may overwrite what was written past the
    /// gateway, as documented.
    fn check_that_nothing_was_overwritten(&mut self, writes: &[Write]) {
        let by_value: HashMap<u32, &Write> = writes.iter().map(|write| (write.value, write)).collect();
        for ((system, record), history) in &self.history {
            let mut before = 0;
            for value in history {
                let expected = by_value.get(value).and_then(|write| write.expected);
                let excused = *system == GUARDED && before >= FOREIGN;
                if expected.is_some_and(|expected| expected != before && !excused) {
                    let place = format!("{}/{record}", SYSTEMS[*system]);
                    self.wrong
                        .push(format!("{place}: hw-{value} was meant for {expected:?} and overwrote hw-{before}"));
                }
                before = *value;
            }
        }
    }

    /// One order explains what every caller saw and was told.
    fn check_order(&mut self, writes: &[Write]) {
        let mut histories: BTreeMap<(usize, usize), Vec<Deed>> = BTreeMap::new();
        for sight in self.run.sights.lock().unwrap().iter() {
            let history = histories.entry((sight.system, sight.record)).or_default();
            history.push((sight.call, sight.back, Op::Saw(sight.value)));
        }
        for forced in self.run.forced.lock().unwrap().iter() {
            let history = histories.entry((forced.system, forced.record)).or_default();
            history.push((forced.call, forced.back, Op::Forced(forced.value)));
        }
        for write in writes {
            let or_foreign = write.system == GUARDED && self.run.plan.second_writer;
            let op = match (self.effects(write), write.heard(Said::Stale), write.expected) {
                (0, Some(back), Some(expected)) => (write.call, back, Op::Stale(expected)),
                (0, ..) => continue,
                (_, _, expected) => {
                    let back = write.heard(Said::Done).unwrap_or(NEVER);
                    (write.call, back, Op::Swapped { expected, or_foreign, value: write.value })
                }
            };
            histories.entry((write.system, write.record)).or_default().push(op);
        }
        for ((system, record), history) in &histories {
            if !is_linearizable(history) {
                self.wrong.push(format!("{}/{record}: no order explains its history", SYSTEMS[*system]));
            }
        }
    }

    fn report(&self, writes: &[Write]) {
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for write in writes {
            let kind = match write.kind {
                Kind::Patch => "",
                Kind::Create => " create",
                Kind::Delete(_) => " delete",
                Kind::PatchOfDoomed(_) => " patch of doomed",
            };
            *ends.entry(format!("{}{kind} {:?}", SYSTEMS[write.system], write.last())).or_default() += 1;
        }
        let mut settled: BTreeMap<&str, usize> = BTreeMap::new();
        for state in self.states.values() {
            *settled.entry(state).or_default() += 1;
        }
        let mut mishaps = BTreeMap::new();
        for (mishap, count) in self.run.proxies.iter().flat_map(FaultProxy::counts) {
            *mishaps.entry(mishap).or_insert(0) += count;
        }
        let disturbed: usize = self.run.proxies.iter().map(FaultProxy::disturbed_count).sum();
        eprintln!(
            "{}: seed {}, {} writes, {disturbed} faulted, {} more cut from the gateway, {} kills, {} excused, {} wrong\n  \
             told {ends:?}\n  operations {settled:?}\n  mishaps {mishaps:?}",
            self.run.plan.name,
            self.run.seed,
            writes.len(),
            self.run.cut.load(std::sync::atomic::Ordering::SeqCst),
            self.run.plan.kills,
            self.excused,
            self.wrong.len(),
        );
    }
}

/// A verdict that was taken back: what an `Idempotency-Key` replays never changes. A write that was refused before its
/// intent is not remembered; but a stale tag stays stale.
fn contradiction(write: &Write, was_refused: impl Fn(&String) -> bool) -> Option<String> {
    let mut verdict: Option<&Told> = None;
    for told in &write.told {
        let said = told.said;
        let Some(before) = verdict else {
            verdict = said.is_verdict().then_some(told);
            continue;
        };
        let remembered = before.operation.is_some();
        let fits = match said {
            Said::Cut | Said::Refused(0) => true,
            Said::InProgress | Said::Refused(_) => !remembered,
            // Somebody deletes the record after the refusal.
            Said::Gone if before.said == Said::Stale => !remembered,
            // Another replica had looked before the tag became stale, and was refused by the vendor.
            Said::Accepted if before.said == Said::Stale => {
                !remembered && told.operation.as_ref().is_some_and(&was_refused)
            }
            _ => said == before.said && told.replayed == remembered,
        };
        if said.is_verdict() && told.operation.is_some() {
            verdict = Some(told);
        }
        if !fits {
            return Some(format!("{before:?} first, then {told:?}"));
        }
    }
    None
}
