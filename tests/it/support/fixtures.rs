//! The fixtures: one per vendor.

use records_gateway::sandbox::{CallKind, bluedolphin, dataverse, matrix42, pretectum};
use serde_json::{Map, Value, json};

use super::{OnUpdate500, VendorFixture};

fn string_value(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

fn set_field(fields: &mut Map<String, Value>, name: &str, value: &str) {
    fields.insert(name.to_owned(), json!(value));
}

pub(crate) const PRETECTUM: VendorFixture = VendorFixture {
    vendor_name: "pretectum",
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
    native_delete: false,
    patch_status: 204,
    queued: false,
    ignores_unknown: true,
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
        assert!(vendors.pretectum.state.write(key, |fields| set_field(fields, "Phone", "+1 555 0000")));
    },
    external_delete: |vendors, key| assert!(vendors.pretectum.state.remove(key)),
    count: |vendors| vendors.pretectum.state.objects().iter().filter(|object| !object.deleted).count(),
    fake_vendor: |vendors| &*vendors.pretectum,
    expire_tokens: Some(|vendors| vendors.pretectum.state.expire_all_tokens()),
    update_count: Some(|vendors, key| vendors.pretectum.state.object(key).unwrap().version - 7),
    on_update_500: OnUpdate500::Resent,
    partial_lists: false,
    reset_patch: || json!({ "Phone": null }),
    is_reset: |vendors| !vendors.pretectum.state.object(pretectum::ADA_ID).unwrap().fields.contains_key("Phone"),
    new_record: |text| json!({ "First Name": "New", "Last Name": text, "Email": "new@example.com" }),
    ignore_text: |vendors| {
        vendors.pretectum.state.configure(|settings| settings.ignored_field = Some("Last Name".to_owned()));
    },
};

pub(crate) const BLUEDOLPHIN: VendorFixture = VendorFixture {
    vendor_name: "bluedolphin",
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
    native_delete: false,
    patch_status: 200,
    queued: true,
    ignores_unknown: false,
    losses: &["linked-questions", "source-connections", "property-values", "dependent-objects"],
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
    fake_vendor: |vendors| &*vendors.bluedolphin,
    expire_tokens: None,
    update_count: None,
    on_update_500: OnUpdate500::Unknown,
    partial_lists: true,
    reset_patch: || json!({ "properties": { "Owner": null } }),
    is_reset: |vendors| {
        let definition = vendors.bluedolphin.state.definition(bluedolphin::NEW_APPLICATION_ID).unwrap();
        definition.properties.iter().all(|property| property.name != "Owner") && definition.properties.len() == 2
    },
    new_record: |text| json!({ "name": text, "object_template_id": bluedolphin::TEMPLATE_ID, "roles": [bluedolphin::ROLE_ID] }),
    ignore_text: |vendors| vendors.bluedolphin.state.configure(|settings| settings.silent_failure = true),
};

pub(crate) const MATRIX42: VendorFixture = VendorFixture {
    vendor_name: "matrix42",
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
    native_delete: false,
    patch_status: 204,
    queued: false,
    ignores_unknown: false,
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
        let touch = |attributes: &mut Map<String, Value>| set_field(attributes, "DefaultSubject", "touched");
        assert!(vendors.matrix42.state.write(matrix42::CATEGORY_CLASS, key, touch));
    },
    external_delete: |vendors, key| assert!(vendors.matrix42.state.remove(matrix42::CATEGORY_CLASS, key)),
    count: |vendors| vendors.matrix42.state.fragments(matrix42::CATEGORY_CLASS).len(),
    fake_vendor: |vendors| &*vendors.matrix42,
    expire_tokens: Some(|vendors| vendors.matrix42.state.expire_all_tokens()),
    update_count: None,
    on_update_500: OnUpdate500::NotApplied,
    partial_lists: false,
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

pub(crate) const DATAVERSE: VendorFixture = VendorFixture {
    vendor_name: "dataverse",
    system: "sales",
    collection: &[dataverse::ACCOUNTS],
    key: dataverse::FOURTH_COFFEE_ID,
    other_key: dataverse::LITWARE_ID,
    deletable_key: dataverse::A_DATUM_ID,
    missing_key: "00aa00aa-bb11-cc22-dd33-44ee44ee44ff",
    malformed_ids: &[
        "accounts:Fourth",
        "00aa00aa-bb11-cc22-dd33-44ee44ee44ee",
        "EntityDefinitions:00aa00aa-bb11-cc22-dd33-44ee44ee44ee",
    ],
    text: "description",
    read_only: "createdon",
    native: true,
    native_delete: true,
    patch_status: 204,
    queued: false,
    ignores_unknown: false,
    losses: &[],
    read_call_kind: CallKind::Read,
    read_text: |vendors, key| {
        let row = vendors.dataverse.state.row(dataverse::ACCOUNTS, key)?;
        Some(string_value(row.columns.get("description")).unwrap_or_default())
    },
    external_write: |vendors, key, text| {
        let write = |columns: &mut Map<String, Value>| set_field(columns, "description", text);
        assert!(vendors.dataverse.state.write(dataverse::ACCOUNTS, key, write));
    },
    external_touch: |vendors, key| {
        let touch = |columns: &mut Map<String, Value>| set_field(columns, "telephone1", "touched");
        assert!(vendors.dataverse.state.write(dataverse::ACCOUNTS, key, touch));
    },
    external_delete: |vendors, key| assert!(vendors.dataverse.state.remove(dataverse::ACCOUNTS, key)),
    count: |vendors| vendors.dataverse.state.rows(dataverse::ACCOUNTS).len(),
    fake_vendor: |vendors| &*vendors.dataverse,
    expire_tokens: Some(|vendors| vendors.dataverse.state.expire_all_tokens()),
    update_count: None,
    on_update_500: OnUpdate500::Resent,
    partial_lists: false,
    reset_patch: || json!({ "telephone1": null }),
    is_reset: |vendors| {
        let row = vendors.dataverse.state.row(dataverse::ACCOUNTS, dataverse::FOURTH_COFFEE_ID).unwrap();
        row.columns["telephone1"].is_null()
    },
    new_record: |text| json!({ "name": "New", "description": text }),
    ignore_text: |vendors| {
        vendors.dataverse.state.configure(|settings| settings.ignored_column = Some("description".to_owned()));
    },
};
