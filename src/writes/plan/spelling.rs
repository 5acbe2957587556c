//! The names of members, at a vendor that reads them in any case.

use std::collections::BTreeSet;

use foldhash::HashMap;

use crate::problem::Problem;
use crate::record::{FieldError, Patch, SchemaRule, VendorRecord, fields_member};
use crate::writes::schema_check::count_and_reject;
use crate::writes::write_task::WriteTask;

/// Rejects a patch that names a member in another case than the record: to the vendor it is that
/// member, and to every comparison here it would be another one. No preference allows it.
///
/// # Errors
/// `rejected`, with the record's spelling of each.
pub(super) fn check_spelling(task: &WriteTask<'_>, patch: &Patch, record: &VendorRecord) -> Result<(), Problem> {
    if !task.system.adapter.capabilities().ignores_case {
        return Ok(());
    }
    let errors = find_names_in_another_case(patch, record);
    if errors.is_empty() { Ok(()) } else { Err(count_and_reject(task, errors)) }
}

fn find_names_in_another_case(patch: &Patch, record: &VendorRecord) -> Vec<FieldError> {
    let spellings: HashMap<String, &str> =
        record.fields.names().map(|name| (name.to_ascii_lowercase(), name)).collect();
    let named: BTreeSet<String> = patch.named_places().iter().filter_map(|pointer| fields_member(pointer)).collect();
    let in_another_case = |name: &String| {
        let shown = spellings.get(&name.to_ascii_lowercase())?;
        let error = || FieldError::unknown_member(name, [*shown]).rule(SchemaRule::Unknown);
        // A record may have both spellings.
        record.fields.get(name).is_none().then(error)
    };
    named.iter().filter_map(in_another_case).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::RawObject;

    #[test]
    fn a_member_in_another_case_is_named_with_the_records_spelling() {
        let fields = RawObject::parse(&Bytes::from_static(br#"{"Name":1,"Doc":{"a":1}}"#)).expect("an object");
        let record = VendorRecord { fields, version: None, warnings: Vec::new() };
        let found = |patch: Result<Patch, _>| -> Vec<_> {
            let errors = find_names_in_another_case(&patch.expect("a patch"), &record);
            errors.into_iter().map(|error| (error.pointer, error.nearest.unwrap_or_default())).collect()
        };
        let merge = |text: &'static str| found(Patch::parse_merge_patch(&Bytes::from_static(text.as_bytes())));
        let expected = |pointer: &str, nearest: &str| (pointer.to_owned(), nearest.to_owned());
        assert_eq!(merge(r#"{"fields":{"Name":1,"Doc":{"A":1},"other":1}}"#), []);
        assert_eq!(merge(r#"{"fields":{"name":null}}"#), [expected("/fields/name", "Name")]);
        assert_eq!(merge(r#"{"fields":{"doc":{"a":1,"b":2}}}"#), [expected("/fields/doc", "Doc")]);
        let copied = r#"[{"op":"copy","from":"/fields/DOC/a","path":"/fields/Name"}]"#;
        assert_eq!(found(Patch::parse_json_patch(copied.as_bytes())), [expected("/fields/DOC", "Doc")]);
    }
}
