//! The mirror's writer: log blocks become transactions of an ordinary write-ahead log (`docs/capture.md`).

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use dbmirror_core::message::FamilyGuid;
use dbmirror_core::message::block::BlockHeader;

use super::tail::{Checkpointed, Folded};
use super::{Anchor, Error, Result};

/// Settings of an [`Applier`].
#[derive(Clone, Copy, Debug)]
pub struct ApplierOptions {
    /// The database that the blocks must belong to.
    pub family: FamilyGuid,
    /// Frames in the mirror's write-ahead log from which on [`Applier::wants_checkpoint`] says yes.
    pub checkpoint_frames: u32,
    /// How long an operation waits for locks that other connections hold only for moments.
    pub patience: Duration,
}

impl ApplierOptions {
    /// The defaults for a database of `family`.
    #[must_use]
    pub fn new(family: FamilyGuid) -> Self {
        Self {
            family,
            checkpoint_frames: 1_000,
            patience: Duration::from_secs(5),
        }
    }
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in the file, and readers see it.
    Now,
    /// It was in the file already.
    Before,
}

/// The only writer of one mirror's file, for as long as this value lives: it holds SQLite's write lock, so other programs
/// read and get "database is locked" when they write.
pub struct Applier {
    anchor: Anchor,
}

impl Applier {
    /// Opens a mirror's file (or, to adopt a tail, a principal's own) and finds out which position it is at: that of `from`, or of
    /// one of the blocks after it. `from` is any stored anchor, `later(sequence)` the header of that block, `None` after the
    /// log's end.
    ///
    /// # Errors
    /// [`Error::NoSuchContent`] when the file is at none of them: seed it anew. The refusals of a file as in
    /// [`super::Tail::start`]; what `later` answers.
    pub fn open(
        path: &Path,
        options: ApplierOptions,
        from: &Anchor,
        later: &mut dyn FnMut(u64) -> Result<Option<BlockHeader>>,
    ) -> Result<Self> {
        let _ = (path, options, from, later);
        Err(Error::Busy("the file"))
    }

    /// The position that the file is at. May be stored after a checkpoint or fold.
    #[must_use]
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Makes the next block a transaction of the file. `block` yields its stored bytes; nothing is visible to readers
    /// before all of it has been checked. Nothing is synced: the block log is the redo.
    ///
    /// # Errors
    /// [`Error::NotNext`], [`Error::Block`], [`Error::WrongDatabase`] for a block that does not belong here (nothing
    /// has changed); [`Error::PageDamaged`], [`Error::ForeignWrite`] when the file does not fit (seed it anew).
    pub fn apply(&mut self, block: &mut dyn Read) -> Result<Applied> {
        let _ = block;
        Err(Error::Busy("the file"))
    }

    /// Whether the write-ahead log has grown enough for a checkpoint.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        false
    }

    /// Syncs the write-ahead log, moves it into the main file as far as readers' snapshots allow, and syncs that. Readers are
    /// never blocked.
    ///
    /// # Errors
    /// What SQLite answers.
    pub fn checkpoint(&mut self) -> Result<Checkpointed> {
        Err(Error::Busy("the file"))
    }

    /// Folds the write-ahead log completely into the main file, reads that back and compares its sum. The file keeps that
    /// content until the next checkpoint.
    ///
    /// # Errors
    /// [`Error::Busy`] when a reader's old snapshot is not released in time; [`Error::NoSuchContent`] when the file has another
    /// sum.
    pub fn fold(&mut self) -> Result<Folded> {
        Err(Error::Busy("the file"))
    }
}
