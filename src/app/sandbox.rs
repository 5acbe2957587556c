//! `sandbox`: the gateway in front of the embedded fake vendors with sample records, to try it
//! out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::application::{Application, run_until_signal};
use super::error::print_error;
use super::rehearsal::SandboxFaults;
use crate::cli::Exit;
use crate::config::Config;
use crate::record::{EntityTag, RecordId, SystemName, Version};
use crate::sandbox::{Sandbox, SandboxSystem, bluedolphin, matrix42};
use crate::transport::trace::Tracer;

/// The sample record's row version: the bytes of [`matrix42::FACILITY_TIMESTAMP`], `AAAAAEa7mU4=`.
const FACILITY_VERSION: [u8; 8] = [0, 0, 0, 0, 0x46, 0xbb, 0x99, 0x4e];

/// The models of the sandbox: one shape of people and one of things, whatever system keeps them.
pub const MODELS: &str = r#"
[models.contact]
title = "Contact"
[models.contact.fields]
first_name = { type = "string", max_length = 50, example = "Augusta" }
last_name = { type = "string", max_length = 50, example = "King" }
email = { type = "string", format = "email", max_length = 100 }
phone = { type = "string", example = "+44 20 7946 0002" }
tier = { type = "string", enum = ["basic", "gold"] }
since = { type = "string", format = "date" }
credit = { type = "number" }
newsletter = { type = "boolean" }

[models.contact.systems.crm.map]
first_name = "First Name"
last_name = "Last Name"
email = "Email"
phone = "Phone"
tier = { at = "Status", enum = { Standard = "basic", Premium = "gold" } }
since = { at = "Customer Since", date = "MM/dd/yyyy" }
credit = "Credit Limit"
newsletter = "Newsletter"

[models.contact.systems.sales]
collection = "contacts"
[models.contact.systems.sales.map]
first_name = "firstname"
last_name = "lastname"
email = "emailaddress1"

[models.asset]
title = "Asset"
[models.asset.fields]
name = { type = "string", max_length = 255, example = "Meeting room" }
description = { type = "string" }
owner = { type = "string", max_length = 255 }
active = { type = "boolean" }
cost = { type = "number" }
ends = { type = "string", format = "date-time" }

[models.asset.systems.architecture]
create = { object_template_id = "644779a07470b332c82b8d00", roles = ["5f0c1d7d4a28b925fcf80001"] }
[models.asset.systems.architecture.map]
name = "name"
owner = { at = "/properties/Owner/value", none = "" }
active = { at = "status", boolean = { true = ["active"], false = ["disabled"] } }

[models.asset.systems.itsm]
collection = "SPSScCategoryClassBase"
[models.asset.systems.itsm.map]
name = "Name"
description = { at = "Description", none = "" }
active = { at = "Hidden", boolean = { true = [false, 0], false = [true, 1] } }
cost = "Costs"
ends = { at = "End", datetime = "iso" }
"#;

/// Runs until SIGTERM or SIGINT; then the store's folder is removed.
pub(super) fn sandbox_command(bind: SocketAddr, tracer: Option<Arc<Tracer>>) -> Exit {
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => {
            print_error(&format_args!("a temporary folder cannot be created: {error}"));
            return Exit::Failure;
        }
    };
    actix_web::rt::System::new().block_on(async {
        let vendors = match Sandbox::start() {
            Ok(vendors) => vendors,
            Err(error) => {
                print_error(&format_args!("the fake vendors cannot start: {error}"));
                return Exit::Failure;
            }
        };
        let text = configuration(&vendors, bind, &folder.path().join("store.db").display().to_string());
        let config = match Config::parse(&[&text, MODELS].concat(), "sandbox") {
            Ok(config) => with_short_deadline(config),
            Err(errors) => {
                print_error(&errors);
                return Exit::UsageError;
            }
        };
        let exit = match Application::build_with_tracer(&config, tracer).await {
            Ok(application) => {
                let application = application.with_rehearsal(Arc::new(SandboxFaults::new(&vendors)));
                let welcome = welcome(&vendors, application.address());
                run_until_signal(application, &welcome).await
            }
            Err(error) => {
                print_error(&error);
                Exit::Failure
            }
        };
        vendors.stop().await;
        exit
    })
}

/// A caller that rehearses an unknown outcome waits for the deadline.
fn with_short_deadline(mut config: Config) -> Config {
    config.server.deadline = Duration::from_secs(10);
    config
}

/// The configuration (TOML) of a gateway in front of these fake vendors.
#[must_use]
pub fn configuration(vendors: &Sandbox, bind: SocketAddr, store: &str) -> String {
    let store = serde_json::Value::from(format!("sqlite:{store}"));
    let head =
        format!("[server]\nbind = \"{bind}\"\n[store]\nurl = {store}\n[access]\nmode = \"open\"\nallow_open = true\n");
    let systems = vendors.systems().iter().map(SandboxSystem::to_toml).collect::<String>();
    head + &systems
}

/// `curl` commands to try, and the addresses of Swagger UI and of the fake vendors' logs.
fn welcome(vendors: &Sandbox, address: SocketAddr) -> Vec<String> {
    let record = format!("http://{address}/records/itsm/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID);
    let tag = SystemName::parse("itsm").map(|itsm| {
        let id = RecordId::new(matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID);
        EntityTag::for_version(&itsm, &id, &Version::RowVersion(FACILITY_VERSION)).to_string()
    });
    let patch = format!(
        "curl -i -X PATCH -H 'If-Match: {}' -H 'Content-Type: application/merge-patch+json' \
         -d '{{\"fields\":{{\"Description\":\"Facilities\"}}}}' {record}",
        tag.unwrap_or_default()
    );
    let systems = vendors.systems();
    let logs: String = systems.iter().flat_map(|system| [" ", &*system.base_url, "/_sandbox/log"]).collect();
    vec![
        String::new(),
        "Read a record:".to_owned(),
        format!("  curl -i {record}"),
        "Change it if it has not changed since you read it (204); the second time the ETag is stale (412):".to_owned(),
        format!("  {patch}"),
        "Change one property of a record that its vendor replaces as a whole and updates through a queue:".to_owned(),
        format!(
            "  curl -i -X PATCH -H 'If-Match: *' -H 'Prefer: wait=5, return=representation' \
             -H 'Accept-Loss: linked-questions, source-connections' -H 'Content-Type: application/merge-patch+json' \
             -d '{{\"fields\":{{\"properties\":{{\"Supplier\":{{\"value\":\"Contoso\"}}}}}}}}' \
             http://{address}/records/architecture/object-definitions:{}",
            bluedolphin::NEW_APPLICATION_ID
        ),
        "Rehearse a failure: add -H 'Sandbox-Fault: conflict' (or unknown, busy, quota) to a request.".to_owned(),
        String::new(),
        format!("Swagger UI: http://{address}/docs/"),
        format!("The fake vendors (requests they received, faults to inject):{logs}"),
    ]
}
