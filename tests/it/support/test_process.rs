//! The gateway's own program in a process of its own: it can be configured, signalled, killed and
//! started again.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use records_gateway::sandbox::Sandbox;
use tempfile::TempDir;

use super::{TestClient, TestConfig};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_records-gateway");

/// Longest time that an expected event is waited for.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// How the program is started.
#[derive(Clone)]
pub(crate) struct ProcessBuilder {
    vendors: Sandbox,
    folder: PathBuf,
    /// Removes the folder when the last clone is dropped; `None` where the caller owns the folder.
    _temporary: Option<Arc<TempDir>>,
    config: TestConfig,
    name: String,
    launcher: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl ProcessBuilder {
    /// In front of these vendors, with files in this folder.
    pub(crate) fn new(vendors: Sandbox, folder: &Path) -> Self {
        let config = TestConfig::new(&vendors, folder);
        let environment = vec![("RUST_LOG".to_owned(), "info".to_owned())];
        Self {
            vendors,
            folder: folder.to_owned(),
            _temporary: None,
            config,
            name: "gateway".to_owned(),
            launcher: Vec::new(),
            arguments: Vec::new(),
            environment,
        }
    }

    /// The folder of the configuration and of the store.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn vendors(&self) -> &Sandbox {
        &self.vendors
    }

    pub(crate) fn configure(mut self, change: impl FnOnce(TestConfig) -> TestConfig) -> Self {
        self.config = change(self.config);
        self
    }

    /// The name of the configuration file, where several processes share a folder.
    pub(crate) fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// A program that starts the gateway: the gateway's command line follows these words.
    pub(crate) fn launcher(mut self, words: &[&str]) -> Self {
        self.launcher = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The limit of open files: the arguments of `ulimit`.
    pub(crate) fn fd_limit(self, limit: &str) -> Self {
        self.launcher(&["sh", "-c", "ulimit $0 && exec \"$@\"", limit])
    }

    /// Arguments before the subcommand.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self
    }

    pub(crate) fn log_as_json(self) -> Self {
        self.arguments(&["--log-format", "json"])
    }

    /// The directives of `RUST_LOG`.
    pub(crate) fn log_level(self, level: &str) -> Self {
        self.environment(&[("RUST_LOG", level)])
    }

    /// More environment variables.
    pub(crate) fn environment(mut self, variables: &[(&str, &str)]) -> Self {
        self.environment.extend(variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        self
    }

    /// Returns when the program listens.
    pub(crate) fn start(self) -> TestProcess {
        self.write_config(&self.config);
        let vendors = self.vendors.clone();
        let process = TestProcess {
            vendors,
            builder: self,
            child: Mutex::default(),
            base_url: RwLock::default(),
            log: Arc::default(),
            reader: Mutex::default(),
        };
        process.restart();
        process
    }

    /// Runs `check` on the configuration.
    pub(crate) fn check(&self) -> Output {
        self.write_config(&self.config);
        self.run(&["check"])
    }

    /// Runs a subcommand on the configuration to its end.
    pub(crate) fn run(&self, subcommand: &[&str]) -> Output {
        self.command(subcommand).output().expect("a process")
    }

    fn command(&self, subcommand: &[&str]) -> Command {
        let words: Vec<&str> = self.launcher.iter().map(String::as_str).chain([PROGRAM]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(&self.arguments).args(subcommand).arg("--config").arg(self.config_file());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn config_file(&self) -> PathBuf {
        self.folder().join(format!("{}.toml", self.name))
    }

    /// The file is replaced in one step.
    fn write_config(&self, config: &TestConfig) {
        let next = self.folder().join(format!("{}.next", self.name));
        std::fs::write(&next, config.text()).expect("a configuration");
        std::fs::rename(next, self.config_file()).expect("a configuration");
    }
}

/// The program, running. It is killed when this is dropped.
pub(crate) struct TestProcess {
    pub(crate) vendors: Sandbox,
    builder: ProcessBuilder,
    child: Mutex<Option<Child>>,
    base_url: RwLock<String>,
    log: Arc<Mutex<String>>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

impl TestProcess {
    /// With fake vendors and a folder of its own.
    pub(crate) fn builder() -> ProcessBuilder {
        let folder = tempfile::tempdir().expect("a folder");
        let builder = ProcessBuilder::new(Sandbox::start().expect("fake vendors"), folder.path());
        ProcessBuilder { _temporary: Some(Arc::new(folder)), ..builder }
    }

    pub(crate) fn start_with(configure: impl FnOnce(TestConfig) -> TestConfig) -> Self {
        Self::builder().configure(configure).start()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.builder.folder()
    }

    /// The configuration that the program was started with.
    pub(crate) fn config(&self) -> TestConfig {
        self.builder.config.clone()
    }

    /// `http://127.0.0.1:PORT`, or `https://…`, of the current start.
    pub(crate) fn base_url(&self) -> String {
        self.base_url.read().unwrap().clone()
    }

    /// `127.0.0.1:PORT` of the current start.
    pub(crate) fn address(&self) -> String {
        self.base_url().split_once("://").expect("a URL").1.to_owned()
    }

    pub(crate) fn client(&self) -> TestClient {
        TestClient::new(self.base_url())
    }

    /// Everything that was logged, of all starts.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Replaces the configuration file in one step.
    pub(crate) fn write_config(&self, config: &TestConfig) {
        self.builder.write_config(config);
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.lock().unwrap().as_ref().expect("a running process").id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    /// Waits until the log holds this text so many times.
    pub(crate) async fn wait_for_log(&self, text: &str, times: usize) {
        let until = Instant::now() + WAIT_TIMEOUT;
        while self.log().matches(text).count() < times {
            assert!(Instant::now() < until, "{text:?} is not in the log {times} times: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts; returns when the program listens.
    pub(crate) fn restart(&self) {
        let mut child = self.child.lock().unwrap();
        assert!(child.is_none(), "the program runs");
        let mut command = self.builder.command(&["serve"]);
        let mut started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");
        let reader = collect_lines(started.stderr.take().expect("standard error"), Arc::clone(&self.log));
        *self.reader.lock().unwrap() = Some(reader);
        let mut line = String::new();
        BufReader::new(started.stdout.take().expect("standard output")).read_line(&mut line).expect("a line");
        let Some(url) = line.trim_end().strip_prefix("listening on ") else { panic!("{line:?}; {}", self.log()) };
        url.clone_into(&mut self.base_url.write().unwrap());
        *child = Some(started);
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().expect("killed");
            child.wait().expect("an exit status");
        }
    }

    /// SIGTERM; waits for the end, also of the log, and returns the exit code.
    pub(crate) fn terminate(&self) -> Option<i32> {
        self.signal("-TERM");
        let mut child = self.child.lock().unwrap().take().expect("a running process");
        let code = child.wait().expect("an exit status").code();
        if let Some(reader) = self.reader.lock().unwrap().take() {
            reader.join().expect("the log's reader");
        }
        code
    }

    /// SIGTERM, and everything that was logged until the end.
    pub(crate) fn stop_and_read_log(&self) -> String {
        self.terminate();
        self.log()
    }

    /// Runs a subcommand on the same configuration to its end.
    pub(crate) fn run(&self, subcommand: &[&str]) -> Output {
        self.builder.run(subcommand)
    }

    /// How the process was started.
    pub(crate) fn into_builder(self) -> ProcessBuilder {
        self.builder.clone()
    }
}

impl Drop for TestProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn collect_lines(from: impl Read + Send + 'static, to: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut log = to.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    })
}
