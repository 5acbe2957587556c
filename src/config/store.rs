//! `[store]`: where operations, idempotency keys, leases and the ledger are kept.

use std::path::Path;

use rustix::fs::{Access, access};
use url::Url;

use super::table_reader::TableReader;
use crate::journal::JournalSettings;

/// Reads `[store]` and checks what no single key shows.
pub(super) fn read_store(table: TableReader<'_>) -> JournalSettings {
    let mut store: JournalSettings = table.read().unwrap_or_default();
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

/// Why a database can neither be opened nor created at this path. SQLite keeps more files beside
/// it, so the folder must be writable, too.
pub(super) fn path_error(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let because = |path: &Path, why: &str| Some(format!("{} {why}", path.display()));
    if !folder.is_dir() {
        return because(folder, "is not a folder that exists");
    }
    if let Err(error) = access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        return because(folder, &format!("takes no new files: {error}"));
    }
    if !path.exists() {
        return None;
    }
    if !path.is_file() {
        return because(path, "is not a file");
    }
    let error = access(path, Access::READ_OK | Access::WRITE_OK).err()?;
    because(path, &format!("cannot be read and written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_path_that_cannot_be_opened_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        assert_eq!(path_error(&at("new.db")), None);
        assert_eq!(path_error(&at("file")), None);
        assert_eq!(path_error(Path::new("new.db")), None);
        for wrong in [at("missing/new.db"), at("file/new.db"), folder.path().to_owned()] {
            assert!(path_error(&wrong).is_some(), "{}", wrong.display());
        }
        let names: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "nothing is created");
    }
}
