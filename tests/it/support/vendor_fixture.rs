//! What is particular about each vendor, so that everything else can be said once.

use records_gateway::sandbox::{CallKind, Faults, RequestLog, Sandbox, bluedolphin, matrix42, pretectum};
use serde_json::{Map, Value, json};

/// One vendor: its sample records, and how to look at and change them behind the gateway's back.
pub(crate) struct VendorFixture {
    /// The configured system.
    pub(crate) system: &'static str,
    /// The parts of the collection.
    pub(crate) collection: &'static [&'static str],
    /// A record that can be patched.
    pub(crate) key: &'static str,
    /// Another one.
    pub(crate) other_key: &'static str,
    /// A record that can be deleted at once.
    pub(crate) deletable_key: &'static str,
    /// An id of the vendor's form that no record has.
    pub(crate) missing_key: &'static str,
    /// Ids without the vendor's form.
    pub(crate) malformed_ids: &'static [&'static str],
    /// A field that holds text.
    pub(crate) text: &'static str,
    /// A field that the gateway or the vendor sets.
    pub(crate) read_only: &'static str,
    /// Whether the vendor compares versions.
    pub(crate) native: bool,
    /// The status of a direct update: an accepted loss is a warning, and warnings come with the record.
    pub(crate) patch_status: u16,
    /// Whether updates are queued.
    pub(crate) queued: bool,
    /// The losses to accept so that any write is done.
    pub(crate) losses: &'static [&'static str],
    /// The kind of call by which one record is read.
    pub(crate) read_call_kind: CallKind,
    /// What the text field of a record holds at the vendor.
    pub(crate) read_text: fn(&Sandbox, &str) -> Option<String>,
    /// A second writer sets the text field.
    pub(crate) external_write: fn(&Sandbox, &str, &str),
    /// A second writer changes another field.
    pub(crate) external_touch: fn(&Sandbox, &str),
    /// A second writer deletes a record.
    pub(crate) external_delete: fn(&Sandbox, &str),
    /// How many records the vendor holds.
    pub(crate) count: fn(&Sandbox) -> usize,
    /// What was received.
    pub(crate) log: fn(&Sandbox) -> &RequestLog,
    /// What can go wrong.
    pub(crate) faults: fn(&Sandbox) -> &Faults,
    /// A merge patch that removes or resets something, and whether the vendor has.
    pub(crate) reset_patch: fn() -> Value,
    pub(crate) is_reset: fn(&Sandbox) -> bool,
    /// The fields of a new record whose text field holds this.
    pub(crate) new_record: fn(&str) -> Value,
    /// The vendor leaves the text field as it is, whatever is sent.
    pub(crate) ignore_text: fn(&Sandbox),
}

impl VendorFixture {
    pub(crate) fn collection(&self) -> String {
        self.collection.join(":")
    }

    /// The full id of a key.
    pub(crate) fn id(&self, key: &str) -> String {
        format!("{}:{key}", self.collection())
    }

    /// The path of a record.
    pub(crate) fn path(&self, key: &str) -> String {
        format!("/records/{}/{}", self.system, self.id(key))
    }

    /// The fields of a patch that sets the text.
    pub(crate) fn text_patch(&self, text: &str) -> Value {
        json!({ self.text: text })
    }

    /// What 2xx responses to updates carry.
    pub(crate) fn guarantee(&self) -> &'static str {
        if self.native { "native" } else { "guarded" }
    }
}

fn string_value(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

fn set_field(fields: &mut Map<String, Value>, name: &str, value: &str) {
    fields.insert(name.to_owned(), json!(value));
}

pub(crate) const PRETECTUM: VendorFixture = VendorFixture {
    system: "crm",
    collection: &[pretectum::BUSINESS_AREA_ID, pretectum::SCHEMA_ID, pretectum::DATASET_ID],
    key: pretectum::ADA_ID,
    other_key: pretectum::GRACE_ID,
    deletable_key: pretectum::EMMY_ID,
    missing_key: "20240601090000009z9z9z9z9z9z9z9z9z9z9z9z9z9z9z9",
    malformed_ids: &["Ada", "a:b:c:d", "20240601090000001a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5%2F.."],
    text: "Last Name",
    read_only: "_version",
    native: true,
    patch_status: 204,
    queued: false,
    losses: &[],
    read_call_kind: CallKind::List,
    read_text: |vendors, key| {
        let object = vendors.pretectum.state.object(key).filter(|object| !object.deleted)?;
        string_value(object.fields.get("Last Name"))
    },
    external_write: |vendors, key, text| {
        assert!(vendors.pretectum.state.write(key, |fields| set_field(fields, "Last Name", text)));
    },
    external_touch: |vendors, key| {
        assert!(vendors.pretectum.state.write(key, |fields| set_field(fields, "Phone", "+1 555 0000")))
    },
    external_delete: |vendors, key| assert!(vendors.pretectum.state.remove(key)),
    count: |vendors| vendors.pretectum.state.objects().iter().filter(|object| !object.deleted).count(),
    log: |vendors| &vendors.pretectum.log,
    faults: |vendors| &vendors.pretectum.faults,
    reset_patch: || json!({ "Phone": null }),
    is_reset: |vendors| !vendors.pretectum.state.object(pretectum::ADA_ID).unwrap().fields.contains_key("Phone"),
    new_record: |text| json!({ "First Name": "New", "Last Name": text, "Email": "new@example.com" }),
    ignore_text: |vendors| {
        vendors.pretectum.state.configure(|settings| settings.ignored_field = Some("Last Name".to_owned()));
    },
};

pub(crate) const BLUEDOLPHIN: VendorFixture = VendorFixture {
    system: "architecture",
    collection: &["object-definitions"],
    key: bluedolphin::NEW_APPLICATION_ID,
    other_key: bluedolphin::EMPTY_DEFINITION_ID,
    deletable_key: bluedolphin::RETIRED_SERVER_ID,
    missing_key: "640b3d7d4a28b925fcf8b9ff",
    malformed_ids: &["object-definitions:XYZ", "objects:640b3d7d4a28b925fcf8b9a2", "640B3D7D4A28B925FCF8B9A2"],
    text: "name",
    read_only: "type",
    native: false,
    patch_status: 200,
    queued: true,
    losses: &["linked-questions", "source-connections", "dependent-objects"],
    read_call_kind: CallKind::Read,
    read_text: |vendors, key| vendors.bluedolphin.state.definition(key).map(|definition| definition.name),
    external_write: |vendors, key, text| {
        assert!(vendors.bluedolphin.state.write(key, |definition| text.clone_into(&mut definition.name)));
    },
    external_touch: |vendors, key| {
        let property =
            bluedolphin::Property { name: "Touched".to_owned(), value: Some("yes".to_owned()), locked: false };
        assert!(vendors.bluedolphin.state.write(key, |definition| definition.properties.push(property)));
    },
    external_delete: |vendors, key| vendors.bluedolphin.state.remove(key),
    count: |vendors| vendors.bluedolphin.state.definitions().len(),
    log: |vendors| &vendors.bluedolphin.log,
    faults: |vendors| &vendors.bluedolphin.faults,
    reset_patch: || json!({ "properties": { "Owner": null } }),
    is_reset: |vendors| {
        let definition = vendors.bluedolphin.state.definition(bluedolphin::NEW_APPLICATION_ID).unwrap();
        definition.properties.iter().all(|property| property.name != "Owner") && definition.properties.len() == 2
    },
    new_record: |text| json!({ "name": text, "object_template_id": bluedolphin::TEMPLATE_ID, "roles": [bluedolphin::ROLE_ID] }),
    ignore_text: |vendors| vendors.bluedolphin.state.configure(|settings| settings.silent_failure = true),
};

pub(crate) const MATRIX42: VendorFixture = VendorFixture {
    system: "itsm",
    collection: &[matrix42::CATEGORY_CLASS],
    key: matrix42::FACILITY_ID,
    other_key: matrix42::HARDWARE_ID,
    deletable_key: matrix42::SOFTWARE_ID,
    missing_key: "7777780d-71a0-df11-708c-0000000000ff",
    malformed_ids: &[
        "SPSScCategoryClassBase:Facility",
        "7777780d-71a0-df11-708c-000c2968299e",
        "No-Class:7777780d-71a0-df11-708c-000c2968299e",
    ],
    text: "Description",
    read_only: "TimeStamp",
    native: true,
    patch_status: 204,
    queued: false,
    losses: &[],
    read_call_kind: CallKind::Read,
    read_text: |vendors, key| {
        let fragment = vendors.matrix42.state.fragment(matrix42::CATEGORY_CLASS, key)?;
        Some(string_value(fragment.attributes.get("Description")).unwrap_or_default())
    },
    external_write: |vendors, key, text| {
        let class = matrix42::CATEGORY_CLASS;
        assert!(vendors.matrix42.state.write(class, key, |attributes| set_field(attributes, "Description", text)));
    },
    external_touch: |vendors, key| {
        let class = matrix42::CATEGORY_CLASS;
        assert!(vendors.matrix42.state.write(class, key, |attributes| set_field(
            attributes,
            "DefaultSubject",
            "touched"
        )));
    },
    external_delete: |vendors, key| assert!(vendors.matrix42.state.remove(matrix42::CATEGORY_CLASS, key)),
    count: |vendors| vendors.matrix42.state.fragments(matrix42::CATEGORY_CLASS).len(),
    log: |vendors| &vendors.matrix42.log,
    faults: |vendors| &vendors.matrix42.faults,
    reset_patch: || json!({ "Position": null }),
    is_reset: |vendors| {
        vendors.matrix42.state.fragment(matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID).unwrap().attributes["Position"]
            .is_null()
    },
    new_record: |text| json!({ "Name": "New", "Description": text }),
    ignore_text: |vendors| {
        vendors.matrix42.state.configure(|settings| settings.ignored_attribute = Some("Description".to_owned()));
    },
};
