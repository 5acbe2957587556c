//! Values bound to SQL statements, and statements that write many rows at once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use memchr::memchr;
use sqlx::AnyConnection;
use sqlx::any::AnyArguments;
use sqlx::{Arguments as _, AssertSqlSafe};

use super::model::RecoveryPayload;

/// The most rows in one statement. Fewer rows go in powers of two, so that few texts are prepared.
const MAX_ROWS: usize = 32;

/// PostgreSQL stores no NUL in text, and names are compared with what the database returns.
pub(super) fn replace_nul<T: AsRef<str> + From<String>>(text: T) -> T {
    if memchr(0, text.as_ref().as_bytes()).is_some() { text.as_ref().replace('\0', "\u{fffd}").into() } else { text }
}

/// One value bound to a statement.
#[derive(Clone, Debug)]
pub(super) enum SqlValue {
    Text(String),
    NullText,
    Number(i64),
    Bytes(Vec<u8>),
    Recovery(Option<Arc<dyn RecoveryPayload>>),
}

impl SqlValue {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(replace_nul(text.into()))
    }

    pub(super) fn opt_text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::NullText, Self::text)
    }

    fn bind(self, arguments: &mut AnyArguments) -> Result<(), sqlx::Error> {
        match self {
            Self::Text(text) => arguments.add(text),
            Self::NullText => arguments.add(None::<String>),
            Self::Number(number) => arguments.add(number),
            Self::Bytes(bytes) => arguments.add(bytes),
            // JSON text holds no NUL.
            Self::Recovery(payload) => arguments.add(payload.and_then(|payload| payload.to_json())),
        }
        .map_err(sqlx::Error::Encode)
    }
}

/// The arguments of one statement.
pub(super) fn bind_all(values: impl IntoIterator<Item = SqlValue>) -> Result<AnyArguments, sqlx::Error> {
    let mut arguments = AnyArguments::default();
    for value in values {
        value.bind(&mut arguments)?;
    }
    Ok(arguments)
}

/// Repeats the last item of a chunk until there are `size`, so that one statement serves every
/// chunk.
pub(super) fn pad_chunk<T>(chunk: &[T], size: usize) -> impl Iterator<Item = &T> {
    chunk.iter().chain(std::iter::repeat(chunk.last()).flatten()).take(size)
}

/// How a statement writes its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholders {
    /// `$1`, `$2`.
    Numbered,
    /// `?`. SQLite takes `$1` for a name, which sqlx looks up among all names for each parameter.
    Positional,
}

/// A statement over any number of rows: `before (…), (…) after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BulkStatement {
    pub(super) before: &'static str,
    pub(super) after: &'static str,
}

/// The texts of the bulk statements built so far, by statement, row count and column count.
pub(super) struct StatementCache {
    placeholders: Placeholders,
    texts: HashMap<(BulkStatement, usize, usize), Arc<str>>,
}

impl StatementCache {
    pub(super) fn new(placeholders: Placeholders) -> Self {
        Self { placeholders, texts: HashMap::new() }
    }

    fn get_or_build(&mut self, bulk: BulkStatement, rows: usize, columns: usize) -> Arc<str> {
        let placeholders = self.placeholders;
        let text = self.texts.entry((bulk, rows, columns)).or_insert_with(|| {
            let mut text = format!("{} ", bulk.before);
            for row in 0..rows {
                text.push_str(if row == 0 { "(" } else { ", (" });
                for column in 0..columns {
                    text.push_str(if column == 0 { "" } else { ", " });
                    match placeholders {
                        Placeholders::Positional => text.push('?'),
                        Placeholders::Numbered => {
                            // Writing to a String cannot fail.
                            let _ = write!(text, "${}", row * columns + column + 1);
                        }
                    }
                }
                text.push(')');
            }
            text.push_str(bulk.after);
            text.into()
        });
        Arc::clone(text)
    }

    /// Executes a statement over all rows, in order.
    pub(super) async fn execute(
        &mut self,
        connection: &mut AnyConnection,
        bulk: BulkStatement,
        rows: Vec<Vec<SqlValue>>,
    ) -> Result<(), sqlx::Error> {
        let mut left = rows.len();
        let mut rows = rows.into_iter();
        while left > 0 {
            let count = if left >= MAX_ROWS { MAX_ROWS } else { 1 << left.ilog2() };
            left -= count;
            let chunk: Vec<_> = rows.by_ref().take(count).collect();
            let columns = chunk.first().map_or(0, Vec::len);
            let statement = self.get_or_build(bulk, count, columns);
            let arguments = bind_all(chunk.into_iter().flatten())?;
            sqlx::query_with(AssertSqlSafe(statement), arguments).execute(&mut *connection).await?;
        }
        Ok(())
    }
}
