//! The fake vendors with records to compete for, to create and to delete. One value per record,
//! `hw-NUMBER`, identifies each of its states.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use records_gateway::sandbox::{CallKind, Change, InjectedFault, Sandbox, bluedolphin, dataverse, matrix42};
use serde_json::{Map, Value, json};

use crate::fault_proxy::find_write_number;
use crate::support::{BLUEDOLPHIN, DATAVERSE, MATRIX42, PRETECTUM, VendorFixture};

/// A record's key, and the text that holds its value.
type KeyAndText = (String, Option<String>);

/// How one vendor's records hold a value.
pub(crate) struct HistoryVendor {
    pub(crate) fixture: &'static VendorFixture,
    /// Whether a version does not show the number of writes before it.
    pub(crate) opaque_versions: bool,
    /// Where the value stands in a record as the gateway shows it: a JSON pointer.
    value_pointer: &'static str,
    /// Where it stands in a record that a create has made.
    created_value_pointer: &'static str,
    /// The fields of a patch that sets the text.
    patch: fn(&str) -> Value,
    /// The fields of a new record with the text.
    new_record: fn(&str) -> Value,
    /// Prepares the sandbox: changes are recorded.
    prepare: fn(&Sandbox),
    /// Inserts record NUMBER, which holds `hw-0`; returns its key.
    insert: fn(&Sandbox, usize) -> String,
    /// Inserts a record that can be deleted at once.
    insert_deletable: fn(&Sandbox, u32) -> String,
    /// A write past the gateway; whether the record is there.
    write: fn(&Sandbox, &str, String) -> bool,
    /// Every record that is there, with the text that holds its value.
    records: fn(&Sandbox) -> Vec<KeyAndText>,
    changes: fn(&Sandbox) -> Vec<Change>,
}

/// Every vendor; the index is the number of its system everywhere in the history.
pub(crate) const VENDORS: &[HistoryVendor] = &[
    HistoryVendor {
        fixture: &PRETECTUM,
        opaque_versions: false,
        value_pointer: "/fields/First Name",
        created_value_pointer: "/fields/First Name",
        patch: |text| json!({ "First Name": text }),
        new_record: |text| json!({ "First Name": text, "Last Name": "Created", "Email": "created@example.com" }),
        prepare: |sandbox| {
            sandbox.pretectum.state.configure(|settings| settings.page_size = 1000);
            sandbox.pretectum.state.record_changes();
        },
        insert: |sandbox, _| {
            let person = json!({ "First Name": "hw-0", "Last Name": "Person", "Email": "person@example.com" });
            sandbox.pretectum.state.insert(&object(person))
        },
        insert_deletable: |sandbox, _| {
            sandbox.pretectum.state.insert(&object(json!({ "First Name": "hw-0", "Last Name": "Deletable" })))
        },
        write: |sandbox, key, text| sandbox.pretectum.state.write(key, set_field("First Name", text)),
        records: |sandbox| {
            let objects = sandbox.pretectum.state.objects().into_iter().filter(|object| !object.deleted);
            objects.map(|object| (object.id, string(object.fields.get("First Name")))).collect()
        },
        changes: |sandbox| sandbox.pretectum.state.changes(),
    },
    HistoryVendor {
        fixture: &BLUEDOLPHIN,
        opaque_versions: false,
        value_pointer: "/fields/properties/Supplier/value",
        created_value_pointer: "/fields/name",
        patch: |text| json!({ "properties": { "Supplier": { "value": text } } }),
        new_record: |text| json!({ "name": text, "object_template_id": bluedolphin::TEMPLATE_ID, "roles": [bluedolphin::ROLE_ID] }),
        prepare: |sandbox| {
            let state = &sandbox.bluedolphin.state;
            state.configure(|settings| settings.queue_delay = Some(Duration::from_millis(20)));
            state.record_changes();
        },
        insert: |sandbox, number| {
            let id = sandbox.bluedolphin.state.insert(&format!("Definition {number}"));
            let supplier = bluedolphin::Property { name: "Supplier".into(), value: Some("hw-0".into()), locked: false };
            assert!(sandbox.bluedolphin.state.write(&id, |definition| definition.properties.push(supplier)));
            id
        },
        insert_deletable: |sandbox, number| {
            let id = sandbox.bluedolphin.state.insert(&format!("Deletable {number}"));
            assert!(sandbox.bluedolphin.state.write(&id, |definition| definition.disabled = true));
            id
        },
        write: |sandbox, key, text| {
            sandbox.bluedolphin.state.write(key, |definition| {
                for property in definition.properties.iter_mut().filter(|property| property.name == "Supplier") {
                    property.value = Some(text.clone());
                }
            })
        },
        records: |sandbox| {
            let definitions = sandbox.bluedolphin.state.definitions().into_iter();
            definitions.map(|definition| (definition.id, Some(definition.name))).collect()
        },
        changes: |sandbox| sandbox.bluedolphin.state.changes(),
    },
    HistoryVendor {
        fixture: &MATRIX42,
        opaque_versions: true,
        value_pointer: "/fields/Description",
        created_value_pointer: "/fields/Description",
        patch: |text| json!({ "Description": text }),
        new_record: |text| json!({ "Name": "Created", "Description": text }),
        prepare: |sandbox| sandbox.matrix42.state.record_changes(),
        insert: |sandbox, _| insert_category(sandbox, "Category"),
        insert_deletable: |sandbox, _| insert_category(sandbox, "Deletable"),
        write: |sandbox, key, text| {
            sandbox.matrix42.state.write(matrix42::CATEGORY_CLASS, key, set_field("Description", text))
        },
        records: |sandbox| {
            let fragments = sandbox.matrix42.state.fragments(matrix42::CATEGORY_CLASS).into_iter();
            fragments.map(|fragment| (fragment.id, string(fragment.attributes.get("Description")))).collect()
        },
        changes: |sandbox| sandbox.matrix42.state.changes(),
    },
    HistoryVendor {
        fixture: &DATAVERSE,
        opaque_versions: true,
        value_pointer: "/fields/description",
        created_value_pointer: "/fields/description",
        patch: |text| json!({ "description": text }),
        new_record: |text| json!({ "name": "Created", "description": text }),
        prepare: |sandbox| sandbox.dataverse.state.record_changes(),
        insert: |sandbox, _| insert_account(sandbox, "Account"),
        insert_deletable: |sandbox, _| insert_account(sandbox, "Deletable"),
        write: |sandbox, key, text| {
            sandbox.dataverse.state.write(dataverse::ACCOUNTS, key, set_field("description", text))
        },
        records: |sandbox| {
            let rows = sandbox.dataverse.state.rows(dataverse::ACCOUNTS).into_iter();
            rows.map(|row| (row.key, string(row.columns.get("description")))).collect()
        },
        changes: |sandbox| sandbox.dataverse.state.changes(),
    },
];

/// The system without versions, which queues its updates.
pub(crate) const GUARDED: usize = 1;

/// Whether the gateway itself compares versions, under a lease.
pub(crate) fn is_guarded(system: usize) -> bool {
    !VENDORS[system].fixture.native
}

/// The configured name.
pub(crate) fn system_name(system: usize) -> &'static str {
    VENDORS[system].fixture.system
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(members) = value else { panic!("no object: {value}") };
    members
}

fn string(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

fn set_field(name: &'static str, text: String) -> impl FnOnce(&mut Map<String, Value>) {
    move |fields| drop(fields.insert(name.to_owned(), text.into()))
}

fn insert_category(sandbox: &Sandbox, name: &str) -> String {
    let category = object(json!({ "Name": name, "Description": "hw-0" }));
    sandbox.matrix42.state.insert(matrix42::CATEGORY_CLASS, &category).expect("a category")
}

fn insert_account(sandbox: &Sandbox, name: &str) -> String {
    let account = object(json!({ "name": name, "description": "hw-0" }));
    sandbox.dataverse.state.insert(dataverse::ACCOUNTS, &account).expect("an account")
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

    /// The values that each record has had, in the order in which they took effect.
    pub(crate) fn history(&self) -> HashMap<(usize, usize), Vec<u32>> {
        let mut history: HashMap<_, Vec<u32>> = HashMap::new();
        for (system, vendor) in VENDORS.iter().enumerate() {
            let records = self.records[system].iter().enumerate();
            let index: HashMap<&str, usize> = records.map(|(at, key)| (key.as_str(), at)).collect();
            for change in (vendor.changes)(&self.sandbox) {
                // Records besides the run's own are created and deleted.
                if let Some(record) = index.get(change.id.as_str()) {
                    let value = value_of_change(&change).expect("a value");
                    history.entry((system, *record)).or_default().push(value);
                }
            }
        }
        history
    }
}

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
