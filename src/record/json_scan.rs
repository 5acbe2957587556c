//! A reader of JSON in one pass, for what nearly every caller and vendor sends. It accepts nothing
//! that the strict parser (`json_parse`) rejects; `None` leaves the verdict, and its words, to that
//! parser.

use super::json_members::{MAX_DEPTH, Member, OpenedObject, TYPICAL_MEMBERS, validate_names};
use super::json_write::is_special;

/// The members of a whole text that is an object.
pub(super) fn scan_object<'t>(text: &'t str, opened: Option<&'static str>) -> Option<OpenedObject<'t>> {
    Scanner::read_whole(text, |scanner| {
        let mut object = OpenedObject { members: Vec::with_capacity(TYPICAL_MEMBERS), opened: None };
        scanner.members(|scanner, name| {
            if opened == Some(name) {
                let inner = scanner.object(2)?;
                return object.opened.replace(inner).is_none().then_some(());
            }
            object.members.push((name.into(), scanner.value(1)?));
            Some(())
        })?;
        validate_names(&object.members).ok()?;
        Some(object)
    })
}

/// The members of the objects of a whole text that is an array of objects.
pub(super) fn scan_objects(text: &str) -> Option<Vec<Vec<Member<'_>>>> {
    Scanner::read_whole(text, |scanner| {
        let mut objects = Vec::new();
        scanner.elements(|scanner| {
            objects.push(scanner.object(2)?);
            Some(())
        })?;
        Some(objects)
    })
}

/// Whether a whole text is JSON without white space around it, and ambiguous nowhere.
pub(super) fn is_plain_json(text: &str) -> bool {
    Scanner::read_whole(text, |scanner| scanner.value(0)).is_some_and(|value| value.len() == text.len())
}

/// A text and how far it is read.
struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scanner<'t> {
    fn read_whole<T>(text: &'t str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut scanner = Self { text, at: 0 };
        let value = read(&mut scanner)?;
        scanner.peek().is_none().then_some(value)
    }

    /// The byte that comes next after white space, which is skipped.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = self.byte()?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips this byte if it is next; white space before it must be skipped already.
    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.byte() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.peek();
        self.skip(byte).then_some(())
    }

    /// Reads a value in so many objects and arrays, and returns its text.
    fn value(&mut self, depth: usize) -> Option<&'t str> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => self.string().map(drop),
            b'{' => self.object(depth + 1).map(drop),
            b'[' if depth < MAX_DEPTH => self.elements(|scanner| scanner.value(depth + 1).map(drop)),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        }?;
        self.text.get(start..self.at)
    }

    /// Reads an object that is itself the level `depth`.
    fn object(&mut self, depth: usize) -> Option<Vec<Member<'t>>> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut members = Vec::with_capacity(TYPICAL_MEMBERS);
        self.members(|scanner, name| {
            members.push((name.into(), scanner.value(depth)?));
            Some(())
        })?;
        validate_names(&members).ok()?;
        Some(members)
    }

    /// Reads an object; `read` reads the value of each name.
    fn members(&mut self, mut read: impl FnMut(&mut Self, &'t str) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let name = self.name()?;
            self.expect(b':')?;
            read(self, name)?;
            if self.peek()? != b',' {
                return self.skip(b'}').then_some(());
            }
            self.at += 1;
        }
    }

    /// Reads an array; `read` reads each element.
    fn elements(&mut self, mut read: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'[')?;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            read(self)?;
            if self.peek()? != b',' {
                return self.skip(b']').then_some(());
            }
            self.at += 1;
        }
    }

    /// A member name without escapes.
    fn name(&mut self) -> Option<&'t str> {
        if self.peek()? != b'"' {
            return None;
        }
        let start = self.at + 1;
        let has_escape = self.string()?;
        self.text.get(start..self.at - 1).filter(|_| !has_escape)
    }

    /// Reads a string, whose first quote is next, and returns whether it has an escape.
    fn string(&mut self) -> Option<bool> {
        self.at += 1;
        let mut has_escape = false;
        loop {
            self.at += find_special(self.text.as_bytes().get(self.at..)?)?;
            match self.byte()? {
                b'"' => break,
                b'\\' => self.escape()?,
                // A control character.
                _ => return None,
            }
            has_escape = true;
        }
        self.at += 1;
        Some(has_escape)
    }

    /// Reads an escape; a pair of surrogates is one.
    fn escape(&mut self) -> Option<()> {
        match self.code_unit() {
            None => {
                self.at += 1;
                let is_short = matches!(self.byte()?, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't');
                self.at += 1;
                is_short.then_some(())
            }
            Some(0xd800..=0xdbff) => matches!(self.code_unit()?, 0xdc00..=0xdfff).then_some(()),
            Some(0xdc00..=0xdfff) => None,
            Some(_) => Some(()),
        }
    }

    /// Reads an escape of the form `\u00e9`.
    fn code_unit(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 6)?.strip_prefix("\\u")?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let unit = u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
        self.at += 6;
        Some(unit)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let end = self.at + word.len();
        let is_next = self.text.as_bytes().get(self.at..end) == Some(word.as_bytes());
        self.at = end;
        is_next.then_some(())
    }

    fn number(&mut self) -> Option<()> {
        self.skip(b'-');
        if !self.skip(b'0') {
            self.digits()?;
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _has_sign = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

/// The position of the first byte that is not plain in a string: a quote, a backslash or a control
/// character.
fn find_special(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH_BITS: u64 = ONES << 7;
    /// Sets the high bit of each byte that is below `limit`; after the first such byte also others.
    fn below(word: u64, limit: u8) -> u64 {
        word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH_BITS
    }
    // A test of a whole block compiles to a few vector instructions.
    let is_plain = |block: &&[u8; 16]| !block.iter().fold(false, |found, byte| found | is_special(*byte));
    let skipped = bytes.as_chunks::<16>().0.iter().take_while(is_plain).count() * 16;
    let (words, rest) = bytes.get(skipped..)?.as_chunks::<8>();
    for (word, start) in words.iter().zip((skipped..).step_by(8)) {
        let word = u64::from_le_bytes(*word);
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let found = is(b'"') | is(b'\\') | below(word, 0x20);
        if found != 0 {
            return Some(start + usize::try_from(found.trailing_zeros()).ok()? / 8);
        }
    }
    let start = skipped + words.len() * 8;
    rest.iter().position(|byte| is_special(*byte)).map(|at| start + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::parse_strict;

    #[test]
    fn usual_json_is_read_in_one_pass() {
        for text in [
            "{}",
            r#" { "a" : [ 1 , -0.5e+3 , "\u00e9\ud83d\ude00\n" ] , "b" : { "c" : null } } "#,
            r#"{"a":true,"b":false,"c":"","d":[],"e":{},"f":0,"g":-1E5}"#,
        ] {
            let object = scan_object(text, None).expect("an object");
            let strict = parse_strict(text.as_bytes()).expect("JSON");
            let names: Vec<&str> = object.members.iter().map(|(name, _)| &**name).collect();
            assert_eq!(names, strict.as_object().expect("an object").keys().collect::<Vec<_>>());
            for (name, value) in &object.members {
                assert_eq!(parse_strict(value.as_bytes()).as_ref(), Ok(&strict[&**name]), "{text}");
            }
        }
        let objects = scan_objects(r#"[{"a":1},{}]"#).expect("objects");
        assert_eq!(objects, [vec![("a".into(), "1")], vec![]]);
        assert!(is_plain_json("[1]") && !is_plain_json(" [1]") && !is_plain_json("[1] "));
    }

    #[test]
    fn the_first_special_byte_is_found_at_any_position() {
        for special in ["\0", "\u{1f}", "\"", "\\"] {
            for place in 0..40 {
                let text = "\u{7f}".repeat(place) + special + "#![]\u{ff}\"\\";
                assert_eq!(find_special(text.as_bytes()), Some(place), "{text:?}");
            }
        }
        assert_eq!(find_special("é#![] ~\u{7f}".repeat(9).as_bytes()), None);
    }

    /// Pieces of JSON, whole and broken.
    const PIECES: &str = r#"{ } [ ] : , "a" "b": "\u00e9" "\ud83d\ude00" "\ud83d" "\x" " 0 - 1.5 1e5 01 1. true fals
        null é \u0001 "$serde_json::private::Number" {"a":1} {"a":1,"a":2} {"f":{"a":[{}]}}"#;

    fn any_text() -> impl Strategy<Value = String> {
        let pieces: Vec<&str> = PIECES.split_whitespace().chain([" ", "\n", "\u{1}", "\"\u{1}\""]).collect();
        prop::collection::vec(prop::sample::select(pieces), 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn nothing_is_accepted_that_the_strict_parser_rejects(text in any_text()) {
            let strict = parse_strict(text.as_bytes());
            for opened in [None, Some("f")] {
                if let Some(object) = scan_object(&text, opened) {
                    let members = strict.clone().expect("JSON");
                    let members = members.as_object().expect("an object");
                    let opened = object.opened.as_ref().map_or(0, |_| 1);
                    prop_assert_eq!(object.members.len() + opened, members.len());
                }
            }
            prop_assert!(scan_objects(&text).is_none() || strict.as_ref().is_ok_and(serde_json::Value::is_array));
            prop_assert!(!is_plain_json(&text) || strict.is_ok());
        }
    }
}
