//! Builds the gateway, runs it and stops it without losing a write.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_server::ServerHandle;
use socket2::Socket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::auth::AuthSetup;
use super::background::{self, ConfigFile};
use super::error::{StartError, print_error};
use super::listener::{BoundServer, listen, stop_accepting};
use super::reload::{self, LiveConfig, ProcessServices};
use super::store_metrics::LedgerMetrics;
use super::tls::ReloadableTls;
use crate::cli::Exit;
use crate::config::{self, Config};
use crate::gateway::Gateway;
use crate::http::{ApiState, FaultRehearsal, Listener, SharedApiState};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::transport::trace::Tracer;
use crate::writes::ReconcileQueue;

/// The time that the store and the connections get for a shutdown, however short `shutdown_timeout`
/// is.
const MIN_SHUTDOWN: Duration = Duration::from_secs(2);

/// How long the accept loops get to pause before their sockets are shut down; otherwise they would
/// log errors.
const PAUSE_GRACE: Duration = Duration::from_millis(20);

/// How long connections get after the timeout: enough to respond that a write has not begun, or
/// that its outcome is unknown.
const ABORT_GRACE: Duration = Duration::from_millis(250);

/// How often a shutdown checks whether the last writes are reconciled.
const RECONCILE_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A gateway that is bound to its addresses and does not respond yet.
pub struct Application {
    api_server: BoundServer,
    ops_server: Option<BoundServer>,
    live_config: LiveConfig,
    tls: Option<ReloadableTls>,
    config_file: Option<ConfigFile>,
    reconcile_queue: ReconcileQueue,
}

impl Application {
    /// Opens the store, sets up the systems and binds the addresses. Must be called inside an actix
    /// system.
    ///
    /// # Errors
    /// The first step that fails.
    pub async fn build(config: &Config) -> Result<Self, StartError> {
        Self::build_with_tracer(config, None).await
    }

    /// The same, with spans exported by `tracer`.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub async fn build_with_tracer(config: &Config, tracer: Option<Arc<Tracer>>) -> Result<Self, StartError> {
        let names: Vec<_> = config.systems.iter().map(|system| system.name.clone()).collect();
        let metrics = Metrics::with_caller_label(&names, config.metrics.caller_label)
            .map_err(|error| StartError::Metrics(error.to_string()))?;
        let ledger_metrics = Arc::new(LedgerMetrics(Arc::clone(&metrics)));
        let retry_for = config.server.shutdown_timeout;
        let store = Journal::open_within(config.store.clone(), ledger_metrics, retry_for).await?;
        let built = reload::build_systems(config, &[], &store, &metrics)?;
        let systems = built.iter().map(|(_, system)| Arc::clone(system)).collect();
        let (gateway, reconcile_queue) = Gateway::new(systems, store, Arc::clone(&metrics));
        let auth = AuthSetup::new(&config.access, None);
        auth.report_expiries(&metrics);
        let process = ProcessServices { gateway, metrics, tracer, info: Arc::default() };
        let api_state = SharedApiState::new(reload::build_api_state(config, &built, &auth, &process));
        let tls = config.server.tls.as_ref().map(ReloadableTls::new).transpose();
        let tls = tls.map_err(|error| StartError::Tls(error.to_string()))?;
        let listener = if config.server.ops_bind.is_some() { Listener::Api } else { Listener::Everything };
        let api_server = listen(&config.server, config.server.bind, listener, tls.as_ref(), &api_state)?;
        let ops_server = config.server.ops_bind.map(|bind| {
            let ops = config::ServerConfig { workers: 1, ..config.server.clone() };
            listen(&ops, bind, Listener::Ops, None, &api_state)
        });
        let ops_server = ops_server.transpose()?;
        let live_config = LiveConfig { config: config.clone(), systems: built, auth, api_state, process };
        Ok(Self { api_server, ops_server, live_config, tls, config_file: None, reconcile_queue })
    }

    /// Lets requests make the fake vendors fail (`Sandbox-Fault`).
    #[must_use]
    pub fn with_rehearsal(self, rehearsal: Arc<dyn FaultRehearsal>) -> Self {
        let live = &self.live_config;
        let state = reload::build_api_state(&live.config, &live.systems, &live.auth, &live.process);
        live.api_state.replace(ApiState { rehearsal: Some(rehearsal), ..state });
        self
    }

    /// Reloads this file whenever it changes and at SIGHUP; `bind` replaces its `server.bind`.
    ///
    /// # Errors
    /// Signals cannot be received.
    pub fn watch_config(mut self, file: &Path, bind: Option<SocketAddr>) -> std::io::Result<Self> {
        self.live_config.process.info.config_loaded(reload::fingerprint(file));
        self.config_file = Some(ConfigFile::watch(file, bind, &self.live_config.config)?);
        Ok(self)
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The address of the API.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.api_server.address
    }

    /// The address of metrics and health, if it is another one.
    #[must_use]
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.ops_server.as_ref().map(|server| server.address)
    }

    /// What the gateway serves and where, in a few lines for the operator.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        let config = &self.live_config.config;
        let systems = config.systems.iter().map(|system| format!("{} ({})", system.name, system.vendor.factory.vendor));
        let own = format!("{}://{}", self.scheme(), self.address());
        let ops = self.ops_address().map_or_else(|| own.clone(), |address| format!("http://{address}"));
        vec![
            format!("  Swagger UI {own}/docs/, metrics {ops}/metrics, health {ops}/readyz"),
            format!("  store {}", display_store(&config.store.url)),
            format!("  systems {}", systems.collect::<Vec<_>>().join(", ")),
        ]
    }

    /// Serves until `stop` completes, then finishes what is in flight. Returns whether no write was
    /// left unfinished.
    pub async fn run(self, stop: impl Future<Output = ()>) -> bool {
        let mut servers = Vec::new();
        for BoundServer { server, socket, .. } in [Some(self.api_server), self.ops_server].into_iter().flatten() {
            servers.push((server.handle(), socket));
            actix_web::rt::spawn(server);
        }
        let gateway = Arc::clone(&self.live_config.process.gateway);
        let api_state = Arc::clone(&self.live_config.api_state);
        let tracer = self.live_config.process.tracer.clone();
        let shutdown_timeout = self.live_config.config.server.shutdown_timeout;
        let reconciler = {
            let gateway = Arc::clone(&gateway);
            actix_web::rt::spawn(async move { gateway.run_reconciler(self.reconcile_queue).await })
        };
        let batches = actix_web::rt::spawn(crate::http::resume_batches(Arc::clone(&api_state)));
        let background = actix_web::rt::spawn(background::run(self.live_config, self.tls, self.config_file));
        stop.await;
        api_state.begin_shutdown();
        background.abort();
        batches.abort();
        tracing::info!("shutting down: no new requests; requests in flight are finished");
        let is_finished = finish_requests(servers, &gateway, reconciler, shutdown_timeout).await;
        if !is_finished {
            tracing::warn!("writes were left unfinished; the next start reconciles them");
        }
        if let Some(tracer) = tracer {
            // Nothing else runs on this thread any more.
            tracer.close(MIN_SHUTDOWN);
        }
        is_finished
    }
}

/// Accepts no new connections, finishes what is in flight within `timeout`, and closes the store.
/// Returns whether no write was left unfinished.
async fn finish_requests(
    servers: Vec<(ServerHandle, Socket)>,
    gateway: &Gateway,
    reconciler: JoinHandle<()>,
    timeout: Duration,
) -> bool {
    let deadline = Instant::now() + timeout;
    for (handle, _) in &servers {
        handle.pause().await;
    }
    tokio::time::sleep(PAUSE_GRACE).await;
    for (_, socket) in &servers {
        stop_accepting(socket);
    }
    let drained = gateway.drain(timeout).await;
    let time_left = deadline.saturating_duration_since(Instant::now()).max(MIN_SHUTDOWN);
    // Busy connections get the time that is left. Callers of writes that did not end in time have
    // just got a response.
    let grace = if drained { time_left } else { ABORT_GRACE };
    for (handle, _) in servers {
        let _ = tokio::time::timeout(grace, handle.stop(true)).await;
    }
    // Background writes get the rest of the time, too.
    while Instant::now() < deadline && gateway.journal().count_running().await.is_ok_and(|running| running > 0) {
        tokio::time::sleep(RECONCILE_POLL_INTERVAL).await;
    }
    reconciler.abort();
    let unfinished = gateway.journal().count_running().await.map_or(true, |running| running > 0);
    let stored = gateway.journal().close(time_left).await;
    drained && !unfinished && stored
}

/// Where the store is, without credentials.
fn display_store(url: &str) -> String {
    if url.starts_with("sqlite:") {
        return url.to_owned();
    }
    match url::Url::parse(url) {
        Ok(url) => format!("postgres://{}{}", url.host_str().unwrap_or_default(), url.path()),
        Err(_) => "postgres".to_owned(),
    }
}

/// `serve`.
pub(super) fn serve_command(path: &Path, bind: Option<SocketAddr>, tracer: Option<Arc<Tracer>>) -> Exit {
    let mut config = match config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            print_error(&errors);
            return Exit::UsageError;
        }
    };
    if let Some(Err(error)) = bind.map(|bind| config.override_bind(bind)) {
        print_error(&error);
        return Exit::UsageError;
    }
    actix_web::rt::System::new().block_on(async move {
        let application = match Application::build_with_tracer(&config, tracer).await {
            Ok(application) => application.watch_config(path, bind),
            Err(error) => {
                print_error(&error);
                return Exit::Failure;
            }
        };
        match application {
            Ok(application) => run_until_signal(application, &[]).await,
            Err(error) => {
                print_error(&format_args!("signals cannot be received: {error}"));
                Exit::Failure
            }
        }
    })
}

/// Prints the gateway's address, then the lines of `more`, and runs it until SIGTERM or SIGINT.
pub(super) async fn run_until_signal(application: Application, more: &[String]) -> Exit {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        print_error(&"signals cannot be received");
        return Exit::Failure;
    };
    let mut out = std::io::stdout();
    let lines = [format!("listening on {}://{}", application.scheme(), application.address())]
        .into_iter()
        .chain(application.summary())
        .chain(more.iter().cloned());
    for line in lines {
        // The gateway serves even if standard output is closed.
        let _ = writeln!(out, "{line}");
    }
    let _ = out.flush();
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    if application.run(stop).await { Exit::Success } else { Exit::Failure }
}
