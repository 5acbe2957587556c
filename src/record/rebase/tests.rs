//! A truth table, and generated changes against a three-way merge.

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::record::Patch;

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

fn no_reserved(_: &str) -> bool {
    false
}

fn document(fields: &Map<String, Value>) -> Map<String, Value> {
    map(json!({"system": "crm", "id": "a:b", "etag": "\"e\"", "fields": fields}))
}

fn parse(patch: &Value) -> Patch {
    let text = patch.to_string();
    let parsed = if patch.is_array() {
        Patch::parse_json_patch(text.as_bytes())
    } else {
        Patch::parse_merge_patch(&Bytes::from(text))
    };
    parsed.expect("a patch")
}

/// The places that a patch touches: those that it names, and those that it changes in `base`.
fn touched(patch: &Patch, base: &Map<String, Value>) -> Vec<String> {
    let changed = patch.apply(&document(base), &no_reserved).map(|after| diff(base, &after)).unwrap_or_default();
    patch.named_places().into_iter().chain(changed.into_iter().map(|change| change.pointer)).collect()
}

#[test]
fn a_change_overlaps_what_has_moved_at_above_or_below_it() {
    let base = map(json!({
        "a": 1, "b": 2, "list": [1, 2], "gone": 5, "null": null,
        "map": {"x": {"value": 1, "locked": false}, "y": 3}, "street": "s", "city": "c",
    }));
    let merge = |fields: Value| json!({ "fields": fields });
    let cases: &[(Value, Value, &[&str])] = &[
        (merge(json!({"b": 3})), merge(json!({"a": 9})), &[]),
        (merge(json!({"a": 3})), merge(json!({"a": 9})), &["/fields/a"]),
        // It is not known whether the change was meant twice.
        (merge(json!({"a": 9})), merge(json!({"a": 9})), &["/fields/a"]),
        // Named, and not changed.
        (merge(json!({"a": 1})), merge(json!({"a": 9})), &["/fields/a"]),
        // The form of a number is its value.
        (merge(json!({"a": 3})), merge(json!({"a": 1.0})), &["/fields/a"]),
        (merge(json!({"gone": 6})), merge(json!({"gone": null})), &["/fields/gone"]),
        (merge(json!({"gone": null})), merge(json!({"gone": 6, "a": 2})), &["/fields/gone"]),
        (merge(json!({"new": 1})), merge(json!({"new": 2})), &["/fields/new"]),
        (merge(json!({"null": 1})), merge(json!({"null": null})), &[]),
        // Entries of a map are places.
        (merge(json!({"map": {"x": {"value": 2}}})), merge(json!({"map": {"x": {"locked": true}, "z": 1}})), &[]),
        (
            merge(json!({"map": {"x": {"value": 2}}})),
            merge(json!({"map": {"x": {"value": 3}}})),
            &["/fields/map/x/value"],
        ),
        (merge(json!({"map": {"x": null}})), merge(json!({"map": {"x": {"value": 3}}})), &["/fields/map/x/value"]),
        (merge(json!({"map": {"x": {"value": 2}}})), merge(json!({"map": {"x": null}})), &["/fields/map/x"]),
        (merge(json!({"map": {"x": {"value": 2}}})), merge(json!({"map": 7})), &["/fields/map"]),
        (merge(json!({"map": {}})), merge(json!({"map": {"y": 4, "z": 1}})), &["/fields/map/y", "/fields/map/z"]),
        (merge(json!({"map": {"z": 1}})), merge(json!({"map": {"z": 2, "y": 4}})), &["/fields/map/z"]),
        // An array is one place.
        (merge(json!({"list": [1]})), merge(json!({"list": [1, 2, 3]})), &["/fields/list"]),
        (
            json!([{"op": "add", "path": "/fields/list/0", "value": 0}]),
            merge(json!({"list": [2, 1]})),
            &["/fields/list"],
        ),
        // A JSON Patch relies on what it names.
        (json!([{"op": "test", "path": "/fields/a", "value": 1}]), merge(json!({"a": 9})), &["/fields/a"]),
        (json!([{"op": "test", "path": "/fields/b", "value": 2}]), merge(json!({"a": 9})), &[]),
        (json!([{"op": "copy", "from": "/fields/a", "path": "/fields/b"}]), merge(json!({"a": 9})), &["/fields/a"]),
        (
            json!([{"op": "move", "from": "/fields/map/x", "path": "/fields/m"}]),
            merge(json!({"map": {"x": {"value": 3}}})),
            &["/fields/map/x/value"],
        ),
        (json!([{"op": "remove", "path": "/fields/map"}]), merge(json!({"map": {"y": 4}})), &["/fields/map/y"]),
        (json!([{"op": "test", "path": "/fields", "value": {}}]), merge(json!({"a": 9})), &["/fields/a"]),
        (json!([{"op": "test", "path": "/etag", "value": "\"e\""}]), merge(json!({"a": 9})), &["/etag"]),
        (json!({"etag": "\"e\"", "fields": {"b": 1}}), merge(json!({"a": 9})), &["/etag"]),
        (json!([{"op": "test", "path": "", "value": {}}]), merge(json!({"a": 9})), &["/etag", "/fields/a"]),
        // Street and city belong together, whatever their spelling is a part of.
        (merge(json!({"street": "t"})), merge(json!({"city": "d"})), &["/fields/city"]),
        (merge(json!({"street": "t"})), merge(json!({"a": 9})), &[]),
        (merge(json!({"streets": "t"})), merge(json!({"city": "d"})), &[]),
    ];
    let together = [vec!["street".to_owned(), "city".to_owned()]];
    for (mine, theirs, overlap) in cases {
        let now = parse(theirs).apply(&document(&base), &no_reserved).expect("applied");
        let found = rebase(&base, &now, touched(&parse(mine), &base), &together);
        assert_eq!(found.overlap, *overlap, "{mine} after {theirs}");
        let moved: BTreeSet<String> = diff(&base, &now).into_iter().map(|change| change.pointer).collect();
        assert_eq!(found.moved, moved.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn names_with_special_characters_are_compared_as_pointers() {
    let (base, now) = (map(json!({"a/b": 1, "a": {"b": 1}})), map(json!({"a/b": 2, "a": {"b": 1}})));
    let patch = |fields: Value| parse(&json!({ "fields": fields }));
    let found = |fields| rebase(&base, &now, touched(&patch(fields), &base), &[vec!["a/b".into(), "~".into()]]).overlap;
    assert_eq!(found(json!({"a": {"b": 3}})), Vec::<String>::new());
    assert_eq!(found(json!({"a/b": 3})), ["/fields/a~1b"]);
    assert_eq!(found(json!({"~": 3})), ["/fields/a~1b"]);
}

/// The number of generated cases; `REBASE_CASES` sets another one.
fn case_count() -> usize {
    std::env::var("REBASE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000)
}

#[test]
fn a_rebase_is_a_three_way_merge_or_names_each_conflict() {
    let mut random = fastrand::Rng::with_seed(20_261_129);
    let (mut merged, mut refused) = (0, 0);
    for case in 0..case_count() {
        let base = random_fields(&mut random);
        let now = with_nulls_of(&base, changed(&mut random, &base));
        let patch = if random.bool() { random_merge_patch(&mut random) } else { random_json_patch(&mut random, &base) };
        let parsed = parse(&patch);
        let Ok(mine) = parsed.apply(&document(&base), &no_reserved) else { continue };
        let found = rebase(&base, &now, touched(&parsed, &base), &[]);

        let shown = || format!("case {case}: {} now {} patch {patch}", json!(base), json!(now));
        let marked = with_marks(&mine, &parsed.named_places());
        let mut conflicts = BTreeSet::new();
        let objects = [json!(base), marked, json!(now)];
        let [base_value, mine_value, now_value] = &objects;
        merge3(Some(base_value), Some(mine_value), Some(now_value), "/fields", &mut conflicts);
        assert_eq!(found.overlap, conflicts.into_iter().collect::<Vec<_>>(), "{}", shown());
        if !found.overlap.is_empty() {
            refused += 1;
            continue;
        }
        merged += 1;
        let applied =
            parsed.apply(&document(&now), &no_reserved).unwrap_or_else(|error| panic!("{error:?} {}", shown()));
        let expected = merge3(Some(base_value), Some(&json!(mine)), Some(now_value), "/fields", &mut BTreeSet::new());
        assert_eq!(diff(&applied, &map(expected.expect("an object"))), [], "{}", shown());
    }
    assert!(merged > case_count() / 10 && refused > case_count() / 10, "{merged} merged, {refused} refused");
}

/// Whether two values are the same to vendors: a member of `fields` that is null is absent.
fn same(one: Option<&Value>, other: Option<&Value>, is_member: bool) -> bool {
    let value = |value: Option<&Value>| value.filter(|value| !(is_member && value.is_null())).cloned();
    value(one) == value(other)
}

/// A three-way merge that knows nothing of pointers or patches. Two changes of one value are a
/// conflict, even if they are equal; it names what `theirs` has changed there.
fn merge3(
    base: Option<&Value>,
    mine: Option<&Value>,
    theirs: Option<&Value>,
    pointer: &str,
    conflicts: &mut BTreeSet<String>,
) -> Option<Value> {
    let is_member = pointer.matches('/').count() == 2;
    if same(base, theirs, is_member) {
        return mine.cloned();
    }
    if same(base, mine, is_member) {
        return theirs.cloned();
    }
    let (Some(Value::Object(base)), Some(Value::Object(mine)), Some(Value::Object(theirs))) = (base, mine, theirs)
    else {
        collect_differences(base, theirs, pointer, conflicts);
        return theirs.cloned();
    };
    let names: BTreeSet<&String> = base.keys().chain(mine.keys()).chain(theirs.keys()).collect();
    let mut merged = Map::new();
    for name in names {
        let below = format!("{pointer}/{name}");
        if let Some(value) = merge3(base.get(name), mine.get(name), theirs.get(name), &below, conflicts) {
            merged.insert(name.clone(), value);
        }
    }
    Some(Value::Object(merged))
}

fn collect_differences(base: Option<&Value>, theirs: Option<&Value>, pointer: &str, found: &mut BTreeSet<String>) {
    if same(base, theirs, pointer.matches('/').count() == 2) {
        return;
    }
    let (Some(Value::Object(base)), Some(Value::Object(theirs))) = (base, theirs) else {
        found.insert(pointer.to_owned());
        return;
    };
    for name in base.keys().chain(theirs.keys()) {
        collect_differences(base.get(name), theirs.get(name), &format!("{pointer}/{name}"), found);
    }
}

/// `fields` with a value of its own at each named place, so that naming a place counts as changing
/// it.
fn with_marks(fields: &Map<String, Value>, places: &[String]) -> Value {
    let mut marked = json!(fields);
    for place in places {
        let Some(path) = place.strip_prefix("/fields") else { continue };
        let mut at = &mut marked;
        for name in path.split('/').skip(1) {
            if !at.is_object() {
                break;
            }
            at = &mut at[name];
        }
        *at = json!("named");
    }
    marked
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn random_value(random: &mut fastrand::Rng, depth: usize) -> Value {
    match random.u8(0..if depth > 0 { 12 } else { 7 }) {
        0 => Value::Null,
        1 => json!(1),
        2 => json!(1.0),
        3 => json!("x"),
        4 => json!([1]),
        5 => json!([1, {"a": 2}]),
        6 => json!({}),
        _ => json!(random_object(random, depth - 1)),
    }
}

fn random_object(random: &mut fastrand::Rng, depth: usize) -> Map<String, Value> {
    let mut object = Map::new();
    for name in NAMES {
        if random.bool() {
            object.insert(name.to_owned(), random_value(random, depth));
        }
    }
    object
}

fn random_fields(random: &mut fastrand::Rng) -> Map<String, Value> {
    random_object(random, 2)
}

/// Another state: some values changed, added or removed.
fn changed(random: &mut fastrand::Rng, base: &Map<String, Value>) -> Map<String, Value> {
    let mut now = base.clone();
    for name in NAMES {
        match (random.u8(0..8), now.get(name).cloned()) {
            (0, _) => {
                now.insert(name.to_owned(), random_value(random, 1));
            }
            (1, _) => {
                now.shift_remove(name);
            }
            (2..=4, Some(Value::Object(inner))) => {
                now.insert(name.to_owned(), Value::Object(changed(random, &inner)));
            }
            _ => {}
        }
    }
    now
}

/// `fields` with null exactly where `base` has it: vendors treat a null member as an absent one,
/// and a JSON Patch does not.
fn with_nulls_of(base: &Map<String, Value>, mut fields: Map<String, Value>) -> Map<String, Value> {
    fields.retain(|_, value| !value.is_null());
    for name in base.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name) {
        fields.entry(name).or_insert(Value::Null);
    }
    fields
}

fn random_merge_patch(random: &mut fastrand::Rng) -> Value {
    let mut members = Map::new();
    for name in NAMES {
        if random.u8(0..3) == 0 {
            members.insert(name.to_owned(), random_value(random, 2));
        }
    }
    json!({ "fields": members })
}

/// A path that exists, or one below it that does not.
fn random_path(random: &mut fastrand::Rng, fields: &Map<String, Value>) -> String {
    let name = random.choice(NAMES).unwrap_or_default();
    match fields.get(name) {
        Some(Value::Object(inner)) if random.bool() => format!("/{name}{}", random_path(random, inner)),
        Some(Value::Array(_)) if random.bool() => format!("/{name}/0"),
        _ => format!("/{name}"),
    }
}

fn random_json_patch(random: &mut fastrand::Rng, base: &Map<String, Value>) -> Value {
    let operations = (0..random.usize(1..4)).map(|_| {
        let path = format!("/fields{}", random_path(random, base));
        let from = format!("/fields{}", random_path(random, base));
        match random.u8(0..7) {
            0 => json!({"op": "remove", "path": path}),
            1 => json!({"op": "move", "from": from, "path": path}),
            2 => json!({"op": "copy", "from": from, "path": path}),
            3 => json!({"op": "test", "path": path, "value": document(base).get("fields").and_then(|fields| fields.pointer(&path["/fields".len()..]))}),
            4 => json!({"op": "replace", "path": path, "value": random_value(random, 1)}),
            5 if random.u8(0..10) == 0 => json!({"op": "test", "path": "/fields", "value": base}),
            _ => json!({"op": "add", "path": path, "value": random_value(random, 1)}),
        }
    });
    Value::Array(operations.collect())
}
