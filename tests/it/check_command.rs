//! `records-gateway check` says what would stop `serve`, its store included.

use std::net::TcpListener;
use std::process::Output;

use crate::history::create_postgres_database;
use crate::support::{ProcessBuilder, TestProcess};

fn check(builder: &ProcessBuilder, store: &str) -> Output {
    builder.clone().configure(|config| config.store("url", store)).check()
}

#[track_caller]
fn assert_refused(output: &Output, word: &str) {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{error}");
    assert!(error.contains("store.url: the store cannot be opened: ") && error.contains(word), "{error}");
    assert!(!error.contains("very-secret"), "{error}");
}

#[test]
fn a_store_that_cannot_be_opened_is_an_error_of_check() {
    let builder = TestProcess::builder();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unreachable = format!("postgres://user:very-secret@{free}/records");
    assert_refused(&check(&builder, &unreachable), "refused");
    let file = builder.folder().join("foreign.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
    assert_refused(&check(&builder, &format!("sqlite:{}", file.display())), "another program");
}

#[test]
fn check_passes_beside_a_running_gateway_and_creates_nothing() {
    let builder = TestProcess::builder();
    let file = builder.folder().join("new.db");
    let store = format!("sqlite:{}", file.display());
    let output = check(&builder, &store);
    assert!(output.status.success() && !file.exists(), "{output:?}");
    let process = builder.configure(|config| config.store("url", store.as_str())).start();
    let output = process.run(&["check"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn check_reaches_a_server_as_serve_does() {
    let Some(database) = create_postgres_database() else { return };
    let builder = TestProcess::builder();
    let output = check(&builder, &database);
    assert!(output.status.success(), "empty: {output:?}");
    let process = builder.clone().configure(|config| config.store("url", database.as_str())).start();
    let output = process.run(&["check"]);
    assert!(output.status.success(), "in use: {output:?}");
    process.kill();
    execute(&database, "DROP TABLE schema_version");
    assert_refused(&check(&builder, &database), "another program");

    let read_only = create_postgres_database().unwrap();
    let name = read_only.rsplit_once('/').unwrap().1.to_owned();
    execute(&read_only, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    assert_refused(&check(&builder, &read_only), "only takes reads");
}

fn execute(database: &str, statement: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(database, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(statement).await.unwrap();
    });
}
