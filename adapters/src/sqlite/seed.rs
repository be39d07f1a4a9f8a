//! A whole database at one position: read out of a running one, written into a new file (`docs/capture.md`).
//!
//! A seed is the database's pages in order, page 1 first, as one run of bytes: what the main file would be after a
//! complete checkpoint at that position.

use std::path::Path;

use dbmirror_core::message::{DatabaseSum, LogEnd};

use super::{Anchor, Error, Result};

/// A held snapshot, from [`super::Tail::snapshot`].
pub struct SeedSource {
    anchor: Anchor,
}

impl SeedSource {
    /// The position that the content is that of. Blocks after it follow.
    #[must_use]
    pub fn end(&self) -> LogEnd {
        self.anchor.end
    }

    /// Position, sum, page size, pages.
    #[must_use]
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Bytes of the whole.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.anchor.page_size) * u64::from(self.anchor.pages)
    }

    /// Copies content from `offset` on into `out`, as much as fits; 0 at the end. Any order, any number of times.
    ///
    /// # Errors
    /// What reading answers.
    pub fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let _ = (offset, out);
        Err(Error::Busy("the file"))
    }
}

/// A seed that arrives: a temporary file beside its destination until it is complete and proved.
pub struct SeedSink {}

impl SeedSink {
    /// Begins a seed of `bytes` bytes that is to become the database at `path`. An unfinished earlier one is dropped; what is
    /// at `path` stays until [`SeedSink::finish`].
    ///
    /// # Errors
    /// [`Error::WrongDatabase`] for a size or page size that no database has; what the system answers.
    pub fn create(path: &Path, page_size: u32, bytes: u64) -> Result<Self> {
        let _ = (path, page_size, bytes);
        Err(Error::Busy("the file"))
    }

    /// Takes the next bytes, in order: `offset` is what has arrived before.
    ///
    /// # Errors
    /// [`Error::SeedDamaged`] for another offset or too many bytes; what writing answers.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let _ = (offset, bytes);
        Err(Error::Busy("the file"))
    }

    /// Checks size and sum, syncs, and puts the file in its place, ready for [`super::Applier::open`] with the anchor that is
    /// returned. No `Applier` or `Tail` may hold `path`. Readers that have an older file open there keep reading that.
    ///
    /// # Errors
    /// [`Error::SeedDamaged`] for another size or sum, and then nothing has changed at `path`; what the system answers.
    pub fn finish(self, at: LogEnd, sum: DatabaseSum) -> Result<Anchor> {
        let _ = (at, sum);
        Err(Error::Busy("the file"))
    }
}
