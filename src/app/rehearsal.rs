//! The failures that `Sandbox-Fault` rehearses, with the fake vendors of the sandbox.

use std::any::Any;
use std::sync::Arc;

use crate::http::FaultRehearsal;
use crate::sandbox::{CallKind, Faults, InjectedFault, Sandbox, SandboxVendor};

const FAULTS: &str = "Sandbox-Fault is conflict, unknown, busy or quota";
const WRITES: [CallKind; 3] = [CallKind::Create, CallKind::Update, CallKind::Delete];
/// Longer than any request waits, so that it is passed on at once.
const RETRY_AFTER: &str = "60";

/// The fake vendors of the sandbox.
pub(super) struct SandboxFaults(Vec<Arc<dyn SandboxVendor>>);

impl SandboxFaults {
    pub(super) fn new(sandbox: &Sandbox) -> Self {
        Self(sandbox.vendors())
    }
}

impl FaultRehearsal for SandboxFaults {
    fn begin(&self, system: &str, record: Option<&str>, trace: &str, fault: &str) -> Result<Box<dyn Any>, String> {
        let vendor = self.0.iter().find(|vendor| vendor.system().name == system);
        let vendor = vendor.ok_or_else(|| format!("the sandbox rehearses no failures of {system}"))?;
        let (faults, quota) = (vendor.faults(), InjectedFault::retry_after(429, RETRY_AFTER));
        match fault {
            "conflict" => {
                let record = record.ok_or("a conflict needs a record")?;
                let path: Vec<_> = record.rsplitn(2, ':').map(str::to_owned).collect();
                let text = format!("Changed by another client ({})", uuid::Uuid::now_v7());
                vendor.write_text(&path.into_iter().rev().collect::<Vec<_>>(), text);
            }
            // The vendor applies the write and does not respond, and then does not respond to
            // anything.
            "unknown" => {
                for kind in WRITES {
                    faults.add_to_trace(trace, kind, InjectedFault::HangAfter, true);
                }
            }
            "busy" => {
                for kind in WRITES {
                    faults.add_to_trace(trace, kind, vendor.busy(), false);
                }
            }
            "quota" => faults.add_to_trace(trace, None, quota, false),
            _ => return Err(FAULTS.to_owned()),
        }
        Ok(Box::new(Rehearsal { faults: Arc::clone(faults), trace: trace.to_owned() }))
    }
}

/// Removes the faults of a request when it ends. Those of others stay.
struct Rehearsal {
    faults: Arc<Faults>,
    trace: String,
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        self.faults.clear_trace(&self.trace);
    }
}
