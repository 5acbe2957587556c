//! Map of the house (an arrow = "is imported by"):
//!
//! ```text
//! record  ←  transport  ←  adapters  ←  gateway  ←  api  ←  app        store ← gateway        sandbox ← app
//! ```
#![forbid(unsafe_code)]

pub mod adapters;
pub mod gateway;
pub mod problem;
pub mod record;
pub mod sandbox;
pub mod transport;
