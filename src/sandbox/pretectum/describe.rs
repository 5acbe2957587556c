//! What the schema endpoints return.

use serde_json::{Value, json};

use super::rules;
use super::sample::{BUSINESS_AREA_ID, BUSINESS_AREA_NAME, DATASET_ID, DATASET_NAME, SCHEMA_ID, SCHEMA_NAME};
use super::state::State;

pub(super) fn business_area_json() -> Value {
    json!({ "businessAreaId": BUSINESS_AREA_ID, "name": BUSINESS_AREA_NAME, "description": "", "active": true,
            "createdBy": "sandbox", "updatedBy": "sandbox", "createdDate": "2024-01-15T10:30:00Z",
            "updatedDate": "2024-01-15T10:30:00Z", "version": 1 })
}

pub(super) fn schema_summary_json(state: &State) -> Value {
    json!({ "schemaId": SCHEMA_ID, "name": SCHEMA_NAME, "description": "", "businessAreaId": BUSINESS_AREA_ID,
            "businessAreaName": BUSINESS_AREA_NAME, "active": true, "state": "PUBLISHED",
            "fieldsCount": rules::describe(state.settings.added_field.as_deref()).len(), "dataSetCount": 1, "version": 1, "deleted": false })
}

pub(super) fn schema_json(state: &State) -> Value {
    json!({ "schemaId": SCHEMA_ID, "name": SCHEMA_NAME, "description": "", "businessAreaId": BUSINESS_AREA_ID,
            "businessAreaName": BUSINESS_AREA_NAME, "version": 1, "createdBy": "sandbox", "updatedBy": "sandbox",
            "createdDate": "2024-01-15T10:45:00Z", "updatedDate": "2024-01-15T10:45:00Z", "fields": rules::describe(state.settings.added_field.as_deref()) })
}

pub(super) fn dataset_json(state: &State) -> Value {
    let active = || state.objects.iter().filter(|object| !object.deleted);
    json!({ "dataSetId": DATASET_ID, "dataSetName": DATASET_NAME, "dataSetDescription": "",
            "businessAreaId": BUSINESS_AREA_ID, "businessAreaName": BUSINESS_AREA_NAME, "schemaId": SCHEMA_ID,
            "schemaName": SCHEMA_NAME, "recordCount": active().count(),
            "erroredRecordsCount": active().filter(|object| !object.errors.is_empty()).count(), "runningJobsCount": 0,
            "version": 1, "deleted": false })
}
