//! The store's own thread: its runtime, the writer and the read connections.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sqlx::AnyPool;
use tokio::sync::{mpsc, oneshot};

use super::command::QueuedCommand;
use super::error::StoreError;
use super::shared::StoreShared;
use super::writer::Writer;

/// The thread's runtime and the read connections, or why the store cannot be opened.
pub(super) type StartupResult = Result<(tokio::runtime::Handle, AnyPool), StoreError>;

/// Runs the store until all handles are dropped or `stop` is notified.
pub(super) fn run(
    shared: &Arc<StoreShared>,
    command_rx: mpsc::UnboundedReceiver<QueuedCommand>,
    command_tx: mpsc::WeakUnboundedSender<QueuedCommand>,
    startup_tx: oneshot::Sender<StartupResult>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = startup_tx.send(Err(StoreError::Open(error.to_string())));
            return;
        }
    };
    runtime.block_on(async {
        let opened = async {
            let lock = shared.backend.lock()?;
            let writer = Writer::open(Arc::clone(shared), command_rx, command_tx).await?;
            let health = Arc::clone(shared);
            let readers = shared.backend.build_reader_pool(move || health.healthy.load(Ordering::Acquire))?;
            Ok((lock, writer, readers))
        };
        match opened.await {
            Err(error) => {
                let _ = startup_tx.send(Err(error));
            }
            Ok((_lock, writer, readers)) => {
                if startup_tx.send(Ok((runtime.handle().clone(), readers.clone()))).is_err() {
                    return;
                }
                tokio::select! {
                    () = writer.run() => {}
                    () = shared.stop.notified() => {}
                }
                // Not awaited: a read that hangs must not keep the process alive.
                drop(readers.close());
            }
        }
    });
    runtime.shutdown_background();
}
