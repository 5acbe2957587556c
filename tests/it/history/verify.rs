//! The comparison of the responses, the operations and the ledger with what really happened at the
//! vendors.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::caller::{ResponseKind, Write, WriteKind, is_conclusive};
use super::contradiction::find_contradiction;
use super::register_model::{FIRST_EXTERNAL_VALUE, RegisterOp, is_linearizable};
use super::runner::{GatewayReport, Run};
use super::vendors::{VENDORS, is_guarded, system_name};
use crate::fault_proxy::FaultProxy;

/// Start, end, and what was done.
type TimedOp = (i64, i64, RegisterOp);

/// Later than anything.
const NEVER_RETURNED: i64 = i64::MAX / 2;

/// Everything about a run, and the violations found in it.
pub(crate) struct HistoryVerifier<'r> {
    pub(super) run: &'r Run,
    report: &'r GatewayReport,
    /// The values each record has had.
    history: HashMap<(usize, usize), Vec<u32>>,
    /// How often each value took effect.
    effects: HashMap<u32, usize>,
    /// The state of each operation.
    states: HashMap<String, String>,
    /// The operations for which a read at the vendor failed.
    failed_reads: HashSet<String>,
    pub(super) violations: Vec<String>,
    /// How many writes were misreported in the one way that the contract allows.
    excused_count: usize,
}

impl<'r> HistoryVerifier<'r> {
    /// Collects the history of the vendors.
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
            report,
            history,
            effects,
            states,
            failed_reads: unseen,
            violations: Vec::new(),
            excused_count: 0,
        };
        verifier.check_ledger();
        verifier.check_feed();
        verifier
    }

    /// Checks everything; panics with all violations.
    pub(crate) fn verify(mut self) {
        let all = self.run.writes.lock().unwrap().clone();
        let (writes, lifecycle_writes): (Vec<_>, Vec<_>) =
            all.iter().cloned().partition(|write| write.kind == WriteKind::Patch);
        self.check_lifecycle(&lifecycle_writes);
        for write in &writes {
            self.check_write(write);
        }
        self.check_no_lost_updates(&writes);
        self.violations.extend(self.run.vendors.lost_touches());
        self.check_linearizability(&writes);
        self.print_summary(&all);
        assert!(!self.run.plan.rebases || self.rebased_count() > 0, "nothing was rebased");
        let late = self.run.late_requests.load(std::sync::atomic::Ordering::SeqCst);
        assert!(late <= 10 + all.len() / 10, "{late} requests are reported as late");
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

    /// The feed has each operation that was applied, and of each whose outcome is unknown,
    /// once, and in the order of the ledger.
    fn check_feed(&mut self) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let sequences: Vec<_> = self.report.events.iter().map(|event| text(&event["sequence"])).collect();
        if !sequences.is_sorted_by(|one, next| one < next) {
            self.violations.push("the feed is not in order, or repeats an event".to_owned());
        }
        let mut reported = HashMap::new();
        for event in &self.report.events {
            let operation = text(&event["data"]["operation"]).replace("/operations/", "");
            let state = if event["type"] == "records-gateway.system.gap" { "unknown" } else { "applied" };
            if reported.insert(operation.clone(), state).is_some() {
                self.violations.push(format!("{operation} is in the feed twice"));
            }
        }
        for (operation, state) in &self.states {
            let expected = Some(state.as_str()).filter(|state| *state != "not-applied");
            if reported.get(operation).copied() != expected {
                let reported = reported.get(operation);
                self.violations.push(format!("{operation} is {state}, and the feed has {reported:?}"));
            }
        }
    }

    /// Compares the responses to a write with its operations. Returns the complaints, whether the
    /// write was reported applied, and whether it was reported unknown.
    pub(super) fn check_responses(&self, write: &Write) -> (Vec<String>, bool, bool) {
        let mut complaints = Vec::new();
        if !is_conclusive(write) {
            complaints.push("has no final response".to_owned());
        }
        let (mut applied, mut unknown) = (false, false);
        for response in &write.responses {
            let state = response.operation.as_ref().map(|id| self.states.get(id).map_or("missing", String::as_str));
            let fits = match (response.kind, state) {
                // A response about another write in progress names its operation.
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
                complaints.push(format!("{:?}, and its operation is {state:?}", response.kind));
            }
            if !matches!(response.kind, ResponseKind::InProgress) {
                applied |= response.kind == ResponseKind::Success || state == Some("applied");
                unknown |= state == Some("unknown");
            }
        }
        let plan = &self.run.plan;
        let was_rejected = |operation: &String| self.states.get(operation).is_some_and(|state| state == "not-applied");
        complaints.extend(find_contradiction(write, (plan.database_failures, plan.rebases), was_rejected));
        (complaints, applied, unknown)
    }

    /// Whether an applied create or delete may end unknown: a read failed, perhaps in a process
    /// that was killed.
    pub(super) fn may_lack_evidence(&self, write: &Write) -> bool {
        let mut operations = write.responses.iter().filter_map(|response| response.operation.as_ref());
        self.run.plan.kills > 0 || operations.any(|operation| self.failed_reads.contains(operation))
    }

    fn check_write(&mut self, write: &Write) {
        let effects = self.effect_count(write);
        let excusable = self.may_be_mistaken_for_conflict(write);
        let (complaints, applied, unknown) = self.check_responses(write);
        let mut complain = |what: String| {
            let system = system_name(write.system);
            let about = format!("{system}/{} hw-{} on {:?}", write.record, write.value, write.expected);
            self.violations.push(format!("{about}: {what}; {effects} effects; responses {:?}", write.responses));
        };
        if effects > 1 {
            complain("applied more than once".to_owned());
        }
        complaints.into_iter().for_each(&mut complain);
        match (applied, unknown, effects) {
            (true, _, 1) | (false, true, _) | (false, false, 0) => {}
            (true, ..) => complain("reported applied".to_owned()),
            (false, false, 1) if excusable => self.excused_count += 1,
            (false, false, _) => complain("reported not applied".to_owned()),
        }
        if unknown && !applied && !self.may_stay_unknown(write) {
            let about = format!("{}: hw-{} on {:?}", system_name(write.system), write.value, write.expected);
            let evidence = self.describe_evidence(write);
            self.violations
                .push(format!("{about} stays unknown; {effects} effects; responses {:?}; {evidence}", write.responses));
        }
    }

    /// What vendor and gateway report of the writes to the same record.
    fn describe_evidence(&self, write: &Write) -> String {
        let history = self.history.get(&(write.system, write.record));
        let key = &self.run.vendors.records[write.system][write.record];
        let fits = |one: &&Value| {
            one["system"] == system_name(write.system) && one["record"].as_str().is_some_and(|id| id.ends_with(key))
        };
        let list = |all: &[Value]| all.iter().filter(fits).map(Value::to_string).collect::<Vec<_>>().join("\n    ");
        let (operations, entries) = (list(&self.report.operations), list(&self.report.ledger));
        format!("the record has been {history:?}\n  operations\n    {operations}\n  entries\n    {entries}")
    }

    /// Contract 4.2: after a 500 without a reason, a changed version without the expected values is
    /// 412. That is untrue where the vendor had committed before it failed and another write
    /// followed before the gateway read: an opaque version does not show it.
    fn may_be_mistaken_for_conflict(&self, write: &Write) -> bool {
        let history = self.history.get(&(write.system, write.record)).map(Vec::as_slice).unwrap_or_default();
        VENDORS[write.system].opaque_versions
            && (write.first_received_at(ResponseKind::PreconditionFailed).is_some() || self.ended_not_applied(write))
            && self.run.proxies[write.system].has_replaced_response(write.value)
            && history.last() != Some(&write.value)
    }

    /// Whether an operation of the write ended not applied.
    fn ended_not_applied(&self, write: &Write) -> bool {
        let mut operations = write.responses.iter().filter_map(|response| response.operation.as_ref());
        operations.any(|id| self.states.get(id).is_some_and(|state| state == "not-applied"))
    }

    fn effect_count(&self, write: &Write) -> usize {
        self.effects.get(&write.value).copied().unwrap_or(0)
    }

    /// Contract 5.3: only where another write followed, or where nothing shows that a guarded write
    /// was applied.
    fn may_stay_unknown(&self, write: &Write) -> bool {
        let empty = Vec::new();
        let history = self.history.get(&(write.system, write.record)).unwrap_or(&empty);
        let after = |value: u32| match history.iter().position(|one| *one == value) {
            Some(at) => history.len() - at - 1,
            None if value == 0 => history.len(),
            None => 0,
        };
        // A change of another field moves the version on, too.
        let Some(expected) = write.expected.filter(|_| !self.run.plan.rebases) else { return true };
        if is_guarded(write.system) {
            return self.effect_count(write) == 0 || after(write.value) > 0;
        }
        if VENDORS[write.system].opaque_versions {
            return after(expected) >= 1;
        }
        // The one write since then may have been this one, in the vendor's own form.
        after(expected) >= 2 - usize::from(self.effect_count(write) == 0)
    }

    /// Every write took effect on the value it was based on. A guarded one may overwrite a write
    /// past the gateway, as documented.
    fn check_no_lost_updates(&mut self, writes: &[Write]) {
        let by_value: HashMap<u32, &Write> = writes.iter().map(|write| (write.value, write)).collect();
        for ((system, record), history) in &self.history {
            let mut before = 0;
            for value in history {
                let expected = by_value.get(value).and_then(|write| write.expected);
                let excused = is_guarded(*system) && before >= FIRST_EXTERNAL_VALUE;
                if expected.is_some_and(|expected| expected != before && !excused) {
                    let name = format!("{}/{record}", system_name(*system));
                    self.violations
                        .push(format!("{name}: hw-{value} was based on {expected:?} and overwrote hw-{before}"));
                }
                before = *value;
            }
        }
    }

    /// One order explains every read and every response.
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
            let or_external = is_guarded(write.system) && self.run.plan.external_writer;
            let op = match (
                self.effect_count(write),
                write.first_received_at(ResponseKind::PreconditionFailed),
                write.expected,
            ) {
                // A rebase can fail although the value is the expected one: its state is not known.
                (0, Some(back), Some(expected)) if !self.run.plan.rebases => {
                    (write.started_at, back, RegisterOp::PreconditionFailed(expected))
                }
                (0, ..) => continue,
                (_, _, expected) => {
                    let back = write.first_received_at(ResponseKind::Success).unwrap_or(NEVER_RETURNED);
                    (write.started_at, back, RegisterOp::CompareAndSwap { expected, or_external, value: write.value })
                }
            };
            histories.entry((write.system, write.record)).or_default().push(op);
        }
        for ((system, record), history) in &histories {
            if !is_linearizable(history) {
                self.violations.push(format!("{}/{record}: no order explains its history", system_name(*system)));
            }
        }
    }

    /// How many writes were applied to another state than that of their tag.
    fn rebased_count(&self) -> usize {
        let entries = self.report.ledger.iter();
        entries.filter(|entry| entry["event"] == "intent" && !entry["rebased_onto"].is_null()).count()
    }

    fn print_summary(&self, writes: &[Write]) {
        let mut response_counts: BTreeMap<String, usize> = BTreeMap::new();
        for write in writes {
            let kind = match write.kind {
                WriteKind::Patch => "",
                WriteKind::Create => " create",
                WriteKind::Delete(_) => " delete",
                WriteKind::PatchDeletable(_) => " patch of deletable",
            };
            *response_counts
                .entry(format!("{}{kind} {:?}", system_name(write.system), write.last_kind()))
                .or_default() += 1;
        }
        let mut state_counts: BTreeMap<&str, usize> = BTreeMap::new();
        for state in self.states.values() {
            *state_counts.entry(state).or_default() += 1;
        }
        let mut faults = BTreeMap::new();
        for (fault, count) in self.run.proxies.iter().flat_map(FaultProxy::counts) {
            *faults.entry(fault).or_insert(0) += count;
        }
        let disturbed: usize = self.run.proxies.iter().map(FaultProxy::faulted_count).sum();
        eprintln!(
            "{}: seed {}, {} writes, {} rebased, {disturbed} faulted, {} more cut from the gateway, {} kills, {} excused, {} wrong\n  \
             responses {response_counts:?}\n  operations {state_counts:?}\n  faults {faults:?}",
            self.run.plan.name,
            self.run.seed,
            writes.len(),
            self.rebased_count(),
            self.run.disconnected_writes.load(std::sync::atomic::Ordering::SeqCst),
            self.run.plan.kills,
            self.excused_count,
            self.violations.len(),
        );
    }
}
