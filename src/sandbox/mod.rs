//! Fake vendors: HTTP servers on 127.0.0.1 that behave like the three vendors, with sample records.
//!
//! They serve the `sandbox` command and the tests. They know nothing of the gateway: their
//! behaviour comes from the vendors' documentation alone, so that the gateway and a fake vendor
//! cannot share the same misreading. Each reproduces the documented traps of its vendor, and says
//! what it assumes where the documentation is silent.
//!
//! Faults of networks and servers can be injected per kind of request. All requests are logged. The
//! state can be read and changed behind the gateway's back: in the process through the fields of
//! [`FakeVendor`], from outside through `/_sandbox/` on each fake vendor.

pub mod bluedolphin;
mod common;
pub mod matrix42;
pub mod pretectum;

use std::io;
use std::sync::Arc;

pub use common::{
    CallKind, Change, FakeRequest, FakeResponse, FakeVendor, Faults, InjectedFault, ReceivedRequest, RequestLog,
    VendorModel,
};

/// All three fake vendors, each on its own port.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Customer master data.
    pub pretectum: Arc<pretectum::Vendor>,
    /// Enterprise architecture.
    pub bluedolphin: Arc<bluedolphin::Vendor>,
    /// Service management.
    pub matrix42: Arc<matrix42::Vendor>,
}

impl Sandbox {
    /// Starts all three on free ports of 127.0.0.1.
    ///
    /// # Errors
    /// No free port, or no thread.
    pub fn start() -> io::Result<Self> {
        Ok(Self {
            pretectum: Arc::new(pretectum::Vendor::start()?),
            bluedolphin: Arc::new(bluedolphin::Vendor::start()?),
            matrix42: Arc::new(matrix42::Vendor::start()?),
        })
    }

    /// Stops all three.
    pub async fn stop(&self) {
        self.pretectum.stop().await;
        self.bluedolphin.stop().await;
        self.matrix42.stop().await;
    }
}
