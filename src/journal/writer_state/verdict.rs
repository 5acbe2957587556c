//! Verdicts on operations that have ended `unknown` or do not end.

use std::sync::Arc;

use super::WriterState;
use crate::journal::change_set::{ChangeSet, EntryKeys, NewCut, NewVerdict};
use crate::journal::changes::change_type;
use crate::journal::entry_json::{encode_cut, encode_verdict};
use crate::journal::handle::to_millis;
use crate::journal::ledger::{Hash, LedgerEvent};
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
        let Some(VerdictTarget { running, started_ms, ended }) = self.open.get(&verdict.operation).cloned() else {
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
        if let Some(open) = self.open.get_mut(&verdict.operation) {
            open.ended = Some(EndedOperation { state: verdict.state, has_verdict: true, warnings: None });
        }
        VerdictResult::Recorded
    }

    /// Ends an operation that runs, here or in another instance, and frees its record.
    fn end_without_outcome(&mut self, operation: &OperationId, key_ttl: KeyTtl, changes: &mut ChangeSet) {
        let Some(open) = self.open.get(operation).cloned() else { return };
        if let Some(record) = &open.running.intent.record {
            // While an operation runs, no other writer gets a lease of its record.
            self.set_lease((Arc::clone(&open.running.intent.system), Arc::clone(record)), None, changes);
        }
        if !self.running.contains_key(operation) {
            self.track(open.running);
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
        let Some(VerdictTarget { running, ended: Some(ended), .. }) = self.open.get(operation) else { return };
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

    /// Ends the keeping of all entries up to this one. An entry carries its hash, so that the rest
    /// can still be verified.
    pub(in crate::journal) fn cut(&mut self, last: i64, hash: Hash, changes: &mut ChangeSet) {
        let at = self.next_entry_time(changes);
        let json = encode_cut(at, last, &hash);
        let keys = EntryKeys { operation: uuid::Uuid::nil(), system: "".into(), record: None, intent: Some(0) };
        let marker = self.push_entry(at, json, keys, changes);
        changes.cut = Some(NewCut { seq: last, hash, marker });
    }
}
