//! The version of the tables, and the error for another version.

use ring::rand::{SecureRandom as _, SystemRandom};

use super::error::DbError;

/// The version of the form that this build reads and writes.
pub(super) const VERSION: i64 = 2;
/// The length of the key that authenticates the tags of plans.
pub(super) const PLAN_KEY_BYTES: usize = 32;
pub(super) const SQLITE: &str = include_str!("schema/sqlite.sql");
pub(super) const POSTGRES: &str = include_str!("schema/postgres.sql");
/// States of records that callers got, where they are kept for all replicas: `fields` as JSON. The
/// table is younger than the version, so it is added to a database that lacks it.
pub(super) const SHOWN_STATE: &str = "CREATE TABLE shown_state
    (etag TEXT NOT NULL PRIMARY KEY, fields TEXT NOT NULL, expires BIGINT NOT NULL);";

/// The first rows, as statements: the version of the form, and a new key for plans. `blob` writes
/// bytes in hex as a literal of the database.
pub(super) fn first_rows(blob: impl FnOnce(&str) -> String) -> Result<String, DbError> {
    let mut key = [0; PLAN_KEY_BYTES];
    SystemRandom::new().fill(&mut key).map_err(|_| DbError::Other("no random bytes".into()))?;
    let key = blob(&const_hex::encode(key));
    Ok(format!("INSERT INTO schema_version VALUES ({VERSION}); INSERT INTO plan_key VALUES ({key});"))
}

/// What a database holds before this build writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SchemaState {
    /// No tables.
    Nothing,
    /// Tables, but not the one that holds the version.
    OtherTables,
    /// The form of this version.
    Version(i64),
}

impl SchemaState {
    /// Whether the tables must be created.
    ///
    /// # Errors
    /// The form is another one. Nothing may be written.
    pub(super) fn needs_tables(self) -> Result<bool, DbError> {
        match self {
            Self::Nothing => Ok(true),
            Self::Version(VERSION) => Ok(false),
            Self::Version(version) if version > VERSION => Err(DbError::Other(format!(
                "its tables have version {version}, made by a newer records-gateway; this one supports version {VERSION}"
            ))),
            Self::Version(_) | Self::OtherTables => Err(DbError::Other(
                "it was made by records-gateway 0.1 or by another program, and this version does not read it; set \
                 `url` in `[store]` to a new file or an empty database, and keep the old one for its ledger"
                    .into(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_database_or_the_own_form_is_used() {
        assert!(SchemaState::Nothing.needs_tables().expect("an empty database"));
        assert!(!SchemaState::Version(VERSION).needs_tables().expect("the own form"));
        for (found, word) in [
            (SchemaState::OtherTables, "keep the old one"),
            (SchemaState::Version(1), "new file"),
            (SchemaState::Version(9), "newer"),
        ] {
            assert!(found.needs_tables().expect_err("another form").to_string().contains(word));
        }
    }
}
