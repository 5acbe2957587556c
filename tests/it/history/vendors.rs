//! The three fake vendors with records to fight over, to make and to end, seen from the outside: one value per record,
//! `hw-NUMBER`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use records_gateway::sandbox::{CallKind, Faults, InjectedFault, Sandbox, bluedolphin, matrix42, pretectum};
use serde_json::{Map, Value, json};

use super::runner::Plan;
use crate::fault_proxy::{FaultProxy, find_write_number};

/// The configured names, in the order of the indices used everywhere here.
pub(crate) const SYSTEMS: [&str; 3] = ["crm", "architecture", "itsm"];
/// The one that has no versions and queues its updates.
pub(crate) const GUARDED: usize = 1;
/// The one whose versions cannot be foretold.
pub(crate) const OPAQUE_VERSIONS: usize = 2;

/// The vendors' side.
pub(crate) struct Vendors {
    sandbox: Sandbox,
    /// Keys of the records, by system.
    pub(crate) records: [Vec<String>; 3],
}

impl Vendors {
    /// Starts the fake vendors, with `count` records each that hold `hw-0`.
    pub(crate) fn start(count: usize) -> Self {
        let sandbox = Sandbox::start().expect("fake vendors");
        let map = |value: Value| value.as_object().cloned().expect("an object");
        let crm = &sandbox.pretectum.state;
        crm.configure(|settings| settings.page_size = 1000);
        let person = map(json!({ "First Name": "hw-0", "Last Name": "Person", "Email": "person@example.com" }));
        let crm_records = (0..count).map(|_| crm.insert(&person)).collect();
        crm.record_changes();

        let architecture = &sandbox.bluedolphin.state;
        architecture.configure(|settings| settings.queue_delay = Some(Duration::from_millis(20)));
        let define = |number| {
            let id = architecture.insert(&format!("Definition {number}"));
            let supplier = bluedolphin::Property { name: "Supplier".into(), value: Some("hw-0".into()), locked: false };
            assert!(architecture.write(&id, |definition| definition.properties.push(supplier)));
            id
        };
        let architecture_records = (0..count).map(define).collect();
        architecture.record_changes();

        let itsm = &sandbox.matrix42.state;
        let category = map(json!({ "Name": "Category", "Description": "hw-0" }));
        let itsm_records =
            (0..count).map(|_| itsm.insert(matrix42::CATEGORY_CLASS, &category).expect("a category")).collect();
        itsm.record_changes();
        Self { sandbox, records: [crm_records, architecture_records, itsm_records] }
    }

    /// Where a vendor listens.
    pub(crate) fn address(&self, system: usize) -> SocketAddr {
        match system {
            0 => self.sandbox.pretectum.address(),
            1 => self.sandbox.bluedolphin.address(),
            _ => self.sandbox.matrix42.address(),
        }
    }

    /// The next update takes effect, and is answered, only when its response is [`Vendors::release`]d.
    pub(crate) fn hold_next_update(&self, system: usize) {
        self.faults(system).once(CallKind::Update, InjectedFault::Hold);
    }

    /// The next read of a CRM record is answered when it is [`Vendors::release`]d, with what is there then.
    pub(crate) fn hold_next_crm_read(&self) {
        self.faults(0).once(CallKind::List, InjectedFault::Hold);
    }

    /// How many reads the CRM has received.
    pub(crate) fn crm_read_count(&self) -> usize {
        self.sandbox.pretectum.log.count(CallKind::List)
    }

    /// Waits until the CRM has received so many reads.
    pub(crate) fn wait_for_crm_reads(&self, count: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(self.sandbox.pretectum.log.wait_for(CallKind::List, count));
    }

    /// Every update takes effect, and its response is lost.
    pub(crate) fn lose_update_responses(&self, system: usize) {
        self.faults(system).always(CallKind::Update, InjectedFault::ResetAfter);
    }

    /// Lets what is held go on.
    pub(crate) fn release(&self, system: usize) {
        self.faults(system).release();
    }

    /// Waits until a vendor has received so many updates.
    pub(crate) fn wait_for_updates(&self, system: usize, count: usize) {
        let log = match system {
            0 => &self.sandbox.pretectum.log,
            1 => &self.sandbox.bluedolphin.log,
            _ => &self.sandbox.matrix42.log,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(log.wait_for(CallKind::Update, count));
    }

    fn faults(&self, system: usize) -> &Faults {
        match system {
            0 => &self.sandbox.pretectum.faults,
            1 => &self.sandbox.bluedolphin.faults,
            _ => &self.sandbox.matrix42.faults,
        }
    }

    /// From now on queued updates take effect after this time.
    pub(crate) fn set_queue_delay(&self, time: Duration) {
        self.sandbox.bluedolphin.state.configure(|settings| settings.queue_delay = Some(time));
    }

    /// A second writer, past the gateway.
    pub(crate) fn external_write(&self, system: usize, record: usize, value: u32) {
        let id = &self.records[system][record];
        let text = format!("hw-{value}");
        let set = |name: &'static str, text: String| {
            move |fields: &mut Map<String, Value>| drop(fields.insert(name.to_owned(), text.into()))
        };
        let done = match system {
            0 => self.sandbox.pretectum.state.write(id, set("First Name", text)),
            1 => self.sandbox.bluedolphin.state.write(id, |definition| {
                for property in definition.properties.iter_mut().filter(|property| property.name == "Supplier") {
                    property.value = Some(text.clone());
                }
            }),
            _ => self.sandbox.matrix42.state.write(matrix42::CATEGORY_CLASS, id, set("Description", text)),
        };
        assert!(done, "the record is there");
    }

    /// Puts a record there that can be deleted at once; gives its key.
    pub(crate) fn insert_deletable(&self, system: usize, number: u32) -> String {
        let map = |value: Value| value.as_object().cloned().expect("an object");
        match system {
            0 => self.sandbox.pretectum.state.insert(&map(json!({ "First Name": "hw-0", "Last Name": "Doomed" }))),
            1 => {
                let id = self.sandbox.bluedolphin.state.insert(&format!("Doomed {number}"));
                assert!(self.sandbox.bluedolphin.state.write(&id, |definition| definition.disabled = true));
                id
            }
            _ => {
                let doomed = map(json!({ "Name": "Doomed", "Description": "hw-0" }));
                self.sandbox.matrix42.state.insert(matrix42::CATEGORY_CLASS, &doomed).expect("a category")
            }
        }
    }

    /// The keys of the records that hold this value, deleted ones not included.
    pub(crate) fn keys_with_value(&self, system: usize, value: u32) -> Vec<String> {
        let all = self.all_records(system);
        all.into_iter().filter(|(_, held)| *held == Some(value)).map(|(key, _)| key).collect()
    }

    /// Whether a record is there.
    pub(crate) fn has(&self, system: usize, key: &str) -> bool {
        self.all_records(system).iter().any(|(known, _)| known == key)
    }

    /// The values that a record was given, whether it is there or not.
    pub(crate) fn changes_of(&self, system: usize, key: &str) -> Vec<u32> {
        let changes = match system {
            0 => self.sandbox.pretectum.state.changes(),
            1 => self.sandbox.bluedolphin.state.changes(),
            _ => self.sandbox.matrix42.state.changes(),
        };
        let own = changes.iter().filter(|change| change.id == key);
        own.filter_map(|change| find_write_number(change.record.to_string().as_bytes())).collect()
    }

    /// Every record that is there, with the value in it.
    fn all_records(&self, system: usize) -> Vec<(String, Option<u32>)> {
        let value = |text: Option<&Value>| find_write_number(text?.as_str()?.as_bytes());
        match system {
            0 => {
                let objects = self.sandbox.pretectum.state.objects().into_iter().filter(|object| !object.deleted);
                objects.map(|object| (object.id, value(object.fields.get("First Name")))).collect()
            }
            1 => {
                let definitions = self.sandbox.bluedolphin.state.definitions().into_iter();
                definitions.map(|definition| (definition.id, find_write_number(definition.name.as_bytes()))).collect()
            }
            _ => {
                let fragments = self.sandbox.matrix42.state.fragments(matrix42::CATEGORY_CLASS).into_iter();
                fragments.map(|fragment| (fragment.id, value(fragment.attributes.get("Description")))).collect()
            }
        }
    }

    /// The values that each record has had, in the order in which they took effect.
    pub(crate) fn history(&self) -> HashMap<(usize, usize), Vec<u32>> {
        let all = [
            self.sandbox.pretectum.state.changes(),
            self.sandbox.bluedolphin.state.changes(),
            self.sandbox.matrix42.state.changes(),
        ];
        let mut history: HashMap<_, Vec<u32>> = HashMap::new();
        for (system, changes) in all.iter().enumerate() {
            let index: HashMap<&str, usize> =
                self.records[system].iter().enumerate().map(|(at, id)| (id.as_str(), at)).collect();
            for change in changes {
                // Others than the run's own are made and deleted.
                if let Some(record) = index.get(change.id.as_str()) {
                    let value = find_write_number(change.record.to_string().as_bytes()).expect("a value");
                    history.entry((system, *record)).or_default().push(value);
                }
            }
        }
        history
    }
}

/// The value in a record as the gateway shows it.
pub(crate) fn value_of(system: usize, record: &Value) -> Option<u32> {
    let fields = &record["fields"];
    let text = match system {
        0 => &fields["First Name"],
        1 => &fields["properties"]["Supplier"]["value"],
        _ => &fields["Description"],
    };
    find_write_number(text.as_str()?.as_bytes())
}

/// A merge patch that sets the value.
pub(crate) fn patch_body(system: usize, value: u32) -> String {
    let text = format!("hw-{value}");
    let fields = match system {
        0 => json!({ "First Name": text }),
        1 => json!({ "properties": { "Supplier": { "value": text } } }),
        _ => json!({ "Description": text }),
    };
    json!({ "fields": fields }).to_string()
}

/// The body of a create whose record holds the value.
pub(crate) fn create_body(system: usize, value: u32) -> String {
    let text = format!("hw-{value}");
    let fields = match system {
        0 => json!({ "First Name": text, "Last Name": "Made", "Email": "made@example.com" }),
        1 => json!({ "name": text, "object_template_id": bluedolphin::TEMPLATE_ID, "roles": [bluedolphin::ROLE_ID] }),
        _ => json!({ "Name": "Made", "Description": text }),
    };
    json!({ "fields": fields }).to_string()
}

/// The configuration of a gateway that reaches the vendors through these proxies.
pub(crate) fn configuration(proxies: &[FaultProxy], store: &str, plan: &Plan) -> String {
    let collection = format!("{}:{}:{}", pretectum::BUSINESS_AREA_ID, pretectum::SCHEMA_ID, pretectum::DATASET_ID);
    let durability = plan.durability;
    let (timeout, deadline) = if plan.long_timeouts { ("3s", "30s") } else { ("400ms", "2s") };
    let patience = format!(
        "timeout = \"{timeout}\"\nconnect_timeout = \"300ms\"\nretry_backoff = \"5ms\"\n\
         circuit_failures = 10000\ncircuit_open_for = \"10ms\"\ncompletion_poll = \"20ms\""
    );
    format!(
        r#"
        [server]
        bind = "127.0.0.1:0"
        workers = 2
        deadline = "{deadline}"
        [store]
        url = {store}
        durability = "{durability}"
        [access]
        mode = "open"
        [systems.crm]
        vendor = "pretectum"
        base_url = "{}"
        client_id = "{}"
        client_secret = "{}"
        collection = "{collection}"
        completion_timeout = "{completion}"
        {patience}
        [systems.architecture]
        vendor = "bluedolphin"
        base_url = "{}"
        tenant = "{}"
        api_key = "{}"
        collection = "object-definitions"
        completion_timeout = "{guarded}"
        {patience}
        [systems.itsm]
        vendor = "matrix42"
        base_url = "{}"
        api_token = "{}"
        completion_timeout = "{completion}"
        collection = "{}"
        {patience}
        "#,
        proxies[0].base_url(),
        pretectum::CLIENT_ID,
        pretectum::CLIENT_SECRET,
        proxies[1].base_url(),
        bluedolphin::TENANT,
        bluedolphin::API_KEY,
        proxies[2].base_url(),
        matrix42::API_TOKEN,
        matrix42::CATEGORY_CLASS,
        store = Value::from(store),
        completion = plan.completion_timeout,
        guarded = plan.guarded_completion_timeout,
    )
}
