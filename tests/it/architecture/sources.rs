//! The source files of the crate, without their tests.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of `src/`.
pub(crate) struct Source {
    /// Below `src/`, such as `writes/mod.rs`.
    pub(crate) path: String,
    /// Its place in the crate, such as `["writes"]`.
    pub(crate) module: Vec<String>,
    /// As it is written.
    pub(crate) text: String,
}

impl Source {
    /// The crate's module that the file belongs to.
    pub(crate) fn top_module(&self) -> &str {
        &self.module[0]
    }

    /// Whether the file holds tests or what tests share.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.contains("/tests/") || name.ends_with("tests.rs") || matches!(name, "testing.rs" | "fuzzing.rs")
    }

    /// The program's own code: no comments, and no tests at the end of the file.
    pub(crate) fn code(&self) -> String {
        let test_code = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let lines = self.text[..test_code].lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Every file of `src/` but the crate's root and its documents.
pub(crate) fn read_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let sources = paths.into_iter().map(|path| {
        let below = path.strip_prefix(&root).expect("below src").display().to_string();
        let module = below.trim_end_matches(".rs").trim_end_matches("/mod").split('/').map(str::to_owned).collect();
        Source { module, text: fs::read_to_string(&path).expect("text"), path: below }
    });
    sources.filter(|source| !matches!(source.top_module(), "lib" | "main" | "docs")).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
