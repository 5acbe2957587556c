//! What all requests share, and its replacement when the configuration changes.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::authenticator::Authenticator;
use super::configured_models::Models;
use super::process_info::ProcessInfo;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemKind};
use crate::system::System;
use crate::transport::trace::Tracer;

/// Limits on one request.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// `max_body`, in bytes.
    pub max_body: u64,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// `deadline`: the longest that a caller waits for one request.
    pub deadline: Duration,
    /// `plan_ttl`: how long a plan is valid.
    pub plan_ttl: Duration,
    /// `changes_retention`: how long events of the feed of changes are kept.
    pub changes_retention: Duration,
    /// `max_streams`: the most streams of changes at a time.
    pub max_streams: usize,
}

/// Limits on one batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// `max_batch_items`.
    pub max_items: usize,
    /// `max_batch_body`, in bytes.
    pub max_body: u64,
    /// `max_async_batch_items`.
    pub max_async_items: usize,
    /// `batch_concurrency`: the most items that run at once.
    pub max_concurrency: usize,
    /// `batch_deadline`: how long items may begin.
    pub deadline: Duration,
}

/// Makes a fake vendor fail for one request.
pub trait FaultRehearsal: Send + Sync {
    /// Begins the failure `fault` of a system's vendor, for the request of this trace, which may
    /// name a record. It ends when the result is dropped.
    ///
    /// # Errors
    /// What would be valid.
    fn begin(&self, system: &str, record: Option<&str>, trace: &str, fault: &str) -> Result<Box<dyn Any>, String>;
}

/// The services that handlers call, as one configuration built them.
pub struct ApiState {
    /// Reads and writes records.
    pub gateway: Arc<Gateway>,
    /// The configured systems, in the order of the configuration.
    pub systems: Vec<Arc<System>>,
    /// The configured models.
    pub models: Arc<Models>,
    /// Authenticates callers (`[access]`).
    pub authenticator: Arc<Authenticator>,
    /// Counts requests.
    pub metrics: Arc<Metrics>,
    /// Records spans; `None` where no collector is configured.
    pub tracer: Option<Arc<Tracer>>,
    /// `external_url`: the beginning of the URLs in responses; empty for paths.
    pub external_url: String,
    /// `console`: whether the console is served.
    pub console: bool,
    /// Makes fake vendors fail; only in the sandbox.
    pub rehearsal: Option<Arc<dyn FaultRehearsal>>,
    /// Whether every request is logged (`access_log`).
    pub access_log: bool,
    /// Limits on one request.
    pub limits: RequestLimits,
    /// What is known of the process.
    pub process: Arc<ProcessInfo>,
    /// Limits on one batch.
    pub batch_limits: BatchLimits,
}

impl ApiState {
    /// The configured system of a name.
    ///
    /// # Errors
    /// 404.
    pub(super) fn find_system(&self, name: &str) -> Result<&Arc<System>, Problem> {
        let found = self.systems.iter().find(|system| system.name.as_str() == name);
        found.ok_or_else(|| ProblemKind::SystemNotFound.with_detail("no system of this name is configured"))
    }
}

/// The current [`ApiState`]. A request keeps the one that it began with.
pub struct SharedApiState {
    current: ArcSwap<ApiState>,
    is_stopping: AtomicBool,
}

impl SharedApiState {
    /// Starts with this state.
    #[must_use]
    pub fn new(state: impl Into<Arc<ApiState>>) -> Arc<Self> {
        Arc::new(Self { current: ArcSwap::new(state.into()), is_stopping: AtomicBool::new(false) })
    }

    /// Gives later requests another state.
    pub fn replace(&self, state: ApiState) {
        self.current.store(Arc::new(state));
    }

    pub(super) fn load(&self) -> Arc<ApiState> {
        self.current.load_full()
    }

    /// From now on every response ends its HTTP/1 connection, so that clients go elsewhere.
    pub fn begin_shutdown(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}
