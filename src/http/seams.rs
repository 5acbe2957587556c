//! What the HTTP side needs of the rooms behind it, as small traits: plugged in by `app`, replaced by doubles in tests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::gateway::{OpContext, RecordPage, RecordView, System, WriteCommand, WriteResponse};
use crate::problem::Problem;
use crate::record::{Action, CallerName, Operation, OperationId, OperationState, RecordId};

/// What a caller may be allowed to do with a system: the second word of `system:action` in `[access]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Something with records.
    Record(Action),
    /// Read the ledger.
    Ledger,
}

impl Permission {
    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record(action) => action.as_str(),
            Self::Ledger => "ledger",
        }
    }
}

/// A caller that is known.
pub trait AuthenticatedCaller: Send + Sync {
    /// Its name.
    fn name(&self) -> &CallerName;

    /// Whether it may do this with the system of this name.
    fn can(&self, system: &str, right: Permission) -> bool;
}

/// Tells who calls (`[access]`: keys, jwt or open).
#[async_trait(?Send)]
pub trait Authenticator: Send + Sync {
    /// The caller of this key or token; `None` = no `Authorization: Bearer` was sent.
    ///
    /// # Errors
    /// `unauthenticated`, whose challenge is added here; or `overloaded` when it cannot be told just now.
    async fn authenticate(&self, bearer: Option<&str>) -> Result<Arc<dyn AuthenticatedCaller>, Problem>;
}

/// The metrics of requests (contract 6).
pub trait RequestRecorder: Send + Sync {
    /// A request of this system (`None`: unrouted) begins to be answered: `gateway_in_flight`.
    fn on_start(&self, system: Option<&str>);

    /// It is answered. `outcome` is `ok` or the problem's name; `None` = the caller left before there was an answer.
    /// `action` is one of `read list create update delete preview operation ledger other`.
    fn on_finish(&self, system: Option<&str>, action: &'static str, outcome: Option<&'static str>, took: Duration);

    /// All metrics in Prometheus' text form 0.0.4.
    fn render(&self) -> String;
}

/// Which operations to show.
#[derive(Clone, Debug)]
pub struct OperationsQuery {
    /// The systems whose operations the caller may see, cut down to the one asked for.
    pub systems: Vec<String>,
    /// Only of this record (full canonical id).
    pub record: Option<String>,
    /// Only in this state.
    pub state: Option<OperationState>,
    /// At most so many, 1..1000.
    pub limit: usize,
    /// Where a former page of the same query ended, in the store's own words.
    pub after: Option<String>,
}

/// Which ledger entries to show, oldest first.
#[derive(Clone, Debug)]
pub struct LedgerQuery {
    /// The systems whose entries the caller may see, cut down to the one asked for.
    pub systems: Vec<String>,
    /// Only of this record (full canonical id).
    pub record: Option<String>,
    /// Only of this caller.
    pub caller: Option<String>,
    /// Not earlier than this.
    pub since: Option<jiff::Timestamp>,
    /// Earlier than this.
    pub until: Option<jiff::Timestamp>,
    /// At most so many, 1..1000.
    pub limit: usize,
    /// Where a former page of the same query ended, in the store's own words.
    pub after: Option<String>,
}

/// A page of a listing.
#[derive(Clone, Debug)]
pub struct ListingPage<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page, URL-safe; `None` = this was the last.
    pub next: Option<String>,
}

/// What the store shows.
#[async_trait(?Send)]
pub trait OperationReader: Send + Sync {
    /// One operation.
    ///
    /// # Errors
    /// `overloaded` when the store cannot be read.
    async fn operation(&self, id: &OperationId) -> Result<Option<Operation>, Problem>;

    /// A page of operations, newest first.
    ///
    /// # Errors
    /// `malformed-request` for a cursor that is not of this query; `overloaded` when the store cannot be read.
    async fn operations(&self, query: &OperationsQuery) -> Result<ListingPage<Operation>, Problem>;

    /// A page of the ledger, oldest first; entries as contract 4.9 shows them.
    ///
    /// # Errors
    /// As for operations.
    async fn ledger(&self, query: &LedgerQuery) -> Result<ListingPage<Value>, Problem>;
}

/// How the process and its vendors are.
#[async_trait(?Send)]
pub trait HealthChecks: Send + Sync {
    /// Whether requests can be served: the store can be reached, the configuration is loaded and the gateway is not stopping.
    ///
    /// # Errors
    /// What is missing, for the operator to read.
    async fn ready(&self) -> Result<(), String>;

    /// What `GET /systems/{system}` shows as `health`.
    fn system(&self, name: &str) -> Value;
}

/// The gateway, as far as HTTP calls it.
#[async_trait(?Send)]
pub trait RecordService: Send + Sync {
    /// The configured systems, in the order of the configuration.
    fn systems(&self) -> &[Arc<System>];

    /// See [`System::record_id`].
    ///
    /// # Errors
    /// `record-not-found` naming the expected form.
    fn record_id(&self, system: &System, raw: &str) -> Result<RecordId, Problem> {
        system.record_id(raw)
    }

    /// See [`System::collection`].
    ///
    /// # Errors
    /// `rejected` (pointer `/collection`).
    fn collection(&self, system: &System, raw: Option<&str>) -> Result<String, Problem> {
        system.collection(raw)
    }

    /// See [`Gateway::read`](crate::gateway::Gateway::read).
    ///
    /// # Errors
    /// The problem to answer.
    async fn read(&self, system: &Arc<System>, id: &RecordId, ask: &OpContext) -> Result<RecordView, Problem>;

    /// A read was refused because the record's tag is another one than the caller asks for.
    fn count_precondition_failure(&self, system: &System);

    /// See [`Gateway::list`](crate::gateway::Gateway::list).
    ///
    /// # Errors
    /// The problem to answer.
    async fn list(
        &self,
        system: &Arc<System>,
        collection: &str,
        limit: usize,
        cursor: Option<&str>,
        ask: &OpContext,
    ) -> Result<RecordPage, Problem>;

    /// See [`Gateway::write`](crate::gateway::Gateway::write).
    ///
    /// # Errors
    /// The problem to answer.
    async fn write(&self, system: &Arc<System>, write: WriteCommand, ask: &OpContext)
    -> Result<WriteResponse, Problem>;
}
