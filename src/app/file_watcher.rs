//! Files whose change is to be noticed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files, with what they looked like when they were last looked at.
pub(super) struct FileWatcher {
    files: Vec<(PathBuf, Option<FileStamp>)>,
}

/// Another file, or another content. Symbolic links are followed: that is how orchestrators exchange whole folders.
type FileStamp = (u64, u64, i64, i64);

impl FileWatcher {
    /// Begins with what they look like now.
    pub(super) fn new<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        Self { files: paths.into_iter().map(|path| (path.to_owned(), stat(path))).collect() }
    }

    /// Whether one of them has changed since the last time. One that has vanished has not: it may be about to come back.
    pub(super) fn has_changed(&mut self) -> bool {
        let mut changed = false;
        for (path, seen) in &mut self.files {
            let now = stat(path);
            if now.is_some() && now != *seen {
                *seen = now;
                changed = true;
            }
        }
        changed
    }
}

fn stat(path: &Path) -> Option<FileStamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_detected_once_and_a_missing_file_never() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        std::fs::write(&one, "first").unwrap();
        let mut watched = FileWatcher::new([&*one]);
        assert!(!watched.has_changed());
        std::fs::write(&one, "second, longer").unwrap();
        assert!(watched.has_changed() && !watched.has_changed());
        std::fs::write(&other, "second, longer").unwrap();
        std::fs::rename(&other, &one).unwrap();
        assert!(watched.has_changed() && !watched.has_changed());
        std::fs::remove_file(&one).unwrap();
        assert!(!watched.has_changed());
        std::fs::write(&one, "third").unwrap();
        assert!(watched.has_changed());
    }
}
