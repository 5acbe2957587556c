//! The failures that `Sandbox-Fault` rehearses, with the fake vendors of the sandbox.

use std::any::Any;
use std::sync::Arc;

use actix_web::rt::task::JoinHandle;
use serde_json::{Map, Value};

use crate::http::FaultRehearsal;
use crate::sandbox::{CallKind, FakeVendor, Faults, InjectedFault, Sandbox, VendorModel};

const FAULTS: &str = "Sandbox-Fault is conflict, unknown, busy or quota";
const WRITES: [CallKind; 3] = [CallKind::Create, CallKind::Update, CallKind::Delete];
/// Longer than any request waits, so that it is passed on at once.
const RETRY_AFTER: &str = "60";

/// The fake vendors by the names of the sandbox's systems.
pub(super) struct SandboxFaults(pub(super) Sandbox);

impl FaultRehearsal for SandboxFaults {
    fn begin(&self, system: &str, record: Option<&str>, fault: &str) -> Result<Box<dyn Any>, String> {
        let key = record.map(|record| record.rsplit_once(':').unwrap_or(("", record)));
        match system {
            "crm" => begin(&self.0.pretectum, key.map(|(_, key)| vec![key.to_owned()]), "First Name", fault),
            "architecture" => {
                let busy = r#"{"title":"There is an ongoing update of this object"}"#;
                if fault == "busy" {
                    return Ok(Rehearsal::of_writes(&self.0.bluedolphin.faults, &InjectedFault::json(400, busy)));
                }
                begin(&self.0.bluedolphin, key.map(|(_, key)| vec![key.to_owned()]), "name", fault)
            }
            "itsm" => {
                let path = key.map(|(class, key)| vec![class.to_owned(), key.to_owned()]);
                begin(&self.0.matrix42, path, "Description", fault)
            }
            "sales" => {
                let path = key.map(|(set, key)| vec![set.to_owned(), key.to_owned()]);
                begin(&self.0.dataverse, path, "description", fault)
            }
            other => Err(format!("the sandbox rehearses no failures of {other}")),
        }
    }
}

/// `path` is the record's at the vendor, `member` one that a text can be written to.
fn begin<M: VendorModel>(
    vendor: &Arc<FakeVendor<M>>,
    path: Option<Vec<String>>,
    member: &str,
    fault: &str,
) -> Result<Box<dyn Any>, String> {
    match fault {
        "conflict" => {
            let path = path.ok_or("a conflict needs a record")?;
            let value = Value::from(format!("Changed by another client ({})", uuid::Uuid::now_v7()));
            vendor.state.external_update(&path, &Map::from_iter([(member.to_owned(), value)]));
            Ok(Box::new(()))
        }
        "unknown" => Ok(lose_responses(vendor)),
        "busy" => Ok(Rehearsal::of_writes(&vendor.faults, &InjectedFault::retry_after(503, RETRY_AFTER))),
        "quota" => {
            vendor.faults.always(None, InjectedFault::retry_after(429, RETRY_AFTER));
            Ok(Rehearsal::boxed(&vendor.faults, None))
        }
        _ => Err(FAULTS.to_owned()),
    }
}

/// The vendor applies the write and does not respond, and then does not respond to anything.
fn lose_responses<M: VendorModel>(vendor: &Arc<FakeVendor<M>>) -> Box<dyn Any> {
    for kind in WRITES {
        vendor.faults.always(kind, InjectedFault::HangAfter);
    }
    let watched = Arc::clone(vendor);
    let task = actix_web::rt::spawn(async move {
        let sent = WRITES.map(|kind| {
            let count = watched.log.count(kind) + 1;
            Box::pin(watched.log.wait_for(kind, count))
        });
        futures_util::future::select_all(sent).await;
        watched.faults.always(None, InjectedFault::Hang);
    });
    Rehearsal::boxed(&vendor.faults, Some(task))
}

/// Removes the faults of a vendor when the request ends.
struct Rehearsal {
    faults: Arc<Faults>,
    task: Option<JoinHandle<()>>,
}

impl Rehearsal {
    fn boxed(faults: &Arc<Faults>, task: Option<JoinHandle<()>>) -> Box<dyn Any> {
        Box::new(Self { faults: Arc::clone(faults), task })
    }

    fn of_writes(faults: &Arc<Faults>, fault: &InjectedFault) -> Box<dyn Any> {
        for kind in WRITES {
            faults.always(kind, fault.clone());
        }
        Self::boxed(faults, None)
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
