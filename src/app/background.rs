//! Background work while the gateway runs: reloads changed files and refreshes the keys that tokens
//! are verified with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::file_watcher::FileWatcher;
use super::reload::LiveConfig;
use super::tls::ReloadableTls;
use crate::config::Config;
use crate::metrics::ReloadTarget;

/// How often files are checked for changes.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The configuration file, and the signal that reloads it.
pub(super) struct ConfigFile {
    path: PathBuf,
    bind: Option<SocketAddr>,
    watcher: FileWatcher,
    sighup: Signal,
}

impl ConfigFile {
    /// From now on SIGHUP reloads the file and no longer ends the process.
    pub(super) fn watch(path: &Path, bind: Option<SocketAddr>, config: &Config) -> std::io::Result<Self> {
        let sighup = signal(SignalKind::hangup())?;
        let watcher = FileWatcher::new([path].into_iter().chain(config.named_files()));
        Ok(Self { path: path.to_owned(), bind, watcher, sighup })
    }
}

/// Runs until it is dropped.
pub(super) async fn run(mut live_config: LiveConfig, mut tls: Option<ReloadableTls>, mut file: Option<ConfigFile>) {
    let mut poll = tokio::time::interval(POLL_INTERVAL);
    loop {
        let is_signalled = tokio::select! {
            _ = poll.tick() => false,
            () = wait_for_reload_signal(&mut file) => true,
        };
        if let Some(file) = &mut file
            && file.watcher.has_changed(is_signalled)
        {
            live_config.reload(&file.path, file.bind).await;
            file.watcher.retarget([&*file.path].into_iter().chain(live_config.config.named_files()));
        }
        if let Some(tls) = &mut tls {
            match tls.reload_if_changed(is_signalled) {
                Some(Ok(())) => {
                    live_config.process.metrics.reload(ReloadTarget::Certificate, true);
                    tracing::info!("server.tls was reloaded; new connections use the new files");
                }
                Some(Err(error)) => {
                    live_config.process.metrics.reload(ReloadTarget::Certificate, false);
                    tracing::error!(%error, "the changed files of server.tls are invalid; the previous ones stay in use");
                }
                None => {}
            }
        }
        live_config.auth.refresh(is_signalled).await;
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
