//! The real program with a configuration file, and somebody who issues tokens.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use records_gateway::app::sandbox;
use records_gateway::sandbox::Sandbox;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::support::TestClient;

/// Longest time that something which must come is waited for.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

const PROGRAM: &str = env!("CARGO_BIN_EXE_records-gateway");

/// The configuration of a gateway in front of these vendors, with other tables `[server]` (more lines) and `[access]`.
pub(crate) fn configuration(vendors: &Sandbox, folder: &Path, server: &str, access: &str) -> String {
    let store = folder.join("store.db").display().to_string();
    let text = sandbox::configuration(vendors, SocketAddr::from(([127, 0, 0, 1], 0)), &store);
    let open = "        mode = \"open\"\n        allow_open = true\n";
    assert!(text.contains(open));
    text.replace(open, access).replace("        [store]\n", &format!("{server}\n[store]\n"))
}

/// The program, running. It is killed when this is dropped.
pub(crate) struct GatewayProgram {
    process: Child,
    /// What the first line says behind `listening on `.
    pub(crate) base_url: String,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    config_file: PathBuf,
}

impl GatewayProgram {
    pub(crate) fn serve(folder: &Path, configuration: &str, log_level: &str) -> Self {
        Self::spawn(Command::new(PROGRAM), folder, configuration, log_level)
    }

    /// Started by another program, whose last arguments are this one's command line.
    pub(crate) fn serve_with_launcher(under: &[&str], folder: &Path, configuration: &str, log_level: &str) -> Self {
        let mut command = Command::new(under[0]);
        command.args(&under[1..]).arg(PROGRAM);
        Self::spawn(command, folder, configuration, log_level)
    }

    /// With more arguments before the command, and more variables of the environment.
    pub(crate) fn serve_with(
        folder: &Path,
        configuration: &str,
        log_level: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).envs(environment.iter().copied());
        Self::spawn(command, folder, configuration, log_level)
    }

    /// With another limit of open files: the arguments of `ulimit`.
    pub(crate) fn serve_with_fd_limit(limit: &str, folder: &Path, configuration: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit $0 && exec \"$@\"", limit, PROGRAM]);
        Self::spawn(shell, folder, configuration, "info")
    }

    fn spawn(mut command: Command, folder: &Path, configuration: &str, log_level: &str) -> Self {
        let file = folder.join("gateway.toml");
        std::fs::write(&file, configuration).unwrap();
        let mut process = command
            .args(["serve", "--config"])
            .arg(&file)
            .env("RUST_LOG", log_level)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let reader = collect_lines(process.stderr.take().unwrap(), Arc::clone(&log));
        let mut first = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let base = first.trim_end().strip_prefix("listening on ").map(str::to_owned);
        let base = base.unwrap_or_else(|| panic!("{first:?}; {}", log.lock().unwrap()));
        Self { process, base_url: base, log, reader: Some(reader), config_file: file }
    }

    pub(crate) fn client(&self) -> TestClient {
        TestClient::new(self.base_url.clone())
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Another configuration takes the place of the file, at once and whole.
    pub(crate) fn write_config(&self, configuration: &str) {
        let next = self.config_file.with_extension("next");
        std::fs::write(&next, configuration).unwrap();
        std::fs::rename(next, &self.config_file).unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the log to hold this text so many times.
    pub(crate) async fn wait_for_log(&self, text: &str, times: usize) {
        let until = Instant::now() + WAIT_TIMEOUT;
        while self.log().matches(text).count() < times {
            assert!(Instant::now() < until, "never said {text:?}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGTERM, and its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal("-TERM");
        self.process.wait().unwrap().code()
    }

    /// SIGTERM, and all that was logged until the end.
    pub(crate) fn stop_and_read_log(mut self) -> String {
        self.signal("-TERM");
        self.process.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        self.log()
    }
}

impl Drop for GatewayProgram {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
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

/// Issues tokens (EdDSA).
pub(crate) struct JwtIssuer(Ed25519KeyPair);

pub(crate) const ISSUER: &str = "https://issuer.example/";
pub(crate) const AUDIENCE: &str = "records-gateway";

impl JwtIssuer {
    pub(crate) fn new() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    /// The public key as the one of a set.
    pub(crate) fn jwks(&self, id: &str) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x }] }).to_string()
    }

    pub(crate) fn token(&self, id: &str, subject: &str, scope: &str) -> String {
        let exp = jiff::Timestamp::now().as_second() + 600;
        let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": exp, "scope": scope });
        self.sign(&json!({ "alg": "EdDSA", "kid": id }), &claims)
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes())))
    }
}

/// `[access]` for tokens of this issuer.
pub(crate) fn jwt_access_config(jwks: &str) -> String {
    format!("mode = \"jwt\"\n[access.jwt]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks = \"{jwks}\"\n")
}
