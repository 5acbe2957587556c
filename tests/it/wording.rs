//! The code is written in the words of its field, and its comments and files stay short.

use std::fs;
use std::path::{Path, PathBuf};

/// Words that have a usual name in this field: `lease`, `timeout`, `reconcile`, `fake vendor` and
/// so on.
const PRIVATE_WORDS: &[&str] = &[
    "board",
    "desk",
    "door",
    "doors",
    "heed",
    "heeds",
    "henceforth",
    "house",
    "mending",
    "patience",
    "plug",
    "plugs",
    "rival",
    "rivals",
    "seam",
    "seams",
    "settle",
    "settled",
    "settler",
    "settles",
    "settling",
    "standin",
    "tell",
    "tells",
    "told",
    "unsettled",
    "untabled",
    "wanted",
    "whoever",
];

/// Phrases that have a usual name in this field (`outcome`, `request`, `response`, `in parallel`,
/// `current`), or that sound translated. No text of the repository has them.
const PRIVATE_PHRASES: &[&str] = &[
    "anew",
    "answered",
    "asked for",
    "asks for",
    "became of",
    "becomes of",
    "cannot be had",
    "could not be had",
    "goes on",
    "in its turn",
    "nobody knows",
    "present state",
    "present tag",
    "present token",
    "present value",
    "present version",
    "side by side",
    "stand-in",
    "take turns",
    "takes turns",
    "whose turn",
];

/// What callers and operators know by these names: a key, the value of a label, a path and its
/// operation. A word in the data of a fake vendor is no name.
const OPERATORS_WORDS: &[&str] = &[
    "settle_timeout",
    "\"settle\"",
    "`settle`",
    "/settle",
    "settleOperation",
    "\"wanted\"",
    "the wanted state",
    "the service desk",
];

/// The widest comment line, in characters.
const MAX_COMMENT_WIDTH: usize = 100;
/// The longest file, in lines.
const MAX_FILE_LINES: usize = 400;

/// The words of a line, those within names included: `SystemName::in_flight` has `system`, `name`,
/// `in` and `flight`.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut was_lower = false;
    for c in line.chars() {
        if !c.is_ascii_alphabetic() || (c.is_ascii_uppercase() && was_lower) {
            words.push(String::new());
        }
        was_lower = c.is_ascii_lowercase();
        if let Some(word) = words.last_mut().filter(|_| c.is_ascii_alphabetic()) {
            word.push(c.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Every text that people read, by its path in the repository: the code, the tests, the documents,
/// the console and `deploy/`.
fn read_texts() -> Vec<(PathBuf, String)> {
    const KINDS: &[&str] = &["rs", "md", "js", "html", "mjs", "py", "sh", "toml", "yaml", "json"];
    // Data, what others wrote, and this list.
    const SKIPPED: &[&str] =
        &["golden", "json-patch-test-suite", "node_modules", "seeds", "regressions", "target", "wording.rs"];
    fn collect(path: &Path, texts: &mut Vec<(PathBuf, String)>) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if SKIPPED.contains(&name) {
            return;
        }
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path());
            entries.for_each(|entry| collect(&entry, texts));
        } else if path.extension().is_none_or(|kind| KINDS.iter().any(|known| kind == *known)) {
            texts.extend(fs::read_to_string(path).ok().map(|text| (path.to_owned(), text)));
        }
    }
    let mut texts = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["src", "tests", "deploy", "README.md"] {
        collect(&root.join(name), &mut texts);
    }
    let below = |path: PathBuf| path.strip_prefix(root).map(Path::to_owned).expect("below the root");
    texts.into_iter().map(|(path, text)| (below(path), text)).collect()
}

/// A text as a sequence of words with one blank between them; a phrase may be wrapped.
fn as_prose(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches(['/', '!', '#', '*']));
    let joined = lines.collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let words = joined.split(|c: char| !c.is_alphanumeric() && c != '-').filter(|word| !word.is_empty());
    format!(" {} ", words.collect::<Vec<_>>().join(" "))
}

#[test]
fn no_text_has_a_private_phrase() {
    let texts = read_texts();
    assert!(texts.len() > 400, "only {} texts were found", texts.len());
    let mut found = Vec::new();
    for (path, text) in &texts {
        let prose = as_prose(text);
        let private = PRIVATE_PHRASES.iter().filter(|phrase| prose.contains(&format!(" {phrase} ")));
        found.extend(private.map(|phrase| format!("{}: {phrase}", path.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_wrapped_phrase_is_found() {
    assert_eq!(as_prose("/// What became\n/// of it.\n"), " what became of it ");
}

#[test]
fn texts_use_the_words_of_the_field() {
    let mut found = Vec::new();
    for (path, text) in read_texts() {
        for (number, line) in (1..).zip(text.lines()) {
            let line = OPERATORS_WORDS.iter().fold(line.to_owned(), |line, word| line.replace(word, ""));
            let is_private = |word: &String| PRIVATE_WORDS.contains(&word.as_str());
            let private = words(&line).into_iter().filter(is_private);
            found.extend(private.map(|word| format!("{}:{number}: {word}: {}", path.display(), line.trim())));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_name_is_taken_apart_into_its_words() {
    assert_eq!(
        words("let in_flight: SystemName = HTTPServer;"),
        ["let", "in", "flight", "system", "name", "httpserver"]
    );
}

#[test]
fn comment_lines_are_at_most_100_columns_wide() {
    let mut wide = Vec::new();
    for (path, text) in read_texts().iter().filter(|(path, _)| path.extension().is_some_and(|kind| kind == "rs")) {
        let lines = (1..).zip(text.lines());
        let comments = lines.filter(|(_, line)| line.trim_start().starts_with("//"));
        let too_wide = comments.filter(|(_, line)| line.chars().count() > MAX_COMMENT_WIDTH);
        wide.extend(too_wide.map(|(number, _)| format!("{}:{number}", path.display())));
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let is_rust = |path: &Path| path.extension().is_some_and(|kind| kind == "rs");
    let is_long = |text: &str| text.lines().count() > MAX_FILE_LINES;
    let texts = read_texts().into_iter().filter(|(path, text)| is_rust(path) && is_long(text));
    let long: Vec<_> = texts.map(|(path, _)| path.display().to_string()).collect();
    assert!(long.is_empty(), "{long:#?}");
}
