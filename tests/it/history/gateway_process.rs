//! The gateway's own program in a process of its own, that can be killed at any moment and started again.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, RwLock};

const PROGRAM: &str = env!("CARGO_BIN_EXE_records-gateway");

/// One replica.
pub(crate) struct GatewayProcess {
    config: PathBuf,
    log: PathBuf,
    child: Mutex<Option<Child>>,
    address: RwLock<String>,
}

impl GatewayProcess {
    /// Writes the configuration into `folder` and starts.
    pub(crate) fn start(folder: &Path, name: &str, config: &str) -> Self {
        let path = folder.join(format!("{name}.toml"));
        std::fs::write(&path, config).expect("a configuration");
        let log = folder.join(format!("{name}.log"));
        let process = Self { config: path, log, child: Mutex::default(), address: RwLock::default() };
        process.restart();
        process
    }

    /// `127.0.0.1:PORT` of the present start.
    pub(crate) fn address(&self) -> String {
        self.address.read().unwrap().clone()
    }

    /// Starts; returns when it listens.
    pub(crate) fn restart(&self) {
        let mut child = self.child.lock().unwrap();
        assert!(child.is_none(), "it runs");
        let log = File::options().create(true).append(true).open(&self.log).expect("a log");
        let mut started = Command::new(PROGRAM)
            .args(["serve", "--config"])
            .arg(&self.config)
            .env("RUST_LOG", "info")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a process");
        let mut line = String::new();
        BufReader::new(started.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            panic!("it does not listen: {line}\n{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        };
        address.clone_into(&mut self.address.write().unwrap());
        *child = Some(started);
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().expect("killed");
            child.wait().expect("gone");
        }
    }

    /// SIGTERM; gives the exit code.
    pub(crate) fn terminate(&self) -> Option<i32> {
        let mut child = self.child.lock().unwrap().take().expect("it runs");
        let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
        assert!(told.success());
        child.wait().expect("gone").code()
    }

    /// The exit code of `ledger verify`.
    pub(crate) fn verify_ledger(&self) -> Option<i32> {
        let output = Command::new(PROGRAM).args(["ledger", "verify", "--config"]).arg(&self.config).output();
        let output = output.expect("a process");
        if !output.status.success() {
            eprintln!("ledger verify: {}", String::from_utf8_lossy(&output.stderr));
        }
        output.status.code()
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
