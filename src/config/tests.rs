//! Whole configurations: which are valid, and the errors of those that are not.

mod access;
mod example;
mod systems;

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
