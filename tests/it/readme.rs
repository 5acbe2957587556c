//! The README's tables say what the code says.

use records_gateway::problem::ProblemName;

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("README.md")
}

#[test]
fn the_table_of_problems_is_the_one_in_the_code() {
    let readme = readme();
    let table: Vec<&str> =
        readme.lines().skip_while(|line| *line != "## Problems").filter(|line| line.starts_with("| `")).collect();
    let rows = table.iter().take(ProblemName::ALL.len());
    for (line, problem) in rows.zip(ProblemName::ALL) {
        let row = problem.row();
        let retryable = if row.retryable { "yes" } else { "no" };
        assert_eq!(*line, format!("| `{}` | {} | {retryable} | {} |", row.name, row.status, row.meaning));
    }
    assert!(table.len() > ProblemName::ALL.len(), "the table of crates follows");
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).expect("Cargo.toml");
    let dependencies = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let names: Vec<&str> = dependencies
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name))
        .filter(|name| !name.starts_with('#'))
        .collect();
    assert!(names.len() > 20);
    let readme = readme();
    let table = readme.split("| crate | why it is there |").nth(1).expect("the table of crates");
    let missing: Vec<_> = names.iter().filter(|name| !table.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
