//! Files that lie beside another: what they are called, that they go when they are not needed, and what makes them stay.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// `path` with `suffix` behind its name.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// A temporary file, removed unless it was put in its place.
#[cfg(feature = "sqlite")]
pub(crate) struct Temporary(pub(crate) Option<PathBuf>);

#[cfg(feature = "sqlite")]
impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The folder that `path` lies in; `.` for a name alone.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// Makes the entry of `path` in its folder durable: that it is there, that it is gone, what it is called.
///
/// # Errors
/// What the system answers.
pub fn sync_entry(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_folders() {
        assert_eq!(beside(Path::new("a/b.db"), "-wal"), Path::new("a/b.db-wal"));
        for (path, folder) in [("a/b.db", "a"), ("b.db", "."), ("/b.db", "/"), ("/", "/")] {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder), "{path}");
        }
        sync_entry(Path::new("name-alone")).unwrap();
        assert!(sync_entry(Path::new("no-such-folder/x")).is_err());
    }
}
