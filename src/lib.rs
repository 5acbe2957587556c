//! One way to read and change a record, whatever system holds it.
//!
//! # Map
//!
//! Dependencies go one way. A module may use only modules on the lines below its own, and a test
//! (`tests/it/architecture.rs`) lists which.
//!
//! ```text
//!   app                        the program: assembled, run, reloaded, stopped
//!   http  client               the API on actix-web; a small client of a running gateway
//!   access  gateway  cli       permissions of callers; what the API calls; the command line
//!   writes                     the write pipeline
//!   reads                      reads
//!   system                     one configured system, and records as callers see them
//!   config                     the TOML file
//!   journal  catalog           operations and the ledger; collections and their schemas
//!   vendors                    the adapters
//!   transport                  one vendor request, carried safely
//!   metrics                    counters for operators
//!   problem  models            errors of callers; normalized shapes over records
//!   record                     the shared vocabulary
//! ```
//!
//! `sandbox` holds the fake vendors and uses nothing of the rest. `telemetry` sets up the log.
//! `bounded` reads settings that lie within bounds, for `config`, `journal` and `transport`.
//!
//! # Documents
//!
//! - [`docs::contract`]: what callers and operators see
//! - [`docs::many_records`]: many records at once, and conflicts: commands to try
//! - [`docs::models`]: one shape over the records of several systems
//! - [`docs::http_rules`]: the rules of HTTP that the gateway follows
//! - [`docs::reference`]: tables of headers, problems, metrics and crates
//! - [`docs::deploying`]: containers, compose, Kubernetes, systemd
//! - [`docs::runbook`]: what to do when an alert fires
//! - [`docs::architecture`]: the modules, one PATCH and one crash walked through
//! - [`docs::adding_a_vendor`]: the files that a new vendor needs
//! - [`docs::contributing`]: tests, debugging, benchmarks
//! - [`docs::decisions`]: what was decided, why, and what it costs
#![forbid(unsafe_code)]

pub mod access;
pub mod app;
mod bounded;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod config;
pub mod docs;
pub mod gateway;
pub mod http;
pub mod journal;
pub mod metrics;
pub mod models;
pub mod problem;
mod reads;
pub mod record;
pub mod sandbox;
pub mod system;
pub mod telemetry;
pub mod transport;
pub mod vendors;
pub mod writes;
