//! The failures that `Sandbox-Fault` rehearses, with the fake vendors of the sandbox.

use std::any::Any;
use std::sync::Arc;

use actix_web::rt::task::JoinHandle;

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
    fn begin(&self, system: &str, record: Option<&str>, fault: &str) -> Result<Box<dyn Any>, String> {
        let vendor = self.0.iter().find(|vendor| vendor.system().name == system);
        let vendor = vendor.ok_or_else(|| format!("the sandbox rehearses no failures of {system}"))?;
        match fault {
            "conflict" => {
                let record = record.ok_or("a conflict needs a record")?;
                let path: Vec<_> = record.rsplitn(2, ':').map(str::to_owned).collect();
                let text = format!("Changed by another client ({})", uuid::Uuid::now_v7());
                vendor.write_text(&path.into_iter().rev().collect::<Vec<_>>(), text);
                Ok(Box::new(()))
            }
            "unknown" => Ok(lose_responses(vendor)),
            "busy" => Ok(Rehearsal::for_writes(vendor.faults(), &vendor.busy())),
            "quota" => {
                vendor.faults().always(None, InjectedFault::retry_after(429, RETRY_AFTER));
                Ok(Rehearsal::new_boxed(vendor.faults(), None))
            }
            _ => Err(FAULTS.to_owned()),
        }
    }
}

/// The vendor applies the write and does not respond, and then does not respond to anything.
fn lose_responses(vendor: &Arc<dyn SandboxVendor>) -> Box<dyn Any> {
    for kind in WRITES {
        vendor.faults().always(kind, InjectedFault::HangAfter);
    }
    let watched = Arc::clone(vendor);
    let task = actix_web::rt::spawn(async move {
        let log = watched.log();
        let sent = WRITES.map(|kind| Box::pin(log.wait_for(kind, log.count(kind) + 1)));
        futures_util::future::select_all(sent).await;
        watched.faults().always(None, InjectedFault::Hang);
    });
    Rehearsal::new_boxed(vendor.faults(), Some(task))
}

/// Removes the faults of a vendor when the request ends.
struct Rehearsal {
    faults: Arc<Faults>,
    task: Option<JoinHandle<()>>,
}

impl Rehearsal {
    fn new_boxed(faults: &Arc<Faults>, task: Option<JoinHandle<()>>) -> Box<dyn Any> {
        Box::new(Self { faults: Arc::clone(faults), task })
    }

    fn for_writes(faults: &Arc<Faults>, fault: &InjectedFault) -> Box<dyn Any> {
        for kind in WRITES {
            faults.always(kind, fault.clone());
        }
        Self::new_boxed(faults, None)
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.faults.clear();
    }
}
