//! The inputs of the fuzz targets in `tests/fuzz`, those to start from and those that were findings once: what must hold of
//! them holds. (Those of header fields and targets are run by the crate's own tests, `src/api/fuzzing.rs`.)

// The very functions that the fuzz targets call.
#[expect(unreachable_pub, reason = "this file belongs to the fuzz targets' crate as well")]
#[path = "../fuzz/src/config.rs"]
mod config;
#[expect(unreachable_pub, reason = "this file belongs to the fuzz targets' crate as well")]
#[path = "../fuzz/src/ids.rs"]
mod ids;
#[expect(unreachable_pub, reason = "this file belongs to the fuzz targets' crate as well")]
#[path = "../fuzz/src/json.rs"]
mod json;
#[expect(unreachable_pub, reason = "this file belongs to the fuzz targets' crate as well")]
#[path = "../fuzz/src/patches.rs"]
mod patches;
#[expect(unreachable_pub, reason = "this file belongs to the fuzz targets' crate as well")]
#[path = "../fuzz/src/tokens.rs"]
mod tokens;
#[expect(unreachable_pub, reason = "this file belongs to the fuzz targets' crate as well")]
#[path = "../fuzz/src/vendor_responses.rs"]
mod vendor_responses;

use std::path::Path;

fn run_target(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let mut inputs: Vec<_> = ["seeds", "regressions"]
        .iter()
        // Not every target has had a finding.
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
}

#[test]
fn stored_inputs_for_patches_pass() {
    run_target("merge_patch", patches::merge_patch);
    run_target("json_patch", patches::json_patch);
}

#[test]
fn stored_vendor_responses_pass() {
    run_target("pretectum", vendor_responses::pretectum);
    run_target("bluedolphin", vendor_responses::bluedolphin);
    run_target("matrix42", vendor_responses::matrix42);
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
