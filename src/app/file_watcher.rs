//! Detects changes of files.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files with their state at the last check.
pub(super) struct FileWatcher {
    files: Vec<(PathBuf, Option<FileStamp>)>,
}

/// Identifies a file and its content: inode, length and modification time. Symbolic links are
/// followed, because orchestrators replace whole folders behind them.
type FileStamp = (u64, u64, i64, i64);

impl FileWatcher {
    /// Starts with the current state of the files.
    pub(super) fn new<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        Self { files: paths.into_iter().map(|path| (path.to_owned(), stat(path))).collect() }
    }

    /// Whether a file has changed since the last check. A missing file has not: it may be in the
    /// middle of a replacement.
    pub(super) fn has_changed(&mut self) -> bool {
        let mut changed = false;
        for (path, last) in &mut self.files {
            let now = stat(path);
            if now.is_some() && now != *last {
                *last = now;
                changed = true;
            }
        }
        changed
    }
}

fn stat(path: &Path) -> Option<FileStamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_detected_once_and_a_missing_file_never() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        std::fs::write(&one, "first").unwrap();
        let mut watcher = FileWatcher::new([&*one]);
        assert!(!watcher.has_changed());
        std::fs::write(&one, "second, longer").unwrap();
        assert!(watcher.has_changed() && !watcher.has_changed());
        std::fs::write(&other, "second, longer").unwrap();
        std::fs::rename(&other, &one).unwrap();
        assert!(watcher.has_changed() && !watcher.has_changed());
        std::fs::remove_file(&one).unwrap();
        assert!(!watcher.has_changed());
        std::fs::write(&one, "third").unwrap();
        assert!(watcher.has_changed());
    }
}
