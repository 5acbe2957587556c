//! A record's JSON (contract 3), spliced by hand: `fields` is the text the vendor sent, digit for digit.

use std::fmt::Write as _;

use serde::Serialize;

use crate::gateway::RecordView;

/// Appends `record`; members that say nothing are left out.
pub(super) fn push(json: &mut String, record: &RecordView) {
    json.push_str("{\"system\":");
    push_value(json, &record.system);
    json.push_str(",\"id\":");
    push_value(json, &record.id);
    json.push_str(",\"etag\":");
    push_value(json, &record.etag);
    json.push_str(",\"fields\":");
    json.push_str(&record.fields);
    json.push_str(",\"read_only\":");
    push_value(json, &record.read_only);
    if !record.warnings.is_empty() {
        json.push_str(",\"warnings\":");
        push_value(json, &record.warnings);
    }
    if let Some(operation) = &record.pending_operation {
        json.push_str(",\"pending_operation\":");
        push_value(json, operation);
    }
    if record.partial {
        json.push_str(",\"partial\":true");
    }
    json.push('}');
}

/// One record.
pub(super) fn record(record: &RecordView) -> String {
    let mut json = String::with_capacity(record.fields.len() + 256);
    push(&mut json, record);
    json
}

/// A page of records.
pub(super) fn page(items: &[RecordView], next: Option<&str>) -> String {
    let size: usize = items.iter().map(|record| record.fields.len() + 256).sum();
    let mut json = String::with_capacity(size + 64);
    json.push_str("{\"items\":[");
    for (index, record) in items.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        push(&mut json, record);
    }
    json.push_str("],\"next\":");
    push_value(&mut json, &next);
    json.push('}');
    json
}

fn push_value(json: &mut String, value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => json.push_str(&text),
        // Strings and lists of them always serialise; a document must be JSON whatever happens.
        Err(_) => {
            let _ = write!(json, "null");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Warning, WarningCode};

    fn plain() -> RecordView {
        RecordView {
            system: "crm".to_owned(),
            id: "a:\"b\"".to_owned(),
            etag: Some("\"c7.x\"".to_owned()),
            fields: r#"{"n":12345678901234567890,"d":1.10}"#.to_owned(),
            read_only: Vec::new(),
            warnings: Vec::new(),
            pending_operation: None,
            partial: false,
        }
    }

    #[test]
    fn fields_leave_digit_for_digit_and_strings_escaped() {
        assert_eq!(
            record(&plain()),
            r#"{"system":"crm","id":"a:\"b\"","etag":"\"c7.x\"","fields":{"n":12345678901234567890,"d":1.10},"read_only":[]}"#
        );
    }

    #[test]
    fn everything_there_is_to_say_is_said_in_valid_json() {
        let warning = Warning { code: WarningCode::NotApplied, pointer: "/fields/n".into(), detail: "x".into() };
        let full = RecordView {
            etag: None,
            read_only: vec!["/fields/type".to_owned()],
            warnings: vec![warning],
            pending_operation: Some("/operations/1".to_owned()),
            partial: true,
            ..plain()
        };
        let value: serde_json::Value = serde_json::from_str(&page(&[plain(), full], Some("n"))).expect("JSON");
        let last = &value["items"][1];
        assert_eq!(last["etag"], serde_json::Value::Null);
        assert_eq!(last["warnings"][0]["code"], "not-applied");
        assert_eq!(last["partial"], true);
        assert_eq!(last["pending_operation"], "/operations/1");
        assert_eq!(value["next"], "n");
    }
}
