//! Verdicts on operations that have ended `unknown` or do not end.

use std::sync::Arc;

use super::WriterState;
use crate::journal::change_set::{ChangeSet, EntryKeys, NewVerdict};
use crate::journal::changes::change_type;
use crate::journal::entry_json::encode_verdict;
use crate::journal::handle::to_millis;
use crate::journal::ledger::LedgerEvent;
use crate::journal::model::Outcome;
use crate::journal::shared::KeyTtl;
use crate::journal::sql::{operation_uuid, replace_nul};
use crate::journal::verdict::{Verdict, VerdictResult};
use crate::journal::writer_rows::{EndedOperation, KeyProgress, VerdictTarget};
use crate::problem::ProblemKind;
use crate::record::{OperationId, OperationState, Warning, WarningCode};

impl WriterState {
    /// Records a verdict. An operation that runs first ends `unknown`, so that each operation has
    /// one intent and one outcome.
    pub(in crate::journal) fn record_verdict(
        &mut self,
        verdict: &Arc<Verdict>,
        key_ttl: KeyTtl,
        changes: &mut ChangeSet,
    ) -> VerdictResult {
        let Some(VerdictTarget { running, started_ms, ended }) = self.verdict_targets.get(&verdict.operation).cloned()
        else {
            return VerdictResult::NotFound;
        };
        match ended {
            Some(EndedOperation { state: OperationState::Unknown, .. }) => {}
            Some(ended) if ended.has_verdict && ended.state == verdict.state => return VerdictResult::Repeated,
            Some(ended) if ended.has_verdict && !verdict.is_by_hand => {
                self.warn_contradicted_verdict(&verdict.operation, verdict.state, changes);
                return VerdictResult::Ended;
            }
            Some(_) => return VerdictResult::Ended,
            None if self.clock.wall_ms.saturating_sub(started_ms) < to_millis(verdict.min_age) => {
                return VerdictResult::TooEarly;
            }
            None => self.end_without_outcome(&verdict.operation, key_ttl, changes),
        }
        let intent = &running.intent;
        let at = self.next_entry_time(changes);
        let json = encode_verdict(intent, running.seq, verdict, at);
        let record = verdict.record.as_deref().map(|record| replace_nul(Arc::from(record)));
        let keys = EntryKeys {
            operation: operation_uuid(&intent.operation),
            system: replace_nul(Arc::clone(&intent.system)),
            record: record.or_else(|| intent.record.clone()),
            intent: Some(-running.seq),
        };
        let event = change_type(LedgerEvent::Resolved, intent.action, verdict.state);
        changes.feed.extend(event.map(|event| (Arc::clone(&intent.system), event)));
        let entry = self.push_entry(at, json, keys, changes);
        changes.verdicts.push(NewVerdict { seq: running.seq, entry, verdict: Arc::clone(verdict) });
        if let Some(key) = &running.key {
            let progress = verdict.replay_json.as_ref().map(|replay_json| KeyProgress {
                replay_json: Some(replay_json.clone()),
                interim: None,
                expires_ms: Some(self.now_ms().saturating_add(key_ttl.of(intent))),
            });
            let key_id = (Arc::clone(&intent.caller), Arc::clone(key));
            self.set_key_progress(key_id, &verdict.operation, progress, changes);
        }
        if let Some(target) = self.verdict_targets.get_mut(&verdict.operation) {
            target.ended = Some(EndedOperation { state: verdict.state, has_verdict: true, warnings: None });
        }
        VerdictResult::Recorded
    }

    /// Ends an operation that runs, here or in another instance, and frees its record.
    fn end_without_outcome(&mut self, operation: &OperationId, key_ttl: KeyTtl, changes: &mut ChangeSet) {
        let Some(target) = self.verdict_targets.get(operation).cloned() else { return };
        if let Some(record) = &target.running.intent.record {
            // While an operation runs, no other writer gets a lease of its record.
            self.set_lease((Arc::clone(&target.running.intent.system), Arc::clone(record)), None, changes);
        }
        if !self.running.contains_key(operation) {
            self.track(target.running);
        }
        let outcome = Outcome {
            problem_name: Some(ProblemKind::OutcomeUnknown.as_str().to_owned()),
            ..Outcome::without_effect(operation, OperationState::Unknown)
        };
        self.finish(&Arc::new(outcome), key_ttl, changes);
    }

    /// Adds a warning to an operation whose verdict the gateway has found to be wrong.
    pub(in crate::journal) fn warn_contradicted_verdict(
        &mut self,
        operation: &OperationId,
        found: OperationState,
        changes: &mut ChangeSet,
    ) {
        let Some(VerdictTarget { running, ended: Some(ended), .. }) = self.verdict_targets.get(operation) else {
            return;
        };
        if !ended.has_verdict || ended.state == found {
            return;
        }
        let earlier = ended.warnings.as_deref().and_then(|text| serde_json::from_str::<Vec<Warning>>(text).ok());
        let mut warnings = earlier.unwrap_or_default();
        if warnings.iter().any(|warning| warning.code == WarningCode::ResolvedOtherwise) {
            return;
        }
        warnings.push(Warning::new(
            WarningCode::ResolvedOtherwise,
            "",
            format!("the gateway found later that the write is {}", found.as_str()),
        ));
        changes.warnings.push((running.seq, serde_json::to_string(&warnings).unwrap_or_default()));
    }
}
