//! The integration tests: one binary, so that linking happens once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must stop"
)]

mod architecture;
mod fault_proxy;
mod history;
mod readme;
