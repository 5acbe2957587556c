//! What a configuration decides, and how another one takes its place while requests run.
//!
//! A request begins with one [`ApiState`] and ends with it, so a change is seen as a whole or not at all. What a change cannot
//! reach are addresses, threads and the store: they need a restart, and the log says so.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::auth::AuthSetup;
use super::{StartError, plugs, systems};
use crate::config::{self, Config, ServerConfig};
use crate::gateway::Gateway;
use crate::http::{self, ApiState, SharedApiState};
use crate::metrics::{Metrics, ReloadTarget};
use crate::transport::trace::Tracer;

/// How long the body of a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The configuration that runs, and what was built from it.
pub(super) struct LiveConfig {
    pub(super) config: Config,
    pub(super) systems: Vec<systems::BuiltSystem>,
    pub(super) auth: AuthSetup,
    pub(super) gateway: Arc<Gateway>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) api_state: Arc<SharedApiState>,
    pub(super) tracer: Option<Arc<Tracer>>,
}

/// The API of a configuration.
pub(super) fn build_api_state(
    config: &Config,
    built: &[systems::BuiltSystem],
    callers: &AuthSetup,
    gateway: &Arc<Gateway>,
    metrics: &Arc<Metrics>,
    spans: Option<&Arc<Tracer>>,
) -> ApiState {
    let systems: Vec<_> = built.iter().map(|(_, system)| Arc::clone(system)).collect();
    ApiState {
        records: plugs::records(gateway, &systems),
        access: Arc::clone(&callers.authenticator),
        operations: plugs::operations(gateway),
        health: plugs::health(gateway),
        metrics: plugs::request_metrics(metrics, &systems),
        tracer: spans.cloned(),
        limits: http::RequestLimits {
            max_body: config.server.max_body as u64,
            body_timeout: BODY_TIMEOUT.min(config.server.deadline),
            deadline: config.server.deadline,
        },
        separate_ops: config.server.ops_bind.is_some(),
    }
}

/// Systems with the configuration that each was built from.
pub(super) fn build_systems(
    config: &Config,
    running: &[systems::BuiltSystem],
    metrics: &Arc<Metrics>,
) -> Result<Vec<systems::BuiltSystem>, StartError> {
    let built = systems::build(&config.systems, running, metrics)?;
    Ok(config.systems.iter().cloned().zip(built).collect())
}

impl LiveConfig {
    /// Reads the configuration again; a bad one changes nothing. `bind` is what stands in for its `server.bind` (`--bind`).
    pub(super) async fn reload(&mut self, path: &Path, bind: Option<SocketAddr>) {
        let taken = match config::load(path) {
            Ok(config) => self.apply(config, bind).await,
            Err(faults) => Err(faults.to_string()),
        };
        self.metrics.reload(ReloadTarget::Configuration, taken.is_ok());
        match taken {
            Ok(()) => tracing::info!(file = %path.display(), "the configuration was read again and is in force"),
            Err(faults) => {
                tracing::error!(file = %path.display(), faults, "the changed configuration is refused; the former one stays");
            }
        }
    }

    async fn apply(&mut self, mut config: Config, bind: Option<SocketAddr>) -> Result<(), String> {
        config.server.bind = bind.unwrap_or(config.server.bind);
        let stays = needs_restart(&self.config, &config);
        // What listens goes on listening where it does: that is where open access would be open.
        config.override_bind(self.config.server.bind)?;
        let ServerConfig { max_body, deadline, .. } = config.server;
        config.server = ServerConfig { max_body, deadline, ..self.config.server.clone() };
        config.store = self.config.store.clone();
        for (before, now) in matching_systems(&self.config, &config) {
            if !before.vendor.is_same_vendor(&now.vendor) {
                return Err(format!("systems.{}: another vendor under the same name needs a restart", now.name));
            }
        }
        let systems = build_systems(&config, &self.systems, &self.metrics).map_err(|error| error.to_string())?;
        if config.access != self.config.access {
            let mut callers = AuthSetup::new(&config.access);
            callers.refresh(true).await;
            self.auth = callers;
        }
        let alone: Vec<_> = systems.iter().map(|(_, system)| Arc::clone(system)).collect();
        self.gateway.replace_systems(&alone);
        let spans = self.tracer.as_ref();
        self.api_state.replace(build_api_state(&config, &systems, &self.auth, &self.gateway, &self.metrics, spans));
        (self.systems, self.config) = (systems, config);
        if !stays.is_empty() {
            tracing::warn!(keys = stays.join(", "), "changed keys that are in force only after a restart");
        }
        Ok(())
    }
}

fn matching_systems<'c>(
    before: &'c Config,
    now: &'c Config,
) -> impl Iterator<Item = (&'c config::SystemConfig, &'c config::SystemConfig)> {
    now.systems.iter().filter_map(|now| Some((before.systems.iter().find(|before| before.name == now.name)?, now)))
}

/// The changed keys that a running process cannot take over.
fn needs_restart(before: &Config, now: &Config) -> Vec<&'static str> {
    let (old, new) = (&before.server, &now.server);
    let changed = [
        ("server.bind", old.bind != new.bind),
        ("server.ops_bind", old.ops_bind != new.ops_bind),
        ("server.workers", old.workers != new.workers),
        ("server.shutdown_timeout", old.shutdown_timeout != new.shutdown_timeout),
        ("server.tls", old.tls != new.tls),
        ("store", before.store != now.store),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}
