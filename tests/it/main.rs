//! The integration tests: one binary, so that linking happens once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must stop"
)]

mod access_jwt;
mod access_program;
mod architecture;
mod behaviours;
mod canary;
mod deploy;
mod failure_log;
mod fault_proxy;
mod fuzz_inputs;
mod history;
mod patches;
mod pressure;
mod readme;
mod reload;
mod settling;
mod stopping;
mod store_trouble;
mod support;
mod system_health;
mod tls;
mod tls_to_vendors;
mod told_truthfully;
mod traces;
mod wire_answer;
mod wire_connections;
mod wire_framing;
mod wire_fuzz;
mod wire_limits;
mod wire_malformed;
mod wire_order;
mod wire_pages;
mod wire_scanner;
mod wire_smuggling;
mod wire_support;
mod wire_targets;
