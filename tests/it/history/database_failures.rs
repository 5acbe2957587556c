//! What happens to the database of a run: connections break, the server restarts, tables are
//! locked for longer than a caller waits. Nothing is killed meanwhile: what a crash in such a
//! moment can do is a known limit.

use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use tokio_postgres::{Client, NoTls};

/// How often each failure has happened.
#[derive(Debug, Default)]
pub(crate) struct FailureCounts {
    pub(crate) cuts: usize,
    pub(crate) restarts: usize,
    pub(crate) locks: usize,
}

/// Makes the database of a PostgreSQL server fail at random, at least once in each way, while
/// `should_continue`.
pub(crate) fn disturb_postgres(url: &str, seed: u64, should_continue: impl Fn() -> bool) -> FailureCounts {
    let (server, name) = url.rsplit_once('/').expect("a database in the address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (mut random, mut counts) = (Rng::with_seed(seed), FailureCounts::default());
    runtime.block_on(async {
        let admin = connect(&format!("{server}/postgres")).await;
        for round in 0.. {
            if round >= 3 && !should_continue() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(random.u64(200..1200))).await;
            match if round < 3 { round } else { random.usize(0..3) } {
                0 => {
                    terminate(&admin, name).await;
                    counts.cuts += 1;
                }
                1 => {
                    allow_connections(&admin, name, false).await;
                    terminate(&admin, name).await;
                    tokio::time::sleep(Duration::from_millis(random.u64(100..3000))).await;
                    allow_connections(&admin, name, true).await;
                    counts.restarts += 1;
                }
                _ => {
                    let duration = Duration::from_millis(random.u64(500..4500));
                    counts.locks += usize::from(lock_tables(&connect(url).await, duration).await);
                }
            }
        }
    });
    counts
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a server");
    tokio::spawn(connection);
    client
}

/// Ends all connections to a database, as a stopping server does.
pub(crate) async fn terminate(admin: &Client, name: &str) {
    let all = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    admin.batch_execute(&all).await.expect("ended");
}

pub(crate) async fn allow_connections(admin: &Client, name: &str, allowed: bool) {
    admin.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")).await.expect("altered");
}

/// Locks what every write and every list needs. `false` = the tables were too busy.
async fn lock_tables(client: &Client, duration: Duration) -> bool {
    let lock = "SET lock_timeout = '3s'; BEGIN; LOCK TABLE ledger, running IN ACCESS EXCLUSIVE MODE";
    let is_locked = client.batch_execute(lock).await.is_ok();
    if is_locked {
        tokio::time::sleep(duration).await;
    }
    client.batch_execute("ROLLBACK").await.expect("free again");
    is_locked
}

/// Keeps the writer of a SQLite file waiting at random, once at least, while `should_continue`.
pub(crate) fn disturb_sqlite(file: &Path, seed: u64, should_continue: impl Fn() -> bool) -> FailureCounts {
    let (mut random, mut counts) = (Rng::with_seed(seed), FailureCounts::default());
    let connection = rusqlite::Connection::open(file).expect("a file");
    connection.busy_timeout(Duration::from_secs(10)).expect("a timeout");
    while counts.locks == 0 || should_continue() {
        std::thread::sleep(Duration::from_millis(random.u64(200..1200)));
        connection.execute_batch("BEGIN IMMEDIATE").expect("locked");
        std::thread::sleep(Duration::from_millis(random.u64(500..4500)));
        connection.execute_batch("ROLLBACK").expect("free again");
        counts.locks += 1;
    }
    counts
}
