//! `[store]`: where operations, idempotency keys, leases and the ledger are kept.

use url::Url;

use super::table_reader::TableReader;
use crate::store::StoreSettings;

/// Reads `[store]` and checks what no single key shows.
pub(super) fn read_store(table: TableReader<'_>) -> StoreSettings {
    let mut store: StoreSettings = table.read().unwrap_or_default();
    match parse_store_url(&store.url) {
        Ok(url) => store.url = url,
        Err(message) => {
            table.error("url", message, "\"sqlite:PATH\" or \"postgres://USER:PASSWORD@HOST/DATABASE\"");
        }
    }
    // A replayed response may name its operation.
    if store.retention < store.idempotency_ttl {
        let key = if table.has("retention") { "retention" } else { "idempotency_ttl" };
        table.error(key, "retention is shorter than idempotency_ttl", "the same duration or a longer one");
    }
    table.reject_unknown(|_| None);
    store
}

/// The URL in its one spelling. The errors do not show the URL: it may hold a password.
fn parse_store_url(text: &str) -> Result<String, &'static str> {
    match text.split_once(':') {
        Some(("sqlite", path)) => match path.strip_prefix("//").unwrap_or(path) {
            "" => Err("names no file"),
            // Nothing would survive a crash or a restart.
            path if path.contains(":memory:") => Err("would be lost at exit"),
            path if path.contains(['?', '#', '\0']) => Err("has parameters"),
            path => Ok(format!("sqlite:{path}")),
        },
        Some(("postgres" | "postgresql", _)) if Url::parse(text).is_ok_and(|url| url.has_authority()) => {
            Ok(text.to_owned())
        }
        _ => Err("is not the URL of a store"),
    }
}
