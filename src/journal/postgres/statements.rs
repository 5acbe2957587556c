//! The statements of a group, prepared once for each connection. Arrays carry all rows of a
//! statement.

use std::collections::HashMap;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Statement};

use super::pipeline::{Query, pipeline};

pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock($1)::text";
pub(super) const HEAD: &str = "SELECT seq, hash, at FROM ledger ORDER BY seq DESC LIMIT 1";
/// The server's time, the latest heartbeat, and a number of leases if `$1`.
pub(super) const CLOCK: &str = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT),
    (SELECT max(seen) FROM instance), CASE WHEN $1 = 1 THEN nextval('lease_fence') END";
pub(super) const LEASES: &str = "SELECT l.system, l.record, l.fence, l.expires
    FROM unnest($1, $2) AS k(system, record) JOIN lease l ON l.system = k.system AND l.record = k.record";
pub(super) const RUNNING_ON: &str = "SELECT r.system, r.record, r.operation, r.action,
    CAST(r.is_async = 1 OR coalesce(r.interim, 0) = $3 OR r.first_adopted IS NOT NULL AS INT)::BIGINT
    FROM unnest($1, $2) AS k(system, record) JOIN running r ON r.record = k.record AND r.system = k.system
    ORDER BY r.seq";
pub(super) const KEYS: &str = "SELECT i.caller, i.key, i.fingerprint, i.operation, i.replay_json, i.interim, i.expires
    FROM unnest($1, $2) AS k(caller, key) JOIN idempotency i ON i.caller = k.caller AND i.key = k.key";
/// Which of these operations still run here.
pub(super) const OWNED: &str = "SELECT r.operation FROM unnest($1) AS k(operation)
    JOIN running r ON r.operation = k.operation WHERE r.owner = $2";
/// Which of these operations have begun.
pub(super) const WRITTEN: &str = "SELECT k.operation FROM unnest($1) AS k(operation)
    WHERE EXISTS (SELECT FROM running r WHERE r.operation = k.operation)
    OR EXISTS (SELECT FROM ledger l WHERE l.operation = k.operation AND l.intent IS NOT NULL)";
/// The outcomes of those of these operations that have ended.
pub(super) const ENDED: &str = "SELECT l.operation, l.entry FROM unnest($1) AS k(operation)
    JOIN ledger l ON l.operation = k.operation AND l.intent > 0";

pub(super) const INSERT_LEDGER: &str = "INSERT INTO ledger (seq, at, operation, system, record, intent, entry, hash)
     SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)";
pub(super) const INSERT_STEP: &str = "INSERT INTO clock_step (seq, at) VALUES ($1, $2)";
pub(super) const INSERT_CUT: &str =
    "INSERT INTO ledger_cut (seq, hash, marker) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
pub(super) const INSERT_RUNNING: &str = "INSERT INTO running
    (seq, operation, owner, system, record, action, caller, is_async, key, recovery)
    SELECT v.seq, v.operation, $9, v.system, v.record, v.action, v.caller, v.is_async, v.key, v.recovery
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $10)
    AS v(seq, operation, system, record, action, caller, is_async, key, recovery)";
pub(super) const ADOPT: &str = "UPDATE running r SET owner = $2, first_adopted = coalesce(r.first_adopted, $3)
    FROM unnest($1) AS v(seq) WHERE r.seq = v.seq";
pub(super) const SET_INTERIM: &str =
    "UPDATE running r SET interim = v.interim FROM unnest($1, $2) AS v(seq, interim) WHERE r.seq = v.seq";
pub(super) const DELETE_RUNNING: &str = "DELETE FROM running r USING unnest($1) AS v(seq) WHERE r.seq = v.seq";
pub(super) const INSERT_DETAIL: &str =
    "INSERT INTO operation_detail (seq, state, finished, warnings, problem, observed, key, recovery)
     SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)";
pub(super) const SET_VERDICT: &str = "UPDATE operation_detail d SET state = v.state, verdict = v.verdict,
    resolved_by = v.resolved_by, note = v.note, record = v.record, etag = v.etag, warnings = v.warnings,
    problem = NULL, observed = NULL, key = NULL,
    recovery = CASE WHEN v.resolved_by IS NULL THEN NULL ELSE d.recovery END FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)
    AS v(seq, state, verdict, resolved_by, note, record, etag, warnings) WHERE d.seq = v.seq";
pub(super) const SET_WARNINGS: &str =
    "UPDATE operation_detail d SET warnings = v.warnings FROM unnest($1, $2) AS v(seq, warnings) WHERE d.seq = v.seq";
pub(super) const UPDATE_KEYS: &str =
    "UPDATE idempotency i SET replay_json = v.replay_json, interim = v.interim, expires = v.expires
     FROM unnest($1, $2, $3, $4, $5, $6) AS v(caller, key, operation, replay_json, interim, expires)
     WHERE i.caller = v.caller AND i.key = v.key AND i.operation = v.operation";
pub(super) const FREE_KEYS: &str = "DELETE FROM idempotency i USING unnest($1, $2, $3) AS v(caller, key, operation)
    WHERE i.caller = v.caller AND i.key = v.key AND i.operation = v.operation";
pub(super) const CLAIM_KEYS: &str =
    "INSERT INTO idempotency (caller, key, fingerprint, operation, replay_json, interim, expires)
     SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)
     ON CONFLICT (caller, key) DO UPDATE SET fingerprint = excluded.fingerprint, operation = excluded.operation,
         replay_json = excluded.replay_json, interim = excluded.interim, expires = excluded.expires";
pub(super) const SET_LEASES: &str = "INSERT INTO lease (system, record, owner, fence, expires)
    SELECT v.system, v.record, $5, v.fence, v.expires FROM unnest($1, $2, $3, $4) AS v(system, record, fence, expires)
    ON CONFLICT (system, record)
    DO UPDATE SET owner = excluded.owner, fence = excluded.fence, expires = excluded.expires";
pub(super) const FREE_LEASES: &str = "DELETE FROM lease l USING unnest($1, $2) AS v(system, record)
    WHERE l.system = v.system AND l.record = v.record";
pub(super) const SAVE_TOKENS: &str = "INSERT INTO token (system, sealed) SELECT * FROM unnest($1, $2)
    ON CONFLICT (system) DO UPDATE SET sealed = excluded.sealed";
pub(super) const SAVE_SHOWN: &str = "INSERT INTO shown_state (etag, fields, expires)
    SELECT * FROM unnest($1, $2, $3)
    ON CONFLICT (etag) DO UPDATE SET fields = excluded.fields, expires = excluded.expires";
pub(super) const SAVE_BATCH_ROWS: &str = "INSERT INTO batch_row (id, item, status, request, response, at)
    SELECT v.id, v.item, v.status, v.request, v.response, $6
    FROM unnest($1, $2, $3, $4, $5) AS v(id, item, status, request, response)
    ON CONFLICT (id, item) DO UPDATE SET status = excluded.status, at = excluded.at,
        request = excluded.request, response = excluded.response
    WHERE batch_row.status = CASE batch_row.item WHEN -1 THEN 1 ELSE 0 END";
pub(super) const HEARTBEAT: &str =
    "INSERT INTO instance (id, seen) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen";

/// All of them, with the types of their parameters.
const ALL: &[(&str, &[Type])] = &[
    (LOCK, &[Type::INT8]),
    (HEAD, &[]),
    (CLOCK, &[Type::INT8]),
    (LEASES, &[Type::TEXT_ARRAY, Type::TEXT_ARRAY]),
    (RUNNING_ON, &[Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::INT8]),
    (KEYS, &[Type::TEXT_ARRAY, Type::TEXT_ARRAY]),
    (OWNED, &[Type::UUID_ARRAY, Type::TEXT]),
    (WRITTEN, &[Type::UUID_ARRAY]),
    (ENDED, &[Type::UUID_ARRAY]),
    (
        INSERT_LEDGER,
        &[
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::UUID_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::INT8_ARRAY,
            Type::TEXT_ARRAY,
            Type::BYTEA_ARRAY,
        ],
    ),
    (INSERT_STEP, &[Type::INT8, Type::INT8]),
    (INSERT_CUT, &[Type::INT8, Type::BYTEA, Type::INT8]),
    (
        INSERT_RUNNING,
        &[
            Type::INT8_ARRAY,
            Type::UUID_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::INT8_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT,
            Type::BYTEA_ARRAY,
        ],
    ),
    (ADOPT, &[Type::INT8_ARRAY, Type::TEXT, Type::INT8]),
    (SET_INTERIM, &[Type::INT8_ARRAY, Type::INT8_ARRAY]),
    (DELETE_RUNNING, &[Type::INT8_ARRAY]),
    (
        INSERT_DETAIL,
        &[
            Type::INT8_ARRAY,
            Type::TEXT_ARRAY,
            Type::INT8_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::BYTEA_ARRAY,
        ],
    ),
    (
        SET_VERDICT,
        &[
            Type::INT8_ARRAY,
            Type::TEXT_ARRAY,
            Type::INT8_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
        ],
    ),
    (SET_WARNINGS, &[Type::INT8_ARRAY, Type::TEXT_ARRAY]),
    (
        UPDATE_KEYS,
        &[Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::UUID_ARRAY, Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::INT8_ARRAY],
    ),
    (FREE_KEYS, &[Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::UUID_ARRAY]),
    (
        CLAIM_KEYS,
        &[
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::BYTEA_ARRAY,
            Type::UUID_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::INT8_ARRAY,
        ],
    ),
    (SET_LEASES, &[Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::INT8_ARRAY, Type::INT8_ARRAY, Type::TEXT]),
    (FREE_LEASES, &[Type::TEXT_ARRAY, Type::TEXT_ARRAY]),
    (SAVE_TOKENS, &[Type::TEXT_ARRAY, Type::BYTEA_ARRAY]),
    (SAVE_SHOWN, &[Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::INT8_ARRAY]),
    (
        SAVE_BATCH_ROWS,
        &[Type::TEXT_ARRAY, Type::INT8_ARRAY, Type::INT8_ARRAY, Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::INT8],
    ),
    (HEARTBEAT, &[Type::TEXT, Type::INT8]),
];

/// The prepared statements of one connection, by text.
pub(super) struct Statements(HashMap<&'static str, Statement>);

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        let all = ALL.iter().map(|(text, types)| Box::pin(client.prepare_typed(text, types)) as Query<'_, _>);
        let prepared: Result<Vec<_>, _> = pipeline(all.collect()).await.into_iter().collect();
        Ok(Self(ALL.iter().map(|(text, _)| *text).zip(prepared?).collect()))
    }

    /// A prepared statement; every one that is used is in [`ALL`].
    pub(super) fn get(&self, text: &'static str) -> Option<&Statement> {
        self.0.get(text)
    }
}
