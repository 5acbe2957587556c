//! The writer's connection to PostgreSQL. A group takes two round trips: the first takes the lock
//! of all writers and reads what the group needs, the second writes everything and commits.

use std::collections::HashSet;
use std::future::ready;
use std::sync::Arc;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row as PgRow};
use uuid::Uuid;

use super::columns::Columns;
use super::pipeline::{Query, pipeline};
use super::server::{PostgresServer, WRITER_LOCK};
use super::statements::{self as sql, Statements};
use super::writes::{WriteContext, key_writes, lease_writes, operation_writes};
use crate::journal::batches;
use crate::journal::change_set::ChangeSet;
use crate::journal::error::DbError;
use crate::journal::group_needs::GroupNeeds;
use crate::journal::model::InterimResponse;
use crate::journal::ownership::DEAD_AFTER;
use crate::journal::row_decoding::{
    SELECT_RUNNING, SELECT_VERDICT_TARGET, idempotency_row, outcome_state, parse_action, stored_operation,
    verdict_target,
};
use crate::journal::shared::Shared;
use crate::journal::sql::{CUT_TABLES, DELETE_SHOWN, Row, delete_cut, operation_uuid};
use crate::journal::writer_rows::{ChainHead, LeaseRow, RecordKey, RecordOperation, StoredOperation};
use crate::journal::writer_state::WriterState;
use crate::record::{Action, OperationId};

#[expect(clippy::cast_possible_truncation, reason = "8000 fits")]
const DEAD_AFTER_MS: i64 = DEAD_AFTER.as_millis() as i64;
/// How long the heartbeats of dead instances are kept.
const INSTANCE_KEPT_MS: i64 = 60 * 60 * 1000;
/// The most rows that one statement deletes.
const DELETE_CHUNK: i64 = 1000;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// The connection and its prepared statements.
pub(in crate::journal) struct PostgresSession {
    client: Client,
    statements: Statements,
}

type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

impl PostgresSession {
    /// Connects and loads what this instance runs.
    pub(in crate::journal) async fn connect(
        server: &PostgresServer,
        shared: &Shared,
        state: &mut WriterState,
    ) -> Result<Self, DbError> {
        let client = server.connect_writer(shared.durability).await?;
        let session = Self { statements: Statements::prepare(&client).await?, client };
        state.clear_stored();
        // An abandoned connection may still be committing. It has ended once this one holds the
        // lock; what is read before that may be outdated.
        session.lock_and_read(shared, &GroupNeeds::default(), state).await?;
        let own = format!("{SELECT_RUNNING} WHERE r.owner = $1 ORDER BY r.seq");
        for row in session.client.query(&own, &[&state.instance]).await? {
            let stored = stored_operation(&mut Row::from_postgres(&row)?)?;
            if stored.running.blocks() {
                shared.blocking.insert(&stored.running.intent);
            }
            state.track(stored.running);
        }
        // Only a write shows that the database can be written.
        let changes = ChangeSet { heartbeat: true, ..ChangeSet::default() };
        session.commit(&changes, state, &mut false).await?;
        Ok(session)
    }

    /// Takes the lock and reads what a group needs; returns the operations of dead instances if it
    /// adopts some.
    pub(in crate::journal) async fn begin(
        &mut self,
        shared: &Shared,
        needs: &GroupNeeds,
        state: &mut WriterState,
    ) -> Result<Vec<StoredOperation>, DbError> {
        state.records.clear();
        state.leases.clear();
        self.lock_and_read(shared, needs, state).await?;
        for operation in &needs.verdict_targets {
            let rows =
                self.client.query(&SELECT_VERDICT_TARGET.replace('?', "$"), &[&operation_uuid(operation)]).await?;
            for row in &rows {
                let target = verdict_target(&mut Row::from_postgres(row)?)?;
                state.verdict_targets.extend(target.map(|target| (operation.clone(), target)));
            }
        }
        let Some(limit) = needs.orphan_limit else { return Ok(Vec::new()) };
        self.orphans(needs, limit, state).await
    }

    async fn lock_and_read(&self, shared: &Shared, needs: &GroupNeeds, state: &mut WriterState) -> Result<(), DbError> {
        let (systems, records): (Vec<&str>, Vec<&str>) =
            needs.records.iter().map(|(system, record)| (&**system, &**record)).unzip();
        let (callers, keys): (Vec<&str>, Vec<&str>) =
            needs.keys.iter().map(|(caller, key)| (&**caller, &**key)).unzip();
        let owned: Vec<Uuid> = needs.owned.iter().map(operation_uuid).collect();
        let retried: Vec<Uuid> = needs.retried.iter().map(operation_uuid).collect();
        let ended: Vec<Uuid> = needs.ended.iter().map(operation_uuid).collect();
        let unknown = InterimResponse::Unknown.code();
        let grants_leases = i64::from(needs.grants_leases);
        let lookups: [(&'static str, bool, Params<'_>); 9] = [
            (sql::LOCK, true, &[&WRITER_LOCK]),
            (sql::HEAD, true, &[]),
            (sql::CLOCK, true, &[&grants_leases]),
            (sql::LEASES, !records.is_empty(), &[&systems, &records]),
            (sql::RUNNING_ON, !records.is_empty(), &[&systems, &records, &unknown]),
            (sql::KEYS, !keys.is_empty(), &[&callers, &keys]),
            (sql::OWNED, !owned.is_empty(), &[&owned, &state.instance]),
            (sql::WRITTEN, !retried.is_empty(), &[&retried]),
            (sql::ENDED, !ended.is_empty(), &[&ended]),
        ];
        let begin = async { self.client.batch_execute(BEGIN).await.map(|()| Vec::new()) };
        let mut queries: Vec<Query<'_, Vec<PgRow>>> = vec![Box::pin(begin)];
        for (text, needed, params) in &lookups {
            // What is not needed has no rows.
            queries.push(if *needed { self.query(text, params)? } else { Box::pin(ready(Ok(Vec::new()))) });
        }
        let mut results = pipeline(queries)
            .await
            .into_iter()
            .map(|rows| -> Result<Vec<Row>, DbError> { rows?.iter().map(Row::from_postgres).collect() });
        // In the order of the queries.
        let mut next = || results.next().unwrap_or_else(|| Ok(Vec::new()));
        let (started, lock, head, clock) = (next(), next(), next(), next());
        let (leases, running, keys, owned) = (next(), next(), next(), next());
        let (written, ended) = (next(), next());
        started.and(lock)?;
        apply_head(head?, clock?, shared, needs, state)?;
        apply_records(leases?, running?, state)?;
        for mut row in keys? {
            let (key_id, row) = idempotency_row(&mut row)?;
            state.keys.insert(key_id, row);
        }
        // Another replica may have adopted an operation. Its outcome counts: it may know more.
        let still_owned = operations(owned?)?;
        for operation in needs.owned.iter().filter(|operation| !still_owned.contains(*operation)) {
            state.running.remove(operation);
        }
        state.already_written.extend(operations(written?)?);
        for mut row in ended? {
            state.ended.insert(row.operation(0)?, outcome_state(&row.text(1)?)?);
        }
        Ok(())
    }

    fn query<'q>(&'q self, text: &'static str, params: Params<'q>) -> Result<Query<'q, Vec<PgRow>>, DbError> {
        let statement = self.statements.get(text).ok_or_else(|| DbError::Other("a statement is missing".into()))?;
        Ok(Box::pin(self.client.query(statement, params)))
    }

    async fn orphans(
        &self,
        needs: &GroupNeeds,
        limit: usize,
        state: &WriterState,
    ) -> Result<Vec<StoredOperation>, DbError> {
        let dead = format!(
            "{SELECT_RUNNING} WHERE r.owner <> $1
             AND NOT EXISTS (SELECT FROM instance i WHERE i.id = r.owner AND i.seen > $2) ORDER BY r.seq LIMIT $3"
        );
        let unclaimed = format!("{SELECT_RUNNING} WHERE r.owner = $1 AND r.operation = ANY($2)");
        let (alive_since, limit) = (state.now_ms() - DEAD_AFTER_MS, i64::try_from(limit).unwrap_or(i64::MAX));
        let mut rows = self.client.query(&dead, &[&state.instance, &alive_since, &limit]).await?;
        if !needs.unclaimed.is_empty() {
            let ids: Vec<Uuid> = needs.unclaimed.iter().map(operation_uuid).collect();
            rows.extend(self.client.query(&unclaimed, &[&state.instance, &ids]).await?);
        }
        rows.iter().map(|row| stored_operation(&mut Row::from_postgres(row)?)).collect()
    }

    /// Writes a group and commits. `committing` shows whether a failure leaves open the outcome of
    /// it.
    pub(in crate::journal) async fn commit(
        &self,
        changes: &ChangeSet,
        state: &WriterState,
        committing: &mut bool,
    ) -> Result<(), DbError> {
        let columns = Columns::new(changes);
        let context = WriteContext {
            instance: &state.instance,
            now_ms: state.now_ms(),
            wall_ms: state.clock.wall_ms,
            step: changes.clock_step.unwrap_or_default(),
            cut: changes.cut.as_ref().map(|cut| (cut.seq, &cut.hash[..], cut.marker)).unwrap_or_default(),
        };
        let writes = [
            operation_writes(&columns, changes, &context),
            key_writes(&columns),
            lease_writes(&columns, changes, &context),
        ];
        let mut queries: Vec<Query<'_, Vec<PgRow>>> = Vec::new();
        for write in writes.iter().flatten().filter(|write| write.is_needed) {
            queries.push(self.query(write.text, &write.params)?);
        }
        queries.push(Box::pin(async { self.client.batch_execute("COMMIT").await.map(|()| Vec::new()) }));
        *committing = true;
        let results = pipeline(queries).await;
        // `COMMIT` reports no failure of a transaction that a statement before has broken.
        let failure = results.into_iter().find_map(Result::err).map(DbError::from);
        *committing = failure.as_ref().is_some_and(|error| !error.is_definite());
        failure.map_or(Ok(()), Err)
    }

    /// Deletes some of what has expired, and returns whether there may be more. The lock is not
    /// needed: what has expired concerns no decision.
    pub(in crate::journal) async fn delete_expired(
        &mut self,
        state: &WriterState,
        cutoff_ms: i64,
    ) -> Result<bool, DbError> {
        let now_ms = state.now_ms();
        // The outer condition is not redundant: another replica may claim the key meanwhile, and
        // only the outer condition is checked again on the row that it has changed.
        let keys = "DELETE FROM idempotency WHERE expires IS NOT NULL AND expires <= $1 AND (caller, key) IN
            (SELECT caller, key FROM idempotency WHERE expires IS NOT NULL AND expires <= $1 LIMIT $2)";
        // Only the oldest rows are read: the table has no index on the time.
        let details = "DELETE FROM operation_detail WHERE seq IN (SELECT seq FROM
            (SELECT seq, finished FROM operation_detail ORDER BY seq LIMIT $2) AS oldest WHERE finished < $1)";
        let keys = self.client.execute(keys, &[&now_ms, &DELETE_CHUNK]).await?;
        let details = self.client.execute(details, &[&cutoff_ms, &DELETE_CHUNK]).await?;
        // A lease without an operation has sent nothing; one with an operation is protected by
        // that. A replica that was only slow finds its lease lost and begins again.
        let leases = "DELETE FROM lease WHERE expires <= $1 OR owner <> $2
            AND NOT EXISTS (SELECT FROM instance i WHERE i.id = lease.owner AND i.seen > $3)";
        self.client.execute(leases, &[&now_ms, &state.instance, &(now_ms - DEAD_AFTER_MS)]).await?;
        self.client.execute("DELETE FROM instance WHERE seen <= $1", &[&(now_ms - INSTANCE_KEPT_MS)]).await?;
        let mut cut = 0;
        for table in CUT_TABLES {
            cut += self.client.execute(&delete_cut(table).replace('?', "$"), &[&DELETE_CHUNK]).await?;
        }
        let expired = self.client.execute(batches::DELETE_EXPIRED, &[&cutoff_ms, &batches::DELETED_AT_ONCE]).await?;
        let shown = self.client.execute(DELETE_SHOWN, &[&now_ms, &DELETE_CHUNK]).await?;
        Ok(keys > 0 || details > 0 || cut > 0 || expired > 0 || shown > 0)
    }
}

fn operations(rows: Vec<Row>) -> Result<HashSet<OperationId>, DbError> {
    rows.into_iter().map(|mut row| row.operation(0)).collect()
}

fn apply_head(
    head: Vec<Row>,
    clock: Vec<Row>,
    shared: &Shared,
    needs: &GroupNeeds,
    state: &mut WriterState,
) -> Result<(), DbError> {
    state.head = ChainHead::EMPTY;
    for mut row in head {
        state.head = ChainHead { seq: row.int(0)?, hash: row.array(1)?, at: row.int(2)? };
    }
    for mut row in clock {
        state.clock.set(row.int(0)?.saturating_add(shared.skew_ms()), row.opt_int(1)?.unwrap_or_default());
        if needs.grants_leases {
            state.fence = row.int(2)?;
        }
    }
    Ok(())
}

fn apply_records(leases: Vec<Row>, running: Vec<Row>, state: &mut WriterState) -> Result<(), DbError> {
    for mut row in leases {
        let lease = LeaseRow { fence: row.int(2)?, expires_ms: row.int(3)? };
        state.leases.insert(record_key(&mut row)?, lease);
    }
    for mut row in running {
        let deletes = parse_action(&row.text(3)?)? == Action::Delete;
        let running = RecordOperation { id: row.operation(2)?, blocks: row.int(4)? != 0, deletes };
        let key = record_key(&mut row)?;
        state.track_on_record(key, running);
    }
    Ok(())
}

/// The columns system and record.
fn record_key(row: &mut Row) -> Result<RecordKey, DbError> {
    Ok((Arc::from(row.text(0)?), Arc::from(row.text(1)?)))
}
