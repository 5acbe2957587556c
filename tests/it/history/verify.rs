//! Holding what callers were told, and what the gateway's report say, against what really happened at the vendors.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::caller::{ResponseKind, Write, WriteKind, WriteResponse};
use super::register_model::{FIRST_EXTERNAL_VALUE, RegisterOp, is_linearizable};
use super::runner::{GatewayReport, Run, is_conclusive};
use super::vendors::{GUARDED, OPAQUE_VERSIONS, SYSTEMS};
use crate::fault_proxy::FaultProxy;

/// When something began, when it was over, and what it was.
type TimedOp = (i64, i64, RegisterOp);

/// Later than anything.
const NEVER_RETURNED: i64 = i64::MAX / 2;

/// The verifier about a run.
pub(crate) struct HistoryVerifier<'r> {
    pub(super) run: &'r Run,
    report: &'r GatewayReport,
    /// The values each record has had.
    history: HashMap<(usize, usize), Vec<u32>>,
    /// How often each value took effect.
    effects: HashMap<u32, usize>,
    /// The state of each operation.
    states: HashMap<String, String>,
    /// The operations for which a look at the vendor failed.
    failed_reads: HashSet<String>,
    pub(super) violations: Vec<String>,
    /// How many writes the contract lets be misreported.
    excused_count: usize,
}

impl<'r> HistoryVerifier<'r> {
    /// Gathers it.
    pub(crate) fn new(run: &'r Run, report: &'r GatewayReport) -> Self {
        let history = run.vendors.history();
        let mut effects = HashMap::new();
        for value in history.values().flatten() {
            *effects.entry(*value).or_default() += 1;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let states = report.operations.iter().map(|one| (text(&one["id"]), text(&one["state"]))).collect();
        let failed = |call: &Value| call["status"] != 200 && (call["call"] == "list" || call["call"] == "read");
        let is_unseen = |entry: &&Value| entry["calls"].as_array().is_some_and(|calls| calls.iter().any(failed));
        let unseen = report.ledger.iter().filter(is_unseen).map(|entry| text(&entry["operation"])).collect();
        let mut verifier = Self {
            run,
            report: report,
            history,
            effects,
            states,
            failed_reads: unseen,
            violations: Vec::new(),
            excused_count: 0,
        };
        verifier.check_ledger();
        verifier
    }

    /// Checks everything; panics with all that is wrong.
    pub(crate) fn verify(mut self) {
        let all = self.run.writes.lock().unwrap().clone();
        let (writes, lifecycle_writes): (Vec<_>, Vec<_>) =
            all.iter().cloned().partition(|write| write.kind == WriteKind::Patch);
        self.check_lifecycle(&lifecycle_writes);
        for write in &writes {
            self.check_write(write);
        }
        self.check_no_lost_updates(&writes);
        self.check_linearizability(&writes);
        self.print_summary(&all);
        let shown: Vec<_> = self.violations.iter().take(20).cloned().collect();
        assert!(
            self.violations.is_empty(),
            "{} wrong, seed {}:\n{}",
            self.violations.len(),
            self.run.seed,
            shown.join("\n")
        );
    }

    /// Nothing runs; each operation has one intent and, after it, one outcome.
    fn check_ledger(&mut self) {
        let report = self.report;
        let mut entries: HashMap<&str, Vec<(&str, &str)>> = HashMap::new();
        for entry in &report.ledger {
            let text = |name: &str| entry[name].as_str().unwrap_or_default();
            entries.entry(text("operation")).or_default().push((text("event"), text("state")));
        }
        for (operation, state) in &self.states {
            let expected = [("intent", "running"), ("outcome", state.as_str())];
            if state == "running" || entries.get(operation.as_str()).map(Vec::as_slice) != Some(&expected[..]) {
                self.violations
                    .push(format!("{operation} is {state}, its entries are {:?}", entries.get(operation.as_str())));
            }
        }
        if entries.len() != self.states.len() {
            self.violations.push(format!("{} operations, {} in the ledger", self.states.len(), entries.len()));
        }
    }

    /// Whether what was told fits the report: all that does not, and whether the write was said to be done, or to be unknown.
    pub(super) fn check_responses(&self, write: &Write) -> (Vec<String>, bool, bool) {
        let mut complaints = Vec::new();
        if !is_conclusive(write) {
            complaints.push("never came to a verdict".to_owned());
        }
        let (mut applied, mut unknown) = (false, false);
        for told in &write.responses {
            let state = told.operation.as_ref().map(|id| self.states.get(id).map_or("missing", String::as_str));
            let fits = match (told.kind, state) {
                // Who is told of another one in progress is told its operation.
                (ResponseKind::Success, Some("applied"))
                | (
                    ResponseKind::PreconditionFailed | ResponseKind::NotFound | ResponseKind::Rejected(_),
                    None | Some("not-applied"),
                )
                | (ResponseKind::InProgress | ResponseKind::Disconnected, _)
                | (ResponseKind::OutcomeUnknown, None) => true,
                (ResponseKind::OutcomeUnknown | ResponseKind::Accepted, Some(state)) => {
                    matches!(state, "applied" | "not-applied" | "unknown")
                }
                _ => false,
            };
            if !fits {
                complaints.push(format!("{:?}, and its operation is {state:?}", told.kind));
            }
            if !matches!(told.kind, ResponseKind::InProgress) {
                applied |= told.kind == ResponseKind::Success || state == Some("applied");
                unknown |= state == Some("unknown");
            }
        }
        let was_refused = |operation: &String| self.states.get(operation).is_some_and(|state| state == "not-applied");
        complaints.extend(find_contradiction(write, was_refused));
        (complaints, applied, unknown)
    }

    /// Whether a create or a delete that was done may end unknown: a look failed, perhaps one
    /// of a process that was killed and has told nobody.
    pub(super) fn may_lack_evidence(&self, write: &Write) -> bool {
        let mut operations = write.responses.iter().filter_map(|told| told.operation.as_ref());
        self.run.plan.kills > 0 || operations.any(|operation| self.failed_reads.contains(operation))
    }

    fn check_write(&mut self, write: &Write) {
        let effects = self.effect_count(write);
        let excusable = self.may_be_mistaken_for_conflict(write);
        let (complaints, applied, unknown) = self.check_responses(write);
        let mut complain = |what: String| {
            let system = SYSTEMS[write.system];
            let about = format!("{system}/{} hw-{} on {:?}", write.record, write.value, write.expected);
            self.violations.push(format!("{about}: {what}; {effects} effects; told {:?}", write.responses));
        };
        if effects > 1 {
            complain("done more than once".to_owned());
        }
        complaints.into_iter().for_each(&mut complain);
        match (applied, unknown, effects) {
            (true, _, 1) | (false, true, _) | (false, false, 0) => {}
            (true, ..) => complain("said to be done".to_owned()),
            (false, false, 1) if excusable => self.excused_count += 1,
            (false, false, _) => complain("said not to be done".to_owned()),
        }
        if unknown && !applied && !self.may_stay_unknown(write) {
            let about = format!("{}: hw-{} on {:?}", SYSTEMS[write.system], write.value, write.expected);
            let evidence = self.describe_evidence(write);
            self.violations
                .push(format!("{about} stays unknown; {effects} effects; told {:?}; {evidence}", write.responses));
        }
    }

    /// What the vendor and the report know of a write and of those of the same record.
    fn describe_evidence(&self, write: &Write) -> String {
        let history = self.history.get(&(write.system, write.record));
        let key = &self.run.vendors.records[write.system][write.record];
        let fits = |one: &&Value| {
            one["system"] == SYSTEMS[write.system] && one["record"].as_str().is_some_and(|id| id.ends_with(key))
        };
        let told = |all: &[Value]| all.iter().filter(fits).map(Value::to_string).collect::<Vec<_>>().join("\n    ");
        let (operations, entries) = (told(&self.report.operations), told(&self.report.ledger));
        format!("the record has been {history:?}\n  operations\n    {operations}\n  entries\n    {entries}")
    }

    /// Contract 4.2: after a 500 that says nothing, a moved tag without the wanted values is 412. Where the vendor had
    /// committed before it failed, and somebody else wrote before the gateway could look, that is not the verifier, and a vendor
    /// whose versions cannot be foretold leaves no way to know.
    fn may_be_mistaken_for_conflict(&self, write: &Write) -> bool {
        let history = self.history.get(&(write.system, write.record)).map(Vec::as_slice).unwrap_or_default();
        write.system == OPAQUE_VERSIONS
            && (write.first_received_at(ResponseKind::PreconditionFailed).is_some() || self.ended_not_applied(write))
            && self.run.proxies[OPAQUE_VERSIONS].has_replaced_response(write.value)
            && history.last() != Some(&write.value)
    }

    /// Whether a write whose caller was told 202 is told as not applied by its operation.
    fn ended_not_applied(&self, write: &Write) -> bool {
        let mut operations = write.responses.iter().filter_map(|told| told.operation.as_ref());
        operations.any(|id| self.states.get(id).is_some_and(|state| state == "not-applied"))
    }

    fn effect_count(&self, write: &Write) -> usize {
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
            GUARDED => self.effect_count(write) == 0 || after(write.value) > 0,
            OPAQUE_VERSIONS => after(expected) >= 1,
            // Whether the one write since then was this one, in the vendor's own form, cannot always be told.
            _ => after(expected) >= 2 - usize::from(self.effect_count(write) == 0),
        }
    }

    /// Every write took effect on the very state it was meant for. A guarded one may overwrite what was written past the
    /// gateway, as documented.
    fn check_no_lost_updates(&mut self, writes: &[Write]) {
        let by_value: HashMap<u32, &Write> = writes.iter().map(|write| (write.value, write)).collect();
        for ((system, record), history) in &self.history {
            let mut before = 0;
            for value in history {
                let expected = by_value.get(value).and_then(|write| write.expected);
                let excused = *system == GUARDED && before >= FIRST_EXTERNAL_VALUE;
                if expected.is_some_and(|expected| expected != before && !excused) {
                    let place = format!("{}/{record}", SYSTEMS[*system]);
                    self.violations
                        .push(format!("{place}: hw-{value} was meant for {expected:?} and overwrote hw-{before}"));
                }
                before = *value;
            }
        }
    }

    /// One order explains what every caller saw and was told.
    fn check_linearizability(&mut self, writes: &[Write]) {
        let mut histories: BTreeMap<(usize, usize), Vec<TimedOp>> = BTreeMap::new();
        for read in self.run.reads.lock().unwrap().iter() {
            let history = histories.entry((read.system, read.record)).or_default();
            history.push((read.started_at, read.returned_at, RegisterOp::Read(read.value)));
        }
        for external in self.run.external_writes.lock().unwrap().iter() {
            let history = histories.entry((external.system, external.record)).or_default();
            history.push((external.started_at, external.returned_at, RegisterOp::ExternalWrite(external.value)));
        }
        for write in writes {
            let or_foreign = write.system == GUARDED && self.run.plan.external_writer;
            let op = match (
                self.effect_count(write),
                write.first_received_at(ResponseKind::PreconditionFailed),
                write.expected,
            ) {
                (0, Some(back), Some(expected)) => (write.started_at, back, RegisterOp::PreconditionFailed(expected)),
                (0, ..) => continue,
                (_, _, expected) => {
                    let back = write.first_received_at(ResponseKind::Success).unwrap_or(NEVER_RETURNED);
                    (
                        write.started_at,
                        back,
                        RegisterOp::CompareAndSwap { expected, or_external: or_foreign, value: write.value },
                    )
                }
            };
            histories.entry((write.system, write.record)).or_default().push(op);
        }
        for ((system, record), history) in &histories {
            if !is_linearizable(history) {
                self.violations.push(format!("{}/{record}: no order explains its history", SYSTEMS[*system]));
            }
        }
    }

    fn print_summary(&self, writes: &[Write]) {
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for write in writes {
            let kind = match write.kind {
                WriteKind::Patch => "",
                WriteKind::Create => " create",
                WriteKind::Delete(_) => " delete",
                WriteKind::PatchDeletable(_) => " patch of doomed",
            };
            *ends.entry(format!("{}{kind} {:?}", SYSTEMS[write.system], write.last_kind())).or_default() += 1;
        }
        let mut settled: BTreeMap<&str, usize> = BTreeMap::new();
        for state in self.states.values() {
            *settled.entry(state).or_default() += 1;
        }
        let mut faults = BTreeMap::new();
        for (fault, count) in self.run.proxies.iter().flat_map(FaultProxy::counts) {
            *faults.entry(fault).or_insert(0) += count;
        }
        let disturbed: usize = self.run.proxies.iter().map(FaultProxy::faulted_count).sum();
        eprintln!(
            "{}: seed {}, {} writes, {disturbed} faulted, {} more cut from the gateway, {} kills, {} excused, {} wrong\n  \
             told {ends:?}\n  operations {settled:?}\n  faults {faults:?}",
            self.run.plan.name,
            self.run.seed,
            writes.len(),
            self.run.disconnected_writes.load(std::sync::atomic::Ordering::SeqCst),
            self.run.plan.kills,
            self.excused_count,
            self.violations.len(),
        );
    }
}

/// A verdict that was taken back: what an `Idempotency-Key` replays never changes. A write that was refused before its
/// intent is not remembered; but a stale tag stays stale.
fn find_contradiction(write: &Write, was_refused: impl Fn(&String) -> bool) -> Option<String> {
    let mut verdict: Option<&WriteResponse> = None;
    for told in &write.responses {
        let said = told.kind;
        let Some(before) = verdict else {
            verdict = said.is_final().then_some(told);
            continue;
        };
        let remembered = before.operation.is_some();
        let fits = match said {
            ResponseKind::Disconnected | ResponseKind::Rejected(0) => true,
            ResponseKind::InProgress | ResponseKind::Rejected(_) => !remembered,
            // Somebody deletes the record after the refusal.
            ResponseKind::NotFound if before.kind == ResponseKind::PreconditionFailed => !remembered,
            // Another replica had looked before the tag became stale, and was refused by the vendor.
            ResponseKind::Accepted if before.kind == ResponseKind::PreconditionFailed => {
                !remembered && told.operation.as_ref().is_some_and(&was_refused)
            }
            _ => said == before.kind && told.replayed == remembered,
        };
        if said.is_final() && told.operation.is_some() {
            verdict = Some(told);
        }
        if !fits {
            return Some(format!("{before:?} first, then {told:?}"));
        }
    }
    None
}
