//! Map of the house (an arrow = "is imported by"):
//!
//! ```text
//! record  ←  transport  ←  adapters  ←  gateway  ←  api  ←  app        store ← gateway        sandbox ← app
//! ```
#![forbid(unsafe_code)]

pub mod access;
pub mod adapters;
pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod gateway;
pub mod metrics;
pub mod problem;
pub mod record;
pub mod sandbox;
pub mod store;
pub mod telemetry;
pub mod transport;
