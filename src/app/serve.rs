//! Building the gateway, running it, and stopping it without losing a write.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpServer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::{complain, plugs, systems};
use crate::access::Access;
use crate::api::{self, Api};
use crate::cli::Exit;
use crate::config::{self, Config, Durability, StoreUrl};
use crate::gateway::{Gateway, Unsettled};
use crate::metrics::Metrics;
use crate::store::{Store, StoreSettings};

/// How long an idle caller's connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long the head of a request may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the body of a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// What the store and the connections get at a stop, however short `shutdown_timeout` is.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

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
    /// An address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
}

/// A gateway that listens and does not answer yet.
pub struct Application {
    address: SocketAddr,
    ops_address: Option<SocketAddr>,
    server: Server,
    ops: Option<Server>,
    gateway: Arc<Gateway>,
    unsettled: Unsettled,
    shutdown_timeout: Duration,
}

impl Application {
    /// Opens the store, sets the systems up and binds the addresses. Must be called inside an actix system.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub async fn build(config: &Config) -> Result<Self, StartError> {
        let names: Vec<_> = config.systems.iter().map(|system| system.name.clone()).collect();
        let metrics = Metrics::new(&names).map_err(|error| StartError::Metrics(error.to_string()))?;
        let systems = systems::build(&config.systems, &metrics)?;
        let store = Store::open(store_settings(&config.store), plugs::store_metrics(&metrics)).await?;
        let (gateway, unsettled) = Gateway::new(systems, store, Arc::clone(&metrics));
        let api = Arc::new(Api {
            records: plugs::records(&gateway),
            access: plugs::authenticator(Access::new(&config.access)),
            operations: plugs::operations(&gateway),
            health: plugs::health(&gateway),
            metrics: plugs::request_metrics(&metrics, &names),
            limits: api::Limits {
                max_body: config.server.max_body as u64,
                body_timeout: BODY_TIMEOUT.min(config.server.deadline),
                deadline: config.server.deadline,
            },
            separate_ops: config.server.ops_bind.is_some(),
        });
        let (server, address) = listen(&config.server, config.server.bind, api::configure(&api))?;
        let (ops, ops_address) = match config.server.ops_bind {
            Some(bind) => {
                let ops = config::Server { workers: 1, ..config.server.clone() };
                let (server, address) = listen(&ops, bind, api::configure_ops(&api))?;
                (Some(server), Some(address))
            }
            None => (None, None),
        };
        let shutdown_timeout = config.server.shutdown_timeout;
        Ok(Self { address, ops_address, server, ops, gateway, unsettled, shutdown_timeout })
    }

    /// Where the API is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics and health are, if not there.
    #[must_use]
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.ops_address
    }

    /// Answers until `stop` is over; then finishes what is in flight. Whether no write was left unfinished.
    pub async fn run(self, stop: impl Future<Output = ()>) -> bool {
        let handles: Vec<_> =
            [Some(self.server.handle()), self.ops.as_ref().map(Server::handle)].into_iter().flatten().collect();
        actix_web::rt::spawn(self.server);
        if let Some(ops) = self.ops {
            actix_web::rt::spawn(ops);
        }
        let settling = {
            let gateway = Arc::clone(&self.gateway);
            actix_web::rt::spawn(async move { gateway.settle(self.unsettled).await })
        };
        stop.await;
        tracing::info!("stopping: no new requests; what is in flight is finished");
        let until = Instant::now() + self.shutdown_timeout;
        for handle in &handles {
            handle.pause().await;
        }
        let drained = self.gateway.drain(self.shutdown_timeout).await;
        let left = until.saturating_duration_since(Instant::now()).max(LAST_MOMENTS);
        for handle in handles {
            // The connections that are still busy get what is left of the time, and no more.
            let _ = tokio::time::timeout(left, handle.stop(true)).await;
        }
        settling.abort();
        let unfinished = self.gateway.store().unfinished().await.map_or(true, |running| running > 0);
        let stored = self.gateway.store().close(left).await;
        if !drained || unfinished || !stored {
            tracing::warn!("writes were left unfinished; the next start settles them");
        }
        drained && !unfinished && stored
    }
}

fn store_settings(configured: &config::Store) -> StoreSettings {
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

fn listen<F>(configured: &config::Server, bind: SocketAddr, wiring: F) -> Result<(Server, SocketAddr), StartError>
where
    F: Fn(&mut actix_web::web::ServiceConfig) + Clone + Send + 'static,
{
    let failed = |error| StartError::Bind(bind, error);
    let server = HttpServer::new(move || App::new().configure(wiring.clone()))
        .workers(configured.workers)
        .on_connect(api::opened)
        .disable_signals()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .shutdown_timeout(configured.shutdown_timeout.as_secs().max(1))
        .bind(bind)
        .map_err(failed)?;
    let address = server.addrs().first().copied().unwrap_or(bind);
    Ok((server.run(), address))
}

/// `serve`.
pub(super) fn command(path: &Path, bind: Option<SocketAddr>) -> Exit {
    let mut config = match config::load(path) {
        Ok(config) => config,
        Err(faults) => {
            complain(&faults);
            return Exit::Refused;
        }
    };
    if let Some(Err(wrong)) = bind.map(|bind| config.rebind(bind)) {
        complain(&wrong);
        return Exit::Refused;
    }
    actix_web::rt::System::new().block_on(async move {
        match Application::build(&config).await {
            Ok(application) => run_until_signal(application, &[]).await,
            Err(error) => {
                complain(&error);
                Exit::Failed
            }
        }
    })
}

/// Prints where the gateway listens (and `more` below it) and runs it until SIGTERM or SIGINT.
pub(super) async fn run_until_signal(application: Application, more: &[String]) -> Exit {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        complain(&"signals cannot be received");
        return Exit::Failed;
    };
    let mut out = std::io::stdout();
    let lines = [format!("listening on http://{}", application.address())].into_iter().chain(more.iter().cloned());
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
    if application.run(stop).await { Exit::Done } else { Exit::Failed }
}
