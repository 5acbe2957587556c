//! What the fake vendors share: the server, fault injection, the request log and the control
//! endpoint.

mod call_kind;
pub(super) mod changes;
#[cfg(test)]
pub(super) mod client;
mod context;
mod control;
mod faults;
pub(super) mod http;
pub(super) mod lock;
mod log;
pub(super) mod members;
mod model;
pub(super) mod options;
mod serve;
mod server;
mod system;
#[cfg(test)]
mod tests;
pub(super) mod tokens;

pub use call_kind::CallKind;
pub use changes::Change;
pub use faults::{Faults, InjectedFault};
pub use http::{FakeRequest, FakeResponse};
pub use log::{ReceivedRequest, RequestLog};
pub use model::VendorModel;
pub use server::FakeVendor;
pub use system::{SandboxSystem, SandboxVendor};
