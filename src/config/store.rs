//! `[store]`: where operations, idempotency keys, leases and the ledger are kept.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::section::Section;
use super::text::Text;
use crate::record::Secret;

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where it is. Default `sqlite:records-gateway.db`.
    pub url: StoreUrl,
    /// When an intent is on disk.
    pub durability: Durability,
    /// How long an `Idempotency-Key` is remembered, 1 s to 365 d. Default 24 h.
    pub idempotency_ttl: Duration,
    /// How long settled operations are kept, 1 s to 3650 d and no shorter than `idempotency_ttl`. Default 90 d.
    pub retention: Duration,
}

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:PATH`, for one process. The path is relative to the working directory.
    Sqlite(PathBuf),
    /// `postgres://…` or `postgresql://…`, for several replicas. The whole URL, which may hold a password.
    Postgres(Secret),
}

/// When the intent of a write is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Before the write is sent.
    Commit,
    /// Shortly after: a crash may lose the last moments.
    Relaxed,
}

impl StoreConfig {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let default = || StoreUrl::Sqlite("records-gateway.db".into());
        let ttl = section.duration(
            "idempotency_ttl",
            Duration::from_hours(24),
            Duration::from_secs(1)..=Duration::from_hours(365 * 24),
        );
        let retention = section.duration(
            "retention",
            Duration::from_hours(90 * 24),
            Duration::from_secs(1)..=Duration::from_hours(3650 * 24),
        );
        let store = Self {
            url: section.text("url", VALID).and_then(|text| store_url(&section, text)).unwrap_or_else(default),
            durability: section
                .word("durability", &[("commit", Durability::Commit), ("relaxed", Durability::Relaxed)])
                .unwrap_or(Durability::Commit),
            idempotency_ttl: ttl,
            retention,
        };
        // An answer that is replayed may point to its operation.
        if retention < ttl {
            let key = if section.has("retention") { "retention" } else { "idempotency_ttl" };
            if let Some(entry) = section.entry(key) {
                section.reader.fault(&entry.place, "retention is shorter than idempotency_ttl", "the same or longer");
            }
        }
        section.finish(|_| None);
        store
    }
}

const VALID: &str = "\"sqlite:PATH\" or \"postgres://USER:PASSWORD@HOST/DATABASE\"";

/// The faults do not show the URL: it may hold a password.
fn store_url(section: &Section<'_, '_>, text: Text) -> Option<StoreUrl> {
    let wrong = match text.value.split_once(':') {
        Some(("sqlite", path)) => match path.strip_prefix("//").unwrap_or(path) {
            "" => "names no file",
            // All promises about crashes and restarts would be void.
            path if path.contains(":memory:") => "would be forgotten at exit",
            path if path.contains(['?', '#', '\0']) => "has parameters",
            path => return Some(StoreUrl::Sqlite(path.into())),
        },
        Some(("postgres" | "postgresql", _)) if Url::parse(&text.value).is_ok_and(|url| url.has_authority()) => {
            return Some(StoreUrl::Postgres(text.secret()));
        }
        _ => "is not the URL of a store",
    };
    section.reader.fault(&text.place, wrong, VALID);
    None
}
