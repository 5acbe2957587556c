//! What is looked after while the gateway runs: files that change, and the keys that tokens are checked with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::reload::Running;
use super::tls::LiveTls;
use super::watched::Watched;
use crate::metrics::Reloaded;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The configuration's file, and the signal that asks to read it again.
pub(super) struct ConfigFile {
    path: PathBuf,
    bind: Option<SocketAddr>,
    watched: Watched,
    hangup: Signal,
}

impl ConfigFile {
    /// From now on SIGHUP is a request and ends the process no more.
    pub(super) fn watch(path: &Path, bind: Option<SocketAddr>) -> std::io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { path: path.to_owned(), bind, watched: Watched::new([path]), hangup })
    }
}

/// Looks after it all until it is dropped.
pub(super) async fn run(mut running: Running, mut tls: Option<LiveTls>, mut file: Option<ConfigFile>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        let asked = tokio::select! {
            _ = look.tick() => false,
            () = asked(&mut file) => true,
        };
        if let Some(file) = &mut file
            && (file.watched.have_changed() || asked)
        {
            running.reload(&file.path, file.bind).await;
        }
        if let Some(tls) = &mut tls {
            match tls.look_after(asked) {
                Some(Ok(())) => {
                    running.metrics.reload(Reloaded::Certificate, true);
                    tracing::info!("the files of server.tls were read again; new connections get what is in them");
                }
                Some(Err(fault)) => {
                    running.metrics.reload(Reloaded::Certificate, false);
                    tracing::error!(%fault, "the changed files of server.tls are refused; the former ones stay");
                }
                None => {}
            }
        }
        running.callers.look_after(asked).await;
    }
}

async fn asked(file: &mut Option<ConfigFile>) {
    match file {
        Some(file) => {
            file.hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}
