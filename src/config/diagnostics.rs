//! Collects everything that is wrong with a configuration, each error with its position.

use std::cell::RefCell;
use std::collections::HashSet;
use std::env::VarError;
use std::path::PathBuf;

use super::error::{ConfigError, ConfigErrors, Position};

/// Looks up an environment variable.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Result<String, VarError>;

/// The path of a key and where its value stands.
#[derive(Clone, Debug)]
pub(super) struct KeyPath {
    /// Such as `systems.crm.timeout`.
    pub(super) path: String,
    /// The first byte of the value; of the key or the table header where there is no value.
    pub(super) offset: usize,
}

impl KeyPath {
    /// The path of a key in the table at this path.
    pub(super) fn child(&self, key: &str) -> String {
        let is_bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}

/// The errors found so far.
pub(super) struct Diagnostics<'d> {
    text: &'d str,
    environment: Environment<'d>,
    has_syntax_errors: bool,
    errors: RefCell<Vec<(usize, ConfigError)>>,
    faulty: RefCell<HashSet<String>>,
    /// The files that values were read from.
    files: RefCell<Vec<PathBuf>>,
}

impl<'d> Diagnostics<'d> {
    /// Starts with the errors of the TOML syntax.
    pub(super) fn new(text: &'d str, syntax: &[toml::de::Error], environment: Environment<'d>) -> Self {
        let diagnostics = Self {
            text,
            environment,
            has_syntax_errors: !syntax.is_empty(),
            errors: RefCell::default(),
            faulty: RefCell::default(),
            files: RefCell::default(),
        };
        for error in syntax {
            let offset = error.span().map_or(0, |span| span.start);
            diagnostics.push(
                String::new(),
                offset,
                error.message().escape_debug().to_string(),
                "TOML (https://toml.io)",
            );
        }
        diagnostics
    }

    /// Adds an error. Only the first error of a key counts: later ones follow from it.
    pub(super) fn error(&self, at: &KeyPath, message: impl Into<String>, expected: impl Into<String>) {
        if self.faulty.borrow_mut().insert(at.path.clone()) {
            self.push(at.path.clone(), at.offset, message, expected);
        }
    }

    fn push(&self, path: String, offset: usize, message: impl Into<String>, expected: impl Into<String>) {
        let position = Some(Position::from_offset(self.text, offset));
        let error = ConfigError { position, path, message: message.into(), expected: expected.into() };
        self.errors.borrow_mut().push((offset, error));
    }

    /// Adds the error that a required key is missing. Where the syntax is broken, the key may exist
    /// and be unreadable: then nothing is added.
    pub(super) fn missing_key(&self, table: &KeyPath, key: &str, expected: impl Into<String>) {
        if !self.has_syntax_errors {
            let at = KeyPath { path: table.child(key), offset: table.offset };
            self.error(&at, "is missing", expected);
        }
    }

    /// Leaves this value out of what is read from now on.
    pub(super) fn mark_faulty(&self, at: &KeyPath) {
        self.faulty.borrow_mut().insert(at.path.clone());
    }

    /// Whether the value of this key has an error.
    pub(super) fn is_faulty(&self, path: &str) -> bool {
        self.faulty.borrow().contains(path)
    }

    /// Whether there is no error so far.
    pub(super) fn is_ok(&self) -> bool {
        self.errors.borrow().is_empty()
    }

    /// The value of an environment variable.
    pub(super) fn env_var(&self, name: &str) -> Result<String, VarError> {
        (self.environment)(name)
    }

    /// Remembers a file that a value is read from.
    pub(super) fn add_file(&self, path: &str) {
        self.files.borrow_mut().push(path.into());
    }

    /// The files that values were read from.
    pub(super) fn into_files(self) -> Vec<PathBuf> {
        self.files.into_inner()
    }

    /// All errors in the order of the text.
    pub(super) fn into_errors(self, source: &str) -> ConfigErrors {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|(offset, _)| *offset);
        ConfigErrors { file: source.to_owned(), errors: errors.into_iter().map(|(_, error)| error).collect() }
    }
}
