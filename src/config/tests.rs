//! Whole configurations: which are valid, and the errors of those that are not.

use std::env::VarError;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::journal::Durability;
use crate::record::Secret;
use crate::transport::StackSettings;
use crate::vendors::VENDORS;

const DIGEST: &str = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
const EXAMPLE: &str = include_str!("../../deploy/example.toml");

/// The smallest valid configuration.
const SMALL: &str = r#"
access.mode = "open"
[systems.itsm]
vendor = "matrix42"
base_url = "https://server.example"
api_token = "token-of-itsm"
"#;

fn environment(name: &str) -> Result<String, VarError> {
    match name {
        "NOT_SET" => Err(VarError::NotPresent),
        "NOT_UTF8" => Err(VarError::NotUnicode("x".into())),
        "é" => Ok("plain".to_owned()),
        "EMPTY" => Ok(String::new()),
        "M42_BASE_URL" => Ok("https://server.example".to_owned()),
        "CALLER_KEY_SHA256" | "BILLING_KEY_SHA256" => Ok(DIGEST.to_owned()),
        "AUDITOR_KEY_SHA256" => Ok(DIGEST.replace('2', "3")),
        other => Ok(format!("value-of-{other}")),
    }
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse_in(text, "test.toml", &environment)
}

fn parse_valid(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Each error as `LINE:COLUMN path: message; expected`.
fn error_lines(text: &str) -> Vec<String> {
    let line = |error: &ConfigError| {
        let Position { line, column } = error.position.unwrap();
        format!("{line}:{column} {}: {}; {}", error.path, error.message, error.expected)
    };
    parse(text).err().map(|errors| errors.errors.iter().map(line).collect()).unwrap_or_default()
}

/// Asserts that there is exactly one error and how it starts.
fn assert_one_error(text: &str, expected: &str) {
    let found = error_lines(text);
    assert_eq!(found.len(), 1, "{found:#?}\n{text}");
    assert!(found[0].starts_with(expected), "found    {}\nexpected {expected}", found[0]);
}

/// A file for one test, removed at its end.
struct TestFile(PathBuf);

impl TestFile {
    fn new(content: impl AsRef<[u8]>) -> Self {
        let path = std::env::temp_dir().join(format!("records-gateway-{}", uuid::Uuid::now_v7()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn omitted_keys_have_their_defaults() {
    let config = parse_valid(SMALL);
    assert_eq!(config.server.bind, "127.0.0.1:8080".parse::<SocketAddr>().unwrap());
    assert_eq!(config.server.ops_bind, None);
    assert!(config.server.workers >= 1);
    assert_eq!((config.server.max_body, config.server.deadline), (1_048_576, Duration::from_secs(30)));
    assert_eq!(config.server.shutdown_timeout, Duration::from_secs(30));
    assert_eq!(config.store.url, "sqlite:records-gateway.db");
    assert_eq!(config.store.durability, Durability::Commit);
    assert_eq!(config.store.idempotency_ttl, Duration::from_hours(24));
    assert_eq!(config.store.retention, Duration::from_hours(90 * 24));
    let [system] = &config.systems[..] else { panic!("one system") };
    assert_eq!(system.name.as_str(), "itsm");
    let expected = SystemPolicy {
        collection: None,
        require_if_match: true,
        warn_on_loss: false,
        allow_rebase: true,
        require_plan: Vec::new(),
        together: Vec::new(),
        timeout: Duration::from_secs(10),
        settle_timeout: Duration::from_secs(30),
        completion_timeout: Duration::from_mins(10),
        completion_poll: Duration::from_millis(500),
        validate: Validation::Refuse,
        schema_ttl: Duration::from_mins(10),
        collections: Vec::new(),
    };
    assert_eq!(system.policy, expected);
    let expected = StackSettings {
        base_url: "https://server.example".to_owned(),
        sign_in_url: None,
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(2),
        keep_alive: Duration::from_secs(4),
        max_in_flight: 64,
        max_queue: 256,
        rate_limit: 0,
        retries: 2,
        retry_backoff: Duration::from_millis(100),
        circuit_failures: 5,
        circuit_open_for: Duration::from_secs(10),
        token_refresh_ahead: Duration::from_mins(1),
        max_vendor_body: 16_777_216,
        ca_certificate: None,
        via: "records-gateway",
        secrets: vec![Secret::new("token-of-itsm")],
    };
    assert_eq!(system.stack, expected);
}

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
fn a_wrong_element_of_an_array_is_named_with_its_position() {
    let config = parse_valid(&format!("{SMALL}require_plan = [\"delete\"]\ntogether = [[\"Street\", \"City\"], []]\n"));
    assert_eq!(config.systems[0].policy.require_plan, [crate::record::Action::Delete]);
    assert_eq!(config.systems[0].policy.together, [vec!["Street".to_owned(), "City".to_owned()], Vec::new()]);
    for (line, expected) in [
        ("require_plan = [\"update\", \"read\"]", "require_plan[1]: cannot be \"read\""),
        ("require_plan = \"update\"", "require_plan: "),
        ("together = [\"Street\"]", "together[0]: is a string"),
        ("together = [[1]]", "together[0][0]: is an integer"),
    ] {
        let errors = parse(&format!("{SMALL}{line}\n")).unwrap_err().to_string();
        assert!(errors.contains(expected), "{errors}");
    }
}

#[test]
fn whole_numbers_are_accepted_in_every_toml_notation() {
    let config = parse_valid(&format!("server.max_body = 2_097_152\nserver.workers = 0x10\n{SMALL}max_queue = +0\n"));
    assert_eq!((config.server.max_body, config.server.workers), (2_097_152, 16));
    assert_eq!(config.systems[0].stack.max_queue, 0);
}

#[test]
fn a_system_name_has_its_form_and_is_not_a_metric_label() {
    for wrong in ["Crm", "1crm", "c_rm", "none", "\"c rm\"", "\"\"", "\"c.rm\""] {
        assert_one_error(
            &SMALL.replace("systems.itsm", &format!("systems.{wrong}")),
            &format!("3:1 systems.{wrong}: is not a system's"),
        );
    }
    for good in ["c", "crm-2", "c--", "nonesuch"] {
        assert_eq!(parse_valid(&SMALL.replace("itsm]", &format!("{good}]"))).systems[0].name.as_str(), good);
    }
}

#[test]
fn the_configuration_of_the_container_is_valid() {
    let config = parse_valid(include_str!("../../deploy/compose/gateway.toml"));
    assert_eq!(config.server.ops_bind.map(|address| address.port()), Some(9090));
}

#[test]
fn all_errors_are_reported_at_once_in_the_order_of_the_text() {
    let text = r#"
[server]
bind = "localhost"
wokers = 4
max_body = 0
deadline = 30

[store]
url = "mysql://host/db"
durability = "perhaps"

[access]
mode = "keys"
[[access.callers]]
name = "billing"
key_sha256 = "secret-key-by-mistake"
allow = ["crm:read", "erp:read", "crm:fly", "crm"]

[systems.crm]
vendor = "pretectum"
base_url = "http://api.pretectum.io"
client_id = "id"
client_secret = { env = "NOT_SET" }
api_key = "x"

[systems.Big_One]
vendor = "sap"
"#;
    let expected = [
        "3:8 server.bind: cannot be \"localhost\"; IP:PORT",
        "4:1 server.wokers: is not a key of this table; did you mean \"workers\"?; access_log, batch_concurrency,",
        "5:12 server.max_body: is out of range; a whole number from 1 to 67108864",
        "6:12 server.deadline: is an integer; a duration from \"100ms\" to \"1h\", with one of the units",
        "9:7 store.url: is not the URL of a store; \"sqlite:PATH\" or \"postgres://",
        "10:14 store.durability: cannot be \"perhaps\"; \"commit\" or \"relaxed\"",
        "16:14 access.callers[0].key_sha256: is not a SHA-256; 64 lower-case hexadecimal digits",
        "17:22 access.callers[0].allow[1]: \"erp:read\" names a system that is not configured; crm, Big_One or *",
        "17:34 access.callers[0].allow[2]: \"crm:fly\" names no known action; read, create, update, delete, ledger, operate",
        "17:45 access.callers[0].allow[3]: \"crm\" is not a system and an action; a list of \"SYSTEM:ACTION\"",
        "21:12 systems.crm.base_url: sends secrets in clear text over http; https, or a loopback host, or allow_http",
        "23:17 systems.crm.client_secret: the environment variable \"NOT_SET\" is not set; a variable that is set",
        "24:1 systems.crm.api_key: is a key of vendor \"bluedolphin\", not of this one; allow_http, base_url,",
        "26:1 systems.Big_One: is not a system's name; [a-z][a-z0-9-]*",
        "26:1 systems.Big_One.base_url: is missing; the vendor's address",
        "27:10 systems.Big_One.vendor: cannot be \"sap\"; \"pretectum\" or \"bluedolphin\" or ",
    ];
    let found = error_lines(text);
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "found    {found}\nexpected {expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn an_external_url_is_a_url_in_one_spelling() {
    let server = |url: &str| format!("server.external_url = '{url}'\n{SMALL}");
    for (written, read) in
        [("", ""), ("https://a.example/gateway/", "https://a.example/gateway"), ("http://a", "http://a")]
    {
        assert_eq!(parse_valid(&server(written)).server.external_url, read);
    }
    for wrong in ["/gateway", "a.example", "https://a/?x=1", "https://u:p@a"] {
        assert_eq!(error_lines(&server(wrong)).len(), 1, "{wrong}");
    }
}

#[test]
fn an_empty_file_lacks_the_required_keys() {
    let found = error_lines("");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("1:1 systems.NAME: is missing; one table [systems.NAME] or more"));
    assert!(found[1].starts_with("1:1 access: is missing"));
    assert_eq!(error_lines("access = 1\nsystems = []\nserver = 'x'").len(), 5);
}

#[test]
fn the_required_keys_of_each_vendor_are_reported() {
    for factory in VENDORS {
        let own = factory.settings.iter().filter(|setting| setting.default.is_none()).map(|setting| setting.key);
        let keys: Vec<&str> = std::iter::once("base_url").chain(own).collect();
        let found = error_lines(&format!("access.mode = 'open'\n[systems.a]\nvendor = '{}'\n", factory.vendor));
        let expected: Vec<_> = keys.iter().map(|key| format!("2:1 systems.a.{key}: is missing; ")).collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        assert!(found.iter().zip(&expected).all(|(found, expected)| found.starts_with(expected)), "{found:#?}");
    }
    assert_one_error("access.mode = 'open'\n[systems.a]\nbase_url = 'https://a'\n", "2:1 systems.a.vendor: is missing");
}

#[test]
fn syntax_errors_are_all_reported_and_hide_missing_keys() {
    let found = error_lines("[server]\nbind = \nworkers = 900\n[store]\nurl = \"sqlite:x\nretention = 5\n");
    assert!(found.iter().any(|error| error.starts_with("2:")), "{found:#?}");
    assert!(found.iter().any(|error| error.starts_with("3:11 server.workers: is out of range")), "{found:#?}");
    assert!(found.iter().any(|error| error.starts_with("5:")), "{found:#?}");
    assert!(!found.iter().any(|error| error.contains("is missing")), "{found:#?}");
    let twice = error_lines(&format!("{SMALL}api_token = 'other'\n"));
    assert!(twice[0].starts_with("7:1 : duplicate key"), "{twice:#?}");
}

#[test]
fn no_text_makes_the_reader_panic() {
    for end in 0..EXAMPLE.len() {
        if let Some(cut) = EXAMPLE.get(..end).filter(|_| end % 7 == 0) {
            let _ = error_lines(cut);
        }
    }
    for odd in
        ["\u{feff}", "\0", "a.b.c", "[[systems]]", "[systems]\nx = 1", "é = 'é\u{1F600}'\n\u{1F600}", "= = =", "[a\r\n"]
    {
        assert!(!error_lines(odd).is_empty(), "{odd:?}");
    }
    assert!(!error_lines(&"[".repeat(100_000)).is_empty());
    assert!(!error_lines(&format!("a = {}", "[".repeat(100_000))).is_empty());
}

#[test]
fn columns_count_characters_without_a_byte_order_mark() {
    assert_one_error(
        &SMALL.replace("\"token-of-itsm\"", "1").replacen("api_token", "  api_token", 1),
        "6:15 systems.itsm.api_token",
    );
    assert_one_error(
        &format!("\u{feff}zzz = 1\n{SMALL}"),
        "1:1 zzz: is not a key of this table; access, metrics, models,",
    );
    assert_one_error(&SMALL.replace("\"token-of-itsm\"", "{ env = 'é', \"ö\" = 1 }"), "6:26 ");
}

#[test]
fn invalid_values_of_server_and_store_are_reported() {
    for (table, line, expected) in [
        ("server", "bind = '127.0.0.1'", "2:8 server.bind: cannot be \"127.0.0.1\""),
        ("server", "bind = ''", "2:8 server.bind: is empty"),
        ("server", "bind = '127.0.0.1:99999'", "2:8 server.bind: "),
        ("server", "ops_bind = '127.0.0.1:8080'", "2:12 server.ops_bind: is the same address as bind"),
        ("server", "workers = 513", "2:11 server.workers: is out of range; a whole number from 1 to 512"),
        ("server", "workers = -1", "2:11 server.workers: is out of range"),
        ("server", "workers = 99999999999999999999", "2:11 server.workers: is out of range"),
        ("server", "workers = 2.0", "2:11 server.workers: is a float"),
        ("server", "workers = '2'", "2:11 server.workers: is a string"),
        ("server", "workers = 2026-11-21", "2:11 server.workers: is a datetime"),
        ("server", "deadline = '0s'", "2:12 server.deadline: cannot be \"0s\""),
        ("server", "deadline = '5 s'", "2:12 server.deadline: cannot be \"5 s\""),
        ("server", "deadline = '1.5s'", "2:12 server.deadline: cannot be \"1.5s\""),
        ("server", "deadline = '-5s'", "2:12 server.deadline: cannot be \"-5s\""),
        ("server", "deadline = '10'", "2:12 server.deadline: cannot be \"10\""),
        ("server", "deadline = '1w'", "2:12 server.deadline: cannot be \"1w\""),
        ("server", "deadline = '18446744073709551615h'", "2:12 server.deadline: "),
        ("server", "tls = { certificate = 'a' }", "2:7 server.tls.private_key: is missing; the path of a PEM"),
        ("store", "url = 'sqlite:'", "2:7 store.url: names no file"),
        ("store", "url = 'sqlite::memory:'", "2:7 store.url: would be lost at exit"),
        ("store", "url = 'sqlite:a.db?mode=rwc'", "2:7 store.url: has parameters"),
        ("store", "url = 'postgres:secret'", "2:7 store.url: is not the URL of a store"),
        ("store", "url = 'gateway.db'", "2:7 store.url: is not the URL of a store"),
        ("store", "retention = '1h'", "2:13 store.retention: retention is shorter than idempotency_ttl"),
        ("store", "idempotency_ttl = '100d'", "2:19 store.idempotency_ttl: retention is shorter"),
    ] {
        assert_one_error(
            &format!("[{table}]\n{line}\n[access]\nmode = 'open'\n{}", SMALL.replace("access.mode = \"open\"\n", "")),
            expected,
        );
    }
}

#[test]
fn invalid_values_of_a_system_are_reported() {
    for (line, expected) in [
        ("timeout = '0s'", "timeout: cannot be \"0s\""),
        ("connect_timeout = '11s'", "connect_timeout: is longer than timeout"),
        ("max_in_flight = 0", "max_in_flight: is out of range; a whole number from 1 to 65536"),
        ("rate_limit = -1", "rate_limit: is out of range"),
        ("rate_limit = 0.5", "rate_limit: is a float; a whole number"),
        ("retries = 11", "retries: is out of range"),
        ("circuit_failures = 0", "circuit_failures: is out of range"),
        ("completion_poll = '11s'", "completion_poll: cannot be \"11s\""),
        ("max_vendor_body = 0", "max_vendor_body: is out of range"),
        ("require_if_match = 'yes'", "require_if_match: is a string; true or false"),
        ("on_lossy_write = 'ignore'", "on_lossy_write: cannot be \"ignore\"; \"refuse\" or \"warn\""),
        ("validate = 'maybe'", "validate: cannot be \"maybe\"; \"refuse\" or \"warn\" or \"off\""),
        ("schema_ttl = '1ms'", "schema_ttl: cannot be \"1ms\""),
        (
            "collections = ['A', '1abc']",
            "collections: \"1abc\" is not a collection of this vendor; a Data Definition's",
        ),
        ("collection = '1abc'", "collection: \"1abc\" is not a collection of this vendor; a Data Definition's"),
        ("collection = 1", "collection: is an integer"),
        ("ca_certificate = '/nowhere/ca.pem'", "ca_certificate: the file \"/nowhere/ca.pem\" cannot be read"),
        ("timout = '1s'", "timout: is not a key of this table; did you mean \"timeout\"?"),
        ("client_id = 'x'", "client_id: is a key of vendor \"pretectum\", not of this one"),
    ] {
        let found = error_lines(&format!("{SMALL}{line}\n"));
        assert_eq!(found.len(), 1, "{found:#?}");
        let (place, rest) = found[0].split_once(' ').unwrap();
        assert!(place.starts_with("7:"), "{place}");
        assert!(rest.starts_with(&format!("systems.itsm.{expected}")), "{rest}");
    }
    parse_valid(&SMALL.replace("[systems.itsm]", "[systems.itsm]\ntimeout = '1s'"));
}

#[test]
fn a_base_url_is_checked_and_normalized() {
    let with = |url: &str| SMALL.replace("https://server.example", url);
    for (given, kept) in [
        ("https://server.example/", "https://server.example"),
        ("https://SERVER.example:443/prefix//", "https://server.example/prefix"),
        ("https://server.example:8443/a/b/", "https://server.example:8443/a/b"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://localhost:9000/x", "http://localhost:9000/x"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("https://server.example/api/../other", "https://server.example/other"),
    ] {
        assert_eq!(parse_valid(&with(given)).systems[0].stack.base_url, kept);
    }
    for (wrong, expected) in [
        ("server.example", "is not a URL"),
        ("ftp://server.example", "is not an http or https URL"),
        ("https:server.example", "does not have two slashes"),
        ("https://user:hunter2@server.example", "holds credentials"),
        ("https://server.example?x=1", "has a query or a fragment"),
        ("https://server.example/#", "has a query or a fragment"),
        ("https://server.example:0", "has the port 0"),
        ("https://server.example/a//b", "has an empty path segment"),
        ("https://server.example/m42services/api/", "ends in \\\"/m42Services/api\\\", which the gateway adds"),
        ("https://server.example/M42Services", "ends in \\\"/m42Services\\\", which the gateway adds"),
        ("https://server .example", "holds a space"),
        ("http://server.example", "sends secrets in clear text over http"),
        ("http://127.0.0.1.example", "sends secrets in clear text over http"),
        ("http://localhost.example", "sends secrets in clear text over http"),
        ("http://127.0.0.1:8080", "is the address of the gateway itself"),
        ("http://localhost:8080/", "is the address of the gateway itself"),
    ] {
        let expected = expected.replace('\\', "");
        assert_one_error(&with(wrong), &format!("5:12 systems.itsm.base_url: {expected}"));
        assert!(!parse(&with(wrong)).unwrap_err().to_string().contains("hunter2"));
    }
    parse_valid(&format!("{}allow_http = true\n", with("http://server.example")));
    let dolphin = "access.mode='open'\n[systems.a]\nvendor='bluedolphin'\ntenant='t'\napi_key='k'\nbase_url=";
    assert_one_error(
        &format!("{dolphin}'https://public-api.eu.bluedolphin.app/v1'"),
        "6:10 systems.a.base_url: ends in \"/v1\"",
    );
}

#[test]
fn a_collection_has_the_form_of_its_vendor() {
    let id = "20240115103000000abcdefghij0123456789abcdefghij";
    let with = |vendor: &str, keys: &str, collection: &str| {
        format!(
            "access.mode='open'\n[systems.a]\nvendor='{vendor}'\nbase_url='https://a'\n{keys}\ncollection='{collection}'\n"
        )
    };
    let pretectum = |collection: &str| with("pretectum", "client_id='i'\nclient_secret='s'", collection);
    let dolphin = |collection: &str| with("bluedolphin", "tenant='t'\napi_key='k'", collection);
    let matrix = |collection: &str| with("matrix42", "api_token='t'", collection);
    let good = [
        pretectum(&format!("{id}:{id}:{id}")),
        dolphin("object-definitions"),
        matrix("Ud_Own"),
        matrix(""),
        matrix("").replace("''", "{ env = 'EMPTY' }"),
    ];
    for text in good {
        parse_valid(&text);
    }
    let bad =
        [pretectum(id), pretectum(&format!("{id}:{id}:{id}:{id}")), dolphin("objects"), matrix("A-B"), matrix("a:b")];
    for text in bad {
        let found = error_lines(&text);
        assert!(found.len() == 1 && found[0].contains(".collection: "), "{found:#?}");
    }
}

#[test]
fn every_vendor_takes_its_own_collections_and_no_others() {
    for factory in VENDORS {
        let own = factory.capabilities.id_example.rsplit_once(':').expect("collection:key").0;
        let required = factory.settings.iter().filter(|one| one.default.is_none());
        let keys: Vec<String> = required.map(|one| format!("{}='x'\n", one.key)).collect();
        let keys = keys.concat();
        let with = |collection: &str| {
            let vendor = factory.vendor;
            format!(
                "access.mode='open'\n[systems.a]\nvendor='{vendor}'\nbase_url='https://a'\n{keys}collection='{collection}'\n"
            )
        };
        parse_valid(&with(own));
        let found = error_lines(&with("no such/collection"));
        assert!(found.len() == 1 && found[0].contains(".collection: "), "{found:#?}");
    }
}

#[test]
fn any_string_can_come_from_the_environment_or_a_file() {
    let file = TestFile::new("sqlite:other.db\r\n");
    let text =
        format!("store.url = {{ file = '{}' }}\n{}", file.path(), SMALL.replace("\"token-of-itsm\"", "{ env = 'T' }"));
    let config = parse_valid(&text);
    assert_eq!(config.store.url, "sqlite:other.db");
    assert_eq!(config.systems[0].vendor.settings["api_token"].expose(), "value-of-T");

    let (long, binary, two) = (TestFile::new("a".repeat(70_000)), TestFile::new([0xff]), TestFile::new("a\n\n"));
    for (given, expected) in [
        ("{ env = 'NOT_SET' }".to_owned(), "the environment variable \"NOT_SET\" is not set"),
        ("{ env = 'NOT_UTF8' }".to_owned(), "the environment variable \"NOT_UTF8\" is not UTF-8"),
        ("{ env = 'EMPTY' }".to_owned(), "is empty"),
        ("{ file = '/nowhere/secret' }".to_owned(), "the file \"/nowhere/secret\" cannot be read: No such file"),
        (format!("{{ file = '{}' }}", std::env::temp_dir().display()), "the file \""),
        (format!("{{ file = '{}' }}", long.path()), "the file \""),
        (format!("{{ file = '{}' }}", binary.path()), "the file \""),
        (format!("{{ file = '{}' }}", two.path()), "holds a character that cannot be sent in a header"),
        ("{ env = 'A', file = 'B' }".to_owned(), "has both env and file"),
        ("{}".to_owned(), "has neither env nor file"),
        ("1".to_owned(), "is an integer"),
    ] {
        assert_one_error(
            &SMALL.replace("\"token-of-itsm\"", &given),
            &format!("6:13 systems.itsm.api_token: {expected}"),
        );
    }
    assert_one_error(
        &SMALL.replace("\"token-of-itsm\"", "{ env = 7 }"),
        "6:21 systems.itsm.api_token.env: is not a name",
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn access_and_its_callers_are_checked() {
    let with = |access: &str| format!("{access}\n{}", SMALL.replace("access.mode = \"open\"\n", ""));
    let caller = |name: &str, digest: &str, allow: &str| {
        format!("[[access.callers]]\nname = '{name}'\nkey_sha256 = '{digest}'\nallow = {allow}\n")
    };
    let keys = |callers: &str| with(&format!("[access]\nmode = 'keys'\n{callers}"));
    let good = caller("a", DIGEST, "['itsm:*', '*:read', '*:*', 'itsm:ledger']");
    let AccessConfig::Keys(callers) = parse_valid(&keys(&good)).access else { panic!("keys") };
    assert_eq!(callers[0].keys[0].digest.0[..2], [0x2c, 0x70]);
    assert_eq!(callers[0].allow[0], Grant { system: SystemName::parse("itsm"), permission: None });
    assert_eq!(callers[0].allow[1], Grant { system: None, permission: Some(Permission::Read) });
    assert_eq!(callers[0].allow[2], Grant { system: None, permission: None });

    let list =
        format!("[{{ sha256 = '{DIGEST}', not_after = '2027-03-31T00:00:00Z' }}, '{}']", DIGEST.replace('2', "3"));
    let keys_of = |keys: &str| format!("[[access.callers]]\nname = 'a'\nkey_sha256 = {keys}\nallow = ['*:*']\n");
    let limited = format!("default_limits = {{ rate = 5 }}\n{}weight = 3\n", keys_of(&list));
    let AccessConfig::Keys(callers) = parse_valid(&keys(&limited)).access else { panic!("keys") };
    let ends = callers[0].keys.iter().map(|key| key.not_after.is_some()).collect::<Vec<_>>();
    assert_eq!((ends, callers[0].weight.get(), callers[0].limits.rate), (vec![true, false], 3, 5));

    let other = DIGEST.replace('2', "3");
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (text, expected) in [
        (with("[access]"), "1:1 access.mode: is missing"),
        (with("access.mode = 'magic'"), "1:15 access.mode: cannot be \"magic\"; \"keys\" or \"jwt\" or \"open\""),
        (with("[access]\nmode = 'open'\n[access.jwt]\nissuer = 'x'"), "3:1 access.jwt: has no meaning in this mode"),
        (keys(""), "1:1 access.callers: is missing; one [[access.callers]] or more"),
        (keys("callers = []"), "3:11 access.callers: is empty"),
        (keys("callers = 1"), "3:11 access.callers: is an integer"),
        (with(&format!("[access]\nmode = 'open'\n{good}")), "3:"),
        (
            keys(&format!("{good}{}", caller("a", &other, "['*:*']"))),
            "8:8 access.callers[1].name: is the name of access.callers[0]",
        ),
        (
            keys(&format!("{good}{}", caller("b", DIGEST, "['*:*']"))),
            "9:14 access.callers[1].key_sha256: is the key of access.callers[0]",
        ),
        (keys(&caller("a", &DIGEST.to_uppercase(), "['*:*']")), "5:14 access.callers[0].key_sha256: is not a SHA-256"),
        (keys(&caller("a", &DIGEST[1..], "['*:*']")), "5:14 access.callers[0].key_sha256: is not a SHA-256"),
        (keys(&caller("a", empty, "['*:*']")), "5:14 access.callers[0].key_sha256: is the SHA-256 of an empty key"),
        (keys(&caller("a b", DIGEST, "['*:*']")), "4:8 access.callers[0].name: is not a name"),
        (keys(&caller("anonymous", DIGEST, "['*:*']")), "4:8 access.callers[0].name: is the name of every caller"),
        (keys(&caller("a", DIGEST, "[]")), "6:9 access.callers[0].allow: is empty"),
        (keys(&caller("a", DIGEST, "'*:*'")), "6:9 access.callers[0].allow: is a string"),
        (keys(&caller("a", DIGEST, "[1]")), "6:10 access.callers[0].allow[0]: is an integer"),
        (keys(&caller("a", DIGEST, "['itsm:']")), "6:10 access.callers[0].allow[0]: \"itsm:\" names no known action"),
        (
            keys(&caller("a", DIGEST, "['itsm:read ']")),
            "6:10 access.callers[0].allow[0]: \"itsm:read \" names no known",
        ),
        (keys(&caller("a", DIGEST, "[':read']")), "6:10 access.callers[0].allow[0]: \":read\" names a system"),
        (keys("[[access.callers]]\nkey = 1"), "3:"),
        (keys(&keys_of("[]")), "5:14 access.callers[0].key_sha256: is empty"),
        (keys(&keys_of("['x']")), "5:15 access.callers[0].key_sha256[0]: is not a SHA-256"),
        (
            keys(&keys_of(&format!("['{DIGEST}', '{DIGEST}']"))),
            "5:83 access.callers[0].key_sha256[1]: is the key of access.callers[0] as well",
        ),
        (
            keys(&keys_of(&format!("[{{ sha256 = '{DIGEST}', not_after = 'soon' }}]"))),
            "5:106 access.callers[0].key_sha256[0].not_after: is not a time with a zone; a time of RFC 3339",
        ),
        (
            keys(&keys_of(&format!("{{ sha256 = '{DIGEST}', until = 1 }}"))),
            "5:93 access.callers[0].key_sha256.until: is not a key of this table",
        ),
        (keys(&format!("{good}weight = 0")), "7:10 access.callers[0].weight: is out of range"),
        (keys(&format!("{good}limits = {{ burst = 1 }}")), "7:20 access.callers[0].limits.burst: limits nothing"),
        (keys(&format!("{good}limits = {{ rat = 1 }}")), "7:12 access.callers[0].limits.rat: is not a key"),
        (keys(&format!("default_limits = 1\n{good}")), "3:18 access.default_limits: is an integer"),
    ] {
        let found = error_lines(&text);
        assert!(found.iter().any(|error| error.starts_with(expected)), "{found:#?}\nexpected {expected}");
        assert!(found.len() == 1 || text.contains("key = 1"), "{found:#?}");
    }
}

#[test]
fn a_secret_may_have_two_values() {
    let with = |value: &str| SMALL.replace("\"token-of-itsm\"", value);
    let vendor = parse_valid(&with("['new', 'old']")).systems[0].vendor.clone();
    let second = vendor.second_settings.clone().expect("two values");
    assert_eq!((vendor.settings["api_token"].expose(), second["api_token"].expose()), ("new", "old"));
    assert_eq!(vendor.secrets().count(), 2);
    assert!(parse_valid(&with("['only']")).systems[0].vendor.second_settings.is_none());
    for (value, expected) in [
        ("[]", "6:13 systems.itsm.api_token: is empty"),
        ("['a', 'b', 'c']", "6:13 systems.itsm.api_token: has more than two values"),
        ("['a', '']", "6:19 systems.itsm.api_token[1]: is empty"),
        ("['a', 'b c']", "6:19 systems.itsm.api_token[1]: holds a character"),
    ] {
        assert_one_error(&with(value), expected);
    }
}

#[test]
fn the_issuer_of_tokens_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, other) = (folder.path().join("keys.json"), folder.path().join("other.json"));
    std::fs::write(&keys, r#"{"keys":[]}"#).unwrap();
    std::fs::write(&other, r#"["keys"]"#).unwrap();
    let with =
        |table: &str| format!("[access]\nmode = 'jwt'\n{table}\n{}", SMALL.replace("access.mode = \"open\"\n", ""));
    let jwks = |jwks: &str| with(&format!("[access.jwt]\nissuer = 'i'\naudience = 'a'\njwks = '{jwks}'"));
    for (given, expected) in [
        ("https://issuer.example/keys?x=1", JwksLocation::Url("https://issuer.example/keys?x=1".into())),
        ("http://127.0.0.1:9/keys", JwksLocation::Url("http://127.0.0.1:9/keys".into())),
        (keys.to_str().unwrap(), JwksLocation::File(keys.clone())),
    ] {
        let AccessConfig::Jwt(jwt) = parse_valid(&jwks(given)).access else { panic!("jwt") };
        assert_eq!((jwt.issuer.as_str(), jwt.audience.as_str(), jwt.jwks), ("i", "a", expected));
    }
    for (text, expected) in [
        (with(""), "1:1 access.jwt: is missing; a table [access.jwt] with issuer, audience and jwks"),
        (with("jwt = 1"), "3:7 access.jwt: is an integer"),
        (with("[access.jwt]\naudience = 'a'\njwks = 'https://a/'"), "3:1 access.jwt.issuer: is missing"),
        (with("[access.jwt]\nissuer = 'i'\njwks = 'https://a/'"), "3:1 access.jwt.audience: is missing"),
        (with("[access.jwt]\nissuer = 'i'\naudience = 'a'"), "3:1 access.jwt.jwks: is missing"),
        (jwks("http://issuer.example/keys"), "6:8 access.jwt.jwks: would be fetched over http"),
        (jwks("ftp://127.0.0.1/keys"), "6:8 access.jwt.jwks: is not an https URL"),
        (jwks("https://me:secret@issuer.example/"), "6:8 access.jwt.jwks: holds credentials"),
        (jwks("https://"), "6:8 access.jwt.jwks: is not a URL"),
        (jwks("/nowhere/keys.json"), "6:8 access.jwt.jwks: the file \"/nowhere/keys.json\" cannot be read"),
        (jwks(other.to_str().unwrap()), "6:8 access.jwt.jwks: the file"),
    ] {
        assert_one_error(&text, expected);
    }
    let both = format!(
        "[[access.callers]]\nname = 'a'\n{}",
        "[access.jwt]\nissuer = 'i'\naudience = 'a'\njwks = 'https://a/'"
    );
    assert_one_error(&with(&both), "3:1 access.callers: has no meaning in this mode");
}

#[test]
fn the_tls_files_must_exist_and_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (one, other) = (made(), made());
    let certificate = write("certificate.pem", &one.cert.pem());
    let key = write("key.pem", &one.signing_key.serialize_pem());
    let foreign = write("foreign.pem", &other.signing_key.serialize_pem());
    let empty = write("empty.pem", "");
    let broken = write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let tls = |certificate: &str, key: &str, more: &str| {
        format!("[server]\ntls = {{ certificate = '{certificate}', private_key = '{key}'{more} }}\n{SMALL}")
            .replace("access.mode = \"open\"\n", "[access]\nmode = \"open\"\n")
    };
    let read = parse_valid(&tls(&certificate, &key, &format!(", client_ca = '{certificate}'"))).server.tls.unwrap();
    assert!(read.load().unwrap().client_verifier.is_some());
    assert!(parse_valid(&tls(&certificate, &key, "")).server.tls.unwrap().load().unwrap().client_verifier.is_none());
    for (text, expected) in [
        (tls("/nowhere", &key, ""), "server.tls.certificate: the file \"/nowhere\" cannot be read"),
        (tls(&empty, &key, ""), "server.tls.certificate: the file holds no PEM certificate"),
        (tls(&broken, &key, ""), "server.tls.certificate: cannot be used"),
        (tls(&certificate, "/nowhere", ""), "server.tls.private_key: the file \"/nowhere\" cannot be read"),
        (tls(&certificate, &certificate, ""), "server.tls.private_key: the file holds no PEM private key"),
        (tls(&certificate, &foreign, ""), "server.tls.private_key: is not the key of the certificate"),
        (
            tls(&certificate, &key, &format!(", client_ca = '{key}'")),
            "server.tls.client_ca: the file holds no PEM cert",
        ),
        (tls(&certificate, &key, &format!(", client_ca = '{broken}'")), "server.tls.client_ca: cannot be used"),
        (
            format!(
                "[server]\ntls = {{ certificate = '{certificate}' }}\n[access]\nmode = \"open\"\n{}",
                SMALL.replace("access.mode = \"open\"\n", "")
            ),
            "server.tls.private_key: is missing",
        ),
    ] {
        let found = error_lines(&text);
        assert!(found.len() == 1 && found[0].contains(expected), "{found:#?}\nexpected {expected}");
        assert!(!found[0].contains("BEGIN"), "{found:#?}");
    }
    assert_eq!(error_lines(&tls("/no", "/nowhere", ", client_ca = '/never'")).len(), 3, "all at once");
    let strange = SMALL.replace("'matrix42'", "'sap'").replace("\"matrix42\"", "\"sap\"");
    let strange = error_lines(&strange.replace("https://", "ftp://"));
    assert!(
        strange.iter().any(|one| one.contains("base_url")) && strange.iter().any(|one| one.contains("sap")),
        "{strange:#?}"
    );
}

#[test]
fn open_access_is_for_loopback_unless_allow_open_is_set() {
    let at = |bind: &str| format!("server.bind = '{bind}'\n{SMALL}");
    assert_one_error(
        &at("0.0.0.0:8080"),
        "3:1 access: access is open to everybody who can reach 0.0.0.0:8080; a loopback",
    );
    assert_one_error(&at("[::]:8080"), "3:1 access: access is open to everybody");
    parse_valid(&at("[::1]:8080"));
    parse_valid(&at("127.8.8.8:0"));
    parse_valid(&at("0.0.0.0:8080").replace("access.mode", "access.allow_open = true\naccess.mode"));
}

#[test]
fn a_bind_override_is_checked_like_the_configuration() {
    let mut config = parse_valid(&format!(
        "server.ops_bind = '127.0.0.1:9090'\n{}",
        SMALL.replace("https://server.example", "http://127.0.0.1:7000")
    ));
    let bind = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert!(config.override_bind(bind("0.0.0.0:8080")).unwrap_err().contains("access is open"));
    assert!(
        config
            .override_bind(bind("0.0.0.0:8080"))
            .unwrap_err()
            .contains("a loopback address, mode = \"keys\", or allow_open")
    );
    assert!(config.override_bind(bind("127.0.0.1:7000")).unwrap_err().contains("base_url of the system itsm"));
    assert!(config.override_bind(bind("127.0.0.1:9090")).unwrap_err().contains("ops_bind"));
    assert_eq!(config.server.bind, bind("127.0.0.1:8080"), "a refusal changes nothing");
    config.override_bind(bind("127.0.0.1:0")).unwrap();
    assert_eq!(config.server.bind, bind("127.0.0.1:0"));
}

#[test]
fn secrets_appear_in_no_debug_output_and_no_error() {
    let text = EXAMPLE.replace("sqlite:records-gateway.db", "postgres://gateway:hunter2@db/records");
    let shown = format!("{:?}", parse_valid(&text));
    let secrets = [
        "hunter2",
        "value-of-CRM_SECRET",
        "value-of-ARCHITECTURE_API_KEY",
        "value-of-M42_API_TOKEN",
        DIGEST,
        "44, 112",
    ];
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("value-of-CRM_CLIENT_ID"), "what is no secret is shown");

    let wrong = SMALL.replace("\"token-of-itsm\"", "'tok en'").replace(
        "[systems.itsm]",
        "[systems.itsm]\non_lossy_write = { env = 'S' }\ntimeout = { env = 'S' }\ncollection = { env = 'S-' }",
    );
    let shown_errors = parse(&wrong).unwrap_err().to_string();
    assert!(!shown_errors.contains("tok en") && !shown_errors.contains("value-of-"), "{shown_errors}");
    assert_eq!(shown_errors.lines().count(), 4, "{shown_errors}");
    assert!(
        shown_errors.lines().all(|line| line.starts_with("test.toml:") && line.contains("; valid: ")),
        "{shown_errors}"
    );
}
