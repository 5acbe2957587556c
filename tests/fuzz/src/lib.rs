//! What must hold whatever is read: one function per fuzz target, over the bytes that a fuzzer makes up. A panic is a finding.
//!
//! The functions but those of header fields use only what the program's crate shows to everybody; the integration tests run
//! them as well, over the inputs that were findings once (`regressions/`) and those to start from (`seeds/`).

pub mod config;
pub mod ids;
pub mod json;
pub mod patches;
pub mod vendor_responses;
pub mod tokens;

pub use records_gateway::http::fuzzing as headers;

/// Every target by its name.
pub const TARGETS: [(&str, fn(&[u8])); 15] = [
    ("bluedolphin", vendor_responses::bluedolphin),
    ("config", config::config),
    ("fields", headers::fields),
    ("idempotency_key", headers::idempotency_key),
    ("ids", ids::ids),
    ("if_match", headers::if_match),
    ("json", json::json),
    ("json_patch", patches::json_patch),
    ("keys", tokens::keys),
    ("matrix42", vendor_responses::matrix42),
    ("merge_patch", patches::merge_patch),
    ("prefer", headers::prefer),
    ("pretectum", vendor_responses::pretectum),
    ("request_target", headers::request_target),
    ("token", tokens::token),
];
