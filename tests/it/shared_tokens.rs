//! Replicas on one PostgreSQL share a vendor's token (contract 5.7).

use records_gateway::sandbox::{CallKind, Sandbox};

use super::history::create_postgres_database;
use super::support::{PRETECTUM, ProcessBuilder, TestProcess};

fn start_replica(vendors: &Sandbox, folder: &std::path::Path, store: &str) -> TestProcess {
    ProcessBuilder::new(vendors.clone(), folder).configure(|config| config.store("url", store)).start()
}

#[actix_web::test]
async fn replicas_sign_in_once_and_take_over_a_renewed_token() {
    let database = std::thread::spawn(create_postgres_database);
    let Some(store) = database.join().unwrap() else { return };
    let (vendors, folders) = (Sandbox::start().unwrap(), [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]);
    let [first, second] = folders.each_ref().map(|folder| start_replica(&vendors, folder.path(), &store));
    let sign_ins = || PRETECTUM.log(&vendors).count(CallKind::SignIn);
    let path = PRETECTUM.path(PRETECTUM.key);
    for replica in [&first, &second, &first, &second] {
        replica.client().get(&path).send().await.assert_status(200);
    }
    assert_eq!(sign_ins(), 1, "the second replica has taken the token of the first");
    PRETECTUM.expire_tokens(&vendors);
    for replica in [&first, &second] {
        replica.client().get(&path).send().await.assert_status(200);
    }
    assert_eq!(sign_ins(), 2, "one replica has signed in again, for both");
}
