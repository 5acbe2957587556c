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
    pub(super) fn of(text: &str, offset: usize) -> Self {
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
pub struct ConfigFault {
    /// Where; `None` when the file could not be read at all.
    pub position: Option<Position>,
    /// The key's path, such as `systems.crm.client_secret`; empty for a fault of the TOML itself.
    pub path: String,
    /// What is wrong.
    pub wrong: String,
    /// What would be valid.
    pub valid: String,
}

/// Everything that is wrong with a configuration, in the order of its text; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigFaults {
    /// The file, as it was named.
    pub origin: String,
    /// The faults.
    pub faults: Vec<ConfigFault>,
}

impl ConfigFaults {
    /// The one fault of a file that cannot be read.
    pub(super) fn unreadable(origin: &str, wrong: String) -> Self {
        let fault = ConfigFault {
            position: None,
            path: String::new(),
            wrong,
            valid: "a TOML file that the gateway may read".to_owned(),
        };
        Self { origin: origin.to_owned(), faults: vec![fault] }
    }
}

impl fmt::Display for ConfigFaults {
    /// One line a fault: `FILE:LINE:COLUMN: key.path: what is wrong; what would be valid`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            formatter.write_str(&self.origin)?;
            if let Some(Position { line, column }) = fault.position {
                write!(formatter, ":{line}:{column}")?;
            }
            if !fault.path.is_empty() {
                write!(formatter, ": {}", fault.path)?;
            }
            write!(formatter, ": {}", fault.wrong)?;
            if !fault.valid.is_empty() {
                write!(formatter, "; valid: {}", fault.valid)?;
            }
        }
        Ok(())
    }
}
