//! Which file uses which, read from `use` lines and from paths that begin with `crate::`, `super::`
//! or `self::`.
//!
//! `mod` and `pub use` of a parent are not imports: a parent lists its children. A name that a
//! parent lists counts as an import of the file that defines it.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::Source;

/// A path in the code, such as `["super", "model", "Lease"]`.
type ItemPath = Vec<String>;

/// The files of the crate and the names that they list.
pub(super) struct Files<'s> {
    sources: BTreeMap<&'s [String], &'s Source>,
    listed: BTreeMap<&'s [String], BTreeMap<String, ItemPath>>,
}

impl<'s> Files<'s> {
    pub(super) fn new(sources: &'s [Source]) -> Self {
        let own = sources.iter().filter(|source| !source.is_test());
        let sources: BTreeMap<_, _> = own.map(|source| (source.module.as_slice(), source)).collect();
        let listed = sources.iter().map(|(module, source)| (*module, listed_names(&source.code()))).collect();
        Self { sources, listed }
    }

    /// What each file uses, by path of the file.
    pub(super) fn imports(&self) -> BTreeMap<&'s str, BTreeSet<&'s str>> {
        self.sources.values().map(|source| (source.path.as_str(), self.imports_of(source))).collect()
    }

    fn imports_of(&self, source: &Source) -> BTreeSet<&'s str> {
        let (uses, rest) = split_uses(&source.code());
        let mut paths: Vec<ItemPath> =
            uses.iter().filter(|one| !one.is_public).flat_map(|one| expand(&one.tree)).collect();
        paths.extend(inline_paths(&rest));
        let files = paths.iter().filter_map(|path| self.find(&self.absolute(&source.module, path)?, 0));
        files.filter(|file| *file != source.path).collect()
    }

    /// The path from the crate's root; `None` for another crate's.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<ItemPath> {
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([module, &path[1..]].concat()),
            "super" => {
                let levels = path.iter().take_while(|part| *part == "super").count();
                Some([module.get(..module.len().checked_sub(levels)?)?, &path[levels..]].concat())
            }
            child => {
                let below = [module, &[child.to_owned()]].concat();
                self.sources.contains_key(below.as_slice()).then(|| [module, path].concat())
            }
        }
    }

    /// The file that defines an item.
    fn find(&self, path: &[String], depth: usize) -> Option<&'s str> {
        let (module, source) =
            (1..=path.len()).rev().find_map(|length| self.sources.get_key_value(path.get(..length)?))?;
        let rest = &path[module.len()..];
        let through = rest.first().and_then(|name| self.listed.get(module)?.get(name)).filter(|_| depth < 4);
        let target = through.and_then(|listed| self.absolute(module, listed));
        let found = target.and_then(|target| self.find(&[target.as_slice(), &rest[1..]].concat(), depth + 1));
        Some(found.unwrap_or(source.path.as_str()))
    }
}

struct UseLine {
    is_public: bool,
    tree: String,
}

/// The `use` lines, and the code without them.
fn split_uses(code: &str) -> (Vec<UseLine>, String) {
    let mut uses = Vec::new();
    let mut rest = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        let (is_public, import) = match start.strip_prefix("pub").and_then(|rest| rest.split_once("use ")) {
            Some((visibility, import)) if visibility.trim_start_matches(['(', ')']).len() < 12 => (true, Some(import)),
            _ => (false, start.strip_prefix("use ")),
        };
        let Some(import) = import else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let mut tree = import.to_owned();
        while !tree.contains(';') {
            tree.push_str(lines.next().expect("the end of a use"));
        }
        let tree = tree.split(';').next().unwrap_or_default().to_owned();
        uses.push(UseLine { is_public, tree });
    }
    (uses, rest)
}

/// The modules that a text names from the crate's root: `crate::module`, also within
/// `crate::{module, …}`.
pub(super) fn modules_of_crate(code: &str) -> BTreeSet<String> {
    let (uses, rest) = split_uses(code);
    let paths = uses.iter().flat_map(|one| expand(&one.tree)).chain(inline_paths(&rest));
    let of_crate = paths.filter(|path| path.first().is_some_and(|first| first == "crate"));
    let modules = of_crate.filter_map(|path| path.into_iter().nth(1));
    modules.filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')).collect()
}

/// The names that a file lists by `pub use`, each with the path that it stands for.
fn listed_names(code: &str) -> BTreeMap<String, ItemPath> {
    let (uses, _) = split_uses(code);
    let paths = uses.iter().filter(|one| one.is_public).flat_map(|one| expand(&one.tree));
    paths.filter_map(|path| Some((path.last()?.clone(), path))).collect()
}

/// The paths of a `use` tree.
fn expand(tree: &str) -> Vec<ItemPath> {
    let tree = tree.trim();
    let Some((prefix, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()];
    };
    let group = group.rsplit_once('}').map_or(group, |(inside, _)| inside);
    let mut depth = 0;
    let parts = group.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let parts = parts.filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(&format!("{prefix}{}", part.trim()))).collect()
}

/// Paths that are written where they are used.
fn inline_paths(code: &str) -> Vec<ItemPath> {
    // `pub(in crate::module)` restricts a name, it imports nothing.
    let code = code.replace("(in crate::", "(");
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let paths = words.filter(|word| word.contains("::") && !word.starts_with(':'));
    paths.map(|word| word.split("::").map(str::to_owned).filter(|part| !part.is_empty()).collect()).collect()
}

/// Groups of files that use each other, directly or through others.
pub(super) fn circles<'s>(imports: &BTreeMap<&'s str, BTreeSet<&'s str>>) -> Vec<Vec<&'s str>> {
    let reached: BTreeMap<_, _> = imports.keys().map(|file| (*file, reachable(imports, file))).collect();
    let mut circles: Vec<Vec<&str>> = Vec::new();
    for file in imports.keys().filter(|file| reached[*file].contains(*file)) {
        if circles.iter().all(|circle| !circle.contains(file)) {
            circles.push(reached[file].iter().copied().filter(|other| reached[other].contains(file)).collect());
        }
    }
    circles
}

fn reachable<'s>(imports: &BTreeMap<&'s str, BTreeSet<&'s str>>, from: &str) -> BTreeSet<&'s str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = imports[from].iter().copied().collect();
    while let Some(file) = open.pop() {
        if found.insert(file) {
            open.extend(&imports[file]);
        }
    }
    found
}

#[test]
fn a_use_tree_is_taken_apart_into_paths() {
    let paths = |tree| expand(tree).iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(
        paths("super::{begin::{self, Lease}, Gateway as _}"),
        ["super::begin::self", "super::begin::Lease", "super::Gateway"]
    );
}

#[test]
fn a_circle_is_found_with_all_its_files() {
    let edges = [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")];
    let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in edges {
        imports.entry(from).or_default().insert(to);
    }
    assert_eq!(circles(&imports), [["a", "b", "c"]]);
}
