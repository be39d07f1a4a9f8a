//! Capture without a gap: the tail of an application's write-ahead log (`docs/capture.md`).

use std::path::Path;
use std::time::Duration;

use dbmirror_core::message::{DatabaseSum, FamilyGuid, LogEnd};

use super::{Anchor, Block, Error, Result, SeedSource};

/// Settings of a [`Tail`].
#[derive(Clone, Copy, Debug)]
pub struct TailOptions {
    /// The database and all its copies: goes into every block.
    pub family: FamilyGuid,
    /// Frames in the write-ahead log from which on [`Tail::wants_checkpoint`] says yes.
    pub checkpoint_frames: u32,
    /// Largest block in bytes; a larger transaction is [`Error::TooLarge`].
    pub max_block: u64,
    /// How long an operation waits for locks that other connections hold only for moments.
    pub patience: Duration,
}

impl TailOptions {
    /// The defaults for a database of `family`.
    #[must_use]
    pub fn new(family: FamilyGuid) -> Self {
        Self {
            family,
            checkpoint_frames: 1_000,
            max_block: 1 << 30,
            patience: Duration::from_secs(5),
        }
    }
}

/// What a checkpoint came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpointed {
    /// Whether all captured frames are in the main file; otherwise a reader's snapshot or a writer held it up.
    pub complete: bool,
}

/// A file that holds everything up to `anchor`, without its write-ahead log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// The main file.
    pub path: std::path::PathBuf,
    /// What it is the content of. The sum was computed from the file itself.
    pub anchor: Anchor,
}

/// The capture of one database file, for as long as this value lives.
///
/// Order of calls: [`Tail::start`] or [`Tail::resume`]; then, every millisecond or so, [`Tail::next_block`] until it
/// returns `None`; [`Tail::checkpoint`] when [`Tail::wants_checkpoint`] and every block that was returned is durable in
/// the local log (`docs/safety.md` §3, write-ahead). After an error that is not [`Error::Busy`], and when a returned block could
/// not be stored, drop the value and resume from the log's last block.
pub struct Tail {
    anchor: Anchor,
}

impl Tail {
    /// Begins a log: the file as it is now is the content of `at`. The next block follows it in timeline `timeline`.
    /// [`Tail::anchor`] has to be stored: it is what [`Tail::resume`] needs while the log has no block.
    ///
    /// # Errors
    /// The refusals of a file: [`Error::NotADatabase`], [`Error::NotWal`], [`Error::Exclusive`],
    /// [`Error::NetworkFilesystem`], [`Error::InUse`]; others when the system or SQLite refuse.
    pub fn start(path: &Path, options: TailOptions, at: LogEnd, timeline: u32) -> Result<Self> {
        let _ = (path, options, at, timeline);
        Err(Error::Busy("the file"))
    }

    /// Goes on after `from`: [`Anchor::of`] the log's last block, or the anchor of [`Tail::start`] when it has none. Finds the state
    /// with that sum in the file and its write-ahead log; what was committed after it while nobody captured comes as blocks.
    ///
    /// # Errors
    /// [`Error::Gap`] when there is no such state: start a new log and seed the mirror. Otherwise as [`Tail::start`].
    pub fn resume(path: &Path, options: TailOptions, from: &Anchor, timeline: u32) -> Result<Self> {
        let _ = (path, options, from, timeline);
        Err(Error::Busy("the file"))
    }

    /// Where the capture stands: after the last block that was returned.
    #[must_use]
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// The next block begins timeline `timeline` (`docs/safety.md` R7).
    pub fn set_timeline(&mut self, timeline: u32) {
        let _ = timeline;
    }

    /// The next committed transaction; `None` when there is none. Costs a few loads from shared memory when nothing has changed.
    ///
    /// # Errors
    /// [`Error::Gap`], [`Error::Replaced`], [`Error::TooLarge`], or what reading answers.
    pub fn next_block(&mut self) -> Result<Option<Block>> {
        Ok(None)
    }

    /// Whether the write-ahead log has grown enough for a checkpoint.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        false
    }

    /// Moves captured frames into the main file and lets the application restart its log.
    ///
    /// Every block that was returned before must be durable in the local log; those captured meanwhile go to `harden`, which returns
    /// when they are. Writers wait for the last part of it: the frames of the last moment, their `harden`, and one fsync.
    ///
    /// # Errors
    /// What `harden` answers, and as [`Tail::next_block`].
    pub fn checkpoint(&mut self, harden: &mut dyn FnMut(Block) -> Result<()>) -> Result<Checkpointed> {
        let _ = harden;
        Err(Error::Busy("the file"))
    }

    /// Folds the write-ahead log completely into the main file, reads that back and compares its sum. The file keeps that
    /// content until the next checkpoint, whatever is committed meanwhile.
    ///
    /// # Errors
    /// [`Error::Busy`] when a reader's old snapshot is not released in time; as [`Tail::checkpoint`].
    pub fn fold(&mut self, harden: &mut dyn FnMut(Block) -> Result<()>) -> Result<Folded> {
        let _ = harden;
        Err(Error::Busy("the file"))
    }

    /// Holds a snapshot of the whole database as a seed, at the position that [`SeedSource::end`] tells. What is captured up to it goes
    /// to `emit`. The source lives on its own and may be moved to another thread; while it lives the write-ahead log grows.
    ///
    /// # Errors
    /// What `emit` answers, and as [`Tail::next_block`].
    pub fn snapshot(&mut self, emit: &mut dyn FnMut(Block) -> Result<()>) -> Result<SeedSource> {
        let _ = emit;
        Err(Error::Busy("the file"))
    }
}

/// Makes an empty database in WAL mode at `path`, which must not exist (CREATE DATABASE).
///
/// # Errors
/// [`Error::Io`] when the file exists or cannot be made, [`Error::Sqlite`] when SQLite refuses.
pub fn create_database(path: &Path, page_size: u32) -> Result<()> {
    let _ = (path, page_size);
    Err(Error::Busy("the file"))
}

/// The database sum and the number of pages of a folded file that nothing in this process holds open.
///
/// # Errors
/// [`Error::InUse`] when this process holds it; [`Error::NotADatabase`]; [`Error::Io`].
pub fn database_sum(path: &Path) -> Result<(DatabaseSum, u32)> {
    let _ = path;
    Err(Error::Busy("the file"))
}
