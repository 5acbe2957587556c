//! The tables, created and changed by numbered migrations when the store opens.
//!
//! Some columns have older names than the code: `operation.queued` (`is_async`), `told` (interim
//! response), `material` (recovery payload), and `idempotency.verdict` (`replay_json`).

use sqlx::AnyConnection;
use sqlx::migrate::{MigrateError, Migrator};

use super::backend::Backend;
use super::error::StoreError;

static SQLITE: Migrator = sqlx::migrate!("src/store/migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("src/store/migrations/postgres");

/// Brings the schema up to this version. Replicas that start at once run one after the other.
///
/// # Errors
/// `Open`: a newer version created the schema. This version would ignore what that one stores.
pub(super) async fn migrate(backend: &Backend, connection: &mut AnyConnection) -> Result<(), StoreError> {
    let migrations = if backend.is_shared() { &POSTGRES } else { &SQLITE };
    let newest = migrations.iter().map(|migration| migration.version).max().unwrap_or_default();
    migrations.run_direct(None, connection, false).await.map_err(|error| {
        StoreError::Open(match error {
            MigrateError::VersionMissing(version) => format!(
                "its schema has version {version}, made by a newer records-gateway; this one knows versions up to {newest}"
            ),
            MigrateError::VersionMismatch(version) => {
                format!("version {version} of its schema was made by another build and differs from this build's")
            }
            other => other.to_string(),
        })
    })
}
