//! JSON texts of callers and vendors.

use bytes::Bytes;
use records_gateway::record::{RawObject, Version, all_applied, diff, parse_strict, values_equal, write_json};
use serde_json::Value;

/// The strict parser accepts nothing that `serde_json` rejects, and returns the same value;
/// the raw and the parsed form agree; and the writer prints what was parsed.
pub fn json(data: &[u8]) {
    let (object, parsed) = (RawObject::parse(&Bytes::copy_from_slice(data)), parse_strict(data));
    assert_eq!(object.is_ok(), parsed.as_ref().is_ok_and(Value::is_object), "{object:?} {parsed:?}");
    let Ok(value) = parsed else { return };
    // serde_json normalizes exponents.
    let same = serde_json::from_slice::<Value>(data).is_ok_and(|serdes| values_equal(&serdes, &value));
    assert!(same, "not the value of serde_json: {value}");
    let mut text = String::new();
    write_json(&mut text, &value);
    assert_eq!(parse_strict(text.as_bytes()).ok().as_ref(), Some(&value), "{text}");
    assert!(values_equal(&value, &value), "equal to itself");
    let (Value::Object(map), Ok(object)) = (&value, object) else { return };
    assert_eq!(&object.to_map(), map);
    assert_eq!(parse_strict(object.to_json().as_bytes()).ok().as_ref(), Some(&value), "the text of the object");
    assert!(object.names().eq(map.keys()), "names in their order");
    let mut backwards = serde_json::Map::new();
    for (name, value) in map.iter().rev() {
        backwards.insert(name.clone(), value.clone());
    }
    assert_eq!(Version::from_fields(map), Version::from_fields(&backwards), "the order of members matters");
    assert!(diff(map, map).is_empty());
    let from_nothing = diff(&serde_json::Map::new(), map);
    assert!(all_applied(&from_nothing, map), "a state does not contain its own changes");
}
