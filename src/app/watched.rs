//! Files whose change is to be noticed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files, with what they looked like when they were last looked at.
pub(super) struct Watched {
    files: Vec<(PathBuf, Option<Look>)>,
}

/// Another file, or another content. Symbolic links are followed: that is how orchestrators exchange whole folders.
type Look = (u64, u64, i64, i64);

impl Watched {
    /// Begins with what they look like now.
    pub(super) fn new<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        Self { files: paths.into_iter().map(|path| (path.to_owned(), look(path))).collect() }
    }

    /// Whether one of them has changed since the last time. One that has vanished has not: it may be about to come back.
    pub(super) fn have_changed(&mut self) -> bool {
        let mut changed = false;
        for (path, seen) in &mut self.files {
            let now = look(path);
            if now.is_some() && now != *seen {
                *seen = now;
                changed = true;
            }
        }
        changed
    }
}

fn look(path: &Path) -> Option<Look> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_and_another_file_are_noticed_once_and_a_missing_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        std::fs::write(&one, "first").unwrap();
        let mut watched = Watched::new([&*one]);
        assert!(!watched.have_changed());
        std::fs::write(&one, "second, longer").unwrap();
        assert!(watched.have_changed() && !watched.have_changed());
        std::fs::write(&other, "second, longer").unwrap();
        std::fs::rename(&other, &one).unwrap();
        assert!(watched.have_changed() && !watched.have_changed());
        std::fs::remove_file(&one).unwrap();
        assert!(!watched.have_changed());
        std::fs::write(&one, "third").unwrap();
        assert!(watched.have_changed());
    }
}
