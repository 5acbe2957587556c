//! The fake vendors with records to compete for, to create and to delete. One value per record,
//! `hw-NUMBER`, identifies each of its states.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use records_gateway::sandbox::{CallKind, Change, InjectedFault, Sandbox};
use serde_json::{Value, json};

use crate::fault_proxy::{find_number, find_write_number};
pub(crate) use crate::support::HISTORY_VENDORS as VENDORS;
use crate::support::VendorFixture;

/// A record's key, and the text that holds its value.
type KeyAndText = (String, Option<String>);

/// How one vendor's records hold a value.
pub(crate) struct HistoryVendor {
    pub(crate) fixture: &'static VendorFixture,
    /// Whether a version does not show the number of writes before it.
    pub(crate) opaque_versions: bool,
    /// Where the value stands in a record as the gateway shows it: a JSON pointer.
    pub(crate) value_pointer: &'static str,
    /// Where it stands in a record that a create has made.
    pub(crate) created_value_pointer: &'static str,
    /// The fields of a patch that sets the text.
    pub(crate) patch: fn(&str) -> Value,
    /// The fields of a new record with the text.
    pub(crate) new_record: fn(&str) -> Value,
    /// Prepares the sandbox: changes are recorded.
    pub(crate) prepare: fn(&Sandbox),
    /// Inserts record NUMBER, which holds `hw-0`; returns its key.
    pub(crate) insert: fn(&Sandbox, usize) -> String,
    /// Inserts a record that can be deleted at once.
    pub(crate) insert_deletable: fn(&Sandbox, u32) -> String,
    /// A write past the gateway; whether the record is there.
    pub(crate) write: fn(&Sandbox, &str, String) -> bool,
    /// Sets another field past the gateway, which leaves the value alone.
    pub(crate) touch: fn(&Sandbox, &str, String),
    /// Every record that is there, with the text that holds its value.
    pub(crate) records: fn(&Sandbox) -> Vec<KeyAndText>,
    pub(crate) changes: fn(&Sandbox) -> Vec<Change>,
}

/// The system without versions, which queues its updates.
pub(crate) const GUARDED: usize = {
    let mut system = 0;
    while !VENDORS[system].fixture.queued {
        system += 1;
    }
    system
};

/// Whether the gateway itself compares versions, under a lease.
pub(crate) fn is_guarded(system: usize) -> bool {
    !VENDORS[system].fixture.native
}

/// The configured name.
pub(crate) fn system_name(system: usize) -> &'static str {
    VENDORS[system].fixture.system
}

/// The vendors' side of a run.
pub(crate) struct Vendors {
    pub(crate) sandbox: Sandbox,
    /// Keys of the records, by system.
    pub(crate) records: Vec<Vec<String>>,
}

impl Vendors {
    /// Starts the fake vendors, with `count` records each that hold `hw-0`.
    pub(crate) fn start(count: usize) -> Self {
        let sandbox = Sandbox::start().expect("fake vendors");
        let insert_all = |vendor: &HistoryVendor| {
            let keys = (0..count).map(|number| (vendor.insert)(&sandbox, number)).collect();
            (vendor.prepare)(&sandbox);
            keys
        };
        Self { records: VENDORS.iter().map(insert_all).collect(), sandbox }
    }

    /// Where a vendor listens.
    pub(crate) fn address(&self, system: usize) -> SocketAddr {
        VENDORS[system].fixture.vendor(&self.sandbox).address()
    }

    /// The next update takes effect, and its response is sent, only at [`Vendors::release`].
    pub(crate) fn hold_next_update(&self, system: usize) {
        self.inject_once(system, CallKind::Update);
    }

    /// The next read of a record is served at [`Vendors::release`], with the state of that time.
    pub(crate) fn hold_next_read(&self, system: usize) {
        self.inject_once(system, VENDORS[system].fixture.read_call_kind);
    }

    fn inject_once(&self, system: usize, call: CallKind) {
        VENDORS[system].fixture.faults(&self.sandbox).once(call, InjectedFault::Hold);
    }

    /// How many reads of a record a vendor has received.
    pub(crate) fn read_count(&self, system: usize) -> usize {
        let fixture = VENDORS[system].fixture;
        fixture.log(&self.sandbox).count(fixture.read_call_kind)
    }

    /// Waits until a vendor has received so many reads.
    pub(crate) fn wait_for_reads(&self, system: usize, count: usize) {
        self.wait_for_calls(system, VENDORS[system].fixture.read_call_kind, count);
    }

    /// Waits until a vendor has received so many updates.
    pub(crate) fn wait_for_updates(&self, system: usize, count: usize) {
        self.wait_for_calls(system, CallKind::Update, count);
    }

    fn wait_for_calls(&self, system: usize, call: CallKind, count: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(VENDORS[system].fixture.log(&self.sandbox).wait_for(call, count));
    }

    /// Every update takes effect, and its response is lost.
    pub(crate) fn lose_update_responses(&self, system: usize) {
        VENDORS[system].fixture.faults(&self.sandbox).always(CallKind::Update, InjectedFault::ResetAfter);
    }

    /// Held calls continue.
    pub(crate) fn release(&self, system: usize) {
        VENDORS[system].fixture.faults(&self.sandbox).release();
    }

    /// Queued updates take effect after this time from now on.
    pub(crate) fn set_queue_delay(&self, delay: Duration) {
        self.sandbox.bluedolphin.state.configure(|settings| settings.queue_delay = Some(delay));
    }

    /// A write past the gateway.
    pub(crate) fn external_write(&self, system: usize, record: usize, value: u32) {
        let written = (VENDORS[system].write)(&self.sandbox, &self.records[system][record], format!("hw-{value}"));
        assert!(written, "the record is there");
    }

    /// Changes another field of a record past the gateway.
    pub(crate) fn touch(&self, system: usize, record: usize, number: u32) {
        (VENDORS[system].touch)(&self.sandbox, &self.records[system][record], format!("{TOUCH}{number}"));
    }

    /// Inserts a record that can be deleted at once; returns its key.
    pub(crate) fn insert_deletable(&self, system: usize, number: u32) -> String {
        (VENDORS[system].insert_deletable)(&self.sandbox, number)
    }

    /// The keys of the records that hold this value, deleted ones not included.
    pub(crate) fn keys_with_value(&self, system: usize, value: u32) -> Vec<String> {
        let records = (VENDORS[system].records)(&self.sandbox).into_iter();
        let holds = |text: Option<String>| text.and_then(|text| find_write_number(text.as_bytes())) == Some(value);
        records.filter(|(_, text)| holds(text.clone())).map(|(key, _)| key).collect()
    }

    /// Whether a record is there.
    pub(crate) fn has(&self, system: usize, key: &str) -> bool {
        (VENDORS[system].records)(&self.sandbox).iter().any(|(known, _)| known == key)
    }

    /// The values that a record was given, whether it is there or not.
    pub(crate) fn changes_of(&self, system: usize, key: &str) -> Vec<u32> {
        let changes = (VENDORS[system].changes)(&self.sandbox);
        changes.iter().filter(|change| change.id == key).filter_map(value_of_change).collect()
    }

    /// What each record has been, in the order in which it took effect. Records besides the run's
    /// own are created and deleted.
    fn states(&self) -> HashMap<(usize, usize), Vec<State>> {
        let mut states: HashMap<_, Vec<State>> = HashMap::new();
        for (system, vendor) in VENDORS.iter().enumerate() {
            let records = self.records[system].iter().enumerate();
            let index: HashMap<&str, usize> = records.map(|(at, key)| (key.as_str(), at)).collect();
            for change in (vendor.changes)(&self.sandbox) {
                if let Some(record) = index.get(change.id.as_str()) {
                    let text = change.record.to_string();
                    let touched = find_number(text.as_bytes(), TOUCH).unwrap_or_default();
                    let state = State { value: value_of_change(&change).expect("a value"), touched };
                    states.entry((system, *record)).or_default().push(state);
                }
            }
        }
        states
    }

    /// The values that each record has had, in the order in which they took effect.
    pub(crate) fn history(&self) -> HashMap<(usize, usize), Vec<u32>> {
        let values = |states: Vec<State>| {
            let mut before = State { value: 0, touched: 0 };
            let mut values = Vec::new();
            for state in states {
                // A change of the other field alone is none of the value.
                if state.value != before.value || state.touched == before.touched {
                    values.push(state.value);
                }
                before = state;
            }
            values
        };
        self.states().into_iter().map(|(record, states)| (record, values(states))).collect()
    }

    /// The records where a write has taken back a change of the other field, where the vendor
    /// compares versions.
    pub(crate) fn lost_touches(&self) -> Vec<String> {
        let is_lost = |states: &[State]| !states.is_sorted_by_key(|state| state.touched);
        let states = self.states().into_iter().filter(|((system, _), states)| !is_guarded(*system) && is_lost(states));
        states.map(|((system, record), states)| format!("{}/{record}: {states:?}", system_name(system))).collect()
    }
}

/// What a record has been.
#[derive(Clone, Copy, Debug)]
struct State {
    value: u32,
    /// The number of the latest change of its other field; 0 before the first.
    touched: u32,
}

/// What the text of the other field begins with.
const TOUCH: &str = "touch-";

fn value_of_change(change: &Change) -> Option<u32> {
    find_write_number(change.record.to_string().as_bytes())
}

/// The value in a record as the gateway shows it.
pub(crate) fn value_of(system: usize, record: &Value) -> Option<u32> {
    value_at(record, VENDORS[system].value_pointer)
}

/// The value in a record that a create has made.
pub(crate) fn created_value_of(system: usize, record: &Value) -> Option<u32> {
    value_at(record, VENDORS[system].created_value_pointer)
}

fn value_at(record: &Value, pointer: &str) -> Option<u32> {
    find_write_number(record.pointer(pointer)?.as_str()?.as_bytes())
}

/// A merge patch that sets the value.
pub(crate) fn patch_body(system: usize, value: u32) -> String {
    json!({ "fields": (VENDORS[system].patch)(&format!("hw-{value}")) }).to_string()
}

/// The body of a create whose record holds the value.
pub(crate) fn create_body(system: usize, value: u32) -> String {
    json!({ "fields": (VENDORS[system].new_record)(&format!("hw-{value}")) }).to_string()
}
