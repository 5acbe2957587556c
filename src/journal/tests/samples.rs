//! Intents, outcomes and queries for tests.

use std::time::Duration;

use crate::journal::{IdempotencyClaim, Intent, LedgerQuery, Outcome, Verdict};
use crate::record::{Action, OperationId, OperationState, VendorRequestLog};

pub(crate) fn intent(record: &str) -> Intent {
    Intent {
        operation: OperationId::new(),
        request_id: "request-1".into(),
        batch_item: None,
        model: None,
        caller: "billing".into(),
        system: "crm".into(),
        record: Some(record.into()),
        action: Action::Update,
        precondition: Some("\"c1\"".into()),
        compared_etag: None,
        rebased_onto: None,
        has_if_plan: false,
        paths: ["/fields/Email".to_owned()].into(),
        losses: vec![],
        is_async: false,
        lease: None,
        idempotency: None,
        recovery: Some("{\"intent\":1}".into()),
    }
}

pub(super) fn intent_with_key(record: &str, key: &str) -> Intent {
    Intent { idempotency: Some(claim(key)), ..intent(record) }
}

pub(in crate::journal) fn claim(key: &str) -> IdempotencyClaim {
    IdempotencyClaim { caller: "billing".into(), key: key.into(), fingerprint: [7; 32], is_of_stored_batch: false }
}

pub(in crate::journal) fn applied_outcome(operation: &OperationId) -> Outcome {
    Outcome {
        operation: operation.clone(),
        state: OperationState::Applied,
        record: None,
        etag: Some("\"c2\"".into()),
        warnings: vec![],
        problem: None,
        problem_name: None,
        observed: None,
        calls: vec![VendorRequestLog { call: "update".into(), status: Some(204), ms: 41 }],
        losses: vec![],
        replay_json: Some("{\"done\":true}".into()),
        lease: None,
    }
}

pub(super) fn unknown_outcome(operation: &OperationId) -> Outcome {
    Outcome {
        state: OperationState::Unknown,
        etag: None,
        replay_json: Some("{\"unknown\":true}".into()),
        ..applied_outcome(operation)
    }
}

pub(crate) fn verdict(operation: &OperationId, state: OperationState) -> Verdict {
    Verdict {
        operation: operation.clone(),
        state,
        caller: "anna".into(),
        request_id: "request-9".into(),
        is_by_hand: true,
        note: Some("seen".into()),
        record: None,
        etag: None,
        warnings: Vec::new(),
        replay_json: (state == OperationState::Applied).then(|| "{\"by\":\"hand\"}".into()),
        min_age: Duration::from_mins(1),
    }
}

pub(super) fn all_entries_query() -> LedgerQuery {
    LedgerQuery { systems: vec!["crm".into(), "itsm".into()], limit: 1000, ..LedgerQuery::default() }
}
