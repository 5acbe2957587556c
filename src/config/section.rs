//! A table of the configuration: typed access to its keys, and the refusal of those that nobody asked for.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::duration;
use super::reader::{Entry, Place, Reader};
use super::text::{Text, read_file, text};

/// A table being read. Call [`Section::finish`] at the end.
pub(super) struct Section<'r, 'd> {
    pub(super) reader: &'r Reader<'d>,
    pub(super) place: Place,
    table: Option<&'d DeTable<'d>>,
    known: Vec<&'static str>,
}

impl<'r, 'd> Section<'r, 'd> {
    pub(super) fn new(reader: &'r Reader<'d>, place: Place, table: Option<&'d DeTable<'d>>) -> Self {
        Self { reader, place, table, known: Vec::new() }
    }

    /// An entry as a table of its own; a fault if it is none.
    pub(super) fn of(reader: &'r Reader<'d>, entry: Entry<'d>, valid: &str) -> Option<Self> {
        let Some(table) = entry.value.as_table() else {
            wrong_type(reader, &entry, valid);
            return None;
        };
        Some(Self::new(reader, entry.place, Some(table)))
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The entry of a key, which from now on is a known one.
    pub(super) fn entry(&mut self, key: &'static str) -> Option<Entry<'d>> {
        self.known.push(key);
        let value = self.table?.get(key)?;
        Some(Entry {
            place: Place { path: self.place.path_of(key), offset: value.span().start },
            value: value.get_ref(),
        })
    }

    /// A table within this one. One that is not there, or is no table, reads as an empty one.
    pub(super) fn table(&mut self, key: &'static str) -> Section<'r, 'd> {
        let place = Place { path: self.place.path_of(key), offset: self.place.offset };
        let entry = self.entry(key);
        let section = entry.and_then(|entry| Section::of(self.reader, entry, "a table"));
        section.unwrap_or_else(|| Section::new(self.reader, place, None))
    }

    /// Every entry in the order of the text, with its key's name and place: for tables whose keys are free.
    pub(super) fn entries(&self) -> Vec<(&'d str, Entry<'d>)> {
        let mut entries: Vec<_> = self.table.into_iter().flatten().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .map(|(key, value)| {
                let place = Place { path: self.place.path_of(key.get_ref()), offset: value.span().start };
                (key.get_ref().as_ref(), Entry { place, value: value.get_ref() })
            })
            .collect()
    }

    /// A string; empty ones are refused.
    pub(super) fn text(&mut self, key: &'static str, valid: &str) -> Option<Text> {
        let entry = self.entry(key)?;
        let text = text(self.reader, &entry, valid)?;
        if text.value.is_empty() {
            self.reader.fault(&text.place, "is empty", valid);
            return None;
        }
        Some(text)
    }

    /// A string that must be there and not be empty.
    pub(super) fn required(&mut self, key: &'static str, valid: &str) -> Option<Text> {
        if !self.has(key) {
            self.known.push(key);
            self.reader.missing(&self.place, key, valid);
            return None;
        }
        self.text(key, valid)
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let valid = either(words);
        let text = self.text(key, &valid)?;
        let found = words.iter().find(|(word, _)| *word == text.value).map(|(_, value)| *value);
        if found.is_none() {
            self.reader.fault(&text.place, format!("{} is not known", text.shown()), valid);
        }
        found
    }

    /// A whole number within a range.
    pub(super) fn integer(&mut self, key: &'static str, default: u32, range: RangeInclusive<u32>) -> u32 {
        let Some(entry) = self.entry(key) else { return default };
        let valid = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = entry.value else {
            wrong_type(self.reader, &entry, &valid);
            return default;
        };
        match i64::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|value| u32::try_from(value).ok()) {
            Some(value) if range.contains(&value) => value,
            _ => {
                self.reader.fault(&entry.place, "is out of range", valid);
                default
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(entry) = self.entry(key) else { return default };
        entry.value.as_bool().unwrap_or_else(|| {
            wrong_type(self.reader, &entry, "true or false");
            default
        })
    }

    /// A duration within a range.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let (shortest, longest) = (duration::show(*range.start()), duration::show(*range.end()));
        let valid = format!("a duration from \"{shortest}\" to \"{longest}\", such as \"{}\"", duration::show(default));
        let Some(text) = self.text(key, &valid) else { return default };
        match duration::parse(&text.value) {
            Some(value) if range.contains(&value) => value,
            Some(_) => {
                self.reader.fault(&text.place, format!("{} is out of range", text.shown()), valid);
                default
            }
            None => {
                let wrong = format!("{} is not a duration (digits and one of ms, s, m, h, d)", text.shown());
                self.reader.fault(&text.place, wrong, valid);
                default
            }
        }
    }

    /// The path of a PEM file of certificates, tried out.
    pub(super) fn certificates(&mut self, key: &'static str) -> Option<PathBuf> {
        let valid = "the path of a readable PEM file of certificates";
        let text = self.text(key, valid)?;
        let found = read_file(&text.value, LONGEST_PEM);
        let wrong = match found {
            Ok(bytes) if bytes.windows(PEM_HEADER.len()).any(|window| window == PEM_HEADER) => {
                return Some(text.value.into());
            }
            Ok(_) => "the file holds no PEM certificate".to_owned(),
            Err(wrong) => wrong,
        };
        self.reader.fault(&text.place, wrong, valid);
        None
    }

    /// Refuses every key that was not asked for. `foreign` says whose a key is that is valid elsewhere.
    pub(super) fn finish(self, foreign: impl Fn(&str) -> Option<String>) {
        let mut known = self.known;
        known.sort_unstable();
        known.dedup();
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let place = Place { path: self.place.path_of(name), offset: key.span().start };
            let wrong = foreign(name).unwrap_or_else(|| match nearest(name, &known) {
                Some(meant) => format!("is not a key of this table; did you mean {meant:?}?"),
                None => "is not a key of this table".to_owned(),
            });
            self.reader.fault(&place, wrong, known.join(", "));
        }
    }
}

/// The words, for people.
pub(super) fn either<T>(words: &[(&str, T)]) -> String {
    words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
}

/// A bundle of all public authorities has a quarter of this.
const LONGEST_PEM: u64 = 1_048_576;
const PEM_HEADER: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Notes that a value has the wrong type.
pub(super) fn wrong_type(reader: &Reader<'_>, entry: &Entry<'_>, valid: &str) {
    let found = entry.value.type_str();
    let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
    reader.fault(&entry.place, format!("is {article} {found}"), valid);
}

/// The known key that was probably meant: at most two letters away, and fewer than its half.
fn nearest<'k>(typed: &str, known: &[&'k str]) -> Option<&'k str> {
    let length = typed.chars().count();
    let near = |candidate: &&'k str| {
        if length.abs_diff(candidate.len()) > 2 {
            return None;
        }
        let distance = distance(typed, candidate);
        (distance <= 2 && distance * 2 < candidate.len()).then_some((distance, *candidate))
    };
    known.iter().filter_map(near).min().map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().enumerate() {
        let mut diagonal = index;
        let mut last = index + 1;
        let mut next = vec![last];
        for (to, above) in right.iter().zip(row.iter().skip(1)) {
            last = (diagonal + usize::from(from != *to)).min(above + 1).min(last + 1);
            diagonal = *above;
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
