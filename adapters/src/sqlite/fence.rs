//! A database that nobody may write for now, and nobody captures either.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::Result;
use super::files::Files;
use super::shm::Lock;

/// Keeps SQLite's write lock on a file for as long as it lives: other programs read, and are told that the database is locked when
/// they write.
pub struct Fence {
    // Closes before the descriptors (`files`).
    _first: Connection,
    _files: Files,
}

impl Fence {
    /// Takes the lock, waiting up to `patience`.
    ///
    /// # Errors
    /// [`super::Error::Busy`] while somebody is within a transaction that writes; the refusals of a file as in
    /// [`super::Tail::start`].
    pub fn take(path: &Path, patience: Duration) -> Result<Self> {
        let (files, first) = Files::open(path, true)?;
        files.lock(Lock::Write, patience)?;
        Ok(Self {
            _first: first,
            _files: files,
        })
    }
}
