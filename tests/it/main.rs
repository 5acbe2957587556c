//! The integration tests: one binary, so that linking happens once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must stop"
)]

mod access_jwt;
mod access_log;
mod architecture;
mod batch_repeats;
mod batches;
mod behaviours;
mod caller_limits;
mod changes;
mod check_command;
mod client_commands;
mod console;
mod deploy;
mod disk_failures;
mod documents;
mod external_url;
mod failure_log;
mod fault_proxy;
mod fuzz_inputs;
mod graceful_shutdown;
mod history;
mod key_rotation;
mod ledger_commands;
mod model_checks;
mod model_commands;
mod model_documents;
mod model_lists;
mod models;
mod moving_pages;
mod operators;
mod patches;
mod raw_http;
mod readme;
mod reconciler_failures;
mod rehearsal;
mod reload;
mod resource_exhaustion;
mod response_matches_vendor_state;
mod schemas;
mod secret_leaks;
mod shared_tokens;
mod stored_batch_keys;
mod stored_batch_outcomes;
mod stored_batch_repeats;
mod stored_batches;
mod support;
mod system_health;
mod tls;
mod tls_to_vendors;
mod traces;
mod unknown_outcomes;
mod vendor_coverage;
mod wording;
