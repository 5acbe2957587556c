//! Replaces the configuration while requests run.
//!
//! A request uses one [`ApiState`] from its start to its end, so it sees a change as a whole or not
//! at all. Addresses, threads and the store need a restart, which the log says.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::auth::AuthSetup;
use super::error::StartError;
use super::systems;
use crate::config::{self, Config, ServerConfig};
use crate::gateway::Gateway;
use crate::http::{ApiState, BatchLimits, Models, ProcessInfo, RequestLimits, SharedApiState, openapi_json_with};
use crate::journal::Journal;
use crate::metrics::{Metrics, ReloadTarget};
use crate::record::sha256;
use crate::transport::trace::Tracer;

/// How long the body of a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The configuration in force, and what was built from it.
pub(super) struct LiveConfig {
    pub(super) config: Config,
    pub(super) systems: Vec<systems::BuiltSystem>,
    pub(super) auth: AuthSetup,
    pub(super) api_state: Arc<SharedApiState>,
    pub(super) process: ProcessServices,
}

/// What stays while the configuration changes.
pub(super) struct ProcessServices {
    pub(super) gateway: Arc<Gateway>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tracer: Option<Arc<Tracer>>,
    pub(super) info: Arc<ProcessInfo>,
}

/// The state of the API for a configuration.
pub(super) fn build_api_state(
    config: &Config,
    built: &[systems::BuiltSystem],
    auth: &AuthSetup,
    process: &ProcessServices,
) -> ApiState {
    let keys = built.iter().map(|(_, system)| (system.name.as_str(), system.key_expires));
    process.metrics.vendor_keys_expire(keys.filter_map(|(name, expires)| Some((name, expires?.as_second()))));
    let openapi = openapi_json_with(&config.models, &|name| config.vendor_of(name));
    ApiState {
        gateway: Arc::clone(&process.gateway),
        systems: built.iter().map(|(_, system)| Arc::clone(system)).collect(),
        models: Arc::new(Models::new(config.models.clone(), openapi)),
        authenticator: Arc::clone(&auth.authenticator),
        metrics: Arc::clone(&process.metrics),
        tracer: process.tracer.clone(),
        external_url: config.server.external_url.clone(),
        console: config.server.console,
        rehearsal: None,
        access_log: config.server.access_log,
        limits: RequestLimits {
            max_body: config.server.max_body as u64,
            body_timeout: BODY_TIMEOUT.min(config.server.deadline),
            deadline: config.server.deadline,
            plan_ttl: config.server.plan_ttl,
            changes_retention: config.server.changes_retention,
            max_streams: config.server.max_streams,
        },
        batch_limits: BatchLimits {
            max_items: config.server.max_batch_items,
            max_body: config.server.max_batch_body as u64,
            max_async_items: config.server.max_async_batch_items,
            max_concurrency: config.server.batch_concurrency,
            deadline: config.server.batch_deadline,
        },
        process: Arc::clone(&process.info),
    }
}

/// Builds the systems, each with the configuration that it was built from.
pub(super) fn build_systems(
    config: &Config,
    running: &[systems::BuiltSystem],
    journal: &Journal,
    metrics: &Arc<Metrics>,
) -> Result<Vec<systems::BuiltSystem>, StartError> {
    let built = systems::build(&config.systems, running, journal, metrics)?;
    Ok(config.systems.iter().cloned().zip(built).collect())
}

impl LiveConfig {
    /// Reads the configuration again; an invalid one changes nothing. `bind` replaces its
    /// `server.bind` (`--bind`).
    pub(super) async fn reload(&mut self, path: &Path, bind: Option<SocketAddr>) {
        let fingerprint = fingerprint(path);
        let result = match config::load(path) {
            Ok(config) => self.apply(config, bind).await,
            Err(errors) => Err(errors.to_string()),
        };
        self.process.metrics.reload(ReloadTarget::Configuration, result.is_ok());
        match result {
            Ok(()) => {
                self.process.info.config_loaded(fingerprint);
                tracing::info!(file = %path.display(), "the configuration was reloaded and is in force");
            }
            Err(errors) => {
                self.process.info.config_refused(&errors);
                tracing::error!(file = %path.display(), errors, "the changed configuration is invalid; the previous one stays in force");
            }
        }
    }

    async fn apply(&mut self, mut config: Config, bind: Option<SocketAddr>) -> Result<(), String> {
        config.server.bind = bind.unwrap_or(config.server.bind);
        let restart_keys = needs_restart(&self.config, &config);
        // The addresses stay until a restart: open access is checked against the current one.
        config.override_bind(self.config.server.bind)?;
        let current = self.config.server.clone();
        // What is bound, and what the threads are started with, stays.
        config.server = ServerConfig {
            bind: current.bind,
            ops_bind: current.ops_bind,
            workers: current.workers,
            shutdown_timeout: current.shutdown_timeout,
            http2: current.http2,
            tls: current.tls,
            ..config.server
        };
        config.store = self.config.store.clone();
        for (before, now) in matching_systems(&self.config, &config) {
            if !before.vendor.is_same_vendor(&now.vendor) {
                return Err(format!("systems.{}: another vendor under the same name needs a restart", now.name));
            }
        }
        let ProcessServices { gateway, metrics, .. } = &self.process;
        let systems = build_systems(&config, &self.systems, gateway.journal(), metrics);
        let systems = systems.map_err(|error| error.to_string())?;
        if config.access != self.config.access {
            let mut auth = AuthSetup::new(&config.access, Some(&self.auth));
            auth.report_expiries(metrics);
            auth.refresh(true).await;
            self.auth = auth;
        }
        let built: Vec<_> = systems.iter().map(|(_, system)| Arc::clone(system)).collect();
        gateway.replace_systems(&built);
        self.api_state.replace(build_api_state(&config, &systems, &self.auth, &self.process));
        (self.systems, self.config) = (systems, config);
        if !restart_keys.is_empty() {
            tracing::warn!(keys = restart_keys.join(", "), "some changed keys need a restart");
        }
        Ok(())
    }
}

/// SHA-256 of a file, in hex.
pub(super) fn fingerprint(path: &Path) -> Option<String> {
    Some(const_hex::encode(sha256([&*std::fs::read(path).ok()?])))
}

fn matching_systems<'c>(
    before: &'c Config,
    now: &'c Config,
) -> impl Iterator<Item = (&'c config::SystemConfig, &'c config::SystemConfig)> {
    now.systems.iter().filter_map(|now| Some((before.systems.iter().find(|before| before.name == now.name)?, now)))
}

/// The changed keys that a running process cannot apply.
fn needs_restart(before: &Config, now: &Config) -> Vec<&'static str> {
    let (old, new) = (&before.server, &now.server);
    let changed = [
        ("server.bind", old.bind != new.bind),
        ("server.ops_bind", old.ops_bind != new.ops_bind),
        ("server.workers", old.workers != new.workers),
        ("server.shutdown_timeout", old.shutdown_timeout != new.shutdown_timeout),
        ("server.tls", old.tls != new.tls),
        ("server.http2", old.http2 != new.http2),
        ("store", before.store != now.store),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}
