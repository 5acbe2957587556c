//! Values on their way into the database, many rows with one statement.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use memchr::memchr;
use sqlx::AnyConnection;
use sqlx::any::AnyArguments;
use sqlx::{Arguments as _, AssertSqlSafe};

use super::RecoveryPayload;

/// The most rows in one statement. Fewer are sent in powers of two, so that few statements have to be prepared.
const MAX_ROWS: usize = 32;

/// One value.
#[derive(Clone, Debug)]
pub(super) enum SqlValue {
    Text(String),
    NullText,
    Number(i64),
    Bytes(Vec<u8>),
    Recovery(Option<Arc<dyn RecoveryPayload>>),
}

impl SqlValue {
    /// PostgreSQL takes no NUL in a text; vendors and tokens may hold one.
    pub(super) fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self::Text(if memchr(0, text.as_bytes()).is_some() { text.replace('\0', "\u{fffd}") } else { text })
    }

    pub(super) fn opt_text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::NullText, Self::text)
    }

    fn push(self, arguments: &mut AnyArguments) -> Result<(), sqlx::Error> {
        match self {
            Self::Text(text) => arguments.add(text),
            Self::NullText => arguments.add(None::<String>),
            Self::Number(number) => arguments.add(number),
            Self::Bytes(bytes) => arguments.add(bytes),
            // JSON text holds no NUL.
            Self::Recovery(material) => arguments.add(material.and_then(|material| material.to_json())),
        }
        .map_err(sqlx::Error::Encode)
    }
}

/// The arguments of one statement.
pub(super) fn bind_all(cells: impl IntoIterator<Item = SqlValue>) -> Result<AnyArguments, sqlx::Error> {
    let mut arguments = AnyArguments::default();
    for cell in cells {
        cell.push(&mut arguments)?;
    }
    Ok(arguments)
}

/// How a statement names its parameters, which come in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholders {
    /// `$1`, `$2`.
    Numbered,
    /// `?`. To SQLite `$1` is a name, which sqlx looks up for each parameter, among all of them.
    Positional,
}

/// A statement over any number of rows: `before (…), (…) after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BulkStatement {
    pub(super) before: &'static str,
    pub(super) after: &'static str,
}

/// The texts of the bulk statements made so far.
pub(super) struct StatementCache {
    placeholders: Placeholders,
    texts: HashMap<(BulkStatement, usize, usize), Arc<str>>,
}

impl StatementCache {
    pub(super) fn new(parameters: Placeholders) -> Self {
        Self { placeholders: parameters, texts: HashMap::new() }
    }

    fn get_or_build(&mut self, bulk: BulkStatement, rows: usize, width: usize) -> Arc<str> {
        let parameters = self.placeholders;
        let text = self.texts.entry((bulk, rows, width)).or_insert_with(|| {
            let mut text = format!("{} ", bulk.before);
            for row in 0..rows {
                text.push_str(if row == 0 { "(" } else { ", (" });
                for column in 0..width {
                    text.push_str(if column == 0 { "" } else { ", " });
                    match parameters {
                        Placeholders::Positional => text.push('?'),
                        Placeholders::Numbered => {
                            // Writing to a String cannot fail.
                            let _ = write!(text, "${}", row * width + column + 1);
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

    /// Runs a statement over all rows, in order.
    pub(super) async fn run(
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
            let width = chunk.first().map_or(0, Vec::len);
            let statement = self.get_or_build(bulk, count, width);
            let arguments = bind_all(chunk.into_iter().flatten())?;
            sqlx::query_with(AssertSqlSafe(statement), arguments).execute(&mut *connection).await?;
        }
        Ok(())
    }
}
