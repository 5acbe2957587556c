//! What the rooms behind the API look like through its seams.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::access::{ApiKeyAuth, AuthError, JwtVerifier, Principal};
use crate::gateway::{Gateway, OpContext, RecordPage, RecordView, System, WriteCommand, WriteResponse};
use crate::http::{
    AuthenticatedCaller, Authenticator, HealthChecks, LedgerQuery, ListingPage, OperationReader, OperationsQuery,
    Permission, RecordService, RequestRecorder,
};
use crate::metrics::{DetectedBy, Metrics, RequestAction, RequestOutcome, SystemIndex};
use crate::problem::{Problem, ProblemKind};
use crate::record::{CallerName, Operation, OperationId, RecordId};
use crate::store::{self, StoreError, StoreMetrics};

struct LedgerMetrics(Arc<Metrics>);

impl StoreMetrics for LedgerMetrics {
    fn on_ledger_entry(&self) {
        self.0.ledger_entries(1);
    }
    fn on_commit(&self, seconds: f64) {
        self.0.ledger_commit(Duration::from_secs_f64(seconds.max(0.0)));
    }
}

pub(super) fn store_metrics(metrics: &Arc<Metrics>) -> Arc<dyn StoreMetrics> {
    Arc::new(LedgerMetrics(Arc::clone(metrics)))
}

/// Keys are fetched again about then.
const KEYS_MAY_BE_BACK: Duration = Duration::from_secs(30);

struct Callers(ApiKeyAuth);

impl AuthenticatedCaller for Principal {
    fn name(&self) -> &CallerName {
        Principal::name(self)
    }
    fn can(&self, system: &str, right: Permission) -> bool {
        let right = match right {
            Permission::Record(action) => action.into(),
            Permission::Ledger => crate::config::Permission::Ledger,
        };
        Principal::can(self, system, right)
    }
}

#[async_trait(?Send)]
impl Authenticator for Callers {
    async fn authenticate(&self, bearer: Option<&str>) -> Result<Arc<dyn AuthenticatedCaller>, Problem> {
        let known = self.0.anonymous().or_else(|| bearer.and_then(|key| self.0.authenticate(key)));
        known.map(|rights| rights as Arc<dyn AuthenticatedCaller>).ok_or_else(|| {
            ProblemKind::Unauthenticated.with_detail(match bearer {
                Some(_) => "the key in Authorization is none that this gateway knows",
                None => "send Authorization: Bearer KEY",
            })
        })
    }
}

pub(super) fn authenticator(access: ApiKeyAuth) -> Arc<dyn Authenticator> {
    Arc::new(Callers(access))
}

struct Bearers(Arc<JwtVerifier>);

#[async_trait(?Send)]
impl Authenticator for Bearers {
    async fn authenticate(&self, bearer: Option<&str>) -> Result<Arc<dyn AuthenticatedCaller>, Problem> {
        let Some(token) = bearer else {
            return Err(ProblemKind::Unauthenticated.with_detail("send Authorization: Bearer TOKEN"));
        };
        match self.0.authenticate(token).await {
            Ok(rights) => Ok(rights),
            Err(AuthError::Token(why)) => {
                Err(ProblemKind::Unauthenticated
                    .with_detail(format!("the token in Authorization is not accepted: {why}")))
            }
            Err(AuthError::KeysUnavailable) => Err(ProblemKind::Overloaded
                .with_detail("the keys that tokens are checked with cannot be had just now")
                .retry_after(KEYS_MAY_BE_BACK)),
        }
    }
}

pub(super) fn bearers(tokens: &Arc<JwtVerifier>) -> Arc<dyn Authenticator> {
    Arc::new(Bearers(Arc::clone(tokens)))
}

struct Shown(Arc<Gateway>);

fn away(error: &StoreError) -> Problem {
    let problem = ProblemKind::Overloaded.with_detail("the gateway's store cannot be read just now");
    problem.retry_after(Duration::from_secs(2)).with_cause(error)
}

fn foreign_cursor() -> Problem {
    ProblemKind::MalformedRequest
        .with_detail("the cursor is none that this query gave; take `next` of the page before, unchanged")
}

#[async_trait(?Send)]
impl OperationReader for Shown {
    async fn operation(&self, id: &OperationId) -> Result<Option<Operation>, Problem> {
        self.0.store().operation(id).await.map_err(|error| away(&error))
    }

    async fn operations(&self, query: &OperationsQuery) -> Result<ListingPage<Operation>, Problem> {
        let after = match &query.after {
            Some(place) => Some(OperationId::parse(place).ok_or_else(foreign_cursor)?),
            None => None,
        };
        let page = self.0.store().operations(store::OperationQuery {
            systems: query.systems.clone(),
            record: query.record.clone(),
            state: query.state,
            limit: query.limit,
            after,
        });
        let page = page.await.map_err(|error| away(&error))?;
        Ok(ListingPage { items: page.items, next: page.next.map(|id| id.to_string()) })
    }

    async fn ledger(&self, query: &LedgerQuery) -> Result<ListingPage<Value>, Problem> {
        let after_seq = match &query.after {
            Some(place) => Some(place.parse().map_err(|_| foreign_cursor())?),
            None => None,
        };
        let page = self.0.store().ledger(store::LedgerQuery {
            systems: query.systems.clone(),
            record: query.record.clone(),
            caller: query.caller.clone(),
            since: query.since,
            until: query.until,
            limit: query.limit,
            after_seq,
        });
        let page = page.await.map_err(|error| away(&error))?;
        let items = page.items.iter().map(serde_json::to_value).collect::<Result<_, _>>();
        let items = items.map_err(|error| ProblemKind::InternalError.with_detail(error.to_string()))?;
        Ok(ListingPage { items, next: page.next.map(|seq| seq.to_string()) })
    }
}

pub(super) fn operations(gateway: &Arc<Gateway>) -> Arc<dyn OperationReader> {
    Arc::new(Shown(Arc::clone(gateway)))
}

fn time(at: SystemTime) -> Value {
    jiff::Timestamp::try_from(at).map_or(Value::Null, |at| Value::from(format!("{at:.3}")))
}

#[async_trait(?Send)]
impl HealthChecks for Shown {
    async fn ready(&self) -> Result<(), String> {
        if self.0.is_draining() {
            return Err("the gateway is stopping".to_owned());
        }
        self.0.store().ping().await.map_err(|error| format!("the store: {error}"))
    }

    fn system(&self, name: &str) -> Value {
        let Some(system) = self.0.system(name) else { return Value::Null };
        let health = system.transport.health();
        let failure = health.last_failure.map(|failure| json!({ "at": time(failure.at), "reason": failure.reason }));
        json!({
            "circuit": health.circuit.as_str(),
            "last_success": health.last_success.map(time),
            "last_failure": failure,
            "token_expires": health.token_expires.map(time),
        })
    }
}

pub(super) fn health(gateway: &Arc<Gateway>) -> Arc<dyn HealthChecks> {
    Arc::new(Shown(Arc::clone(gateway)))
}

struct Requests {
    metrics: Arc<Metrics>,
    systems: Vec<(String, SystemIndex)>,
}

impl Requests {
    fn index(&self, system: Option<&str>) -> Option<SystemIndex> {
        let name = system?;
        self.systems.iter().find(|(known, _)| known == name).map(|(_, index)| *index)
    }
}

impl RequestRecorder for Requests {
    fn on_start(&self, system: Option<&str>) {
        self.metrics.in_flight(self.index(system), 1);
    }

    fn on_finish(&self, system: Option<&str>, action: &'static str, outcome: Option<&'static str>, took: Duration) {
        let index = self.index(system);
        self.metrics.in_flight(index, -1);
        let action = RequestAction::ALL.iter().copied().find(|one| one.as_str() == action);
        let outcome = match outcome {
            Some("ok") => Some(RequestOutcome::Ok),
            Some(name) => ProblemKind::parse(name).map(RequestOutcome::Problem),
            // The caller left before there was an answer.
            None => None,
        };
        if let (Some(action), Some(outcome)) = (action, outcome) {
            self.metrics.request(index, action, outcome, took.as_secs_f64());
        }
    }

    fn render(&self) -> String {
        match self.metrics.render().map(String::from_utf8) {
            Ok(Ok(text)) => text,
            failed => {
                tracing::error!(?failed, "the metrics cannot be written down");
                String::new()
            }
        }
    }
}

pub(super) fn request_metrics(metrics: &Arc<Metrics>, systems: &[Arc<System>]) -> Arc<dyn RequestRecorder> {
    let systems = systems.iter().map(|system| (system.name.to_string(), system.index)).collect();
    Arc::new(Requests { metrics: Arc::clone(metrics), systems })
}

struct Line {
    gateway: Arc<Gateway>,
    systems: Vec<Arc<System>>,
}

#[async_trait(?Send)]
impl RecordService for Line {
    fn systems(&self) -> &[Arc<System>] {
        &self.systems
    }
    async fn read(&self, system: &Arc<System>, id: &RecordId, ask: &OpContext) -> Result<RecordView, Problem> {
        self.gateway.read(system, id, ask).await
    }
    fn count_precondition_failure(&self, system: &System) {
        self.gateway.precondition_failed(system, DetectedBy::Gateway);
    }
    async fn list(
        &self,
        system: &Arc<System>,
        collection: &str,
        limit: usize,
        cursor: Option<&str>,
        ask: &OpContext,
    ) -> Result<RecordPage, Problem> {
        self.gateway.list(system, collection, limit, cursor, ask).await
    }
    async fn write(
        &self,
        system: &Arc<System>,
        write: WriteCommand,
        ask: &OpContext,
    ) -> Result<WriteResponse, Problem> {
        self.gateway.write(system, write, ask).await
    }
}

pub(super) fn records(gateway: &Arc<Gateway>, systems: &[Arc<System>]) -> Arc<dyn RecordService> {
    Arc::new(Line { gateway: Arc::clone(gateway), systems: systems.to_vec() })
}
