//! What is looked after while the gateway runs: files that change, and the keys that tokens are checked with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::file_watcher::FileWatcher;
use super::reload::LiveConfig;
use super::tls::ReloadableTls;
use crate::metrics::ReloadTarget;

/// How often files are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The configuration's file, and the signal that asks to read it again.
pub(super) struct ConfigFile {
    path: PathBuf,
    bind: Option<SocketAddr>,
    watcher: FileWatcher,
    sighup: Signal,
}

impl ConfigFile {
    /// From now on SIGHUP is a request and ends the process no more.
    pub(super) fn watch(path: &Path, bind: Option<SocketAddr>) -> std::io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { path: path.to_owned(), bind, watcher: FileWatcher::new([path]), sighup: hangup })
    }
}

/// Looks after it all until it is dropped.
pub(super) async fn run(mut running: LiveConfig, mut tls: Option<ReloadableTls>, mut file: Option<ConfigFile>) {
    let mut look = tokio::time::interval(POLL_INTERVAL);
    loop {
        let asked = tokio::select! {
            _ = look.tick() => false,
            () = wait_for_reload_signal(&mut file) => true,
        };
        if let Some(file) = &mut file
            && (file.watcher.has_changed() || asked)
        {
            running.reload(&file.path, file.bind).await;
        }
        if let Some(tls) = &mut tls {
            match tls.reload_if_changed(asked) {
                Some(Ok(())) => {
                    running.metrics.reload(ReloadTarget::Certificate, true);
                    tracing::info!("the files of server.tls were read again; new connections get what is in them");
                }
                Some(Err(fault)) => {
                    running.metrics.reload(ReloadTarget::Certificate, false);
                    tracing::error!(%fault, "the changed files of server.tls are refused; the former ones stay");
                }
                None => {}
            }
        }
        running.auth.refresh(asked).await;
    }
}

async fn wait_for_reload_signal(file: &mut Option<ConfigFile>) {
    match file {
        Some(file) => {
            file.sighup.recv().await;
        }
        None => std::future::pending().await,
    }
}
