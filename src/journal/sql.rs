//! Values and rows that SQLite and PostgreSQL have in common, for reads that are the same on both.

use std::error::Error;

use bytes::BytesMut;
use memchr::memchr;
use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::{IsNull, ToSql, Type};
use uuid::Uuid;

use super::error::DbError;
use crate::record::OperationId;

/// PostgreSQL stores no NUL in text, and names are compared with what the database returns.
pub(super) fn replace_nul<T: AsRef<str> + From<String>>(text: T) -> T {
    if memchr(0, text.as_ref().as_bytes()).is_some() { text.as_ref().replace('\0', "\u{fffd}").into() } else { text }
}

/// The id of an operation as the database holds it. Every id that this crate makes is a UUID.
pub(super) fn operation_uuid(id: &OperationId) -> Uuid {
    Uuid::try_parse(id.as_str()).unwrap_or_default()
}

/// The tables whose rows belong to entries of the ledger, which goes last: what is left of it says
/// how far a deletion is.
pub(super) const CUT_TABLES: [&str; 3] = ["clock_step", "operation_detail", "ledger"];

/// Deletes at most `$2` states of records that ended before `$1`, on both databases.
pub(super) const DELETE_SHOWN: &str = "DELETE FROM shown_state WHERE etag IN
    (SELECT etag FROM shown_state WHERE expires <= $1 LIMIT $2)";

/// Deletes at most `?1` rows of a table that belong to entries that were cut.
pub(super) fn delete_cut(table: &str) -> String {
    format!(
        "DELETE FROM {table} WHERE seq IN (SELECT seq FROM {table}
         WHERE seq <= (SELECT max(seq) FROM ledger_cut) ORDER BY seq LIMIT ?1)"
    )
}

/// One value, as a parameter or in a row. In a row an id is its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SqlValue {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Id(Uuid),
}

impl rusqlite::ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Id(id) => ValueRef::Blob(id.as_bytes()),
        }))
    }
}

impl ToSql for SqlValue {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) => number.to_sql(ty, out),
            Self::Text(text) => text.to_sql(ty, out),
            Self::Bytes(bytes) => bytes.to_sql(ty, out),
            Self::Id(id) => id.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

impl SqlValue {
    /// The type of the parameter in PostgreSQL.
    pub(super) fn postgres_type(&self) -> Type {
        match self {
            Self::Int(_) => Type::INT8,
            Self::Null | Self::Text(_) => Type::TEXT,
            Self::Bytes(_) => Type::BYTEA,
            Self::Id(_) => Type::UUID,
        }
    }
}

/// One row of a result. Each value is taken once.
#[derive(Debug)]
pub(super) struct Row(Vec<SqlValue>);

impl Row {
    /// A row of SQLite. What is not UTF-8 there can only be damage; it gets replacement characters,
    /// so that `verify` names its entry.
    pub(super) fn from_sqlite(row: &rusqlite::Row<'_>, columns: usize) -> Result<Self, DbError> {
        let value = |column| -> Result<SqlValue, DbError> {
            Ok(match row.get_ref(column)? {
                ValueRef::Null => SqlValue::Null,
                ValueRef::Integer(number) => SqlValue::Int(number),
                ValueRef::Text(text) => SqlValue::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Blob(bytes) => SqlValue::Bytes(bytes.to_vec()),
                ValueRef::Real(_) => return Err(DbError::Corrupt("a number is not whole".into())),
            })
        };
        (0..columns).map(value).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn from_postgres(row: &tokio_postgres::Row) -> Result<Self, DbError> {
        let value = |column: usize| -> Result<SqlValue, DbError> {
            let ty = row.columns().get(column).map_or(&Type::UNKNOWN, tokio_postgres::Column::type_);
            Ok(match *ty {
                Type::INT8 => row.try_get::<_, Option<i64>>(column)?.map_or(SqlValue::Null, SqlValue::Int),
                Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(column)?.map_or(SqlValue::Null, SqlValue::Bytes),
                Type::UUID => {
                    let id = row.try_get::<_, Option<Uuid>>(column)?;
                    id.map_or(SqlValue::Null, |id| SqlValue::Bytes(id.as_bytes().to_vec()))
                }
                _ => row.try_get::<_, Option<String>>(column)?.map_or(SqlValue::Null, SqlValue::Text),
            })
        };
        (0..row.len()).map(value).collect::<Result<_, _>>().map(Self)
    }

    fn take(&mut self, column: usize) -> SqlValue {
        self.0.get_mut(column).map_or(SqlValue::Null, |value| std::mem::replace(value, SqlValue::Null))
    }

    /// A copy of a whole number, which is not taken.
    pub(super) fn peek_int(&self, column: usize) -> Result<i64, DbError> {
        match self.0.get(column) {
            Some(SqlValue::Int(number)) => Ok(*number),
            _ => Err(wrong_type(column, "a whole number")),
        }
    }

    /// A copy of a text, which is not taken.
    pub(super) fn peek_text(&self, column: usize) -> Result<String, DbError> {
        match self.0.get(column) {
            Some(SqlValue::Text(text)) => Ok(text.clone()),
            _ => Err(wrong_type(column, "text")),
        }
    }

    /// A whole number, or null.
    pub(super) fn opt_int(&mut self, column: usize) -> Result<Option<i64>, DbError> {
        match self.take(column) {
            SqlValue::Null => Ok(None),
            SqlValue::Int(number) => Ok(Some(number)),
            _ => Err(wrong_type(column, "a whole number")),
        }
    }

    /// A whole number.
    pub(super) fn int(&mut self, column: usize) -> Result<i64, DbError> {
        self.opt_int(column)?.ok_or_else(|| wrong_type(column, "a whole number"))
    }

    /// Text, or null.
    pub(super) fn opt_text(&mut self, column: usize) -> Result<Option<String>, DbError> {
        match self.take(column) {
            SqlValue::Null => Ok(None),
            SqlValue::Text(text) => Ok(Some(text)),
            _ => Err(wrong_type(column, "text")),
        }
    }

    /// Text.
    pub(super) fn text(&mut self, column: usize) -> Result<String, DbError> {
        self.opt_text(column)?.ok_or_else(|| wrong_type(column, "text"))
    }

    /// Bytes, or null.
    pub(super) fn opt_bytes(&mut self, column: usize) -> Result<Option<Vec<u8>>, DbError> {
        match self.take(column) {
            SqlValue::Null => Ok(None),
            SqlValue::Bytes(bytes) => Ok(Some(bytes)),
            _ => Err(wrong_type(column, "bytes")),
        }
    }

    /// So many bytes.
    pub(super) fn array<const N: usize>(&mut self, column: usize) -> Result<[u8; N], DbError> {
        let bytes = self.opt_bytes(column)?.and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| wrong_type(column, "bytes of the right number"))
    }

    /// The id of an operation.
    pub(super) fn operation(&mut self, column: usize) -> Result<OperationId, DbError> {
        let id = Uuid::from_bytes(self.array(column)?);
        OperationId::parse(&id.to_string()).ok_or_else(|| wrong_type(column, "an operation's id"))
    }
}

fn wrong_type(column: usize, expected: &str) -> DbError {
    DbError::Corrupt(format!("column {column} is not {expected}"))
}
