//! The house as drawn in `src/lib.rs`: arrows go one way, `awc` and SQL stay in their rooms.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may import. A room that is not listed here is a fault of this test.
const ALLOWED_IMPORTS: &[(&str, &[&str])] = &[
    ("record", &[]),
    ("problem", &["record"]),
    ("metrics", &["record", "problem"]),
    ("transport", &["record", "metrics"]),
    ("vendors", &["record", "transport"]),
    ("store", &["record", "problem"]),
    ("gateway", &["record", "problem", "metrics", "transport", "vendors", "store"]),
    ("access", &["record", "config"]),
    ("config", &["record", "vendors", "store", "transport"]),
    ("http", &["record", "problem", "metrics", "transport", "vendors", "store", "gateway", "access"]),
    ("docs", &[]),
    ("sandbox", &[]),
    ("telemetry", &[]),
    ("cli", &["record", "config", "telemetry"]),
    (
        "app",
        &[
            "record",
            "problem",
            "metrics",
            "transport",
            "vendors",
            "store",
            "gateway",
            "access",
            "config",
            "http",
            "sandbox",
            "telemetry",
            "cli",
        ],
    ),
];

struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

fn read_sources() -> Vec<Source> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    let room_of = |path: &Path| {
        let inside = path.strip_prefix(&root).expect("below src");
        let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        first.trim_end_matches(".rs").to_owned()
    };
    let read = |path: PathBuf| Source { module: room_of(&path), text: fs::read_to_string(&path).expect("text"), path };
    paths.into_iter().map(read).collect()
}

/// The rooms a text names as `crate::room`, comments left out.
fn find_imports(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let rest_of_each = code.flat_map(|line| line.split("crate::").skip(1));
    rest_of_each
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>())
        .filter(|room| !room.is_empty())
        .collect()
}

#[test]
fn no_module_imports_a_later_one() {
    let allowed: BTreeMap<_, _> = ALLOWED_IMPORTS.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in read_sources().iter().filter(|source| source.module != "lib" && source.module != "main") {
        let may = allowed.get(source.module.as_str()).unwrap_or_else(|| panic!("{} is no known room", source.module));
        for import in find_imports(&source.text) {
            if import != source.module && !may.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_http_client_stays_in_one_file_and_sql_in_one_module() {
    let sql = ["SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE ", "sqlx"];
    for source in read_sources() {
        // Tests within the file stand at its end; those beside it are named at its beginning and are files of their own.
        let test_code = source.text.find("#[cfg(test)]\nmod tests {").unwrap_or(source.text.len());
        let code = &source.text[..test_code];
        let path = source.path.display();
        assert!(!code.contains("awc::") || source.path.ends_with("transport/client.rs"), "{path} uses awc");
        assert!(source.module == "store" || !sql.iter().any(|word| code.contains(word)), "{path} holds SQL");
    }
}
