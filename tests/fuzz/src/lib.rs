//! The fuzz targets: each is a function of the bytes that a fuzzer generates. A panic is a finding.
//!
//! All but `headers` use the crate's public items alone; the integration tests run them too, over
//! the seeds (`seeds/`) and over former findings (`regressions/`).

pub mod config;
pub mod ids;
pub mod json;
pub mod patches;
pub mod tokens;
pub mod vendor_responses;

pub use records_gateway::http::fuzzing as headers;
use records_gateway::vendors::{VENDORS, find_vendor};

type Target = Box<dyn Fn(&[u8]) + Send + Sync>;

/// The targets besides the vendors, by name.
const TARGETS: [(&str, fn(&[u8])); 12] = [
    ("config", config::config),
    ("fields", headers::fields),
    ("idempotency_key", headers::idempotency_key),
    ("ids", ids::ids),
    ("if_match", headers::if_match),
    ("json", json::json),
    ("json_patch", patches::json_patch),
    ("keys", tokens::keys),
    ("merge_patch", patches::merge_patch),
    ("prefer", headers::prefer),
    ("request_target", headers::request_target),
    ("token", tokens::token),
];

/// The names of all targets; each vendor of the registry is one.
pub fn target_names() -> Vec<&'static str> {
    TARGETS.iter().map(|(name, _)| *name).chain(VENDORS.iter().map(|vendor| vendor.vendor)).collect()
}

/// The target of this name.
pub fn find_target(name: &str) -> Option<Target> {
    if let Some((_, target)) = TARGETS.iter().find(|(known, _)| *known == name) {
        return Some(Box::new(*target));
    }
    let vendor = find_vendor(name)?.vendor;
    Some(Box::new(move |data| vendor_responses::run_conversation(vendor, data)))
}
