//! Why a value of the configuration was not deserialized: serde's errors, kept apart until their
//! message is known.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

use super::diagnostics::KeyPath;

/// `"one" or "other"`.
pub(super) fn list_alternatives(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
}

/// Why a value was not deserialized.
#[derive(Debug)]
pub(super) struct ValueError {
    pub(super) kind: ErrorKind,
    /// What would be valid.
    pub(super) expected: String,
    /// The key inside the value that is wrong; `None` = the value itself.
    pub(super) at: Option<KeyPath>,
}

/// What is wrong with a value.
#[derive(Debug)]
pub(super) enum ErrorKind {
    /// Its type.
    WrongType,
    /// Another value of this type would be valid.
    Invalid,
    /// What is wrong, in words that do not repeat the value.
    Message(String),
}

impl ValueError {
    fn new(kind: ErrorKind, expected: String) -> Self {
        Self { kind, expected, at: None }
    }

    /// The value has a type that is not `expected`.
    pub(super) fn wrong_type(expected: String) -> Self {
        Self::new(ErrorKind::WrongType, expected)
    }

    /// An error with its own message.
    pub(super) fn message(message: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::new(ErrorKind::Message(message.into()), expected.into())
    }

    /// The same error inside the value: at one of its keys.
    pub(super) fn in_key(self, at: KeyPath) -> Self {
        Self { at: Some(at), ..self }
    }
}

impl Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::message(message.to_string(), "another value")
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        // serde's words for a list and for a table are no words of TOML.
        let expected = expected.to_string().replace("a sequence", "a list").replace("a map", "a table");
        Self::new(ErrorKind::WrongType, expected)
    }

    /// [`Unexpected::Other`] holds what is wrong where the value itself must not be shown.
    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match unexpected {
            Unexpected::Other(message) => Self::message(message, expected.to_string()),
            _ => Self::new(ErrorKind::Invalid, expected.to_string()),
        }
    }

    fn unknown_variant(_: &str, variants: &'static [&'static str]) -> Self {
        Self::new(ErrorKind::Invalid, list_alternatives(variants))
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}; valid: {}", self.kind, self.expected)
    }
}

impl std::error::Error for ValueError {}
