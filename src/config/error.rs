//! The errors of a configuration, in a form that an editor can jump to.

use std::fmt;

/// A position in the configuration's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The position of a byte of the text.
    pub(super) fn from_offset(text: &str, offset: usize) -> Self {
        let before = text.get(..text.floor_char_boundary(offset)).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: 1 + before.bytes().filter(|byte| *byte == b'\n').count(),
            column: 1 + before.get(line_start..).unwrap_or_default().trim_start_matches('\u{feff}').chars().count(),
        }
    }
}

/// One error. It never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it is; `None` when the file could not be read.
    pub position: Option<Position>,
    /// The key's path, such as `systems.crm.client_secret`; empty for an error of the TOML syntax.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be valid.
    pub expected: String,
}

/// All errors of a configuration, in the order of its text; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The file as the command line names it.
    pub file: String,
    /// The errors.
    pub errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// The one error of a file that cannot be read.
    pub(super) fn unreadable(source: &str, message: String) -> Self {
        let error = ConfigError {
            position: None,
            path: String::new(),
            message,
            expected: "a TOML file that the gateway may read".to_owned(),
        };
        Self { file: source.to_owned(), errors: vec![error] }
    }
}

impl fmt::Display for ConfigErrors {
    /// One line an error: `FILE:LINE:COLUMN: key.path: what is wrong; what would be valid`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            formatter.write_str(&self.file)?;
            if let Some(Position { line, column }) = error.position {
                write!(formatter, ":{line}:{column}")?;
            }
            if !error.path.is_empty() {
                write!(formatter, ": {}", error.path)?;
            }
            write!(formatter, ": {}", error.message)?;
            if !error.expected.is_empty() {
                write!(formatter, "; valid: {}", error.expected)?;
            }
        }
        Ok(())
    }
}
