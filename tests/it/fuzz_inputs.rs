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
#[path = "../fuzz/src/replies.rs"]
mod replies;
#[expect(unreachable_pub, reason = "this file belongs to the fuzz targets' crate as well")]
#[path = "../fuzz/src/tokens.rs"]
mod tokens;

use std::path::Path;

fn run(name: &str, target: fn(&[u8])) {
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
fn kept_inputs_of_ids_and_json_hold() {
    run("ids", ids::ids);
    run("json", json::json);
}

#[test]
fn kept_inputs_of_patches_hold() {
    run("merge_patch", patches::merge_patch);
    run("json_patch", patches::json_patch);
}

#[test]
fn kept_replies_of_vendors_hold() {
    run("pretectum", replies::pretectum);
    run("bluedolphin", replies::bluedolphin);
    run("matrix42", replies::matrix42);
}

#[test]
fn kept_configurations_hold() {
    run("config", config::config);
}

#[test]
fn kept_tokens_and_keys_hold() {
    run("token", tokens::token);
    run("keys", tokens::keys);
}
