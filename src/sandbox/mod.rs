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
    VendorModel,
};

/// A system in front of a fake vendor: a table of the gateway's configuration.
#[derive(Clone, Debug)]
pub struct SandboxSystem {
    /// The system's name.
    pub name: &'static str,
    /// The vendor's name.
    pub vendor: &'static str,
    /// The fake vendor's address.
    pub base_url: String,
    /// The other keys and their values.
    pub settings: Vec<(&'static str, String)>,
}

impl SandboxSystem {
    /// The table `[systems.NAME]` as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let quoted = |(key, value): (&str, &str)| format!("{key} = {}\n", serde_json::Value::from(value));
        let own = [("vendor", self.vendor), ("base_url", self.base_url.as_str())];
        let settings = self.settings.iter().map(|(key, value)| (*key, value.as_str()));
        let lines: String = own.into_iter().chain(settings).map(quoted).collect();
        format!("[systems.{}]\n{lines}", self.name)
    }
}

/// The sandbox that starts the fake vendors: a new one is a module and a line here. The module has
/// a type `Vendor`, the constant `SYSTEM`, and the function `settings`, which gives the keys of its
/// system in the gateway's configuration.
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

            /// A system in front of each of them.
            #[must_use]
            pub fn systems(&self) -> Vec<SandboxSystem> {
                vec![$(SandboxSystem {
                    name: $vendor::SYSTEM,
                    vendor: stringify!($vendor),
                    base_url: self.$vendor.base_url(),
                    settings: $vendor::settings(&self.$vendor.base_url()),
                }),+]
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
