//! The inputs of the fuzz targets in `tests/fuzz`: seeds and former findings pass. (Those of header
//! fields and request targets are run by the unit tests of `src/http/fuzzing.rs`.)

// The functions of the fuzz targets themselves.
#[expect(unreachable_pub, reason = "the file is also part of the fuzz targets' crate")]
#[path = "../fuzz/src/config.rs"]
mod config;
#[expect(unreachable_pub, reason = "the file is also part of the fuzz targets' crate")]
#[path = "../fuzz/src/ids.rs"]
mod ids;
#[expect(unreachable_pub, reason = "the file is also part of the fuzz targets' crate")]
#[path = "../fuzz/src/json.rs"]
mod json;
#[expect(unreachable_pub, reason = "the file is also part of the fuzz targets' crate")]
#[path = "../fuzz/src/patches.rs"]
mod patches;
#[expect(unreachable_pub, reason = "the file is also part of the fuzz targets' crate")]
#[path = "../fuzz/src/tokens.rs"]
mod tokens;
#[expect(unreachable_pub, reason = "the file is also part of the fuzz targets' crate")]
#[path = "../fuzz/src/vendor_responses.rs"]
mod vendor_responses;

use std::path::Path;

use records_gateway::vendors::VENDORS;

fn run_target(name: &str, target: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let mut inputs: Vec<_> = ["seeds", "regressions"]
        .iter()
        // Not every target has had findings.
        .filter_map(|kept| folder.join(kept).join(name).read_dir().ok())
        .flatten()
        .map(|input| input.unwrap().path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no inputs for {name}");
    for input in inputs {
        eprintln!("{}", input.display());
        target(&std::fs::read(&input).unwrap());
    }
}

#[test]
fn stored_inputs_for_ids_and_json_pass() {
    run_target("ids", ids::ids);
    run_target("json", json::json);
    for vendor in VENDORS {
        ids::ids(vendor.capabilities.id_example.as_bytes());
    }
}

#[test]
fn stored_inputs_for_patches_pass() {
    run_target("merge_patch", patches::merge_patch);
    run_target("json_patch", patches::json_patch);
}

#[test]
fn stored_vendor_responses_pass() {
    for vendor in VENDORS {
        run_target(vendor.vendor, |data| vendor_responses::run_conversation(vendor.vendor, data));
    }
}

#[test]
fn stored_configurations_pass() {
    run_target("config", config::config);
}

#[test]
fn stored_tokens_and_keys_pass() {
    run_target("token", tokens::token);
    run_target("keys", tokens::keys);
}
