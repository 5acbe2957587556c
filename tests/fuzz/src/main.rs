//! One binary for all targets, because each would contain the whole program: `FUZZ_TARGET` names
//! the one that runs.

#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<Box<dyn Fn(&[u8]) + Send + Sync>> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let names = properties::target_names().join(", ");
    properties::find_target(&name).unwrap_or_else(|| panic!("FUZZ_TARGET must be one of {names}"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
