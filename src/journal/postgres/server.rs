//! Connections to the server.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use crate::journal::error::{DbError, JournalError};
use crate::journal::model::Durability;
use crate::journal::schema::{POSTGRES, SHOWN_STATE, SchemaState, first_rows};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection to a server that does not respond ends after about this time.
const DEAD_AFTER: Duration = Duration::from_secs(10);
/// The lock that one writer of all replicas holds at a time: "records" in ASCII.
pub(super) const WRITER_LOCK: i64 = 0x0072_6563_6f72_6473;
/// Every statement has an index that fits. A plan that was made while a table was empty must not
/// scan it, join by hash or sort when it is full.
const PLANNER: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET enable_sort = off; SET jit = off;";

/// Where the server is, and how to reach it.
pub(in crate::journal) struct PostgresServer {
    config: Config,
    tls: MakeRustlsConnect,
}

impl PostgresServer {
    /// # Errors
    /// `Open`: the URL cannot be parsed, or a certificate cannot be read.
    pub(in crate::journal) fn new(url: &str) -> Result<Self, JournalError> {
        let (config, root_certificate) = parse(url)?;
        Ok(Self { config, tls: tls(root_certificate.as_deref())? })
    }

    async fn connect(&self, settings: &str) -> Result<Client, DbError> {
        let connecting = async {
            let (client, connection) = self.config.connect(self.tls.clone()).await?;
            // It ends when the client is dropped. The client's calls report its errors.
            tokio::spawn(async move { drop(connection.await) });
            client.batch_execute(settings).await?;
            Ok(client)
        };
        timeout(CONNECT_TIMEOUT, connecting)
            .await
            .unwrap_or_else(|_| Err(DbError::Io(std::io::ErrorKind::TimedOut.into())))
    }

    pub(super) async fn connect_writer(&self, durability: Durability) -> Result<Client, DbError> {
        let synchronous = match durability {
            Durability::Commit => "on",
            Durability::Relaxed => "off",
        };
        // A replica that hangs must not hold the lock of all writers until they count as dead
        // themselves (`DEAD_AFTER`).
        let settings = format!(
            "SET synchronous_commit = {synchronous}; SET lock_timeout = '4s'; {PLANNER}
             SET idle_in_transaction_session_timeout = '3s'"
        );
        self.connect(&settings).await
    }

    /// A connection for reads.
    pub(in crate::journal) async fn connect_reader(&self) -> Result<Client, DbError> {
        let settings = format!("SET default_transaction_read_only = on; SET statement_timeout = '10s'; {PLANNER}");
        self.connect(&settings).await
    }

    /// Creates the tables in an empty schema. Replicas that start at once do it one after the
    /// other.
    ///
    /// # Errors
    /// The schema has another form and was not touched, or it cannot be written.
    pub(in crate::journal) async fn prepare(&self) -> Result<(), DbError> {
        let client = self.connect("SET lock_timeout = '4s'").await?;
        client.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({WRITER_LOCK})")).await?;
        if detect_schema(&client).await?.needs_tables()? {
            let rows = first_rows(|hex| format!("'\\x{hex}'"))?;
            client.batch_execute(&format!("{POSTGRES} {SHOWN_STATE} {rows} COMMIT")).await?;
        } else if client.query_one("SELECT to_regclass('shown_state') IS NULL", &[]).await?.try_get(0)? {
            client.batch_execute(&format!("{SHOWN_STATE} COMMIT")).await?;
        }
        Ok(())
    }
}

/// Whether the database can be the store of this build: it is reached as `serve` reaches it, can be
/// written, and holds the own form or nothing.
///
/// # Errors
/// `Open`: what is in the way.
pub(in crate::journal) async fn check_server(url: &str) -> Result<(), JournalError> {
    let failed = JournalError::cannot_open;
    let client = PostgresServer::new(url)?.connect("SET lock_timeout = '4s'").await.map_err(failed)?;
    let statement = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
        current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE')";
    let row = client.query_one(statement, &[]).await.map_err(|error| failed(error.into()))?;
    let column = |at: usize| row.try_get::<_, bool>(at).map_err(|error| failed(error.into()));
    let (is_read_only, may_create) = (column(0)?, column(1)?);
    let needs_tables = detect_schema(&client).await.and_then(SchemaState::needs_tables).map_err(failed)?;
    match (is_read_only, needs_tables && !may_create) {
        (true, _) => Err(JournalError::Open("the server only takes reads".into())),
        (_, true) => Err(JournalError::Open("the database is empty, and this user may not create tables".into())),
        _ => Ok(()),
    }
}

async fn detect_schema(client: &Client) -> Result<SchemaState, DbError> {
    let statement = "SELECT to_regclass('schema_version') IS NOT NULL,
        EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema()
                AND tablename IN ('ledger', 'operation', 'idempotency', 'lease', 'head', '_sqlx_migrations'))";
    let row = client.query_one(statement, &[]).await?;
    if row.try_get(0)? {
        let version = client.query_one("SELECT max(version) FROM schema_version", &[]).await?;
        return Ok(version.try_get::<_, Option<i64>>(0)?.map_or(SchemaState::OtherTables, SchemaState::Version));
    }
    Ok(if row.try_get(1)? { SchemaState::OtherTables } else { SchemaState::Nothing })
}

/// The configuration and the file of `sslrootcert`. `sslmode=verify-ca` and `verify-full` mean
/// `require`: a certificate is always verified.
fn parse(url: &str) -> Result<(Config, Option<String>), JournalError> {
    let failed = || JournalError::Open("the store's URL cannot be parsed".to_owned());
    let mut url = Url::parse(url).map_err(|_| failed())?;
    let (mut kept, mut root_certificate) = (Vec::new(), None);
    for (name, value) in url.query_pairs() {
        match (&*name, &*value) {
            ("sslrootcert", path) => root_certificate = Some(path.to_owned()),
            ("sslmode", "verify-ca" | "verify-full") => kept.push(("sslmode".to_owned(), "require".to_owned())),
            _ => kept.push((name.into_owned(), value.into_owned())),
        }
    }
    url.set_query(None);
    if !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
    let mut config: Config = url.as_str().parse().map_err(|_| failed())?;
    config.connect_timeout(CONNECT_TIMEOUT).keepalives_idle(DEAD_AFTER / 2).tcp_user_timeout(DEAD_AFTER);
    config.keepalives_interval(Duration::from_secs(1)).keepalives_retries(5);
    if config.get_application_name().is_none() {
        config.application_name("records-gateway");
    }
    // Of several hosts all connections use the one that takes writes: a page and the position after
    // it must come from one server.
    if config.get_hosts().len() > 1 {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    if root_certificate.is_some() && config.get_ssl_mode() == SslMode::Prefer {
        config.ssl_mode(SslMode::Require);
    }
    Ok((config, root_certificate))
}

fn tls(root_certificate: Option<&str>) -> Result<MakeRustlsConnect, JournalError> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let failed = |error: &dyn std::fmt::Display| JournalError::Open(format!("sslrootcert: {error}"));
    let mut roots = rustls::RootCertStore::empty();
    match root_certificate {
        Some(path) => {
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
                let certificate = certificate.map_err(|error| failed(&error))?;
                roots.add(certificate).map_err(|error| failed(&error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    Ok(MakeRustlsConnect::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_determines_how_the_server_is_verified() {
        for (query, mode, root) in [
            ("", SslMode::Prefer, None),
            ("?sslmode=disable", SslMode::Disable, None),
            ("?sslmode=verify-full&application_name=x", SslMode::Require, None),
            ("?sslrootcert=/a%20b.pem", SslMode::Require, Some("/a b.pem")),
        ] {
            let (config, found) = parse(&format!("postgres://u:p%40@host/db{query}")).expect("a URL");
            assert_eq!((config.get_ssl_mode(), found.as_deref()), (mode, root), "{query}");
            assert_eq!((config.get_user(), config.get_password()), (Some("u"), Some(&b"p@"[..])));
        }
        assert!(
            parse("postgres://u:secret@host/db?nonsense=1").is_err_and(|error| !error.to_string().contains("secret"))
        );
    }
}
