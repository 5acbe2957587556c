//! Reads a TOML document and keeps a list of everything that is wrong with it, each with its place.
//!
//! Reading goes on after a fault, with a value that stands in for the wrong one: a configuration counts only if the list is
//! empty at the end.

use std::cell::RefCell;
use std::env::VarError;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors, Position};
use super::section::Section;

/// Looks up an environment variable.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Result<String, VarError>;

/// Where a value stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The key's path.
    pub(super) path: String,
    /// The first byte of the value, or of the key or table header for want of one.
    pub(super) offset: usize,
}

impl Place {
    /// The path of a key in the table at this place.
    pub(super) fn path_of(&self, key: &str) -> String {
        let is_bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}

/// A value with its place.
#[derive(Clone)]
pub(super) struct Entry<'d> {
    pub(super) place: Place,
    pub(super) value: &'d DeValue<'d>,
}

impl<'d> Entry<'d> {
    /// The elements, if it is an array.
    pub(super) fn elements(&self) -> Option<Vec<Entry<'d>>> {
        let element = |(index, value): (usize, &'d Spanned<DeValue<'d>>)| Entry {
            place: Place { path: format!("{}[{index}]", self.place.path), offset: value.span().start },
            value: value.get_ref(),
        };
        Some(self.value.as_array()?.iter().enumerate().map(element).collect())
    }
}

/// The document being read.
pub(super) struct Reader<'d> {
    text: &'d str,
    environment: Environment<'d>,
    faults: RefCell<Vec<(usize, ConfigError)>>,
    is_broken: bool,
}

impl<'d> Reader<'d> {
    /// Begins with the faults of the TOML itself. The table of what could be read is in the document that the caller keeps.
    pub(super) fn new(text: &'d str, syntax: &[toml::de::Error], environment: Environment<'d>) -> Self {
        let reader = Self { text, environment, faults: RefCell::default(), is_broken: !syntax.is_empty() };
        for error in syntax {
            let place = Place { path: String::new(), offset: error.span().map_or(0, |span| span.start) };
            reader.fault(&place, error.message().escape_debug().to_string(), "TOML (https://toml.io)");
        }
        reader
    }

    /// Notes a fault.
    pub(super) fn fault(&self, place: &Place, wrong: impl Into<String>, valid: impl Into<String>) {
        let fault = ConfigError {
            position: Some(Position::from_offset(self.text, place.offset)),
            path: place.path.clone(),
            message: wrong.into(),
            expected: valid.into(),
        };
        self.faults.borrow_mut().push((place.offset, fault));
    }

    /// Notes that a required key is not there; not in a document of broken syntax, where it may be there all the same.
    pub(super) fn missing(&self, section: &Place, key: &str, valid: impl Into<String>) {
        if !self.is_broken {
            let place = Place { path: section.path_of(key), offset: section.offset };
            self.fault(&place, "is missing", valid);
        }
    }

    /// Whether nothing was wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    /// The value of an environment variable.
    pub(super) fn variable(&self, name: &str) -> Result<String, VarError> {
        (self.environment)(name)
    }

    /// The whole document as a table.
    pub(super) fn root(&self, table: &'d DeTable<'d>) -> Section<'_, 'd> {
        Section::new(self, Place { path: String::new(), offset: 0 }, Some(table))
    }

    /// Everything that is wrong, in the order of the text.
    pub(super) fn into_faults(self, origin: &str) -> ConfigErrors {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|(offset, _)| *offset);
        ConfigErrors { file: origin.to_owned(), errors: faults.into_iter().map(|(_, fault)| fault).collect() }
    }
}
