//! The writer's connection to a SQLite file. It blocks the journal's thread; commands gather
//! meanwhile and share the next commit.
//!
//! This process is the only writer, so its memory is complete: `begin` and `finish` read nothing,
//! and leases are in memory only, because no other process may hold one.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Params, params};

use super::file::{BUSY_TIMEOUT, SqliteFile};
use crate::journal::batches;
use crate::journal::change_set::{ChangeSet, EntryKeys, NewCut, NewDetail, NewEntry, NewVerdict};
use crate::journal::error::DbError;
use crate::journal::group_needs::GroupNeeds;
use crate::journal::row_decoding::{
    SELECT_KEYS, SELECT_RUNNING, SELECT_VERDICT_TARGET, idempotency_row, outcome_state, stored_operation,
    verdict_target,
};
use crate::journal::shared::Shared;
use crate::journal::sql::{CUT_TABLES, DELETE_SHOWN, Row, delete_cut, operation_uuid};
use crate::journal::writer_rows::{ChainHead, KeyProgress, RecordOperation, RunningOperation, StoredOperation};
use crate::journal::writer_state::WriterState;
use crate::record::Action;

/// How long emptying the -wal file waits for other processes.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_millis(50);
/// The most rows that one statement deletes.
const DELETE_CHUNK: u32 = 1000;

/// The connection and its file. The file's lock outlives the connection.
pub(in crate::journal) struct SqliteSession {
    connection: Connection,
    file: Arc<SqliteFile>,
    /// Whether the -wal file may hold something.
    wal_used: bool,
}

impl SqliteSession {
    /// Connects and loads what runs.
    pub(in crate::journal) fn connect(
        file: &Arc<SqliteFile>,
        shared: &Shared,
        state: &mut WriterState,
    ) -> Result<Self, DbError> {
        file.check_identity()?;
        let connection = file.connect_writer(shared.durability)?;
        let session = Self { connection, file: Arc::clone(file), wal_used: true };
        // What is read before this may be outdated: an abandoned transaction may still commit.
        session.execute("BEGIN IMMEDIATE", [])?;
        session.load(shared, state)?;
        // Only a write shows that the file can be written.
        session.write(&ChangeSet { heartbeat: true, ..ChangeSet::default() }, state)?;
        session.execute("COMMIT", [])?;
        Ok(session)
    }

    fn load(&self, shared: &Shared, state: &mut WriterState) -> Result<(), DbError> {
        state.clock.set(shared.now_ms(), 0);
        // No lease outlives its process, so the numbers only must not repeat within it.
        state.fence = state.fence.max(state.clock.wall_ms.saturating_mul(1000));
        state.clear_stored();
        for mut row in self.select("SELECT seq, hash, at FROM ledger ORDER BY seq DESC LIMIT 1", [])? {
            state.head = ChainHead { seq: row.int(0)?, hash: row.array(1)?, at: row.int(2)? };
        }
        for mut row in self.select(&format!("{SELECT_RUNNING} ORDER BY r.seq"), [])? {
            let StoredOperation { owner, running, .. } = stored_operation(&mut row)?;
            let is_own = owner == state.instance;
            let running = RunningOperation { is_unresolved: running.is_unresolved || !is_own, ..running };
            if running.blocks() {
                shared.blocking.insert(&running.intent);
            }
            if is_own {
                state.track(running);
            } else if let Some(record) = &running.intent.record {
                let id = running.intent.operation.clone();
                let on_record = RecordOperation { id, blocks: true, deletes: running.intent.action == Action::Delete };
                state.track_on_record((Arc::clone(&running.intent.system), Arc::clone(record)), on_record);
            }
        }
        Ok(())
    }

    /// Reads what a group needs; returns the operations of dead processes if it adopts some.
    pub(in crate::journal) fn begin(
        &mut self,
        shared: &Shared,
        needs: &GroupNeeds,
        state: &mut WriterState,
    ) -> Result<Vec<StoredOperation>, DbError> {
        self.file.check_identity()?;
        state.clock.set(shared.now_ms(), 0);
        for (caller, key) in &needs.keys {
            let statement = format!("{SELECT_KEYS} WHERE i.caller = ?1 AND i.key = ?2");
            for mut row in self.select(&statement, params![caller, key])? {
                let (key_id, row) = idempotency_row(&mut row)?;
                state.keys.insert(key_id, row);
            }
        }
        for operation in &needs.retried {
            let statement = "SELECT seq FROM ledger WHERE operation = ?1 AND intent IS NOT NULL";
            if !self.select(statement, params![operation_uuid(operation).as_bytes()])?.is_empty() {
                state.already_written.insert(operation.clone());
            }
        }
        for operation in &needs.ended {
            let statement = "SELECT entry FROM ledger WHERE operation = ?1 AND intent > 0";
            for mut row in self.select(statement, params![operation_uuid(operation).as_bytes()])? {
                state.ended.insert(operation.clone(), outcome_state(&row.text(0)?)?);
            }
        }
        for operation in &needs.verdict_targets {
            for mut row in self.select(SELECT_VERDICT_TARGET, params![operation_uuid(operation).as_bytes()])? {
                state.verdict_targets.extend(verdict_target(&mut row)?.map(|target| (operation.clone(), target)));
            }
        }
        let Some(limit) = needs.orphan_limit else { return Ok(Vec::new()) };
        let statement = format!("{SELECT_RUNNING} WHERE r.owner <> ?1 ORDER BY r.seq LIMIT ?2");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = self.select(&statement, params![state.instance, limit])?;
        for operation in &needs.unclaimed {
            let statement = format!("{SELECT_RUNNING} WHERE r.owner = ?1 AND r.operation = ?2");
            rows.extend(self.select(&statement, params![state.instance, operation_uuid(operation).as_bytes()])?);
        }
        rows.iter_mut().map(stored_operation).collect()
    }

    /// Writes a group in one transaction. `committing` shows whether a failure leaves its
    /// outcome open.
    pub(in crate::journal) fn commit(
        &mut self,
        changes: &ChangeSet,
        state: &WriterState,
        committing: &mut bool,
    ) -> Result<(), DbError> {
        if changes.is_only_leases() {
            return Ok(());
        }
        self.wal_used = true;
        self.execute("BEGIN IMMEDIATE", [])?;
        self.write(changes, state)?;
        *committing = true;
        let committed = self.execute("COMMIT", []);
        *committing = committed.as_ref().is_err_and(|error| !error.is_definite());
        committed
    }

    fn write(&self, changes: &ChangeSet, state: &WriterState) -> Result<(), DbError> {
        let now_ms = state.now_ms();
        changes.entries.iter().try_for_each(|entry| self.insert_entry(entry))?;
        if let Some((seq, at)) = changes.clock_step {
            self.execute("INSERT INTO clock_step (seq, at) VALUES (?1, ?2)", [seq, at])?;
        }
        if let Some(NewCut { seq, hash, marker }) = changes.cut {
            let statement = "INSERT OR IGNORE INTO ledger_cut (seq, hash, marker) VALUES (?1, ?2, ?3)";
            self.execute(statement, params![seq, hash, marker])?;
        }
        changes.begun.iter().try_for_each(|running| self.insert_running(running, &state.instance))?;
        for seq in &changes.adopted {
            let statement = "UPDATE running SET owner = ?2, first_adopted = coalesce(first_adopted, ?3) WHERE seq = ?1";
            self.execute(statement, params![seq, state.instance, state.clock.wall_ms])?;
        }
        for (seq, code) in &changes.interim {
            self.execute("UPDATE running SET interim = ?2 WHERE seq = ?1", [seq, code])?;
        }
        for seq in &changes.ended {
            self.execute("DELETE FROM running WHERE seq = ?1", [seq])?;
        }
        changes.details.iter().try_for_each(|detail| self.insert_detail(detail))?;
        self.write_verdicts(changes)?;
        self.write_keys(changes)?;
        for (system, sealed) in &changes.tokens {
            let statement = "INSERT OR REPLACE INTO token (system, sealed) VALUES (?1, ?2)";
            self.execute(statement, params![system, &sealed[..]])?;
        }
        for (etag, (fields, expires_ms)) in &changes.shown {
            let statement = "INSERT OR REPLACE INTO shown_state (etag, fields, expires) VALUES (?1, ?2, ?3)";
            self.execute(statement, params![etag, fields, expires_ms])?;
        }
        for row in changes.batch_rows.values() {
            let values = params![row.id, row.position, row.status, state.clock.wall_ms, row.request, row.response];
            self.execute(batches::SAVE, values)?;
        }
        if changes.heartbeat {
            self.execute("INSERT OR REPLACE INTO instance (id, seen) VALUES ('', ?1)", [now_ms])?;
        }
        Ok(())
    }

    fn insert_entry(&self, entry: &NewEntry) -> Result<(), DbError> {
        let statement = "INSERT INTO ledger (seq, at, operation, system, record, intent, entry, hash)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let NewEntry { seq, at, keys, json, hash } = entry;
        let EntryKeys { operation, system, record, intent } = keys;
        let values = params![seq, at, operation.as_bytes(), system, record, intent, json, hash];
        self.execute(statement, values)
    }

    fn insert_running(&self, running: &RunningOperation, owner: &str) -> Result<(), DbError> {
        let intent = &running.intent;
        let statement =
            "INSERT INTO running (seq, operation, owner, system, record, action, caller, is_async, key, recovery)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let operation = operation_uuid(&intent.operation);
        let values = params![
            running.seq,
            operation.as_bytes(),
            owner,
            intent.system,
            intent.record,
            intent.action.as_str(),
            intent.caller,
            intent.is_async,
            running.key,
            intent.recovery.as_deref().map(str::as_bytes)
        ];
        self.execute(statement, values)
    }

    fn insert_detail(&self, detail: &NewDetail) -> Result<(), DbError> {
        let (warnings, problem, observed) = detail.columns();
        let (key, recovery) = detail.open_columns();
        let statement =
            "INSERT INTO operation_detail (seq, state, finished, warnings, problem, observed, key, recovery)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let (seq, state) = (detail.running.seq, detail.outcome.state.as_str());
        self.execute(statement, params![seq, state, detail.finished_ms, warnings, problem, observed, key, recovery])
    }

    fn write_verdicts(&self, changes: &ChangeSet) -> Result<(), DbError> {
        for change in &changes.verdicts {
            let NewVerdict { seq, entry, verdict } = change;
            let (resolved_by, note, warnings) = change.columns();
            self.execute(
                "UPDATE operation_detail SET state = ?2, verdict = ?3, resolved_by = ?4, note = ?5, record = ?6,
                 etag = ?7, warnings = ?8, problem = NULL, observed = NULL, key = NULL,
                 recovery = CASE WHEN ?4 IS NULL THEN NULL ELSE recovery END WHERE seq = ?1",
                params![seq, verdict.state.as_str(), entry, resolved_by, note, verdict.record, verdict.etag, warnings],
            )?;
        }
        for (seq, warnings) in &changes.warnings {
            self.execute("UPDATE operation_detail SET warnings = ?2 WHERE seq = ?1", params![seq, warnings])?;
        }
        Ok(())
    }

    fn write_keys(&self, changes: &ChangeSet) -> Result<(), DbError> {
        for (operation, update) in &changes.key_updates {
            let ((caller, key), id) = (&update.key, operation_uuid(operation));
            match &update.progress {
                Some(KeyProgress { replay_json, interim, expires_ms }) => self.execute(
                    "UPDATE idempotency SET replay_json = ?4, interim = ?5, expires = ?6
                     WHERE caller = ?1 AND key = ?2 AND operation = ?3",
                    params![caller, key, id.as_bytes(), replay_json, interim, expires_ms],
                )?,
                None => self.execute(
                    "DELETE FROM idempotency WHERE caller = ?1 AND key = ?2 AND operation = ?3",
                    params![caller, key, id.as_bytes()],
                )?,
            }
        }
        for ((caller, key), row) in &changes.key_claims {
            let KeyProgress { replay_json, interim, expires_ms } = &row.progress;
            let id = operation_uuid(&row.operation);
            self.execute(
                "INSERT OR REPLACE INTO idempotency
                 (caller, key, fingerprint, operation, replay_json, interim, expires)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![caller, key, row.fingerprint, id.as_bytes(), replay_json, interim, expires_ms],
            )?;
        }
        Ok(())
    }

    /// Deletes some of what has expired, and returns whether there may be more.
    pub(in crate::journal) fn delete_expired(&mut self, now_ms: i64, cutoff_ms: i64) -> Result<bool, DbError> {
        let keys = self.connection.prepare_cached(
            "DELETE FROM idempotency WHERE rowid IN
             (SELECT rowid FROM idempotency WHERE expires IS NOT NULL AND expires <= ?1 LIMIT ?2)",
        );
        let keys = keys?.execute(params![now_ms, DELETE_CHUNK])?;
        // Only the oldest rows are read: the table has no index on the time.
        let details = self.connection.prepare_cached(
            "DELETE FROM operation_detail WHERE seq IN (SELECT seq FROM
             (SELECT seq, finished FROM operation_detail ORDER BY seq LIMIT ?2) AS oldest WHERE finished < ?1)",
        );
        let details = details?.execute(params![cutoff_ms, DELETE_CHUNK])?;
        let mut cut = 0;
        for table in CUT_TABLES {
            cut += self.connection.prepare_cached(&delete_cut(table))?.execute([DELETE_CHUNK])?;
        }
        let expired = self.connection.prepare_cached(batches::DELETE_EXPIRED);
        let expired = expired?.execute(params![cutoff_ms, batches::DELETED_AT_ONCE])?;
        let shown = self.connection.prepare_cached(DELETE_SHOWN)?.execute(params![now_ms, DELETE_CHUNK])?;
        self.wal_used |= keys + details + cut + expired + shown > 0;
        Ok(keys > 0 || details > 0 || cut > 0 || expired > 0 || shown > 0)
    }

    /// Moves the content of the -wal file to the file and empties it: it holds what was deleted.
    pub(in crate::journal) fn truncate_wal(&mut self) {
        if !std::mem::take(&mut self.wal_used) {
            return;
        }
        // A process that reads for long must not keep the next commands waiting.
        let is_set = self.connection.busy_timeout(CHECKPOINT_TIMEOUT);
        let busy = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        // While another process reads, it is tried again when the journal is idle the next time.
        self.wal_used = !matches!((is_set, busy), (Ok(()), Ok(0)));
        self.wal_used |= self.connection.busy_timeout(BUSY_TIMEOUT).is_err();
    }

    fn execute(&self, statement: &str, values: impl Params) -> Result<(), DbError> {
        self.connection.prepare_cached(statement)?.execute(values)?;
        Ok(())
    }

    fn select(&self, statement: &str, values: impl Params) -> Result<Vec<Row>, DbError> {
        let mut statement = self.connection.prepare_cached(statement)?;
        let columns = statement.column_count();
        let mut rows = statement.query(values)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Row::from_sqlite(row, columns)?);
        }
        Ok(found)
    }
}
