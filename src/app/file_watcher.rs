//! Detects changes of files by their content.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::record::sha256;

/// More than any watched file has.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Files with their content at the last change.
pub(super) struct FileWatcher {
    files: Vec<WatchedFile>,
    /// What the last check saw, if it was new.
    candidate: Option<Vec<Digest>>,
}

struct WatchedFile {
    path: PathBuf,
    content: Digest,
}

/// SHA-256 of a file's content; `None` for a file that cannot be read. Size and time would miss a
/// replacement in place.
type Digest = Option<[u8; 32]>;

impl FileWatcher {
    /// Starts with the current content of the files.
    pub(super) fn new<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        Self { files: paths.into_iter().map(WatchedFile::read).collect(), candidate: None }
    }

    /// Watches these files from now on. Those that were watched already keep their content.
    pub(super) fn retarget<'p>(&mut self, paths: impl IntoIterator<Item = &'p Path>) {
        let former = std::mem::take(&mut self.files);
        let keep = |path: &Path| {
            let known = former.iter().find(|file| file.path == path);
            known.map_or_else(|| WatchedFile::read(path), |file| WatchedFile { path: path.into(), ..*file })
        };
        self.files = paths.into_iter().map(keep).collect();
        self.candidate = None;
    }

    /// Whether the files have a new content that two checks in a row have seen: a file may be in
    /// the middle of being written. `force` takes the current content at once. A missing file has
    /// not changed: it may be in the middle of a replacement.
    pub(super) fn has_changed(&mut self, force: bool) -> bool {
        let now: Vec<Digest> = self.files.iter().map(|file| digest(&file.path).or(file.content)).collect();
        let is_new = self.files.iter().zip(&now).any(|(file, digest)| file.content != *digest);
        if !force && (!is_new || self.candidate.as_ref() != Some(&now)) {
            self.candidate = is_new.then_some(now);
            return false;
        }
        for (file, digest) in self.files.iter_mut().zip(now) {
            file.content = digest;
        }
        self.candidate = None;
        true
    }
}

impl WatchedFile {
    fn read(path: &Path) -> Self {
        Self { path: path.to_owned(), content: digest(path) }
    }
}

fn digest(path: &Path) -> Digest {
    let mut content = Vec::new();
    File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut content).ok()?;
    Some(sha256([&content[..]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_content_counts_once_when_two_checks_have_seen_it() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        std::fs::write(&one, "first").unwrap();
        let mut watcher = FileWatcher::new([&*one]);
        assert!(!watcher.has_changed(false));
        std::fs::write(&one, "secon").unwrap();
        assert!(!watcher.has_changed(false));
        std::fs::write(&one, "second, longer").unwrap();
        assert_eq!([(); 3].map(|()| watcher.has_changed(false)), [false, true, false]);
        std::fs::write(&other, "second, longer").unwrap();
        std::fs::rename(&other, &one).unwrap();
        assert_eq!([(); 2].map(|()| watcher.has_changed(false)), [false, false], "the same content");
        std::fs::remove_file(&one).unwrap();
        assert_eq!([(); 2].map(|()| watcher.has_changed(false)), [false, false], "a missing file");
        std::fs::write(&one, "third").unwrap();
        assert_eq!([(); 3].map(|()| watcher.has_changed(false)), [false, true, false]);
    }

    #[test]
    fn a_content_of_the_same_size_and_time_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "old").unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let mut watcher = FileWatcher::new([&*path]);
        std::fs::write(&path, "new").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!([(); 2].map(|()| watcher.has_changed(false)), [false, true]);
    }

    #[test]
    fn a_forced_check_takes_the_content_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        std::fs::write(&one, "first").unwrap();
        std::fs::write(&two, "second").unwrap();
        let mut watcher = FileWatcher::new([&*one]);
        std::fs::write(&one, "changed").unwrap();
        assert!(watcher.has_changed(true) && !watcher.has_changed(false));
        watcher.retarget([&*one, &*two]);
        assert!(!watcher.has_changed(false));
        std::fs::write(&two, "changed").unwrap();
        assert_eq!([(); 2].map(|()| watcher.has_changed(false)), [false, true]);
    }
}
