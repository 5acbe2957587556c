//! The journal's own thread: its runtime, the writer and the connections for reads.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, WeakUnboundedSender};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::changes;
use super::command::QueuedCommand;
use super::database::Database;
use super::error::{DbError, JournalError};
use super::operations::blocking_writes_of_others;
use super::readers::{ReadSource, Reader};
use super::shared::Shared;
use super::store_url::Location;
use super::writer::Writer;

/// The most reads of SQLite at a time; each blocks a thread.
const MAX_READ_THREADS: usize = 3;
/// How often the blocking writes of other replicas are read: a read of a record sees one that began
/// this long ago, at the latest.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);

/// What the thread begins with.
pub(super) struct ThreadArgs {
    pub(super) shared: Arc<Shared>,
    pub(super) location: Location,
    pub(super) command_rx: UnboundedReceiver<QueuedCommand>,
    pub(super) command_tx: WeakUnboundedSender<QueuedCommand>,
    pub(super) retry_for: Duration,
}

/// What the handles get when the journal is open.
pub(super) struct OpenJournal {
    pub(super) reader: Reader,
}

/// Runs the journal until all handles are dropped or `stop` is notified.
pub(super) fn run(setup: ThreadArgs, started: oneshot::Sender<Result<OpenJournal, JournalError>>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_READ_THREADS)
        .thread_name("journal-read")
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(JournalError::Open(error.to_string())));
            return;
        }
    };
    runtime.block_on(async {
        match open(setup).await {
            Err(error) => drop(started.send(Err(error))),
            Ok((shared, database, reader, mut writer)) => {
                let handles = OpenJournal { reader: reader.clone() };
                if started.send(Ok(handles)).is_ok() {
                    tokio::select! {
                        () = writer.run() => {}
                        () = shared.stop.notified() => {}
                    }
                }
                reader.close();
                writer.close();
                if let Database::Sqlite(file) = &database {
                    file.remove_if_temporary();
                }
            }
        }
    });
    runtime.shutdown_background();
}

async fn open(setup: ThreadArgs) -> Result<(Arc<Shared>, Database, Reader, Writer), JournalError> {
    let ThreadArgs { shared, location, command_rx, command_tx, retry_for } = setup;
    let database = Database::open(&location, &shared, retry_for).await?;
    let writer = Writer::open(Arc::clone(&shared), database.clone(), command_rx, command_tx, retry_for).await?;
    let source = match &database {
        Database::Sqlite(file) => {
            ReadSource::sqlite(Arc::clone(file), Arc::clone(&shared)).map_err(JournalError::cannot_open)?
        }
        Database::Postgres(server) => {
            let source = ReadSource::postgres(Arc::clone(server));
            // Reads of callers never use up what this one needs.
            let reader = Reader::new(source.clone());
            // The first time now: the first read must know what runs.
            look_at_others(&shared, &reader).await.map_err(JournalError::cannot_open)?;
            tokio::spawn(follow_others(Arc::clone(&shared), reader));
            source
        }
    };
    Ok((shared, database, Reader::new(source), writer))
}

/// Keeps the blocking writes of other replicas in memory, so that reads of records need no query.
async fn follow_others(shared: Arc<Shared>, reader: Reader) {
    let mut ticks = interval(FOLLOW_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // While the server is away, the last snapshot stands; the writer reports the failure.
        let _ = look_at_others(&shared, &reader).await;
    }
}

async fn look_at_others(shared: &Shared, reader: &Reader) -> Result<(), DbError> {
    shared.blocking.replace_others(blocking_writes_of_others(reader, &shared.instance).await?);
    shared.advance_head(changes::head(reader).await?);
    Ok(())
}
