//! One operation of a JSON Patch (RFC 6902 §4), from its JSON.

use json_patch::jsonptr::PointerBuf;
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation,
};
use serde_json::{Map, Value};

/// Parses one operation, without the deserializer of the crate: it buffers an operation in a form
/// that loses large numbers and the form of numbers. Unknown members are ignored.
///
/// # Errors
/// What is wrong, for the caller.
pub(super) fn parse_operation(operation: Value) -> Result<PatchOperation, String> {
    // The crate would also take an array for an operation.
    let Value::Object(mut members) = operation else {
        return Err("it must be an object such as {\"op\":\"remove\",\"path\":\"/fields/Name\"}".to_owned());
    };
    let Some(op) = members.remove("op") else { return Err("it has no op".to_owned()) };
    let path = take_pointer(&mut members, "path");
    let operation = match op.as_str() {
        Some("add") => PatchOperation::Add(AddOperation { path: path?, value: take_value(&mut members)? }),
        Some("remove") => PatchOperation::Remove(RemoveOperation { path: path? }),
        Some("replace") => PatchOperation::Replace(ReplaceOperation { path: path?, value: take_value(&mut members)? }),
        Some("move") => PatchOperation::Move(MoveOperation { path: path?, from: take_pointer(&mut members, "from")? }),
        Some("copy") => PatchOperation::Copy(CopyOperation { path: path?, from: take_pointer(&mut members, "from")? }),
        Some("test") => PatchOperation::Test(TestOperation { path: path?, value: take_value(&mut members)? }),
        _ => return Err(format!("its op is {op:.40}; it must be add, remove, replace, move, copy or test")),
    };
    Ok(operation)
}

fn take_value(members: &mut Map<String, Value>) -> Result<Value, String> {
    members.remove("value").ok_or_else(|| "it has no value".to_owned())
}

fn take_pointer(members: &mut Map<String, Value>, name: &str) -> Result<PointerBuf, String> {
    match members.remove(name) {
        None => Err(format!("it has no {name}")),
        Some(Value::String(text)) => PointerBuf::parse(text).map_err(|_| {
            format!("its {name} must begin with / and may have ~ only in ~0 and ~1, such as /fields/Name (RFC 6901 §3)")
        }),
        Some(_) => Err(format!("its {name} must be a string such as \"/fields/Name\"")),
    }
}
