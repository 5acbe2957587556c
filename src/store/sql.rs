//! Values on their way into the database, many rows with one statement.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use memchr::memchr;
use sqlx::AnyConnection;
use sqlx::any::AnyArguments;
use sqlx::{Arguments as _, AssertSqlSafe};

use super::Material;

/// The most rows in one statement. Fewer are sent in powers of two, so that few statements have to be prepared.
const MOST_ROWS: usize = 32;

/// One value.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Text(String),
    NoText,
    Number(i64),
    Bytes(Vec<u8>),
    Material(Option<Arc<dyn Material>>),
}

impl Cell {
    /// PostgreSQL takes no NUL in a text; vendors and tokens may hold one.
    pub(super) fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self::Text(if memchr(0, text.as_bytes()).is_some() { text.replace('\0', "\u{fffd}") } else { text })
    }

    pub(super) fn maybe(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::NoText, Self::text)
    }

    fn push(self, arguments: &mut AnyArguments) -> Result<(), sqlx::Error> {
        match self {
            Self::Text(text) => arguments.add(text),
            Self::NoText => arguments.add(None::<String>),
            Self::Number(number) => arguments.add(number),
            Self::Bytes(bytes) => arguments.add(bytes),
            // JSON text holds no NUL.
            Self::Material(material) => arguments.add(material.and_then(|material| material.text())),
        }
        .map_err(sqlx::Error::Encode)
    }
}

/// The arguments of one statement.
pub(super) fn arguments(cells: impl IntoIterator<Item = Cell>) -> Result<AnyArguments, sqlx::Error> {
    let mut arguments = AnyArguments::default();
    for cell in cells {
        cell.push(&mut arguments)?;
    }
    Ok(arguments)
}

/// How a statement names its parameters, which come in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameters {
    /// `$1`, `$2`.
    Numbered,
    /// `?`. To SQLite `$1` is a name, which sqlx looks up for each parameter, among all of them.
    Bare,
}

/// A statement over any number of rows: `before (…), (…) after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bulk {
    pub(super) before: &'static str,
    pub(super) after: &'static str,
}

/// The texts of the bulk statements made so far.
pub(super) struct Statements {
    parameters: Parameters,
    texts: HashMap<(Bulk, usize, usize), Arc<str>>,
}

impl Statements {
    pub(super) fn new(parameters: Parameters) -> Self {
        Self { parameters, texts: HashMap::new() }
    }

    fn of(&mut self, bulk: Bulk, rows: usize, width: usize) -> Arc<str> {
        let parameters = self.parameters;
        let text = self.texts.entry((bulk, rows, width)).or_insert_with(|| {
            let mut text = format!("{} ", bulk.before);
            for row in 0..rows {
                text.push_str(if row == 0 { "(" } else { ", (" });
                for column in 0..width {
                    text.push_str(if column == 0 { "" } else { ", " });
                    match parameters {
                        Parameters::Bare => text.push('?'),
                        Parameters::Numbered => {
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
        bulk: Bulk,
        rows: Vec<Vec<Cell>>,
    ) -> Result<(), sqlx::Error> {
        let mut left = rows.len();
        let mut rows = rows.into_iter();
        while left > 0 {
            let count = if left >= MOST_ROWS { MOST_ROWS } else { 1 << left.ilog2() };
            left -= count;
            let chunk: Vec<_> = rows.by_ref().take(count).collect();
            let width = chunk.first().map_or(0, Vec::len);
            let statement = self.of(bulk, count, width);
            let arguments = arguments(chunk.into_iter().flatten())?;
            sqlx::query_with(AssertSqlSafe(statement), arguments).execute(&mut *connection).await?;
        }
        Ok(())
    }
}
