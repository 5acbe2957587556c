//! The two databases behind one interface: the writer's session.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use super::change_set::ChangeSet;
use super::error::{DbError, JournalError};
use super::group_needs::GroupNeeds;
use super::postgres::{PostgresServer, PostgresSession};
use super::shared::Shared;
use super::sqlite::{SqliteFile, SqliteSession};
use super::store_url::Location;
use super::writer_rows::StoredOperation;
use super::writer_state::WriterState;

/// The shortest and the longest pause between two attempts to reach the server at the start.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// An open database.
#[derive(Clone)]
pub(super) enum Database {
    Sqlite(Arc<SqliteFile>),
    Postgres(Arc<PostgresServer>),
}

impl Database {
    /// Locks the file or reaches the server, and creates the tables if there are none. While the
    /// server restarts or drops the connection, that is tried again for `retry_for`.
    pub(super) async fn open(location: &Location, shared: &Shared, retry_for: Duration) -> Result<Self, JournalError> {
        match location {
            Location::Sqlite { path, temporary } => {
                let file = SqliteFile::lock(path, *temporary)?;
                file.prepare(shared.durability).map_err(JournalError::cannot_open)?;
                Ok(Self::Sqlite(Arc::new(file)))
            }
            Location::Postgres { url } => {
                let server = PostgresServer::new(url)?;
                let end = Instant::now() + retry_for;
                retry_until(end, async || server.prepare().await).await?;
                Ok(Self::Postgres(Arc::new(server)))
            }
        }
    }

    /// Whether other processes may write too.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Connects the writer and loads what runs into its state.
    pub(super) async fn connect(&self, shared: &Shared, state: &mut WriterState) -> Result<Session, DbError> {
        match self {
            Self::Sqlite(file) => SqliteSession::connect(file, shared, state).map(Session::Sqlite),
            Self::Postgres(server) => {
                let session = PostgresSession::connect(server, shared, state).await?;
                Ok(Session::Postgres(Box::new(session)))
            }
        }
    }
}

/// Tries again while the failure is temporary, until `end`.
pub(super) async fn retry_until<T>(
    end: Instant,
    mut attempt: impl AsyncFnMut() -> Result<T, DbError>,
) -> Result<T, JournalError> {
    let (min, max) = BACKOFF;
    let pauses = ExponentialBuilder::default().with_min_delay(min).with_max_delay(max).without_max_times();
    for pause in pauses.build() {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if error.is_temporary() && Instant::now() + pause < end => sleep(pause).await,
            Err(error) => return Err(JournalError::cannot_open(error)),
        }
    }
    Err(JournalError::Unavailable)
}

/// The writer's connection.
pub(super) enum Session {
    Sqlite(SqliteSession),
    Postgres(Box<PostgresSession>),
}

impl Session {
    /// Reads what a group needs into the state; returns the operations of dead instances if the
    /// group adopts some.
    pub(super) async fn begin(
        &mut self,
        shared: &Shared,
        needs: &GroupNeeds,
        state: &mut WriterState,
    ) -> Result<Vec<StoredOperation>, DbError> {
        match self {
            Self::Sqlite(session) => session.begin(shared, needs, state),
            Self::Postgres(session) => session.begin(shared, needs, state).await,
        }
    }

    /// Writes a group and commits. `committing` is set while a failure leaves open the outcome of
    /// it.
    pub(super) async fn commit(
        &mut self,
        changes: &ChangeSet,
        state: &WriterState,
        committing: &mut bool,
    ) -> Result<(), DbError> {
        match self {
            Self::Sqlite(session) => session.commit(changes, state, committing),
            Self::Postgres(session) => session.commit(changes, state, committing).await,
        }
    }

    /// Deletes some of what has expired, and returns whether there may be more.
    pub(super) async fn delete_expired(&mut self, shared: &Shared, state: &WriterState) -> Result<bool, DbError> {
        let cutoff_ms = shared.retention_cutoff_ms();
        match self {
            Self::Sqlite(session) => session.delete_expired(state.now_ms(), cutoff_ms),
            Self::Postgres(session) => session.delete_expired(state, cutoff_ms).await,
        }
    }

    /// Uses the time while nothing is written.
    pub(super) fn idle(&mut self) {
        if let Self::Sqlite(session) = self {
            session.truncate_wal();
        }
    }
}
