//! Strings, which may also be given as `{ env = "NAME" }` or `{ file = "PATH" }`.

use std::env::VarError;
use std::fs::File;
use std::io::Read;

use toml::de::DeValue;

use super::reader::{Entry, Place, Reader};
use super::section::{Section, wrong_type};
use crate::record::Secret;

/// A string with where it stands.
pub(super) struct Text {
    /// The string.
    pub(super) value: String,
    /// Where it, or its `{ env = … }`, stands.
    pub(super) place: Place,
    /// Whether it came out of the environment or a file.
    is_indirect: bool,
}

impl Text {
    /// The string as a fault may show it. What came out of the environment or a file may be a secret: it is not shown.
    pub(super) fn shown(&self) -> String {
        if self.is_indirect || self.value.len() > LONGEST_SHOWN {
            "the value".to_owned()
        } else {
            format!("{:?}", self.value)
        }
    }

    /// The string as one that must not be printed.
    pub(super) fn secret(self) -> Secret {
        Secret::new(self.value)
    }

    /// Itself, if it can stand in a header: visible ASCII without spaces (RFC 9110, section 5.5).
    pub(super) fn for_header(self, reader: &Reader<'_>) -> Option<Self> {
        if self.value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(self);
        }
        reader.fault(
            &self.place,
            "holds a character that cannot be sent in a header",
            "visible ASCII characters, no spaces",
        );
        None
    }
}

/// Longer values say nothing to a reader that the place does not say.
const LONGEST_SHOWN: usize = 80;
/// Nothing that belongs into a configuration is longer.
const LONGEST_FILE: u64 = 65_536;

/// The string of an entry, wherever it comes from.
pub(super) fn text(reader: &Reader<'_>, entry: &Entry<'_>, valid: &str) -> Option<Text> {
    match entry.value {
        DeValue::String(value) => {
            Some(Text { value: value.clone().into_owned(), place: entry.place.clone(), is_indirect: false })
        }
        DeValue::Table(_) => {
            let value = indirect(reader, entry)?;
            Some(Text { value, place: entry.place.clone(), is_indirect: true })
        }
        _ => {
            wrong_type(reader, entry, valid);
            None
        }
    }
}

/// `{ env = "NAME" }` or `{ file = "PATH" }`.
fn indirect(reader: &Reader<'_>, entry: &Entry<'_>) -> Option<String> {
    const VALID: &str = "a string, { env = \"NAME\" } or { file = \"PATH\" }";
    let mut section = Section::of(reader, entry.clone(), VALID)?;
    let (env, file) = (literal(&mut section, "env"), literal(&mut section, "file"));
    let (has_env, has_file) = (section.has("env"), section.has("file"));
    section.finish(|_| None);
    if has_env == has_file {
        let wrong = if has_env { "has both env and file" } else { "has neither env nor file" };
        reader.fault(&entry.place, wrong, VALID);
        return None;
    }
    let found = match (env, file) {
        (Some(name), _) => variable(reader, &name),
        (_, Some(path)) => contents(&path),
        _ => return None,
    };
    match found {
        Ok(value) => Some(value),
        Err(wrong) => {
            reader.fault(
                &entry.place,
                wrong,
                if has_env { "a variable that is set" } else { "a file that can be read" },
            );
            None
        }
    }
}

/// A string that cannot be indirect itself.
fn literal(section: &mut Section<'_, '_>, key: &'static str) -> Option<String> {
    let entry = section.entry(key)?;
    let value = entry.value.as_str().filter(|value| !value.is_empty());
    if value.is_none() {
        section.reader.fault(&entry.place, "is not a name", "a string that is not empty");
    }
    value.map(ToOwned::to_owned)
}

fn variable(reader: &Reader<'_>, name: &str) -> Result<String, String> {
    reader.variable(name).map_err(|error| match error {
        VarError::NotPresent => format!("the environment variable {name:?} is not set"),
        VarError::NotUnicode(_) => format!("the environment variable {name:?} is not UTF-8"),
    })
}

/// A file's text without the newline that editors and `echo` put at its end.
fn contents(path: &str) -> Result<String, String> {
    let bytes = read_file(path, LONGEST_FILE)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("the file {path:?} is not UTF-8"))?;
    Ok(text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text).to_owned())
}

/// A file's bytes; a longer file (a device, say) is refused rather than read to its end.
pub(super) fn read_file(path: &str, longest: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("the file {path:?} cannot be read: {error}");
    let mut bytes = Vec::new();
    File::open(path).map_err(cannot)?.take(longest + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > longest {
        return Err(format!("the file {path:?} is longer than {longest} bytes"));
    }
    Ok(bytes)
}
