//! What the rooms behind the API look like through its seams.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::access::{Access, CallerRights, Refusal, Tokens};
use crate::api::{
    Authenticator, Health, LedgerQuery, Listed, OperationsQuery, OperationsView, Records, RequestMetrics, Right, Rights,
};
use crate::gateway::{Ask, Gateway, Record, RecordPage, System, Told, Write};
use crate::metrics::{DetectedBy, Metrics, Outcome, RequestAction, SystemIndex};
use crate::problem::{Problem, ProblemName};
use crate::record::{CallerName, Operation, OperationId, RecordId};
use crate::store::{self, StoreError, StoreMetrics};

struct LedgerMetrics(Arc<Metrics>);

impl StoreMetrics for LedgerMetrics {
    fn ledger_entry(&self) {
        self.0.ledger_entries(1);
    }
    fn commit(&self, seconds: f64) {
        self.0.ledger_commit(Duration::from_secs_f64(seconds.max(0.0)));
    }
}

pub(super) fn store_metrics(metrics: &Arc<Metrics>) -> Arc<dyn StoreMetrics> {
    Arc::new(LedgerMetrics(Arc::clone(metrics)))
}

/// Keys are fetched again about then.
const KEYS_MAY_BE_BACK: Duration = Duration::from_secs(30);

struct Callers(Access);

impl Rights for CallerRights {
    fn name(&self) -> &CallerName {
        CallerRights::name(self)
    }
    fn may(&self, system: &str, right: Right) -> bool {
        let right = match right {
            Right::Records(action) => action.into(),
            Right::Ledger => crate::config::Right::Ledger,
        };
        CallerRights::may(self, system, right)
    }
}

#[async_trait(?Send)]
impl Authenticator for Callers {
    async fn authenticate(&self, bearer: Option<&str>) -> Result<Arc<dyn Rights>, Problem> {
        let known = self.0.anonymous().or_else(|| bearer.and_then(|key| self.0.authenticate(key)));
        known.map(|rights| rights as Arc<dyn Rights>).ok_or_else(|| {
            ProblemName::Unauthenticated.with(match bearer {
                Some(_) => "the key in Authorization is none that this gateway knows",
                None => "send Authorization: Bearer KEY",
            })
        })
    }
}

pub(super) fn authenticator(access: Access) -> Arc<dyn Authenticator> {
    Arc::new(Callers(access))
}

struct Bearers(Arc<Tokens>);

#[async_trait(?Send)]
impl Authenticator for Bearers {
    async fn authenticate(&self, bearer: Option<&str>) -> Result<Arc<dyn Rights>, Problem> {
        let Some(token) = bearer else {
            return Err(ProblemName::Unauthenticated.with("send Authorization: Bearer TOKEN"));
        };
        match self.0.authenticate(token).await {
            Ok(rights) => Ok(rights),
            Err(Refusal::Token(why)) => {
                Err(ProblemName::Unauthenticated.with(format!("the token in Authorization is not accepted: {why}")))
            }
            Err(Refusal::KeysAway) => Err(ProblemName::Overloaded
                .with("the keys that tokens are checked with cannot be had just now")
                .retry_after(KEYS_MAY_BE_BACK)),
        }
    }
}

pub(super) fn bearers(tokens: &Arc<Tokens>) -> Arc<dyn Authenticator> {
    Arc::new(Bearers(Arc::clone(tokens)))
}

struct Shown(Arc<Gateway>);

fn away(error: &StoreError) -> Problem {
    let problem = ProblemName::Overloaded.with("the gateway's store cannot be read just now");
    problem.retry_after(Duration::from_secs(2)).because(error)
}

fn foreign_cursor() -> Problem {
    ProblemName::MalformedRequest
        .with("the cursor is none that this query gave; take `next` of the page before, unchanged")
}

#[async_trait(?Send)]
impl OperationsView for Shown {
    async fn operation(&self, id: &OperationId) -> Result<Option<Operation>, Problem> {
        self.0.store().operation(id).await.map_err(|error| away(&error))
    }

    async fn operations(&self, query: &OperationsQuery) -> Result<Listed<Operation>, Problem> {
        let after = match &query.place {
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
        Ok(Listed { items: page.items, next: page.next.map(|id| id.to_string()) })
    }

    async fn ledger(&self, query: &LedgerQuery) -> Result<Listed<Value>, Problem> {
        let after_seq = match &query.place {
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
        let items = items.map_err(|error| ProblemName::InternalError.with(error.to_string()))?;
        Ok(Listed { items, next: page.next.map(|seq| seq.to_string()) })
    }
}

pub(super) fn operations(gateway: &Arc<Gateway>) -> Arc<dyn OperationsView> {
    Arc::new(Shown(Arc::clone(gateway)))
}

fn time(at: SystemTime) -> Value {
    jiff::Timestamp::try_from(at).map_or(Value::Null, |at| Value::from(format!("{at:.3}")))
}

#[async_trait(?Send)]
impl Health for Shown {
    async fn ready(&self) -> Result<(), String> {
        if self.0.is_draining() {
            return Err("the gateway is stopping".to_owned());
        }
        self.0.store().ping().await.map_err(|error| format!("the store: {error}"))
    }

    fn system(&self, name: &str) -> Value {
        let Some(system) = self.0.system(name) else { return Value::Null };
        let health = system.stack.health();
        let failure = health.last_failure.map(|failure| json!({ "at": time(failure.at), "reason": failure.reason }));
        json!({
            "circuit": health.circuit.as_str(),
            "last_success": health.last_success.map(time),
            "last_failure": failure,
            "token_expires": health.token_expires.map(time),
        })
    }
}

pub(super) fn health(gateway: &Arc<Gateway>) -> Arc<dyn Health> {
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

impl RequestMetrics for Requests {
    fn began(&self, system: Option<&str>) {
        self.metrics.in_flight(self.index(system), 1);
    }

    fn ended(&self, system: Option<&str>, action: &'static str, outcome: Option<&'static str>, took: Duration) {
        let index = self.index(system);
        self.metrics.in_flight(index, -1);
        let action = RequestAction::ALL.iter().copied().find(|one| one.as_str() == action);
        let outcome = match outcome {
            Some("ok") => Some(Outcome::Ok),
            Some(name) => ProblemName::parse(name).map(Outcome::Problem),
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

pub(super) fn request_metrics(metrics: &Arc<Metrics>, systems: &[Arc<System>]) -> Arc<dyn RequestMetrics> {
    let systems = systems.iter().map(|system| (system.name.to_string(), system.index)).collect();
    Arc::new(Requests { metrics: Arc::clone(metrics), systems })
}

struct Line {
    gateway: Arc<Gateway>,
    systems: Vec<Arc<System>>,
}

#[async_trait(?Send)]
impl Records for Line {
    fn systems(&self) -> &[Arc<System>] {
        &self.systems
    }
    async fn read(&self, system: &Arc<System>, id: &RecordId, ask: &Ask) -> Result<Record, Problem> {
        self.gateway.read(system, id, ask).await
    }
    fn precondition_failed(&self, system: &System) {
        self.gateway.failed_precondition(system, DetectedBy::Gateway);
    }
    async fn list(
        &self,
        system: &Arc<System>,
        collection: &str,
        limit: usize,
        cursor: Option<&str>,
        ask: &Ask,
    ) -> Result<RecordPage, Problem> {
        self.gateway.list(system, collection, limit, cursor, ask).await
    }
    async fn write(&self, system: &Arc<System>, write: Write, ask: &Ask) -> Result<Told, Problem> {
        self.gateway.write(system, write, ask).await
    }
}

pub(super) fn records(gateway: &Arc<Gateway>, systems: &[Arc<System>]) -> Arc<dyn Records> {
    Arc::new(Line { gateway: Arc::clone(gateway), systems: systems.to_vec() })
}
