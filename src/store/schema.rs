//! The tables, in numbered steps that are made at the start.

use sqlx::AnyConnection;
use sqlx::migrate::{MigrateError, Migrator};

use super::StoreError;
use super::backend::Backend;

static SQLITE: Migrator = sqlx::migrate!("src/store/migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("src/store/migrations/postgres");

/// Brings the schema up to this version. Replicas that start at once take turns.
///
/// # Errors
/// A schema that a newer version made is refused: this version would not keep what that one promised.
pub(super) async fn migrate(engine: &Backend, connection: &mut AnyConnection) -> Result<(), StoreError> {
    let steps = if engine.is_shared() { &POSTGRES } else { &SQLITE };
    let known = steps.iter().map(|step| step.version).max().unwrap_or_default();
    steps.run_direct(None, connection, false).await.map_err(|error| {
        StoreError::Open(match error {
            MigrateError::VersionMissing(version) => format!(
                "its schema has version {version}, made by a newer records-gateway; this one knows versions up to {known}"
            ),
            MigrateError::VersionMismatch(version) => {
                format!("version {version} of its schema was made by another build and is not the one this build knows")
            }
            other => other.to_string(),
        })
    })
}
