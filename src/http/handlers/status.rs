//! The gateway as its operators see it (contract 4.15).

use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;

use super::operations::authorized_systems;
use crate::access::{CallerStatus, Permission};
use crate::http::context::RequestContext;
use crate::http::error::HandlerResult;
use crate::http::headers::accept;
use crate::http::process_info::ConfigState;
use crate::http::response::{self, ReadPreconditions};
use crate::metrics::BUILD_REVISION;

/// The state of the gateway.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::http) struct GatewayStatus {
    /// The running build.
    build: Build,
    /// When this process started.
    #[schema(format = "date-time")]
    started_at: String,
    /// `sqlite` or `postgres`.
    #[schema(example = "sqlite")]
    store: StoreKind,
    /// What a commit waits for: `commit` or `relaxed`.
    #[schema(example = "commit")]
    durability: &'static str,
    /// How many processes share the store now; this one is among them.
    replicas: i64,
    /// The configuration in force.
    config: ConfigState,
    /// How many systems are configured.
    systems: usize,
    /// The configured callers; empty where access is open or by tokens.
    callers: Vec<CallerInfo>,
}

/// A kind of store.
#[derive(Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum StoreKind {
    /// A file of this machine.
    Sqlite,
    /// A server.
    Postgres,
}

/// A build.
#[derive(Serialize, utoipa::ToSchema)]
struct Build {
    /// The version.
    #[schema(example = "0.2.0")]
    version: &'static str,
    /// The revision of the source, or `unknown`.
    revision: &'static str,
}

/// A configured caller, without secrets.
#[derive(Serialize, utoipa::ToSchema)]
struct CallerInfo {
    /// Its name.
    #[schema(example = "billing")]
    name: String,
    /// The first digits of the `key_sha256` of each of its keys.
    key_ids: Vec<String>,
    /// When the last of its keys expires; null if one of them never does.
    #[schema(format = "date-time", required = true)]
    not_after: Option<String>,
    /// The minute of its last request to this process; null if there was none.
    #[schema(format = "date-time", required = true)]
    last_used: Option<String>,
}

impl From<CallerStatus> for CallerInfo {
    fn from(status: CallerStatus) -> Self {
        let time = |time: SystemTime| Timestamp::try_from(time).ok().map(|time| time.to_string());
        Self {
            name: status.name.0.to_string(),
            key_ids: status.key_ids,
            not_after: status.not_after.and_then(time),
            last_used: status.last_used.and_then(time),
        }
    }
}

/// `GET` and `HEAD /status`.
#[utoipa::path(get, path = "/status", tag = "Gateway", operation_id = "getStatus",
    summary = "The state of the gateway", description = "Build, store, configuration and callers, without secrets. Needs `operate` on any system.",
    responses((status = 200, description = "The state", body = GatewayStatus)))]
pub(in crate::http) async fn get(context: RequestContext) -> HandlerResult {
    authorized_systems(&context, None, Permission::Operate)?;
    accept::require_json(context.headers())?;
    context.query(&[])?;
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let (api, journal) = (context.api(), context.gateway().journal());
    let status = GatewayStatus {
        build: Build { version: env!("CARGO_PKG_VERSION"), revision: BUILD_REVISION },
        started_at: api.process.started_at(),
        store: if journal.is_shared() { StoreKind::Postgres } else { StoreKind::Sqlite },
        durability: journal.durability().as_str(),
        replicas: context.read_journal(journal.count_replicas()).await?,
        config: api.process.config(),
        systems: api.systems.len(),
        callers: api.authenticator.callers().into_iter().map(CallerInfo::from).collect(),
    };
    preconditions.respond(response::to_json(&status), None, None)
}
