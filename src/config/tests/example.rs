//! The configurations of `deploy/`.

use super::*;

#[test]
fn the_example_shows_the_defaults() {
    let (example, small) = (parse_valid(EXAMPLE), parse_valid(SMALL));
    let expected = StackSettings {
        base_url: example.systems[0].stack.base_url.clone(),
        secrets: example.systems[0].stack.secrets.clone(),
        ..small.systems[0].stack.clone()
    };
    assert_eq!(example.systems[0].stack, expected);
    let policy = &small.systems[0].policy;
    assert_eq!(
        example.systems[0].policy,
        SystemPolicy { collection: example.systems[0].policy.collection.clone(), ..policy.clone() }
    );
    assert_eq!(example.store.url, small.store.url);
    assert_eq!(example.store.retention, small.store.retention);
    assert_eq!(example.server.bind, small.server.bind);
    assert_eq!(example.server.max_body, small.server.max_body);
    let VendorConfig { factory: entry, settings, second_settings: None } = &example.systems[0].vendor else {
        panic!("one secret")
    };
    assert_eq!((entry.vendor, settings["token_path"].expose()), ("pretectum", "/v1/oauth2/token"));
    assert_eq!(settings["client_secret"].expose(), "value-of-CRM_SECRET");
    let names: Vec<_> = example.systems.iter().map(|system| system.name.as_str()).collect();
    let tables = VENDORS.iter().map(|factory| table_name(factory.samples.configuration));
    assert!(tables.map(|table| table.trim_start_matches("systems.")).eq(names), "the order of the text");
}

/// The name of the only table.
fn table_name(configuration: &str) -> &str {
    configuration.strip_prefix('[').and_then(|rest| rest.split_once(']')).expect("a table").0
}

/// `UPDATE_EXAMPLE=1 cargo test --lib example` adds those that are missing.
#[test]
fn the_example_holds_the_table_of_every_vendor() {
    let tables = VENDORS.iter().map(|factory| factory.samples.configuration);
    let missing: Vec<&str> = tables.filter(|table| !EXAMPLE.contains(table)).flat_map(|table| ["\n", table]).collect();
    let missing = missing.concat();
    if std::env::var_os("UPDATE_EXAMPLE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/example.toml");
        std::fs::write(path, format!("{EXAMPLE}{missing}")).expect("written");
    } else {
        assert!(missing.is_empty(), "run UPDATE_EXAMPLE=1 cargo test --lib example; missing:{missing}");
    }
}

#[test]
fn the_example_is_valid_with_its_commented_keys() {
    let whole: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (TestFile::new(made.cert.pem()), TestFile::new(made.signing_key.serialize_pem()));
    let whole = whole.replace("/etc/records-gateway/tls.key", key.path());
    let whole = ["vendor-ca", "tls", "callers-ca"]
        .iter()
        .fold(whole, |text, name| text.replace(&format!("/etc/records-gateway/{name}.pem"), certificate.path()));
    let config = parse_valid(&whole);
    assert!(config.server.tls.is_some_and(|tls| tls.client_ca.is_some()));
    assert!(config.server.ops_bind.is_some());
    assert!(config.systems[0].stack.ca_certificate.is_some());
}

#[test]
fn the_example_is_valid_with_jwt_access() {
    let mut uncommented = String::new();
    let mut inside = false;
    for line in EXAMPLE.lines() {
        inside = (inside && line.starts_with('#')) || line == "# [access.jwt]";
        uncommented += if inside { line.trim_start_matches(['#', ' ']) } else { line };
        uncommented.push('\n');
    }
    let (before, rest) = uncommented.split_once("[[access.callers]]").unwrap();
    let after = &rest[rest.find("[access.jwt]").unwrap()..];
    let after = after.replace("changes. Fetched", "# changes. Fetched");
    let AccessConfig::Jwt(jwt) = parse_valid(&format!("{}{after}", before.replace("\"keys\"", "\"jwt\""))).access
    else {
        panic!()
    };
    assert_eq!(jwt.jwks, JwksLocation::Url("https://issuer.example/keys".into()));
}

#[test]
fn the_example_shows_every_key() {
    let mut probed = EXAMPLE.to_owned();
    let systems: Vec<_> = VENDORS.iter().map(|factory| table_name(factory.samples.configuration)).collect();
    for table in ["server", "store", "access"].iter().chain(&systems) {
        probed = probed.replace(&format!("\n[{table}]"), &format!("\n[{table}]\nzzz = 1\n"));
    }
    probed = probed.replace("[[access.callers]]", "[[access.callers]]\nzzz = 1");
    let errors = parse(&probed).unwrap_err();
    // Three tables, two callers, and the systems.
    assert_eq!(errors.errors.len(), 5 + systems.len(), "{errors}");
    for error in &errors.errors {
        for key in error.expected.split(", ") {
            let shown = EXAMPLE.lines().any(|line| line.trim_start_matches('#').starts_with(&format!("{key} =")));
            assert!(shown || ["callers", "jwt"].contains(&key), "{key} of {}", error.path);
        }
    }
}

#[test]
fn the_configuration_of_the_container_is_valid() {
    let config = parse_valid(include_str!("../../../deploy/compose/gateway.toml"));
    assert_eq!(config.server.ops_bind.map(|address| address.port()), Some(9090));
}
