//! The program on a disk that is full or read-only: writes are rejected before the vendor is
//! called, reads continue, `/readyz` reports it, running writes end well, and the gateway recovers
//! by itself.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::journal::verify_ledger;
use records_gateway::sandbox::{CallKind, InjectedFault, matrix42};
use serde_json::{Value, json};

use super::support::{ProcessBuilder, TestClient, TestProcess, TestResponse};

/// Longest time that an expected event is waited for.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// A gateway whose files can be limited in size, and that respects file permissions even where it
/// is root.
struct DiskFailureEnv(TestProcess);

/// The launcher of the program: a write beyond the size limit is an error and does not end it.
fn builder() -> ProcessBuilder {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let unprivileged: &[&str] =
        if is_root { &["setpriv", "--bounding-set=-dac_override,-dac_read_search"] } else { &["env"] };
    let launcher = [unprivileged, &["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]].concat();
    TestProcess::builder().launcher(&launcher)
}

impl DiskFailureEnv {
    fn start() -> Self {
        Self(builder().start())
    }

    fn client(&self) -> TestClient {
        self.0.client()
    }

    fn store_file(&self, suffix: &str) -> std::path::PathBuf {
        self.0.folder().join(format!("store.db{suffix}"))
    }

    /// No file of the program grows beyond so many bytes from now on.
    fn limit_file_size(&self, bytes: &str) {
        let limits = [format!("--pid={}", self.0.id()), format!("--fsize={bytes}:unlimited")];
        assert!(Command::new("prlimit").args(limits).status().unwrap().success());
    }

    /// Whether the store's files, once they are opened again, can be written.
    fn set_writable(&self, writable: bool) {
        set_mode(self.0.folder(), if writable { 0o755 } else { 0o555 });
        for suffix in ["", "-wal", "-shm"].iter().filter(|suffix| self.store_file(suffix).exists()) {
            set_mode(&self.store_file(suffix), if writable { 0o644 } else { 0o444 });
        }
    }

    async fn patch(&self, text: &str) -> TestResponse {
        patch(&self.client(), text).await
    }

    fn vendor_value(&self) -> Value {
        let fragment = self.0.vendors.matrix42.state.fragment(matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID);
        fragment.unwrap().attributes["Description"].clone()
    }

    /// Writes are rejected and do not reach the vendor; everything else continues, and `/readyz`
    /// reports it.
    async fn assert_writes_rejected(&self) {
        let (value, sent) = (self.vendor_value(), self.0.vendors.matrix42.log.count(CallKind::Update));
        for _ in 0..3 {
            let response = self.patch("refused").await;
            response.assert_problem(503, "overloaded");
            assert!(response.header("retry-after").is_some());
        }
        assert_eq!((self.vendor_value(), self.0.vendors.matrix42.log.count(CallKind::Update)), (value, sent));
        self.client().get("/readyz").send().await.assert_problem(503, "overloaded");
        for path in [record_path(), "/operations".to_owned(), "/ledger".to_owned(), "/healthz".to_owned()] {
            self.client().get(&path).send().await.assert_status(200);
        }
    }

    /// It is ready again, accepts writes, and its ledger verifies.
    async fn assert_recovers(&self) {
        let until = Instant::now() + WAIT_TIMEOUT;
        while self.client().get("/readyz").send().await.status != 200 {
            assert!(Instant::now() < until, "it does not recover; {}", self.0.log());
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
    env.0.vendors.matrix42.faults.once(CallKind::Update, InjectedFault::Hold);
    let caller = env.client();
    let under_way = actix_web::rt::spawn(async move { patch(&caller, "under way").await });
    env.0.vendors.matrix42.log.wait_for(CallKind::Update, 2).await;
    // The -wal file is emptied now and then, so no size of it would be a limit.
    env.limit_file_size("0");
    env.0.vendors.matrix42.faults.release();
    under_way.await.unwrap().assert_status(204);
    assert_eq!(env.vendor_value(), "under way");
    env.assert_writes_rejected().await;
    env.limit_file_size("unlimited");
    env.assert_recovers().await;
    let operations = env.client().get("/operations?system=itsm").send().await.assert_status(200).json();
    let states: Vec<_> = operations["items"].as_array().unwrap().iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["applied"; 3], "the outcome that did not fit was kept, and no other operation was begun");
}

#[actix_web::test]
async fn read_only_files_reject_writes_until_they_are_writable_again() {
    let env = DiskFailureEnv::start();
    env.patch("well").await.assert_status(204);
    // Open files stay writable; a failed write makes the store open them again.
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
    let builder = builder().start().into_builder();
    set_mode(&builder.folder().join("store.db"), 0o444);
    set_mode(builder.folder(), 0o555);
    let output = builder.run(&["serve"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("the store cannot be opened") && output.stdout.is_empty(), "{message}");
    set_mode(builder.folder(), 0o755);
}
