//! Whether a store can be opened, for `records-gateway check`.

use super::error::JournalError;
use super::store_url::Location;
use super::{postgres, sqlite};

/// Whether the gateway can open this store: it is reached as at the start of the gateway, and holds
/// the form of this version, or nothing. Nothing is written, and a gateway may run on it.
///
/// # Errors
/// `Open`: why not.
pub async fn check_store(url: &str) -> Result<(), JournalError> {
    match Location::parse(url)? {
        Location::Sqlite { path, .. } => sqlite::check_file(&path),
        Location::Postgres { url } => postgres::check_server(&url).await,
    }
}
