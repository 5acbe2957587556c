//! Every vendor of the registry is in every table of the tests: one that is missing would never be
//! tested.

use std::collections::BTreeSet;
use std::path::Path;

use records_gateway::record::Action;
use records_gateway::sandbox::Sandbox;
use records_gateway::vendors::{AdapterFactory, SchemaSource, VENDORS};
use serde_json::Value;

use super::history;
use super::support::{FIXTURE_TRAITS, FIXTURES, TestConfig};

fn registered() -> BTreeSet<String> {
    VENDORS.iter().map(|vendor| vendor.vendor.to_owned()).collect()
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn folder_names(path: &str) -> BTreeSet<String> {
    let entries = Path::new(env!("CARGO_MANIFEST_DIR")).join(path).read_dir().expect("a folder");
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_registered_vendor_is_in_every_table() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let sandbox = TestConfig::new(&vendors, folder.path());
    // The behaviours, the secret leaks, the exhausted resources and the history run over these two.
    let fixtures = FIXTURES.iter().map(|fixture| fixture.vendor_name.to_owned()).collect();
    let histories = history::VENDORS.iter().map(|vendor| vendor.fixture.vendor_name.to_owned()).collect();
    let tables: [(&str, BTreeSet<String>); 3] = [
        ("support::FIXTURES", fixtures),
        ("history::VENDORS", histories),
        ("the sandbox", sandbox.vendor_names().into_iter().collect()),
    ];
    for (table, vendors) in tables {
        assert_eq!(vendors, registered(), "{table}");
    }
    for folder in ["tests/golden", "tests/fuzz/seeds"] {
        let missing: Vec<_> = registered().difference(&folder_names(folder)).cloned().collect();
        assert!(missing.is_empty(), "{folder} lacks {missing:?}");
        assert!(registered().iter().all(|vendor| !folder_names(&format!("{folder}/{vendor}")).is_empty()), "{folder}");
    }
    let readme = read("README.md");
    let is_row = |line: &&str, title: &str| line.starts_with("| ") && line.contains(title);
    let lacks = |vendor: &&AdapterFactory| !readme.lines().any(|line| is_row(&line, vendor.samples.title));
    let missing: Vec<_> = VENDORS.iter().filter(lacks).map(|vendor| vendor.vendor).collect();
    assert!(missing.is_empty(), "the table of README.md lacks {missing:?}");
}

#[test]
fn every_action_of_a_vendor_has_a_golden_file() {
    for vendor in VENDORS {
        let folder = format!("tests/golden/{}", vendor.vendor);
        let actions: BTreeSet<String> = folder_names(&folder)
            .iter()
            .map(|file| serde_json::from_str(&read(&format!("{folder}/{file}"))).unwrap())
            .map(|golden: Value| golden["given"]["do"].as_str().unwrap().to_owned())
            .collect();
        let own = vendor.capabilities.actions.iter().map(|action| action.as_str());
        for action in own.chain(["sign_in"]) {
            assert!(actions.contains(action), "{folder} has no {action}");
        }
    }
}

/// The tables whose first column is the vendor: each has a row for every vendor; that of the losses
/// for those that have some.
#[test]
fn every_table_of_vendors_in_the_contract_is_complete() {
    let contract = read("src/docs/contract.md");
    let lines: Vec<&str> = contract.lines().collect();
    let tables: Vec<usize> = (1..lines.len())
        .filter(|at| lines[*at].starts_with("|---") && lines[at - 1].starts_with("| vendor |"))
        .collect();
    assert_eq!(tables.len(), 5, "keys, ids, filters, losses, schemas");
    for at in tables {
        let head = lines[at - 1];
        let rows = || lines[at + 1..].iter().take_while(|line| line.starts_with("| "));
        for vendor in VENDORS {
            let names = [format!("| `{}` |", vendor.vendor), format!("| {} |", vendor.samples.title)];
            let own: Vec<&&str> = rows().filter(|row| names.iter().any(|name| row.starts_with(name))).collect();
            let is_expected = !head.contains("| loss |") || !vendor.capabilities.losses.is_empty();
            assert_eq!(!own.is_empty(), is_expected, "{} under {head}", vendor.vendor);
            let shown = |word: &str| own.iter().any(|row| row.contains(&format!("`{word}`")));
            if head.contains("| default |") {
                let unnamed: Vec<_> = vendor.settings.iter().filter(|one| !shown(one.key)).map(|one| one.key).collect();
                assert!(unnamed.is_empty(), "{} has no row for {unnamed:?}", vendor.vendor);
            } else if head.contains("| loss |") {
                assert!(vendor.capabilities.losses.iter().all(|loss| shown(loss.name)), "{}", vendor.vendor);
            }
        }
    }
    let row = |start: &str| lines.iter().find(|line| line.starts_with(start)).expect("a row");
    for vendor in VENDORS {
        let (name, title) = (format!("`{}`", vendor.vendor), vendor.samples.title);
        assert!(row("| `vendor` |").contains(&name), "the key `vendor` of section 2 lacks {name}");
        for action in [Action::Update, Action::Delete] {
            let kind = if vendor.capabilities.compares.contains(&action) { "| `native` |" } else { "| `guarded` |" };
            assert!(row(kind).contains(title), "{kind} of section 4.3 lacks {title}");
        }
    }
}

#[test]
fn every_fixture_states_the_capabilities_of_its_vendor() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let config = TestConfig::new(&vendors, folder.path());
    for (fixture, traits) in FIXTURES.iter().zip(FIXTURE_TRAITS) {
        let adapter = config.adapter(fixture.system);
        let capabilities = adapter.capabilities();
        assert_eq!(capabilities.vendor, fixture.vendor_name);
        assert_eq!(capabilities.compares.contains(&Action::Update), fixture.native, "{}", fixture.vendor_name);
        let all = [
            ("native", fixture.native),
            ("tokens", fixture.expire_tokens.is_some()),
            ("schemas", capabilities.schema_source == SchemaSource::Vendor),
        ];
        let expected: Vec<_> = all.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        assert_eq!(*traits, expected, "{}", fixture.vendor_name);
        let losses: Vec<_> = capabilities.losses.iter().map(|loss| loss.name).collect();
        assert_eq!(losses, fixture.losses, "{}", fixture.vendor_name);
        let collection = capabilities.id_example.rsplit_once(':').unwrap().0;
        assert!(
            adapter.is_reserved(collection, fixture.read_only) || adapter.is_read_only(collection, fixture.read_only),
            "{}",
            fixture.vendor_name
        );
    }
}
