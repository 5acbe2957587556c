//! The real program on a disk that is full, or that can only be read: writes are refused before the vendor is called, reads go
//! on, `/readyz` says so, what is under way ends well, and everything heals by itself.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::sandbox::{CallKind, Fault, Sandbox, matrix42};
use records_gateway::store::verify_ledger;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::access_program::{Program, configuration};
use super::support::{Answer, Caller};

/// Longest time that something which must come is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const OPEN: &str = "mode = \"open\"\nallow_open = true\n";

/// A gateway whose files can be limited in size, and to which permissions mean something also where it is root.
struct Ailing {
    vendors: Sandbox,
    folder: TempDir,
    program: Program,
}

/// What the program is started by: a write beyond the limit is an error to it and not its end.
fn under() -> Vec<&'static str> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let mortal: &[&str] =
        if is_root { &["setpriv", "--bounding-set=-dac_override,-dac_read_search"] } else { &["env"] };
    [mortal, &["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]].concat()
}

impl Ailing {
    fn start() -> Self {
        let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
        let text = configuration(&vendors, folder.path(), "", OPEN);
        let program = Program::serve_under(&under(), folder.path(), &text, "info");
        Self { vendors, folder, program }
    }

    fn caller(&self) -> Caller {
        self.program.caller()
    }

    fn file(&self, suffix: &str) -> std::path::PathBuf {
        self.folder.path().join(format!("store.db{suffix}"))
    }

    /// From now on no file of the program grows beyond so many bytes.
    fn limit(&self, bytes: &str) {
        let limits = [format!("--pid={}", self.program.id()), format!("--fsize={bytes}:unlimited")];
        assert!(Command::new("prlimit").args(limits).status().unwrap().success());
    }

    /// From now on the store's files, opened anew, can (only) be read.
    fn writable(&self, writable: bool) {
        permit(self.folder.path(), if writable { 0o755 } else { 0o555 });
        for suffix in ["", "-wal", "-shm", ".lock"] {
            permit(&self.file(suffix), if writable { 0o644 } else { 0o444 });
        }
    }

    async fn patch(&self, text: &str) -> Answer {
        patch(&self.caller(), text).await
    }

    fn held(&self) -> Value {
        let fragment = self.vendors.matrix42.state.fragment(matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID);
        fragment.unwrap().attributes["Description"].clone()
    }

    /// Writes are refused and nothing of them reaches the vendor; everything else goes on, and `/readyz` says so.
    async fn is_ailing(&self) {
        let (held, sent) = (self.held(), self.vendors.matrix42.log.count(CallKind::Update));
        for _ in 0..3 {
            let answer = self.patch("refused").await;
            answer.is(503, "overloaded");
            assert!(answer.header("retry-after").is_some());
        }
        assert_eq!((self.held(), self.vendors.matrix42.log.count(CallKind::Update)), (held, sent));
        self.caller().get("/readyz").send().await.is(503, "overloaded");
        for path in [record(), "/operations".to_owned(), "/ledger".to_owned(), "/healthz".to_owned()] {
            self.caller().get(&path).send().await.is_done(200);
        }
    }

    /// It is ready again, takes writes, and its books are in order.
    async fn heals(&self) {
        let until = Instant::now() + PATIENCE;
        while self.caller().get("/readyz").send().await.status != 200 {
            assert!(Instant::now() < until, "it does not heal; {}", self.program.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.patch("healed").await.is_done(204);
        assert_eq!(self.held(), "healed");
        let running = self.caller().get("/operations?state=running").send().await.is_done(200).json();
        assert_eq!(running["items"], json!([]));
        let url = format!("sqlite:{}", self.file("").display());
        let verified = verify_ledger(&url, None).await.unwrap();
        assert!(verified.is_sound() && verified.entries % 2 == 0, "{verified:?}");
    }
}

fn permit(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn record() -> String {
    format!("/records/itsm/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID)
}

async fn patch(caller: &Caller, text: &str) -> Answer {
    let patch = caller.request(Method::PATCH, &record()).if_match("*");
    patch.fields(&json!({ "Description": text })).send().await
}

#[actix_web::test]
async fn a_full_disk_refuses_writes_before_the_vendor_is_called_and_loses_no_outcome() {
    let ailing = Ailing::start();
    ailing.patch("well").await.is_done(204);
    ailing.caller().get("/readyz").send().await.is_done(200);
    ailing.vendors.matrix42.faults.once(CallKind::Update, Fault::Hold);
    let caller = ailing.caller();
    let under_way = actix_web::rt::spawn(async move { patch(&caller, "under way").await });
    ailing.vendors.matrix42.log.wait_for(CallKind::Update, 2).await;
    // What is there can be written over; nothing more fits.
    let size = std::fs::metadata(ailing.file("-wal")).unwrap().len();
    ailing.limit(&size.to_string());
    ailing.vendors.matrix42.faults.release();
    under_way.await.unwrap().is_done(204);
    assert_eq!(ailing.held(), "under way");
    ailing.is_ailing().await;
    ailing.limit("unlimited");
    ailing.heals().await;
    let operations = ailing.caller().get("/operations?system=itsm").send().await.is_done(200).json();
    let states: Vec<_> = operations["items"].as_array().unwrap().iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["applied"; 3], "the outcome that did not fit was kept, and nothing else was begun");
}

#[actix_web::test]
async fn files_that_can_only_be_read_refuse_writes_and_heal_when_they_can_be_written_again() {
    let ailing = Ailing::start();
    ailing.patch("well").await.is_done(204);
    // Files that are open stay writable; what fails makes the store open them anew.
    ailing.writable(false);
    ailing.limit("0");
    ailing.is_ailing().await;
    ailing.limit("unlimited");
    ailing.is_ailing().await;
    ailing.writable(true);
    ailing.heals().await;
}

#[test]
fn a_store_that_can_only_be_read_is_a_start_that_fails_and_says_why() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let text = configuration(&vendors, folder.path(), "", OPEN);
    drop(Program::serve_under(&under(), folder.path(), &text, "info"));
    permit(&folder.path().join("store.db"), 0o444);
    permit(folder.path(), 0o555);
    let (first, rest) = (under()[0], under());
    let start = || {
        let mut command = Command::new(first);
        command.args(&rest[1..]).args([env!("CARGO_BIN_EXE_records-gateway"), "serve", "--config"]);
        command.arg(folder.path().join("gateway.toml")).output().unwrap()
    };
    let refused = start();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("the store cannot be opened") && refused.stdout.is_empty(), "{said}");
    permit(folder.path(), 0o755);
}
