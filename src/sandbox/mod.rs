//! The three vendors as stand-ins: HTTP servers on 127.0.0.1 with sample records, as truthful as the vendors' documentation
//! allows, traps included.
//!
//! They serve the `sandbox` command and the tests, and know nothing of the gateway: what they do is taken from the vendors'
//! pages alone, so that a misreading in the gateway cannot hide in a stand-in that shares it. Where the pages are silent each
//! model says what it assumes.
//!
//! Faults of networks and servers can be switched on per kind of call, everything received is kept, and the state can be
//! looked at and changed behind the gateway's back: in the process through [`Standin`]'s fields, from outside through
//! `/_sandbox/` on each stand-in.

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

/// All three stand-ins, each on a port of its own.
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
    /// Starts the three on free ports of 127.0.0.1.
    ///
    /// # Errors
    /// When no port or thread can be had.
    pub fn start() -> io::Result<Self> {
        Ok(Self {
            pretectum: Arc::new(pretectum::Vendor::start()?),
            bluedolphin: Arc::new(bluedolphin::Vendor::start()?),
            matrix42: Arc::new(matrix42::Vendor::start()?),
        })
    }

    /// Ends the three.
    pub async fn stop(&self) {
        self.pretectum.stop().await;
        self.bluedolphin.stop().await;
        self.matrix42.stop().await;
    }
}
