//! One way to read and change a record, whatever system holds it.
//!
//! Map of the house (an arrow = "is imported by"):
//!
//! ```text
//! record  ←  transport  ←  adapters  ←  gateway  ←  api  ←  app        store ← gateway        sandbox ← app
//!                           adapters  ←  config  ←  access  ←  api          config ← cli
//! ```
//!
//! `record` is the small vocabulary that all share, with `problem` (what a caller is told) and `metrics` beside it. `transport`
//! carries one vendor call safely. `adapters` know what a vendor says. `store` remembers. `gateway` takes each request along one
//! straight line and completes what a vendor lacks. `api` speaks HTTP, `config`, `access`, `cli` and `telemetry` speak to the
//! operator, `app` puts it all together. `sandbox` holds the stand-in vendors; it knows nothing of the rest. A test
//! (`tests/it/architecture.rs`) keeps the arrows one way.
//!
//! # Decisions
//!
#![doc = include_str!("docs/decisions/0001-tags-carry-the-version.md")]
#![doc = include_str!("docs/decisions/0002-fields-are-text.md")]
#![doc = include_str!("docs/decisions/0003-one-way-to-settle.md")]
#![doc = include_str!("docs/decisions/0004-creates-are-looked-for.md")]
#![doc = include_str!("docs/decisions/0005-spans-by-hand.md")]
#![doc = include_str!("docs/decisions/0006-the-ledger-in-pages.md")]
#![doc = include_str!("docs/adding-a-system.md")]
#![forbid(unsafe_code)]

pub mod access;
pub mod app;
pub mod cli;
pub mod config;
pub mod gateway;
pub mod http;
pub mod metrics;
pub mod problem;
pub mod record;
pub mod sandbox;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod vendors;
