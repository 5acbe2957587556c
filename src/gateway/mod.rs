//! The straight line of a request, from what a caller asked to what the vendor did.
//!
//! What a vendor lacks is completed here, once, from its [`Profile`](crate::adapters::Profile).

mod answer;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

pub use answer::{Done, Guarantee, Record, Verdict, Written};

use crate::adapters::Adapter;
use crate::problem::Problem;
use crate::record::{CallerName, EntityTag, Operation, Patch, Precondition, RecordId, RequestId, SystemName};
use crate::transport::trace::TraceContext;

/// Who asks, and how long they will wait.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The caller's name.
    pub caller: CallerName,
    /// `X-Request-Id`.
    pub request_id: RequestId,
    /// The trace this request belongs to.
    pub trace: TraceContext,
    /// When the caller's patience ends (`deadline` in `[server]`).
    pub deadline: Instant,
}

/// RFC 7240, as far as the gateway knows it.
#[derive(Clone, Debug, Default)]
pub struct Prefer {
    /// `return=representation` (and not also `return=minimal`).
    pub representation: bool,
    /// `respond-async`.
    pub respond_async: bool,
    /// `wait=N`.
    pub wait: Option<Duration>,
}

/// `Idempotency-Key` with what it is bound to.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// The key, unquoted: 1..255 visible ASCII characters.
    pub key: String,
    /// SHA-256 over method, path, `If-Match` and body.
    pub fingerprint: [u8; 32],
}

/// What is to be written.
#[derive(Clone, Debug)]
pub enum WriteKind {
    /// PATCH.
    Update {
        /// The record.
        id: RecordId,
        /// The change.
        patch: Patch,
    },
    /// DELETE.
    Delete {
        /// The record.
        id: RecordId,
    },
    /// POST.
    Create {
        /// The canonical collection.
        collection: String,
        /// The new record's fields.
        fields: Map<String, Value>,
    },
}

/// A write with everything the caller said about it.
#[derive(Clone, Debug)]
pub struct Write {
    /// What.
    pub kind: WriteKind,
    /// `If-Match`; `None` only where the system does not require one (it then counts as `*`) and on POST.
    pub precondition: Option<Precondition>,
    /// `If-None-Match` on a write: the write fails if this holds (`Exists` = `*`).
    pub none_match: Option<Precondition>,
    /// `Prefer`.
    pub prefer: Prefer,
    /// The names in `Accept-Loss`.
    pub accept_loss: Vec<String>,
    /// `Require-Guarantee: native`.
    pub require_native: bool,
    /// `Idempotency-Key`.
    pub idempotency: Option<IdempotencyKey>,
}

/// What a write came to.
#[derive(Clone, Debug)]
pub struct Told {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether it is the stored verdict of an earlier request (`Idempotency-Replayed: true`).
    pub replayed: bool,
    /// The operation's document, where the verdict is [`Done::Accepted`].
    pub operation: Option<Operation>,
}

/// A page of records.
#[derive(Clone, Debug)]
pub struct RecordPage {
    /// The records.
    pub items: Vec<Record>,
    /// The cursor of the next page, URL-safe.
    pub next: Option<String>,
}

/// A configured system.
pub struct System {
    /// Its name.
    pub name: SystemName,
    /// What its vendor says.
    pub adapter: Arc<dyn Adapter>,
    /// `collection`: lets callers leave it out of ids.
    pub collection: Option<String>,
    /// `require_if_match`.
    pub require_if_match: bool,
}

impl System {
    /// Takes an id as it stood in the path (percent-decoded once): `collection:key`, or the key alone where a collection is
    /// configured.
    ///
    /// # Errors
    /// `record-not-found` naming the expected form.
    pub fn record_id(&self, raw: &str) -> Result<RecordId, Problem> {
        let _ = raw;
        Err(Problem::default())
    }

    /// Takes the collection a list or a create names, or the configured one.
    ///
    /// # Errors
    /// `rejected` (pointer `/collection`) when there is none or it does not have the vendor's form.
    pub fn collection(&self, raw: Option<&str>) -> Result<String, Problem> {
        let _ = raw;
        Err(Problem::default())
    }

    /// The tag of a version of one of this system's records.
    #[must_use]
    pub fn tag(&self, id: &RecordId, version: &crate::record::Version) -> EntityTag {
        EntityTag::of(&self.name, id, version)
    }
}

/// The gateway: every configured system, and the store.
pub struct Gateway {
    systems: Vec<Arc<System>>,
}

impl Gateway {
    /// The configured systems, in the order of the configuration.
    #[must_use]
    pub fn systems(&self) -> &[Arc<System>] {
        &self.systems
    }

    /// The system of a name.
    #[must_use]
    pub fn system(&self, name: &str) -> Option<&Arc<System>> {
        self.systems.iter().find(|system| system.name.as_str() == name)
    }

    /// GET of one record.
    ///
    /// # Errors
    /// The problem to answer.
    pub async fn read(&self, system: &Arc<System>, id: &RecordId, ask: &Ask) -> Result<Record, Problem> {
        let _ = (system, id, ask);
        Err(Problem::default())
    }

    /// GET of a page. `limit` is 1..1000.
    ///
    /// # Errors
    /// The problem to answer.
    pub async fn list(
        &self,
        system: &Arc<System>,
        collection: &str,
        limit: usize,
        cursor: Option<&str>,
        ask: &Ask,
    ) -> Result<RecordPage, Problem> {
        let _ = (system, collection, limit, cursor, ask);
        Err(Problem::default())
    }

    /// POST, PATCH, DELETE. The write runs to its end even if the returned future is dropped.
    ///
    /// # Errors
    /// Problems that came before the write's intent are errors as well as those after.
    pub async fn write(&self, system: &Arc<System>, write: Write, ask: &Ask) -> Result<Told, Problem> {
        let _ = (system, write, ask);
        Err(Problem::default())
    }
}
