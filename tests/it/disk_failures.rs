//! The real program on a disk that is full, or that can only be read: writes are refused before the vendor is called, reads go
//! on, `/readyz` says so, what is under way ends well, and everything heals by itself.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::sandbox::{CallKind, InjectedFault, Sandbox, matrix42};
use records_gateway::store::verify_ledger;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::gateway_program::{GatewayProgram, configuration};
use super::support::{TestClient, TestResponse};

/// Longest time that something which must come is waited for.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
const OPEN_ACCESS: &str = "mode = \"open\"\nallow_open = true\n";

/// A gateway whose files can be limited in size, and to which permissions mean something also where it is root.
struct DiskFailureEnv {
    vendors: Sandbox,
    folder: TempDir,
    program: GatewayProgram,
}

/// What the program is started by: a write beyond the limit is an error to it and not its end.
fn launcher_command() -> Vec<&'static str> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let mortal: &[&str] =
        if is_root { &["setpriv", "--bounding-set=-dac_override,-dac_read_search"] } else { &["env"] };
    [mortal, &["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]].concat()
}

impl DiskFailureEnv {
    fn start() -> Self {
        let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
        let text = configuration(&vendors, folder.path(), "", OPEN_ACCESS);
        let program = GatewayProgram::serve_with_launcher(&launcher_command(), folder.path(), &text, "info");
        Self { vendors, folder, program }
    }

    fn client(&self) -> TestClient {
        self.program.client()
    }

    fn store_file(&self, suffix: &str) -> std::path::PathBuf {
        self.folder.path().join(format!("store.db{suffix}"))
    }

    /// From now on no file of the program grows beyond so many bytes.
    fn limit_file_size(&self, bytes: &str) {
        let limits = [format!("--pid={}", self.program.id()), format!("--fsize={bytes}:unlimited")];
        assert!(Command::new("prlimit").args(limits).status().unwrap().success());
    }

    /// From now on the store's files, opened anew, can (only) be read.
    fn set_writable(&self, writable: bool) {
        set_mode(self.folder.path(), if writable { 0o755 } else { 0o555 });
        for suffix in ["", "-wal", "-shm", ".lock"] {
            set_mode(&self.store_file(suffix), if writable { 0o644 } else { 0o444 });
        }
    }

    async fn patch(&self, text: &str) -> TestResponse {
        patch(&self.client(), text).await
    }

    fn vendor_value(&self) -> Value {
        let fragment = self.vendors.matrix42.state.fragment(matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID);
        fragment.unwrap().attributes["Description"].clone()
    }

    /// Writes are refused and nothing of them reaches the vendor; everything else goes on, and `/readyz` says so.
    async fn assert_writes_rejected(&self) {
        let (held, sent) = (self.vendor_value(), self.vendors.matrix42.log.count(CallKind::Update));
        for _ in 0..3 {
            let response = self.patch("refused").await;
            response.assert_problem(503, "overloaded");
            assert!(response.header("retry-after").is_some());
        }
        assert_eq!((self.vendor_value(), self.vendors.matrix42.log.count(CallKind::Update)), (held, sent));
        self.client().get("/readyz").send().await.assert_problem(503, "overloaded");
        for path in [record_path(), "/operations".to_owned(), "/ledger".to_owned(), "/healthz".to_owned()] {
            self.client().get(&path).send().await.assert_status(200);
        }
    }

    /// It is ready again, takes writes, and its books are in order.
    async fn assert_recovers(&self) {
        let until = Instant::now() + WAIT_TIMEOUT;
        while self.client().get("/readyz").send().await.status != 200 {
            assert!(Instant::now() < until, "it does not heal; {}", self.program.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.patch("healed").await.assert_status(204);
        assert_eq!(self.vendor_value(), "healed");
        let running = self.client().get("/operations?state=running").send().await.assert_status(200).json();
        assert_eq!(running["items"], json!([]));
        let url = format!("sqlite:{}", self.store_file("").display());
        let verified = verify_ledger(&url, None).await.unwrap();
        assert!(verified.is_sound() && verified.entries % 2 == 0, "{verified:?}");
    }
}

fn set_mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn record_path() -> String {
    format!("/records/itsm/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID)
}

async fn patch(caller: &TestClient, text: &str) -> TestResponse {
    let patch = caller.request(Method::PATCH, &record_path()).if_match("*");
    patch.fields(&json!({ "Description": text })).send().await
}

#[actix_web::test]
async fn a_full_disk_rejects_writes_before_vendor_calls() {
    let env = DiskFailureEnv::start();
    env.patch("well").await.assert_status(204);
    env.client().get("/readyz").send().await.assert_status(200);
    env.vendors.matrix42.faults.once(CallKind::Update, InjectedFault::Hold);
    let caller = env.client();
    let under_way = actix_web::rt::spawn(async move { patch(&caller, "under way").await });
    env.vendors.matrix42.log.wait_for(CallKind::Update, 2).await;
    // What is there can be written over; nothing more fits.
    let size = std::fs::metadata(env.store_file("-wal")).unwrap().len();
    env.limit_file_size(&size.to_string());
    env.vendors.matrix42.faults.release();
    under_way.await.unwrap().assert_status(204);
    assert_eq!(env.vendor_value(), "under way");
    env.assert_writes_rejected().await;
    env.limit_file_size("unlimited");
    env.assert_recovers().await;
    let operations = env.client().get("/operations?system=itsm").send().await.assert_status(200).json();
    let states: Vec<_> = operations["items"].as_array().unwrap().iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["applied"; 3], "the outcome that did not fit was kept, and nothing else was begun");
}

#[actix_web::test]
async fn read_only_files_reject_writes_until_they_are_writable_again() {
    let env = DiskFailureEnv::start();
    env.patch("well").await.assert_status(204);
    // Files that are open stay writable; what fails makes the store open them anew.
    env.set_writable(false);
    env.limit_file_size("0");
    env.assert_writes_rejected().await;
    env.limit_file_size("unlimited");
    env.assert_writes_rejected().await;
    env.set_writable(true);
    env.assert_recovers().await;
}

#[test]
fn startup_on_a_read_only_store_fails_with_an_error_message() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let text = configuration(&vendors, folder.path(), "", OPEN_ACCESS);
    drop(GatewayProgram::serve_with_launcher(&launcher_command(), folder.path(), &text, "info"));
    set_mode(&folder.path().join("store.db"), 0o444);
    set_mode(folder.path(), 0o555);
    let (first, rest) = (launcher_command()[0], launcher_command());
    let start = || {
        let mut command = Command::new(first);
        command.args(&rest[1..]).args([env!("CARGO_BIN_EXE_records-gateway"), "serve", "--config"]);
        command.arg(folder.path().join("gateway.toml")).output().unwrap()
    };
    let refused = start();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("the store cannot be opened") && refused.stdout.is_empty(), "{said}");
    set_mode(folder.path(), 0o755);
}
