//! The changes of a group as arrays, one for each column.

use uuid::Uuid;

use crate::journal::change_set::ChangeSet;
use crate::journal::sql::operation_uuid;
use crate::journal::writer_rows::{IdempotencyKeyId, KeyProgress};

/// Columns of `idempotency`.
#[derive(Default)]
pub(super) struct KeyColumns<'c> {
    pub(super) caller: Vec<&'c str>,
    pub(super) key: Vec<&'c str>,
    pub(super) operation: Vec<Uuid>,
    pub(super) fingerprint: Vec<&'c [u8]>,
    pub(super) replay_json: Vec<Option<&'c str>>,
    pub(super) interim: Vec<Option<&'c str>>,
    pub(super) expires: Vec<Option<i64>>,
}

impl<'c> KeyColumns<'c> {
    fn push(&mut self, (caller, key): &'c IdempotencyKeyId, operation: Uuid, progress: Option<&'c KeyProgress>) {
        self.caller.push(caller);
        self.key.push(key);
        self.operation.push(operation);
        if let Some(progress) = progress {
            self.replay_json.push(progress.replay_json.as_deref());
            self.interim.push(progress.interim.as_deref());
            self.expires.push(progress.expires_ms);
        }
    }
}

/// The columns of every table that a group writes.
#[derive(Default)]
pub(super) struct Columns<'c> {
    pub(super) seq: Vec<i64>,
    pub(super) at: Vec<i64>,
    pub(super) operation: Vec<Uuid>,
    pub(super) system: Vec<&'c str>,
    pub(super) record: Vec<Option<&'c str>>,
    pub(super) intent: Vec<Option<i64>>,
    pub(super) entry: Vec<&'c str>,
    pub(super) hash: Vec<&'c [u8]>,
    pub(super) begun_seq: Vec<i64>,
    pub(super) begun_operation: Vec<Uuid>,
    pub(super) begun_system: Vec<&'c str>,
    pub(super) begun_record: Vec<Option<&'c str>>,
    pub(super) begun_action: Vec<&'c str>,
    pub(super) begun_caller: Vec<&'c str>,
    pub(super) begun_is_async: Vec<i64>,
    pub(super) begun_key: Vec<Option<&'c str>>,
    pub(super) begun_recovery: Vec<Option<&'c [u8]>>,
    pub(super) interim_seq: Vec<i64>,
    pub(super) interim_code: Vec<i64>,
    pub(super) detail_seq: Vec<i64>,
    pub(super) detail_state: Vec<&'static str>,
    pub(super) detail_finished: Vec<i64>,
    pub(super) warnings: Vec<Option<String>>,
    pub(super) problem: Vec<Option<String>>,
    pub(super) observed: Vec<Option<&'static str>>,
    pub(super) detail_key: Vec<Option<&'c str>>,
    pub(super) detail_recovery: Vec<Option<&'c [u8]>>,
    pub(super) verdict_seq: Vec<i64>,
    pub(super) verdict_state: Vec<&'static str>,
    pub(super) verdict_entry: Vec<i64>,
    pub(super) resolved_by: Vec<Option<&'c str>>,
    pub(super) note: Vec<Option<&'c str>>,
    pub(super) verdict_record: Vec<Option<&'c str>>,
    pub(super) verdict_etag: Vec<Option<&'c str>>,
    pub(super) verdict_warnings: Vec<Option<String>>,
    pub(super) warned_seq: Vec<i64>,
    pub(super) new_warnings: Vec<&'c str>,
    pub(super) update: KeyColumns<'c>,
    pub(super) free: KeyColumns<'c>,
    pub(super) claim: KeyColumns<'c>,
    pub(super) token_system: Vec<&'c str>,
    pub(super) token_sealed: Vec<&'c [u8]>,
    pub(super) lease_system: Vec<&'c str>,
    pub(super) lease_record: Vec<&'c str>,
    pub(super) lease_fence: Vec<i64>,
    pub(super) lease_expires: Vec<i64>,
    pub(super) freed_system: Vec<&'c str>,
    pub(super) freed_record: Vec<&'c str>,
    pub(super) shown_etag: Vec<&'c str>,
    pub(super) shown_fields: Vec<&'c str>,
    pub(super) shown_expires: Vec<i64>,
    pub(super) batch_id: Vec<&'c str>,
    pub(super) batch_position: Vec<i64>,
    pub(super) batch_status: Vec<i64>,
    pub(super) batch_request: Vec<&'c str>,
    pub(super) batch_response: Vec<Option<&'c str>>,
}

impl<'c> Columns<'c> {
    pub(super) fn new(changes: &'c ChangeSet) -> Self {
        let mut columns = Self::default();
        columns.add_entries(changes);
        columns.add_begun(changes);
        for (seq, code) in &changes.interim {
            columns.interim_seq.push(*seq);
            columns.interim_code.push(*code);
        }
        columns.add_details(changes);
        columns.add_verdicts(changes);
        columns.add_keys(changes);
        columns.add_leases_and_tokens(changes);
        for (etag, (fields, expires_ms)) in &changes.shown {
            columns.shown_etag.push(etag);
            columns.shown_fields.push(fields);
            columns.shown_expires.push(*expires_ms);
        }
        for row in changes.batch_rows.values() {
            columns.batch_id.push(&row.id);
            columns.batch_position.push(row.position);
            columns.batch_status.push(row.status);
            columns.batch_request.push(&row.request);
            columns.batch_response.push(row.response.as_deref());
        }
        columns
    }

    fn add_entries(&mut self, changes: &'c ChangeSet) {
        for entry in &changes.entries {
            self.seq.push(entry.seq);
            self.at.push(entry.at);
            self.operation.push(entry.keys.operation);
            self.system.push(&entry.keys.system);
            self.record.push(entry.keys.record.as_deref());
            self.intent.push(entry.keys.intent);
            self.entry.push(&entry.json);
            self.hash.push(&entry.hash);
        }
    }

    fn add_begun(&mut self, changes: &'c ChangeSet) {
        for running in &changes.begun {
            let intent = &running.intent;
            self.begun_seq.push(running.seq);
            self.begun_operation.push(operation_uuid(&intent.operation));
            self.begun_system.push(&intent.system);
            self.begun_record.push(intent.record.as_deref());
            self.begun_action.push(intent.action.as_str());
            self.begun_caller.push(&intent.caller);
            self.begun_is_async.push(intent.is_async.into());
            self.begun_key.push(running.key.as_deref());
            self.begun_recovery.push(intent.recovery.as_deref().map(str::as_bytes));
        }
    }

    fn add_details(&mut self, changes: &'c ChangeSet) {
        for detail in &changes.details {
            let (warnings, problem, observed) = detail.columns();
            let (key, recovery) = detail.open_columns();
            self.detail_key.push(key);
            self.detail_recovery.push(recovery);
            self.detail_seq.push(detail.running.seq);
            self.detail_state.push(detail.outcome.state.as_str());
            self.detail_finished.push(detail.finished_ms);
            self.warnings.push(warnings);
            self.problem.push(problem);
            self.observed.push(observed);
        }
    }

    fn add_verdicts(&mut self, changes: &'c ChangeSet) {
        for change in &changes.verdicts {
            let (resolved_by, note, warnings) = change.columns();
            self.verdict_warnings.push(warnings);
            self.verdict_seq.push(change.seq);
            self.verdict_state.push(change.verdict.state.as_str());
            self.verdict_entry.push(change.entry);
            self.resolved_by.push(resolved_by);
            self.note.push(note);
            self.verdict_record.push(change.verdict.record.as_deref());
            self.verdict_etag.push(change.verdict.etag.as_deref());
        }
        for (seq, warnings) in &changes.warnings {
            self.warned_seq.push(*seq);
            self.new_warnings.push(warnings);
        }
    }

    fn add_keys(&mut self, changes: &'c ChangeSet) {
        for (operation, update) in &changes.key_updates {
            let columns = if update.progress.is_some() { &mut self.update } else { &mut self.free };
            columns.push(&update.key, operation_uuid(operation), update.progress.as_ref());
        }
        for (key, row) in &changes.key_claims {
            self.claim.push(key, operation_uuid(&row.operation), Some(&row.progress));
            self.claim.fingerprint.push(&row.fingerprint);
        }
    }

    fn add_leases_and_tokens(&mut self, changes: &'c ChangeSet) {
        for (system, sealed) in &changes.tokens {
            self.token_system.push(system);
            self.token_sealed.push(sealed);
        }
        for ((system, record), row) in &changes.leases {
            if let Some(row) = row {
                self.lease_system.push(system);
                self.lease_record.push(record);
                self.lease_fence.push(row.fence);
                self.lease_expires.push(row.expires_ms);
            } else {
                self.freed_system.push(system);
                self.freed_record.push(record);
            }
        }
    }
}
