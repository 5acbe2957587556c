//! Fake vendors: HTTP servers on 127.0.0.1 that behave like the vendors, with sample records.
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
pub mod dataverse;
pub mod matrix42;
pub mod pretectum;

use std::io;
use std::sync::Arc;

pub use common::{
    CallKind, Change, FakeRequest, FakeResponse, FakeVendor, Faults, InjectedFault, ReceivedRequest, RequestLog,
    SandboxSystem, SandboxVendor, VendorModel,
};

/// The sandbox that starts the fake vendors: a new one is a module and a line here. The module has
/// a type `Vendor`.
macro_rules! fake_vendors {
    ($($(#[$doc:meta])* $vendor:ident),+ $(,)?) => {
        /// All fake vendors, each on its own port.
        #[derive(Clone, Debug)]
        pub struct Sandbox {
            $($(#[$doc])* pub $vendor: Arc<$vendor::Vendor>,)+
        }

        impl Sandbox {
            /// Starts all of them on free ports of 127.0.0.1.
            ///
            /// # Errors
            /// No free port, or no thread.
            pub fn start() -> io::Result<Self> {
                Ok(Self { $($vendor: Arc::new($vendor::Vendor::start()?),)+ })
            }

            /// Stops all of them.
            pub async fn stop(&self) {
                $(self.$vendor.stop().await;)+
            }

            /// All of them.
            #[must_use]
            pub fn vendors(&self) -> Vec<Arc<dyn SandboxVendor>> {
                vec![$(Arc::clone(&self.$vendor) as Arc<dyn SandboxVendor>),+]
            }

            /// A system in front of each of them.
            #[must_use]
            pub fn systems(&self) -> Vec<SandboxSystem> {
                self.vendors().iter().map(|vendor| vendor.system()).collect()
            }
        }
    };
}

fake_vendors! {
    /// Customer master data.
    pretectum,
    /// Enterprise architecture.
    bluedolphin,
    /// Service management.
    matrix42,
    /// Sales.
    dataverse,
}
