//! What is wrong with a configuration, in a form that an editor can jump to.

use std::fmt;

/// A place in the configuration's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The place of a byte of the text.
    pub(super) fn from_offset(text: &str, offset: usize) -> Self {
        let before = text.get(..text.floor_char_boundary(offset)).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: 1 + before.bytes().filter(|byte| *byte == b'\n').count(),
            column: 1 + before.get(line_start..).unwrap_or_default().trim_start_matches('\u{feff}').chars().count(),
        }
    }
}

/// One thing that is wrong. It never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where; `None` when the file could not be read at all.
    pub position: Option<Position>,
    /// The key's path, such as `systems.crm.client_secret`; empty for a fault of the TOML itself.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be valid.
    pub expected: String,
}

/// Everything that is wrong with a configuration, in the order of its text; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The file, as it was named.
    pub file: String,
    /// The faults.
    pub errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// The one fault of a file that cannot be read.
    pub(super) fn unreadable(origin: &str, wrong: String) -> Self {
        let fault = ConfigError {
            position: None,
            path: String::new(),
            message: wrong,
            expected: "a TOML file that the gateway may read".to_owned(),
        };
        Self { file: origin.to_owned(), errors: vec![fault] }
    }
}

impl fmt::Display for ConfigErrors {
    /// One line a fault: `FILE:LINE:COLUMN: key.path: what is wrong; what would be valid`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.errors.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            formatter.write_str(&self.file)?;
            if let Some(Position { line, column }) = fault.position {
                write!(formatter, ":{line}:{column}")?;
            }
            if !fault.path.is_empty() {
                write!(formatter, ": {}", fault.path)?;
            }
            write!(formatter, ": {}", fault.message)?;
            if !fault.expected.is_empty() {
                write!(formatter, "; valid: {}", fault.expected)?;
            }
        }
        Ok(())
    }
}
