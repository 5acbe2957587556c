//! What the code cites in the documents exists, and what the documents cite in the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const SKIPPED_FOLDERS: &[&str] = &["target", ".git", "node_modules", "seeds", "regressions", "golden", "__pycache__"];

/// What looks like an item of the code and belongs to others: a container, systemd, PostgreSQL's
/// client and the standard library.
const FOREIGN_NAMES: &[&str] = &["HEALTH_PORT", "LimitNOFILE", "Any", "Option", "Send"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the repository below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let kept = entries.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        !SKIPPED_FOLDERS.contains(&name)
    });
    kept.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Source text in one line, without comment markers: a citation may be wrapped.
fn unwrapped(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches(['/', '!', '#']).trim());
    lines.collect::<Vec<_>>().join(" ")
}

/// The numbers that follow a word: `contract 4.3 to 4.5, 4.9` cites three sections.
fn cited_after(text: &str, word: &str) -> Vec<String> {
    let mut cited = Vec::new();
    for (at, _) in text.match_indices(word) {
        let mut rest = &text[at + word.len()..];
        while let Some(found) = number_at_start(rest) {
            cited.push(found.to_owned());
            rest = &rest[found.len()..];
            let Some(next) = [", ", " and ", " to "].iter().find_map(|between| rest.strip_prefix(between)) else {
                break;
            };
            rest = next;
        }
    }
    cited
}

/// `4`, `4.2` or `A2`, not followed by a unit.
fn number_at_start(text: &str) -> Option<&str> {
    let letter = usize::from(text.starts_with('A'));
    let digits = text[letter..].find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len() - letter);
    let number = text[..letter + digits].trim_end_matches('.');
    let is_number = number[letter..].starts_with(|c: char| c.is_ascii_digit());
    is_number.then_some(number)
}

/// The sections of the contract: `4` and `4.2` of their headings.
fn contract_sections() -> BTreeSet<String> {
    let text = read(&root().join("src/docs/contract.md"));
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.filter_map(|line| number_at_start(line.trim_start_matches('#').trim()).map(str::to_owned)).collect()
}

/// The rules (`43`) and their groups (`A2`).
fn http_rules() -> BTreeSet<String> {
    let text = read(&root().join("src/docs/http-rules.md"));
    let rules = text.lines().filter_map(|line| {
        let line = line.strip_prefix("## ").unwrap_or(line);
        number_at_start(line).filter(|number| line[number.len()..].starts_with(". ")).map(str::to_owned)
    });
    rules.collect()
}

fn decisions() -> BTreeSet<String> {
    let files = files_below(&root().join("src/docs/decisions"));
    files.iter().filter_map(|file| number_at_start(read(file).strip_prefix("# ")?).map(str::to_owned)).collect()
}

#[test]
fn every_cited_section_exists() {
    let sections = [
        ("contract ", contract_sections()),
        ("http-rules ", http_rules()),
        ("ecision ", decisions()),
        ("ecisions ", decisions()),
    ];
    assert!(sections.iter().all(|(_, known)| known.len() > 5), "{sections:?}");
    let mut missing = Vec::new();
    let mut count = 0;
    for file in ["src", "tests", "deploy", "README.md", "Cargo.toml"].map(|name| root().join(name)) {
        for file in if file.is_dir() { files_below(&file) } else { vec![file] } {
            let text = unwrapped(&read(&file));
            for (word, known) in &sections {
                let cited = cited_after(&text, word);
                count += cited.len();
                missing.extend(
                    cited
                        .iter()
                        .filter(|one| !known.contains(*one))
                        .map(|one| format!("{}: {word}{one}", relative(&file))),
                );
            }
        }
    }
    assert!(count > 50, "only {count} citations were found");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn numbers_after_a_citing_word_are_found() {
    let cited = |text: &str| cited_after(text, "contract ");
    assert_eq!(cited("(contract 4.3 to 4.5, 4.9, RFC 9457)"), ["4.3", "4.5", "4.9"]);
    assert_eq!(cited("see contract 4: first"), ["4"]);
    assert_eq!(cited("the contract says 3"), Vec::<String>::new());
    assert_eq!(cited_after("http-rules A2.", "http-rules "), ["A2"]);
}

fn documents() -> Vec<PathBuf> {
    let mut all: Vec<_> = files_below(&root().join("src/docs"));
    all.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    all.push(root().join("README.md"));
    all
}

/// Inline code and targets of links, without fenced blocks.
fn cited_words(text: &str) -> Vec<String> {
    let mut is_fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            prose.push_str(line.trim());
            prose.push(' ');
        }
    }
    let code = prose.split('`').skip(1).step_by(2).map(str::to_owned);
    let links = prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    code.chain(links).collect()
}

/// Whether a word names a file or a folder of the repository.
fn is_file_name(word: &str) -> bool {
    const ENDINGS: &[&str] =
        &[".rs", ".md", ".toml", ".json", ".yaml", ".yml", ".py", ".sql", ".service", ".conf", ".lua", ".lock"];
    const FOLDERS: &[&str] = &["src/", "tests/", "deploy/", "openapi/", ".ci/"];
    // `NAME` stands for a vendor's name.
    let is_plain =
        !word.starts_with('/') && !word.contains("NAME") && !word.contains([' ', '{', '*', '<', ':', '"', '=']);
    is_plain && (ENDINGS.iter().any(|end| word.ends_with(end)) || FOLDERS.iter().any(|folder| word.starts_with(folder)))
}

#[test]
fn documents_cite_only_files_that_exist() {
    let all: Vec<String> = files_below(root()).iter().map(|file| relative(file)).collect();
    let mut missing = Vec::new();
    for document in documents() {
        let folder = document.parent().expect("a folder");
        for word in cited_words(&read(&document)).iter().filter(|word| is_file_name(word)) {
            let places = [root().to_path_buf(), root().join("src"), root().join("src/docs"), folder.to_path_buf()];
            let is_there = places.iter().any(|place| place.join(word).exists());
            let is_name = !word.contains('/') && all.iter().any(|file| file.ends_with(&format!("/{word}")));
            if !is_there && !is_name {
                missing.push(format!("{}: {word}", relative(&document)));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Whether a word names a type or a path in the code, such as `WriteIntent` or `Journal::begin`.
fn is_type_or_path(word: &str) -> bool {
    let is_path = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '(' | ')'));
    let is_type = word.starts_with(|c: char| c.is_ascii_uppercase()) && word.contains(|c: char| c.is_ascii_lowercase());
    is_path && (is_type || word.contains("::") || word.ends_with("()"))
}

/// Names of keys, labels and functions, such as `settle_timeout` or `plan_blind`.
fn is_name_of_words(word: &str) -> bool {
    word.contains('_') && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The texts of the source code and of the tests.
fn rust_sources() -> Vec<String> {
    let files = ["src", "tests"].into_iter().flat_map(|folder| files_below(&root().join(folder)));
    files.filter(|file| file.extension().is_some_and(|extension| extension == "rs")).map(|file| read(&file)).collect()
}

/// Every name that is declared in the code: types, traits, functions, constants and modules; and
/// variants, as far as they are used with their type.
fn declared_names(sources: &[String]) -> BTreeSet<&str> {
    const KEYWORDS: &[&str] = &["struct", "enum", "trait", "type", "fn", "const", "static", "mod"];
    let is_of_a_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut names = BTreeSet::new();
    for text in sources {
        let mut words = text.split(|c| !is_of_a_name(c)).filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            if KEYWORDS.contains(&word) {
                names.extend(words.next());
            }
        }
        let after_a_type = text.split("::").skip(1).map(|rest| rest.split(|c| !is_of_a_name(c)).next().unwrap_or(rest));
        names.extend(after_a_type);
    }
    names
}

/// The documents about the code; the others have names of vendors and of headers, too.
fn is_about_the_code(document: &Path) -> bool {
    let name = relative(document);
    ["architecture.md", "contributing.md", "adding-a-vendor.md"].iter().any(|end| name.ends_with(end))
        || name.contains("/decisions/")
}

/// A type or a function must be declared; a key or a label must occur.
#[test]
fn documents_cite_only_items_that_exist() {
    let sources = rust_sources();
    let declared = declared_names(&sources);
    let words: BTreeSet<&str> =
        sources.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '_')).collect();
    let headers: BTreeSet<String> = cited_words(&read(&root().join("src/docs/reference.md"))).into_iter().collect();
    let mut missing = Vec::new();
    for document in documents() {
        for item in cited_words(&read(&document)) {
            let mut names = item.trim_end_matches("()").split("::").filter(|name| !name.is_empty());
            let must_be_declared = is_type_or_path(&item)
                && (is_about_the_code(&document) || item.contains("::"))
                && !headers.contains(&item);
            let is_there = if must_be_declared {
                names.all(|name| declared.contains(name))
            } else {
                !is_name_of_words(&item) || words.contains(item.as_str())
            };
            if !is_there && !FOREIGN_NAMES.contains(&item.as_str()) {
                missing.push(format!("{}: {item}", relative(&document)));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn declared_names_are_found() {
    let sources = ["pub(crate) struct Journal;\nasync fn begin<T>(x: T) { State::Open }".to_owned()];
    assert_eq!(declared_names(&sources), BTreeSet::from(["Journal", "Open", "begin"]));
}

#[test]
fn every_document_is_rendered_by_rustdoc() {
    let pages = read(&root().join("src/docs/mod.rs"));
    for document in documents().iter().filter(|file| file.starts_with(root().join("src/docs"))) {
        let name = document.strip_prefix(root().join("src/docs")).expect("below").display().to_string();
        let module = name.trim_end_matches(".md").replace('-', "_").replace("decisions/00", "d");
        let page = format!("#[doc = include_str!(\"{name}\")]\npub mod {module} {{}}");
        let unindented = pages.lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
        assert!(unindented.contains(&page), "src/docs/mod.rs lacks {page}");
    }
}
