//! Patches, compared with implementations of the RFCs to the letter.

use bytes::Bytes;
use records_gateway::record::{Patch, PatchError, all_applied, diff, parse_strict, values_equal};
use serde_json::{Map, Value};

const READ_ONLY: &str = "type";

fn read_only(name: &str) -> bool {
    name == READ_ONLY
}

/// A record's fields and a patch, separated by a zero byte.
fn split_record_and_patch(data: &[u8]) -> Option<(Map<String, Value>, &[u8])> {
    let cut = data.iter().position(|byte| *byte == 0)?;
    let Ok(Value::Object(fields)) = parse_strict(&data[..cut]) else { return None };
    Some((fields, &data[cut + 1..]))
}

fn record_document(fields: &Map<String, Value>) -> Map<String, Value> {
    let identity = [("system", "itsm"), ("id", "A:1"), ("etag", "\"t\"")];
    let mut document: Map<_, _> =
        identity.map(|(name, value)| (name.to_owned(), Value::from(value))).into_iter().collect();
    document.insert("fields".to_owned(), Value::Object(fields.clone()));
    document
}

/// A merge patch follows RFC 7396 and changes only the members it names.
pub fn merge_patch(data: &[u8]) {
    let Some((before, body)) = split_record_and_patch(data) else { return };
    let patch = match Patch::parse_merge_patch(&Bytes::copy_from_slice(body)) {
        Ok(patch) => patch,
        Err(PatchError::Malformed(_)) => return assert!(parse_strict(body).is_err(), "JSON called malformed"),
        Err(_) => return assert!(parse_strict(body).is_ok(), "what is not JSON called a patch"),
    };
    let Ok(Value::Object(sent)) = parse_strict(body) else { panic!("a merge patch that is no object") };
    let whole = record_document(&before);
    let applied = patch.apply(&whole, &read_only);
    let checked = patch.validate("itsm", "A:1", &read_only);
    if applied.is_ok() {
        assert_eq!(checked, Ok(()), "rejected although it can be applied");
    }
    let Ok(after) = applied else { return };
    let changes = sent.get("fields").and_then(Value::as_object).cloned().unwrap_or_default();
    assert!(!changes.contains_key(READ_ONLY), "a read-only member changed");
    let mut expected = Value::Object(before.clone());
    apply_merge_patch(&mut expected, &Value::Object(changes.clone()));
    assert_eq!(Value::Object(after.clone()), expected);
    for (name, value) in before.iter().filter(|(name, _)| !changes.contains_key(*name)) {
        assert_eq!(after.get(name), Some(value), "a member that the patch does not name");
    }
    let identity = records_gateway::record::RecordIdentity { system: "itsm", id: "A:1", etag: "\"t\"" };
    if let Ok(Some(members)) = patch.as_flat_changes(&identity, None, &read_only) {
        assert_eq!(members.to_map(), changes);
    }
    assert!(all_applied(&diff(&before, &after), &after), "the result does not contain the changes");
}

/// RFC 7396 §2.
fn apply_merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.shift_remove(name);
        } else {
            apply_merge_patch(members.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// A JSON Patch follows RFC 6902, below `/fields` alone.
pub fn json_patch(data: &[u8]) {
    let Some((before, body)) = split_record_and_patch(data) else { return };
    let Ok(patch) = Patch::parse_json_patch(body) else { return };
    let Ok(Value::Array(operations)) = parse_strict(body) else { panic!("a JSON Patch that is no array") };
    let whole = record_document(&before);
    let expected = apply_json_patch(&Value::Object(whole.clone()), &operations);
    match (patch.apply(&whole, &read_only), expected) {
        (Ok(after), Some(expected)) => {
            assert_eq!(after.get(READ_ONLY), before.get(READ_ONLY), "a read-only member changed");
            let Value::Object(mut expected) = expected else { panic!("the whole record was replaced") };
            assert_eq!(Some(Value::Object(after.clone())), expected.insert("fields".to_owned(), Value::Null));
            let mut unchanged = whole;
            unchanged.insert("fields".to_owned(), Value::Null);
            assert_eq!(expected, unchanged, "something besides fields changed");
            assert!(all_applied(&diff(&before, &after), &after), "the result does not contain the changes");
        }
        (Ok(after), None) => panic!("RFC 6902 rejects this patch: {after:?}"),
        // Read-only members and the limit of copies are rules of the gateway.
        (Err(PatchError::ReadOnly(_)), _) | (Err(_), None) => {}
        (Err(PatchError::Failed(why)), Some(_)) => assert!(why.detail.contains("copies more"), "{why:?}"),
        (Err(error), Some(_)) => panic!("RFC 6902 accepts this patch: {error:?}"),
    }
}

/// RFC 6902 §4 and §5.
fn apply_json_patch(document: &Value, operations: &[Value]) -> Option<Value> {
    let mut document = document.clone();
    let mut copied = 0;
    for operation in operations {
        let text = |name: &str| operation.get(name).and_then(Value::as_str);
        let path = parse_pointer(text("path")?)?;
        match text("op")? {
            "add" => add(&mut document, &path, operation.get("value")?.clone())?,
            "remove" => drop(remove(&mut document, &path)?),
            "replace" => *resolve_pointer(&mut document, &path)? = operation.get("value")?.clone(),
            "move" => {
                let from = parse_pointer(text("from")?)?;
                if path.len() > from.len() && path.starts_with(&from) {
                    return None;
                }
                let value = remove(&mut document, &from)?;
                add(&mut document, &path, value)?;
            }
            "copy" => {
                let value = resolve_pointer(&mut document, &parse_pointer(text("from")?)?)?.clone();
                copied += value.to_string().len();
                if copied > 4 * 1024 * 1024 {
                    return None;
                }
                add(&mut document, &path, value)?;
            }
            "test" => {
                if !values_equal(resolve_pointer(&mut document, &path)?, operation.get("value")?) {
                    return None;
                }
            }
            _ => return None,
        }
    }
    Some(document)
}

/// RFC 6901 §3 and §4.
fn parse_pointer(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let names = text.strip_prefix('/')?.split('/');
    Some(names.map(|name| name.replace("~1", "/").replace("~0", "~")).collect())
}

fn parse_index(name: &str, length: usize) -> Option<usize> {
    let is_index = name == "0" || (name.bytes().all(|byte| byte.is_ascii_digit()) && !name.starts_with('0'));
    name.parse().ok().filter(|index| is_index && *index < length)
}

fn resolve_pointer<'d>(document: &'d mut Value, path: &[String]) -> Option<&'d mut Value> {
    path.iter().try_fold(document, |value, name| match value {
        Value::Object(members) => members.get_mut(name),
        Value::Array(elements) => parse_index(name, elements.len()).and_then(|index| elements.get_mut(index)),
        _ => None,
    })
}

fn add(document: &mut Value, path: &[String], value: Value) -> Option<()> {
    let Some((last, parents)) = path.split_last() else {
        *document = value;
        return Some(());
    };
    match resolve_pointer(document, parents)? {
        Value::Object(members) => drop(members.insert(last.clone(), value)),
        Value::Array(elements) if last == "-" => elements.push(value),
        Value::Array(elements) => elements.insert(parse_index(last, elements.len() + 1)?, value),
        _ => return None,
    }
    Some(())
}

fn remove(document: &mut Value, path: &[String]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    match resolve_pointer(document, parents)? {
        Value::Object(members) => members.shift_remove(last),
        Value::Array(elements) => parse_index(last, elements.len()).map(|index| elements.remove(index)),
        _ => None,
    }
}
