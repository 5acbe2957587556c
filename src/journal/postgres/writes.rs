//! Which statements write a group, in their order, and with which values.

use tokio_postgres::types::ToSql;

use super::columns::Columns;
use super::statements as sql;
use crate::journal::change_set::ChangeSet;

/// What the statements of a group share.
pub(super) struct WriteContext<'w> {
    pub(super) instance: &'w String,
    pub(super) now_ms: i64,
    pub(super) wall_ms: i64,
    pub(super) step: (i64, i64),
    pub(super) cut: (i64, &'w [u8], i64),
}

/// One statement of a group.
pub(super) struct Write<'w> {
    pub(super) text: &'static str,
    pub(super) is_needed: bool,
    pub(super) params: Vec<&'w (dyn ToSql + Sync)>,
}

impl<'w> Write<'w> {
    fn new(text: &'static str, is_needed: bool, params: &[&'w (dyn ToSql + Sync)]) -> Self {
        Self { text, is_needed, params: params.to_vec() }
    }
}

pub(super) fn operation_writes<'w>(
    c: &'w Columns<'_>,
    changes: &'w ChangeSet,
    context: &'w WriteContext<'_>,
) -> Vec<Write<'w>> {
    let (step_seq, step_at) = (&context.step.0, &context.step.1);
    let (cut_seq, cut_hash, cut_marker) = (&context.cut.0, &context.cut.1, &context.cut.2);
    vec![
        Write::new(
            sql::INSERT_LEDGER,
            !c.seq.is_empty(),
            &[&c.seq, &c.at, &c.operation, &c.system, &c.record, &c.intent, &c.entry, &c.hash],
        ),
        Write::new(sql::INSERT_STEP, changes.clock_step.is_some(), &[step_seq, step_at]),
        Write::new(sql::INSERT_CUT, changes.cut.is_some(), &[cut_seq, cut_hash, cut_marker]),
        Write::new(
            sql::INSERT_RUNNING,
            !c.begun_seq.is_empty(),
            &[
                &c.begun_seq,
                &c.begun_operation,
                &c.begun_system,
                &c.begun_record,
                &c.begun_action,
                &c.begun_caller,
                &c.begun_is_async,
                &c.begun_key,
                context.instance,
                &c.begun_recovery,
            ],
        ),
        Write::new(sql::ADOPT, !changes.adopted.is_empty(), &[&changes.adopted, context.instance, &context.wall_ms]),
        Write::new(sql::SET_INTERIM, !c.interim_seq.is_empty(), &[&c.interim_seq, &c.interim_code]),
        Write::new(sql::DELETE_RUNNING, !changes.ended.is_empty(), &[&changes.ended]),
        Write::new(
            sql::INSERT_DETAIL,
            !c.detail_seq.is_empty(),
            &[
                &c.detail_seq,
                &c.detail_state,
                &c.detail_finished,
                &c.warnings,
                &c.problem,
                &c.observed,
                &c.detail_key,
                &c.detail_recovery,
            ],
        ),
        Write::new(
            sql::SET_VERDICT,
            !changes.verdicts.is_empty(),
            &[
                &c.verdict_seq,
                &c.verdict_state,
                &c.verdict_entry,
                &c.resolved_by,
                &c.note,
                &c.verdict_record,
                &c.verdict_etag,
                &c.verdict_warnings,
            ],
        ),
        Write::new(sql::SET_WARNINGS, !changes.warnings.is_empty(), &[&c.warned_seq, &c.new_warnings]),
    ]
}

pub(super) fn key_writes<'w>(c: &'w Columns<'_>) -> Vec<Write<'w>> {
    let (update, free, claim) = (&c.update, &c.free, &c.claim);
    vec![
        Write::new(
            sql::UPDATE_KEYS,
            !update.caller.is_empty(),
            &[&update.caller, &update.key, &update.operation, &update.replay_json, &update.interim, &update.expires],
        ),
        Write::new(sql::FREE_KEYS, !free.caller.is_empty(), &[&free.caller, &free.key, &free.operation]),
        Write::new(
            sql::CLAIM_KEYS,
            !claim.caller.is_empty(),
            &[
                &claim.caller,
                &claim.key,
                &claim.fingerprint,
                &claim.operation,
                &claim.replay_json,
                &claim.interim,
                &claim.expires,
            ],
        ),
    ]
}

pub(super) fn lease_writes<'w>(
    c: &'w Columns<'_>,
    changes: &ChangeSet,
    context: &'w WriteContext<'_>,
) -> Vec<Write<'w>> {
    vec![
        Write::new(
            sql::SET_LEASES,
            !c.lease_fence.is_empty(),
            &[&c.lease_system, &c.lease_record, &c.lease_fence, &c.lease_expires, context.instance],
        ),
        Write::new(sql::FREE_LEASES, !c.freed_system.is_empty(), &[&c.freed_system, &c.freed_record]),
        Write::new(sql::SAVE_TOKENS, !c.token_system.is_empty(), &[&c.token_system, &c.token_sealed]),
        Write::new(sql::SAVE_SHOWN, !c.shown_etag.is_empty(), &[&c.shown_etag, &c.shown_fields, &c.shown_expires]),
        Write::new(
            sql::SAVE_BATCH_ROWS,
            !c.batch_id.is_empty(),
            &[&c.batch_id, &c.batch_position, &c.batch_status, &c.batch_request, &c.batch_response, &context.wall_ms],
        ),
        Write::new(sql::HEARTBEAT, changes.heartbeat, &[context.instance, &context.now_ms]),
    ]
}
