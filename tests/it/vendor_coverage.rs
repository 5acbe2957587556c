//! Every vendor of the registry is in every table of the tests: one that is missing would never be
//! tested.

use std::collections::BTreeSet;
use std::path::Path;

use records_gateway::record::Action;
use records_gateway::sandbox::Sandbox;
use records_gateway::vendors::VENDORS;

use super::history;
use super::support::{FIXTURES, HAS_NATIVE_TESTS, TestConfig};

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
    let readme = read("README.md").to_lowercase();
    let missing: Vec<_> = registered().into_iter().filter(|vendor| !readme.contains(vendor.as_str())).collect();
    assert!(missing.is_empty(), "README.md lacks {missing:?}");
}

#[test]
fn every_fixture_states_the_capabilities_of_its_vendor() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let config = TestConfig::new(&vendors, folder.path());
    for (fixture, has_native_tests) in FIXTURES.iter().zip(HAS_NATIVE_TESTS) {
        let adapter = config.adapter(fixture.system);
        let capabilities = adapter.capabilities();
        assert_eq!(capabilities.vendor, fixture.vendor_name);
        assert_eq!(capabilities.compares.contains(&Action::Update), fixture.native, "{}", fixture.vendor_name);
        assert_eq!(fixture.native, *has_native_tests, "{}", fixture.vendor_name);
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
