//! The README's tables say what the code says, and its commands do what it says.

use actix_web::http::Method;
use records_gateway::problem::ProblemKind;

use crate::support::{MATRIX42, TestEnv};

fn read_readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("README.md")
}

#[test]
fn the_problem_table_matches_the_code() {
    let readme = read_readme();
    let table: Vec<&str> =
        readme.lines().skip_while(|line| *line != "## Problems").filter(|line| line.starts_with("| `")).collect();
    let rows = table.iter().take(ProblemKind::ALL.len());
    for (line, problem) in rows.zip(ProblemKind::ALL) {
        let row = problem.spec();
        let retryable = if row.retryable { "yes" } else { "no" };
        assert_eq!(*line, format!("| `{}` | {} | {retryable} | {} |", row.name, row.status, row.meaning));
    }
    assert!(table.len() > ProblemKind::ALL.len(), "the table of crates follows");
}

#[test]
fn every_dependency_has_a_documented_reason() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).expect("Cargo.toml");
    let dependencies = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let names: Vec<&str> = dependencies
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name))
        .filter(|name| !name.starts_with('#'))
        .collect();
    assert!(names.len() > 20);
    let readme = read_readme();
    let table = readme.split("| crate | why it is there |").nth(1).expect("the table of crates");
    let missing: Vec<_> = names.iter().filter(|name| !table.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What stands in the blocks of this language, in their order.
fn code_blocks(text: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    text.split(&begin).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect()
}

/// A command taken apart as a shell does it, as far as the README goes: blanks, single quotes, lines that go on.
fn split_command(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (place, part) in command.replace("\\\n", " ").split('\'').enumerate() {
        if place % 2 == 1 {
            words.last_mut().unwrap().push_str(part);
            continue;
        }
        let mut pieces = part.split_whitespace();
        if part.starts_with(char::is_whitespace) {
            words.push(String::new());
        }
        words.last_mut().unwrap().push_str(pieces.next().unwrap_or_default());
        words.extend(pieces.map(str::to_owned));
        if part.ends_with(char::is_whitespace) {
            words.push(String::new());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[actix_web::test]
async fn the_three_curl_examples_return_the_documented_responses() {
    let readme = read_readme();
    let commands: Vec<_> = code_blocks(&readme, "sh").into_iter().filter(|block| block.starts_with("curl ")).collect();
    let [read, change, replace] = commands.as_slice() else { panic!("three lines: {commands:?}") };
    let house = TestEnv::start(&MATRIX42).await;
    for (command, status) in [(read, 200), (change, 204), (change, 412), (replace, 200)] {
        let words = split_command(command);
        let after = |option: &str| {
            words
                .iter()
                .zip(words.iter().skip(1))
                .filter(|(word, _)| *word == option)
                .map(|(_, value)| value.as_str())
                .collect::<Vec<_>>()
        };
        let method = after("-X").first().map_or(Method::GET, |method| method.parse().unwrap());
        let path = words.last().and_then(|url| url.strip_prefix("http://127.0.0.1:8080")).unwrap();
        let mut request = house.request(method, path);
        for header in after("-H") {
            let (name, value) = header.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        if let Some(body) = after("-d").first() {
            request = request.body(body);
        }
        let answer = request.send().await;
        answer.assert_status(status);
        for name in ["etag", "concurrency-guarantee", "preference-applied"] {
            let Some(value) = answer.header(name) else { continue };
            assert!(readme.contains(&format!("{name}: {value}")), "{name}: {value}");
        }
        if status == 412 {
            let tag = answer.json()["current_etag"].to_string();
            let changed = answer.json()["changed"].to_string();
            let shown = format!("\"current_etag\":{tag},\"changed\":{changed}");
            assert!(readme.contains(&shown), "{shown}");
        }
    }
}
