//! The structure of the crate as `src/lib.rs` draws it: dependencies go one way, `awc` and SQL stay
//! where they belong.

mod imports;
pub(crate) mod sources;

use std::collections::BTreeMap;

use imports::{Files, circles, modules_of_crate};
use sources::read_sources;

/// The modules, each after those that it may use. Tests may use more.
const ALLOWED_IMPORTS: &[(&str, &[&str])] = &[
    ("sandbox", &[]),
    ("telemetry", &[]),
    ("record", &[]),
    ("bounded", &[]),
    ("models", &["record"]),
    ("problem", &["record"]),
    ("metrics", &["record", "problem"]),
    ("transport", &["record", "bounded", "metrics"]),
    ("vendors", &["record", "transport"]),
    ("catalog", &["record", "transport", "vendors"]),
    ("journal", &["record", "bounded", "problem", "metrics"]),
    ("config", &["record", "models", "bounded", "vendors", "journal", "transport"]),
    ("access", &["record", "metrics", "config"]),
    ("system", &["record", "problem", "metrics", "transport", "vendors", "catalog", "config"]),
    ("reads", &["record", "problem", "vendors", "catalog", "journal", "system"]),
    (
        "writes",
        &["record", "bounded", "problem", "metrics", "transport", "vendors", "catalog", "journal", "system", "reads"],
    ),
    ("gateway", &["record", "problem", "metrics", "journal", "system", "reads", "writes"]),
    (
        "http",
        &[
            "record",
            "models",
            "problem",
            "metrics",
            "transport",
            "vendors",
            "catalog",
            "journal",
            "system",
            "writes",
            "gateway",
            "access",
        ],
    ),
    ("cli", &["record", "config", "telemetry"]),
    ("client", &["record", "transport", "cli"]),
    (
        "app",
        &[
            "record",
            "models",
            "problem",
            "metrics",
            "transport",
            "vendors",
            "catalog",
            "journal",
            "system",
            "writes",
            "gateway",
            "access",
            "config",
            "http",
            "sandbox",
            "telemetry",
            "cli",
            "client",
        ],
    ),
];

#[test]
fn no_module_imports_a_later_one() {
    for (at, (module, allowed)) in ALLOWED_IMPORTS.iter().enumerate() {
        let earlier = |one: &str| ALLOWED_IMPORTS[..at].iter().any(|(name, _)| *name == one);
        assert!(allowed.iter().all(|one| earlier(one)), "{module} may use only modules that are listed before it");
    }
    let allowed: BTreeMap<_, _> = ALLOWED_IMPORTS.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in read_sources().iter().filter(|source| !source.is_test()) {
        let module = source.top_module();
        let known = allowed.get(module).unwrap_or_else(|| panic!("{module} is not listed in this test"));
        for import in modules_of_crate(&source.code()) {
            if import != module && !known.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_two_files_of_a_module_import_each_other() {
    let sources = read_sources();
    let imports = Files::new(&sources).imports();
    let mut found = Vec::new();
    for circle in circles(&imports) {
        for file in &circle {
            let inside: Vec<_> = imports[file].iter().filter(|other| circle.contains(other)).collect();
            found.push(format!("{file} uses {inside:?}"));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_http_client_and_sql_each_stay_in_one_module() {
    let sql = ["SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE ", "rusqlite", "tokio_postgres"];
    for source in read_sources() {
        let (code, path) = (source.code(), &source.path);
        assert!(!code.contains("awc::") || path.starts_with("transport/client/"), "{path} uses awc");
        assert!(source.top_module() == "journal" || !sql.iter().any(|word| code.contains(word)), "{path} holds SQL");
    }
}
