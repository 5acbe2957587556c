//! Map of the house (an arrow = "is imported by"):
//!
//! ```text
//! record  ←  transport  ←  adapters  ←  gateway  ←  api  ←  app        store ← gateway        sandbox ← app
//! ```
#![forbid(unsafe_code)]

pub mod access;
pub mod adapters;
pub mod cli;
pub mod config;
pub mod api;
pub mod gateway;
pub mod metrics;
pub mod problem;
pub mod record;
pub mod telemetry;
pub mod store;
pub mod app;
pub mod sandbox;
pub mod transport;
