//! JSON texts of callers and vendors.

use records_gateway::record::{
    RawFields, all_applied, canonical_digest, diff, parse_raw_members, parse_strict, validate_strict, values_equal,
    write_json,
};
use serde_json::Value;

/// The strict parser accepts nothing that `serde_json` rejects, and returns the same value;
/// validating and parsing agree; and the writer prints what was parsed.
pub fn json(data: &[u8]) {
    let (checked, parsed) = (validate_strict(data), parse_strict(data));
    assert_eq!(checked.is_ok(), parsed.is_ok(), "{checked:?} {parsed:?}");
    let Ok(value) = parsed else { return };
    // serde_json normalizes exponents.
    let same = serde_json::from_slice::<Value>(data).is_ok_and(|serdes| values_equal(&serdes, &value));
    assert!(same, "not the value of serde_json: {value}");
    let mut text = String::new();
    write_json(&mut text, &value);
    assert_eq!(parse_strict(text.as_bytes()).ok().as_ref(), Some(&value), "{text}");
    assert!(values_equal(&value, &value), "equal to itself");
    assert_eq!(parse_raw_members(data).is_ok(), value.is_object());
    let Value::Object(map) = &value else { return };
    let members = parse_raw_members(data).expect("checked");
    let fields = RawFields::from_raw_members(members.iter().map(|(name, value)| (name.as_ref(), *value)));
    assert_eq!(&fields.to_map(), map);
    assert!(fields.names().iter().eq(map.keys()), "names in their order");
    let mut backwards = serde_json::Map::new();
    for (name, value) in map.iter().rev() {
        backwards.insert(name.clone(), value.clone());
    }
    assert_eq!(canonical_digest(&value), canonical_digest(&Value::Object(backwards)), "the order of members matters");
    assert!(diff(map, map).is_empty());
    let from_nothing = diff(&serde_json::Map::new(), map);
    assert!(all_applied(&from_nothing, map), "a state does not contain its own changes");
}
