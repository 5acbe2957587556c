//! Strings from elsewhere: `{ env = "NAME" }` or `{ file = "PATH" }`.

use std::env::VarError;
use std::fs::File;
use std::io::Read;

use toml::de::DeTable;

use super::diagnostics::{Diagnostics, KeyPath};
use super::value_error::ValueError;

const EXPECTED: &str = "a string, { env = \"NAME\" } or { file = \"PATH\" }";
/// No value of a configuration is longer.
const MAX_FILE_BYTES: u64 = 65_536;

/// The string that a table names.
pub(super) fn resolve(diagnostics: &Diagnostics<'_>, at: &KeyPath, table: &DeTable<'_>) -> Result<String, ValueError> {
    for (key, _) in table.iter().filter(|(key, _)| !["env", "file"].contains(&key.get_ref().as_ref())) {
        let at = KeyPath { path: at.child(key.get_ref()), offset: key.span().start };
        diagnostics.error(&at, "is not a key of this table", "env, file");
    }
    match (plain_string(at, table, "env")?, plain_string(at, table, "file")?) {
        (Some(name), None) => {
            let found = diagnostics.env_var(name).map_err(|error| match error {
                VarError::NotPresent => format!("the environment variable {name:?} is not set"),
                VarError::NotUnicode(_) => format!("the environment variable {name:?} is not UTF-8"),
            });
            found.map_err(|message| ValueError::message(message, "a variable that is set"))
        }
        (None, Some(path)) => {
            diagnostics.add_file(path);
            read_text_file(path).map_err(|message| ValueError::message(message, "a file that can be read"))
        }
        (Some(_), Some(_)) => Err(ValueError::message("has both env and file", EXPECTED)),
        (None, None) => Err(ValueError::message("has neither env nor file", EXPECTED)),
    }
}

/// A string that is itself in the configuration.
fn plain_string<'t>(at: &KeyPath, table: &'t DeTable<'_>, key: &str) -> Result<Option<&'t str>, ValueError> {
    let Some(value) = table.get(key) else { return Ok(None) };
    if let Some(text) = value.get_ref().as_str().filter(|text| !text.is_empty()) {
        return Ok(Some(text));
    }
    let at = KeyPath { path: at.child(key), offset: value.span().start };
    Err(ValueError::message("is not a name", "a string that is not empty").in_key(at))
}

/// A file's text without the newline that editors and `echo` put at its end.
fn read_text_file(path: &str) -> Result<String, String> {
    let bytes = read_file(path, MAX_FILE_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("the file {path:?} is not UTF-8"))?;
    Ok(text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text).to_owned())
}

/// A file's bytes. A longer file, such as a device, is an error and is not read to its end.
pub(super) fn read_file(path: &str, max_bytes: u64) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("the file {path:?} cannot be read: {error}");
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(max_bytes + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > max_bytes {
        return Err(format!("the file {path:?} is longer than {max_bytes} bytes"));
    }
    Ok(bytes)
}
