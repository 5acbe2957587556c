//! Models that are refused, each with the place and the reason.

use crate::config::{Config, Position};

const SYSTEMS: &str = r#"access.mode = "open"
[systems.crm]
vendor = "pretectum"
base_url = "https://crm.example"
client_id = "c"
client_secret = "s"
[systems.architecture]
vendor = "bluedolphin"
base_url = "https://b.example"
tenant = "t"
api_key = "k"
[models.m.fields]
a = { type = "string" }
b = { type = "string", enum = ["x", "y"] }
n = { type = "number" }
l = { type = "array", items = "string", enum = ["p;q"] }
d = { type = "string", format = "date" }
f = { type = "boolean" }
"#;

/// Each error as `LINE path: message`, for a map whose first entry is on line 20.
fn errors(map: &str) -> Vec<String> {
    errors_of(&format!("{SYSTEMS}[models.m.systems.crm.map]\n{map}\n"))
}

fn errors_of(text: &str) -> Vec<String> {
    let errors = Config::parse(text, "test").err().map(|errors| errors.errors).unwrap_or_default();
    let line = |error: &crate::config::ConfigError| {
        let Position { line, .. } = error.position.expect("a position");
        format!("{line} {}: {}", error.path, error.message)
    };
    errors.iter().map(line).collect()
}

#[test]
fn a_valid_map_has_no_errors() {
    assert_eq!(errors("a = \"A\"\nb = { at = \"B\", enum = { X = \"x\", Y = \"y\" } }"), [""; 0]);
}

#[test]
fn all_errors_of_a_map_are_reported_at_once_with_their_places() {
    let map = r#"a = { at = "/p", none = 1 }
b = { at = "/p/q", enum = { X = "x" } }
n = { at = "N", date = "yyyy-MM" }
l = { at = "L", list = ";" }
d = { at = "D", date = "YYYY-MM-dd", scale = 2 }
z = "Z""#;
    let at = |key: &str| format!("models.m.systems.crm.map.{key}");
    assert_eq!(
        errors(map),
        [
            format!("21 {}: enum: no word of the system means \"y\"", at("b")),
            format!("22 {}: must have yyyy, MM and dd", at("n.date")),
            format!("23 {}: list: the separator is in \"p;q\"", at("l")),
            format!("24 {}: has the codecs scale and date", at("d")),
            format!("25 {}: is not a field of the model", at("z")),
        ]
        .map(String::from)
    );
}

#[test]
fn places_that_meet_are_refused() {
    assert_eq!(errors("a = \"/p\"\nb = \"/p/q\""), ["21 models.m.systems.crm.map.b: its place meets that of \"a\""]);
    assert_eq!(errors("a = \"P\"\nb = \"P\"").len(), 1);
    assert_eq!(errors("a = \"P\"\nb = \"p\""), [""; 0], "two members here");
    let itsm = "[systems.itsm]\nvendor = \"matrix42\"\nbase_url = \"https://m.example\"\napi_token = \"t\"\n";
    let text = format!("{SYSTEMS}{itsm}[models.m.systems.itsm]\nmap = {{ a = \"P\", b = \"p\" }}\n");
    assert_eq!(errors_of(&text).len(), 1, "{:?}", errors_of(&text));
}

#[test]
fn a_codec_must_fit_its_field() {
    for (map, message) in [
        ("a = { at = \"A\", number = \"text\" }", "the codec does not fit the field \"a\""),
        ("n = { at = \"A\", date = \"iso\" }", "the codec does not fit the field \"n\""),
        ("a = { at = \"A\", date = \"iso\" }", "the codec does not fit the field \"a\""),
        ("a = { at = \"A\", list = \";\" }", "the codec does not fit the field \"a\""),
        (
            "b = { at = \"B\", enum = { X = \"x\", Y = \"y\", Z = \"z\" } }",
            "enum: \"Z\" means \"z\", which the field cannot be",
        ),
        ("a = { at = \"A\", zone = \"UTC\" }", "belongs to datetime"),
        ("a = { at = \"\" }", "is empty"),
        ("a = { none = 1 }", "is missing"),
    ] {
        let found = errors(map);
        assert!(found.len() == 1 && found[0].ends_with(message), "{map} {found:?}");
    }
}

#[test]
fn a_value_that_could_never_be_written_is_refused() {
    let message = |value: &str| {
        format!(
            "20 models.m.systems.crm.map.{value} means unset, so that {} cannot be written",
            value.rsplit(' ').next().unwrap_or_default()
        )
    };
    for (map, expected) in [
        (r#"b = { at = "B", enum = { x = "x", y = "y" }, none = "x" }"#, r#"b: none: the system's value of "x""#),
        (r#"b = { at = "B", none = "y" }"#, r#"b: none: the system's value of "y""#),
        (
            r#"f = { at = "F", boolean = { true = [1], false = [0] }, none = 0 }"#,
            "f: none: the system's value of false",
        ),
    ] {
        assert_eq!(errors(map), [message(expected)], "{map}");
    }
    for fine in [
        r#"b = { at = "B", enum = { x = "x", y = "y", z = "y" }, none = "z" }"#,
        r#"b = { at = "B", enum = { x = "x", y = "y" }, none = "x", read_only = true }"#,
        r#"a = { at = "A", none = "" }"#,
    ] {
        assert_eq!(errors(fine), [""; 0], "{fine}");
    }
}

#[test]
fn what_the_vendor_sets_is_mapped_only_to_be_read() {
    assert_eq!(
        errors("a = \"_version\""),
        ["20 models.m.systems.crm.map.a: \"_version\" cannot be changed at this vendor"]
    );
    assert_eq!(errors("a = { at = \"_version\", read_only = true }"), [""; 0]);
    let type_of = format!("{SYSTEMS}[models.m.systems.architecture.map]\na = \"/type/name\"\n");
    assert_eq!(errors_of(&type_of).len(), 1);
}

#[test]
fn a_map_names_a_configured_system_and_its_own_collection() {
    let text = format!("{SYSTEMS}[models.m.systems.other.map]\na = \"A\"\n");
    assert_eq!(errors_of(&text), ["19 models.m.systems.other: is not a configured system"]);
    let text = format!("{SYSTEMS}[models.m.systems.crm]\ncollection = \"x\"\nmap = {{ a = \"A\" }}\n");
    assert_eq!(errors_of(&text), ["20 models.m.systems.crm.collection: \"x\" is not a collection of this vendor"]);
}

#[test]
fn a_model_has_a_field_and_a_system() {
    let text = SYSTEMS.replace("[models.m.fields]", "[models.e]\nfields = {}\nsystems = {}\n[models.m.fields]");
    let text = format!("{text}[models.m.systems.crm.map]\na = \"A\"\n");
    let ends = ["models.e.fields: declares no field", "models.e.systems: names no system"];
    let errors = errors_of(&text);
    assert!(errors.len() == 2 && ends.iter().all(|end| errors.iter().any(|one| one.ends_with(end))), "{errors:?}");
}

#[test]
fn a_changed_map_has_another_fingerprint() {
    let fingerprint = |map: &str| {
        let text = format!("{SYSTEMS}[models.m.systems.crm.map]\n{map}\n");
        Config::parse(&text, "test").expect("valid").models[0].maps[0].fingerprint.clone()
    };
    assert_eq!(fingerprint("a = \"A\""), fingerprint("a = \"A\" # the same"));
    assert_ne!(fingerprint("a = \"A\""), fingerprint("a = { at = \"A\", none = \"\" }"));
}
