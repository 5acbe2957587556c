//! The code is written in the words of its field, and its comments and files stay short.

use crate::architecture::sources::{Source, read_sources};

/// Words that the code once had for things that have a usual name: `lease`, `timeout`, `reconcile`,
/// `fake vendor` and so on.
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

/// What operators know by these names: a key, the value of a label, a path and its operation.
const OPERATORS_WORDS: &[&str] =
    &["settle_timeout", "\"settle\"", "/settle", "settleOperation", "\"wanted\"", "the wanted state"];

/// The widest comment line, in characters.
const MAX_COMMENT_WIDTH: usize = 100;
/// The longest file, in lines.
const MAX_FILE_LINES: usize = 400;
/// Files that are longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[
    ("access/jwt_tests.rs", "one case for each rule of RFC 7519 and RFC 8725"),
    ("config/tests.rs", "one case for each error message"),
    ("http/context.rs", "what the middleware and the handlers of one request share"),
    ("transport/circuit_breaker.rs", "the states of a circuit and their tests belong together"),
    ("vendors/pretectum/tests.rs", "one conversation for each rule of the vendor"),
];

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

#[test]
fn names_and_comments_use_the_words_of_the_field() {
    let mut found = Vec::new();
    for source in read_sources() {
        for (number, line) in (1..).zip(source.text.lines()) {
            let line = OPERATORS_WORDS.iter().fold(line.to_owned(), |line, word| line.replace(word, ""));
            let is_private = |word: &String| PRIVATE_WORDS.contains(&word.as_str());
            let private = words(&line).into_iter().filter(is_private);
            found.extend(private.map(|word| format!("{}:{number}: {word}: {}", source.path, line.trim())));
            if line.to_ascii_lowercase().contains("stand-in") {
                found.push(format!("{}:{number}: stand-in: {}", source.path, line.trim()));
            }
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
    for source in read_sources() {
        let lines = (1..).zip(source.text.lines());
        let comments = lines.filter(|(_, line)| line.trim_start().starts_with("//"));
        let too_wide = comments.filter(|(_, line)| line.chars().count() > MAX_COMMENT_WIDTH);
        wide.extend(too_wide.map(|(number, _)| format!("{}:{number}", source.path)));
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn long_files_are_listed_with_their_reason() {
    let is_long = |source: &Source| source.text.lines().count() > MAX_FILE_LINES;
    let long: Vec<_> = read_sources().into_iter().filter(is_long).map(|source| source.path).collect();
    let listed: Vec<_> = LONG_FILES.iter().map(|(path, _)| *path).collect();
    assert_eq!(long, listed);
}
