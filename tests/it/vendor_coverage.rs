//! Every vendor of the registry is in every table of the tests: one that is missing would never be
//! tested.

use std::collections::BTreeSet;
use std::path::Path;

use records_gateway::record::{Action, RecordId};
use records_gateway::sandbox::Sandbox;
use records_gateway::transport::VendorResponse;
use records_gateway::vendors::{Adapter, AdapterFactory, SchemaSource, UpdatedRecord, VENDORS};
use serde_json::Value;

use super::history;
use super::support::{FIXTURE_TRAITS, FIXTURES, TestConfig, VendorFixture};

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

fn golden_files(vendor: &str) -> Vec<Value> {
    let folder = format!("tests/golden/{vendor}");
    folder_names(&folder)
        .iter()
        .map(|file| serde_json::from_str(&read(&format!("{folder}/{file}"))).expect("JSON"))
        .collect()
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
        let files = golden_files(vendor.vendor);
        let actions: BTreeSet<&str> = files.iter().map(|golden| golden["given"]["do"].as_str().unwrap()).collect();
        let own = vendor.capabilities.actions.iter().map(|action| action.as_str());
        for action in own.chain(["sign_in"]) {
            assert!(actions.contains(action), "{} has no {action}", vendor.vendor);
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

/// Whether the adapter takes another spelling of the record's id: the stated one, or one in another
/// case.
fn has_other_spelling(adapter: &dyn Adapter, fixture: &VendorFixture) -> bool {
    let (lower, upper) = (fixture.key.to_lowercase(), fixture.key.to_uppercase());
    let others = [lower.as_str(), upper.as_str()].into_iter().chain(fixture.other_spelling);
    others.filter(|text| *text != fixture.key).any(|text| adapter.parse_key(text).as_deref() == Some(fixture.key))
}

#[test]
fn every_fixture_states_the_capabilities_of_its_vendor() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let config = TestConfig::new(&vendors, folder.path());
    for (fixture, traits) in FIXTURES.iter().zip(FIXTURE_TRAITS) {
        let adapter = config.adapter(fixture.system);
        let capabilities = adapter.capabilities();
        assert_eq!(capabilities.vendor, fixture.vendor_name);
        let compares = |action| capabilities.compares.contains(&action);
        for (name, stated, own) in [
            ("native", fixture.native, compares(Action::Update)),
            ("native_delete", fixture.native_delete, compares(Action::Delete)),
            ("update_count", fixture.update_count.is_some(), capabilities.version_is_sequence),
            ("partial_lists", fixture.partial_lists, !capabilities.list_is_complete),
        ] {
            assert_eq!(stated, own, "{} {name}", fixture.vendor_name);
        }
        assert_eq!(capabilities.filters.names(), fixture.filters, "{}", fixture.vendor_name);
        let all = [
            ("native", fixture.native),
            ("tokens", fixture.expire_tokens.is_some()),
            ("schemas", capabilities.schema_source == SchemaSource::Vendor),
            ("spellings", has_other_spelling(&*adapter, fixture)),
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

/// What the adapter reads from the response of a golden file.
fn parse_golden_update(adapter: &dyn Adapter, golden: &Value) -> UpdatedRecord {
    let (collection, key) = golden["given"]["id"].as_str().unwrap().rsplit_once(':').unwrap();
    let id = RecordId::new(&adapter.parse_collection(collection).unwrap(), &adapter.parse_key(key).unwrap());
    let (response, body) = (&golden["response"], &golden["response"]["body"]);
    let header = |name: &str| {
        let headers = response["headers"].as_object()?.iter();
        headers.filter(|(known, _)| known.eq_ignore_ascii_case(name)).find_map(|(_, value)| value.as_str())
    };
    let response = VendorResponse {
        status: u16::try_from(response["status"].as_u64().unwrap()).unwrap(),
        content_type: header("Content-Type").unwrap_or_default().to_owned(),
        retry_after: None,
        headers: adapter.kept_headers().iter().filter_map(|name| Some((*name, header(name)?.to_owned()))).collect(),
        body: if body.is_null() { String::new() } else { body.to_string() }.into(),
        lone_surrogates: Vec::new(),
    };
    adapter.parse_updated(&id, &response)
}

#[test]
fn every_fixture_states_what_the_documented_updates_show() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let config = TestConfig::new(&vendors, folder.path());
    for fixture in FIXTURES {
        let adapter = config.adapter(fixture.system);
        let files = golden_files(fixture.vendor_name);
        let done = files.iter().filter(|file| file["given"]["do"] == "update" && file["meaning"]["done"].is_string());
        let (asked, plain): (Vec<_>, Vec<_>) = done.partition(|file| file["given"]["return_record"] == true);
        let shown = |file: &&Value| parse_golden_update(&*adapter, file);
        let has_version: BTreeSet<bool> = plain.iter().map(|file| shown(file).version.is_some()).collect();
        let has_record = plain.iter().chain(&asked).any(|file| shown(file).record.is_some());
        let stated = &fixture.update_response;
        assert_eq!(has_version, BTreeSet::from([stated.has_version]), "{}", fixture.vendor_name);
        assert_eq!(has_record, stated.has_record, "{}", fixture.vendor_name);
    }
}
