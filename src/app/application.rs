//! Building the gateway, running it, and stopping it without losing a write.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::auth::AuthSetup;
use super::background::{self, ConfigFile};
use super::listener::{BoundServer, ConnectionQuota, listen, stop_accepting};
use super::reload::{self, LiveConfig};
use super::tls::ReloadableTls;
use super::{plugs, print_error};
use crate::cli::Exit;
use crate::config::{self, Config, Durability, StoreUrl};
use crate::gateway::{Gateway, ReconcileQueue};
use crate::http::{self, SharedApiState};
use crate::metrics::Metrics;
use crate::store::{Store, StoreSettings};
use crate::transport::trace::Tracer;

/// What the store and the connections get at a stop, however short `shutdown_timeout` is.
const MIN_SHUTDOWN: Duration = Duration::from_secs(2);

/// What accepting gets to pause before the socket under it is shut: it would complain.
const PAUSE_GRACE: Duration = Duration::from_millis(20);

/// What the connections get when the time is over: as long as it takes to tell that nobody knows what became of a write.
const ABORT_GRACE: Duration = Duration::from_millis(250);

/// How often a stop looks whether the last writes are settled.
const RECONCILE_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be opened.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] crate::store::StoreError),
    /// A system could not be set up.
    #[error("the system {0}: {1}")]
    System(String, String),
    /// The metrics contradict each other.
    #[error("the metrics: {0}")]
    Metrics(String),
    /// `server.tls` cannot be used.
    #[error("server.tls.{0}")]
    Tls(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
}

/// A gateway that listens and does not answer yet.
pub struct Application {
    api_server: BoundServer,
    ops_server: Option<BoundServer>,
    live_config: LiveConfig,
    tls: Option<ReloadableTls>,
    config_file: Option<ConfigFile>,
    reconcile_queue: ReconcileQueue,
}

impl Application {
    /// Opens the store, sets the systems up and binds the addresses. Must be called inside an actix system.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub async fn build(config: &Config) -> Result<Self, StartError> {
        Self::build_with_tracer(config, None).await
    }

    /// The same, and tells a collector of it.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub async fn build_with_tracer(config: &Config, spans: Option<Arc<Tracer>>) -> Result<Self, StartError> {
        let names: Vec<_> = config.systems.iter().map(|system| system.name.clone()).collect();
        let metrics = Metrics::new(&names).map_err(|error| StartError::Metrics(error.to_string()))?;
        let built = reload::build_systems(config, &[], &metrics)?;
        let store = Store::open(store_settings(&config.store), plugs::store_metrics(&metrics)).await?;
        let systems = built.iter().map(|(_, system)| Arc::clone(system)).collect();
        let (gateway, unsettled) = Gateway::new(systems, store, Arc::clone(&metrics));
        let callers = AuthSetup::new(&config.access);
        let present =
            SharedApiState::new(reload::build_api_state(config, &built, &callers, &gateway, &metrics, spans.as_ref()));
        let tls = config.server.tls.as_ref().map(ReloadableTls::new).transpose();
        let tls = tls.map_err(|fault| StartError::Tls(fault.to_string()))?;
        let bind = (config.server.bind, ConnectionQuota::Api);
        let for_callers = listen(&config.server, bind, tls.as_ref(), http::configure(&present))?;
        let for_operators = config.server.ops_bind.map(|bind| {
            let ops = config::ServerConfig { workers: 1, ..config.server.clone() };
            listen(&ops, (bind, ConnectionQuota::Ops), None, http::configure_ops(&present))
        });
        let operators = for_operators.transpose()?;
        let running = LiveConfig {
            config: config.clone(),
            systems: built,
            auth: callers,
            gateway,
            metrics,
            api_state: present,
            tracer: spans,
        };
        Ok(Self {
            api_server: for_callers,
            ops_server: operators,
            live_config: running,
            tls,
            config_file: None,
            reconcile_queue: unsettled,
        })
    }

    /// Reads this file again whenever it changes and at SIGHUP; `bind` stands in for its `server.bind`.
    ///
    /// # Errors
    /// Signals cannot be received.
    pub fn watch_config(mut self, file: &Path, bind: Option<SocketAddr>) -> std::io::Result<Self> {
        self.config_file = Some(ConfigFile::watch(file, bind)?);
        Ok(self)
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Where the API is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.api_server.address
    }

    /// Where metrics and health are, if not there.
    #[must_use]
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.ops_server.as_ref().map(|listening| listening.address)
    }

    /// Answers until `stop` is over; then finishes what is in flight. Whether no write was left unfinished.
    pub async fn run(self, stop: impl Future<Output = ()>) -> bool {
        let mut doors = Vec::new();
        for BoundServer { server, socket, .. } in [Some(self.api_server), self.ops_server].into_iter().flatten() {
            doors.push((server.handle(), socket));
            actix_web::rt::spawn(server);
        }
        let gateway = Arc::clone(&self.live_config.gateway);
        let spans = self.live_config.tracer.clone();
        let shutdown_timeout = self.live_config.config.server.shutdown_timeout;
        let settling = {
            let gateway = Arc::clone(&gateway);
            actix_web::rt::spawn(async move { gateway.run_reconciler(self.reconcile_queue).await })
        };
        let upkeep = actix_web::rt::spawn(background::run(self.live_config, self.tls, self.config_file));
        stop.await;
        upkeep.abort();
        tracing::info!("stopping: no new requests; what is in flight is finished");
        let until = Instant::now() + shutdown_timeout;
        for (handle, _) in &doors {
            handle.pause().await;
        }
        tokio::time::sleep(PAUSE_GRACE).await;
        for (_, socket) in &doors {
            stop_accepting(socket);
        }
        let drained = gateway.drain(shutdown_timeout).await;
        let left = until.saturating_duration_since(Instant::now()).max(MIN_SHUTDOWN);
        // The connections that are still busy get what is left of the time, and no more. Whoever waits for a write that did not end
        // in all that time has just been told so.
        let answering = if drained { left } else { ABORT_GRACE };
        for (handle, _) in doors {
            let _ = tokio::time::timeout(answering, handle.stop(true)).await;
        }
        // What goes on in the background gets the rest of the time too.
        while Instant::now() < until && gateway.store().count_running().await.is_ok_and(|running| running > 0) {
            tokio::time::sleep(RECONCILE_POLL_INTERVAL).await;
        }
        settling.abort();
        let unfinished = gateway.store().count_running().await.map_or(true, |running| running > 0);
        let stored = gateway.store().close(left).await;
        if !drained || unfinished || !stored {
            tracing::warn!("writes were left unfinished; the next start settles them");
        }
        if let Some(spans) = spans {
            // Nothing else runs on this thread any more.
            spans.close(MIN_SHUTDOWN);
        }
        drained && !unfinished && stored
    }
}

fn store_settings(configured: &config::StoreConfig) -> StoreSettings {
    StoreSettings {
        url: match &configured.url {
            StoreUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
            StoreUrl::Postgres(url) => url.expose().to_owned(),
        },
        durability: match configured.durability {
            Durability::Commit => crate::store::Durability::Commit,
            Durability::Relaxed => crate::store::Durability::Relaxed,
        },
        idempotency_ttl: configured.idempotency_ttl,
        retention: configured.retention,
    }
}

/// `serve`.
pub(super) fn serve_command(path: &Path, bind: Option<SocketAddr>, spans: Option<Arc<Tracer>>) -> Exit {
    let mut config = match config::load(path) {
        Ok(config) => config,
        Err(faults) => {
            print_error(&faults);
            return Exit::UsageError;
        }
    };
    if let Some(Err(wrong)) = bind.map(|bind| config.override_bind(bind)) {
        print_error(&wrong);
        return Exit::UsageError;
    }
    actix_web::rt::System::new().block_on(async move {
        let application = match Application::build_with_tracer(&config, spans).await {
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

/// Prints where the gateway listens (and `more` below it) and runs it until SIGTERM or SIGINT.
pub(super) async fn run_until_signal(application: Application, more: &[String]) -> Exit {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        print_error(&"signals cannot be received");
        return Exit::Failure;
    };
    let mut out = std::io::stdout();
    let lines = [format!("listening on {}://{}", application.scheme(), application.address())]
        .into_iter()
        .chain(more.iter().cloned());
    for line in lines {
        // A closed standard output is no reason not to serve.
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
