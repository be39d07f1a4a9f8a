//! What can go wrong with a database file, in words for its operator.

use std::boxed::Box;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::string::String;

use dbmirror_core::message::Position;
use dbmirror_core::message::block::BlockError;

/// Result of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why capture, apply or seeding cannot go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The file is not an SQLite database.
    NotADatabase(PathBuf),
    /// The database is in another journal mode than WAL.
    NotWal(PathBuf),
    /// Somebody holds the file with `PRAGMA locking_mode=EXCLUSIVE`, or in an exclusive transaction of another journal mode.
    Exclusive(PathBuf),
    /// The file lies on a network file system, where processes do not share the wal-index.
    NetworkFilesystem(PathBuf, &'static str),
    /// Another capture or mirror writer, of this or another process, holds the file.
    InUse(PathBuf),
    /// A file lies where a new database is to be made.
    Exists(PathBuf),
    /// The path leads to another file than the one that was opened.
    Replaced(PathBuf),
    /// Commits were made that nobody captured: the log cannot be continued from the file.
    Gap(GapReason),
    /// A lock could not be had in time; nothing has changed.
    Busy(&'static str),
    /// The transaction is larger than a block may be.
    TooLarge {
        /// Bytes that the block would have.
        bytes: u64,
    },
    /// A stored block is malformed, damaged or does not follow the last one.
    Block(BlockError),
    /// The block is not the next one.
    NotNext {
        /// The position that the file is at.
        at: Position,
        /// The position of the block.
        got: Position,
    },
    /// The block was made for another database, page size or size in pages.
    WrongDatabase,
    /// A page of the mirror has neither the image before nor the one after the block.
    PageDamaged {
        /// The page.
        page: u32,
    },
    /// The file's content is that of no position in the log: it was damaged, or somebody else wrote to it.
    NoSuchContent,
    /// Somebody else wrote to the mirror's file.
    ForeignWrite,
    /// What arrived as a seed has another sum than it should.
    SeedDamaged,
    /// The operating system refused.
    Io {
        /// What was being done.
        doing: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// SQLite refused.
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// Its answer.
        source: Box<rusqlite::Error>,
    },
    /// The write-ahead log or the wal-index holds what SQLite would not write.
    Malformed(&'static str),
    /// The caller's own error, out of a callback.
    Caller(String),
}

/// How a gap showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapReason {
    /// No state that the file can be read at has the sum that the log ends with.
    SumNotFound,
    /// The page size is another one.
    PageSize,
    /// The write-ahead log ends before the last captured frame.
    LogShrank,
    /// The write-ahead log or the wal-index was removed or replaced under its path.
    LogRemoved,
    /// More commits were counted than were seen.
    CommitsMissed,
    /// The frames do not continue the checksums of those captured.
    ChecksumBroken,
}

impl Error {
    /// Whether only a new seed (of the mirror, or of a new log) heals it.
    #[must_use]
    pub fn needs_reseed(&self) -> bool {
        matches!(
            self,
            Self::Replaced(_)
                | Self::Gap(_)
                | Self::TooLarge { .. }
                | Self::PageDamaged { .. }
                | Self::NoSuchContent
                | Self::ForeignWrite
                | Self::WrongDatabase
        )
    }

    pub(super) fn io(doing: &'static str) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::Io { doing, source }
    }

    pub(super) fn sqlite(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Sqlite {
            doing,
            source: Box::new(source),
        }
    }
}

impl From<BlockError> for Error {
    fn from(error: BlockError) -> Self {
        Self::Block(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotADatabase(path) => write!(f, "{} is not an SQLite database", path.display()),
            Self::NotWal(path) => write!(
                f,
                "{} is not in WAL mode, and only the write-ahead log can be captured: run PRAGMA journal_mode=WAL on it once",
                path.display()
            ),
            Self::Exclusive(path) => write!(
                f,
                "{} is held exclusively by another process (PRAGMA locking_mode=EXCLUSIVE, or a transaction outside WAL \
                 mode): nothing can be captured until it uses locking_mode=NORMAL or closes the file",
                path.display()
            ),
            Self::NetworkFilesystem(path, kind) => write!(
                f,
                "{} lies on {kind}, a network file system, where SQLite's write-ahead log is not shared between hosts: move it to \
                 a local disk",
                path.display()
            ),
            Self::InUse(path) => write!(
                f,
                "{} is already captured or written by another dbmirror: one instance per file",
                path.display()
            ),
            Self::Exists(path) => write!(
                f,
                "{} is there already and belongs to no database of this instance: move it away, or attach it",
                path.display()
            ),
            Self::Replaced(path) => write!(
                f,
                "{} is another file than the one being mirrored: it was renamed, deleted or restored over; detach it and attach the \
                 new one",
                path.display()
            ),
            Self::Gap(reason) => write!(f, "commits were made that were not captured ({reason}): the mirror has to be seeded anew"),
            Self::Busy(what) => write!(f, "{what} is locked by another connection; try again"),
            Self::TooLarge { bytes } => write!(f, "one transaction makes a log block of {bytes} bytes, more than a block may have"),
            Self::Block(error) => write!(f, "{error}"),
            Self::NotNext { at, got } => write!(
                f,
                "the log block {}:{} does not follow the database's position {}:{}",
                got.timeline, got.sequence, at.timeline, at.sequence
            ),
            Self::WrongDatabase => f.write_str("the log block belongs to another database, page size or database size"),
            Self::PageDamaged { page } => write!(
                f,
                "page {page} of the mirror is neither what it was before the log block nor what it is after it: the mirror has to be \
                 seeded anew"
            ),
            Self::NoSuchContent => f.write_str(
                "the content of the file is that of no position in the log: it was damaged, or another program wrote to it; it has \
                 to be seeded anew",
            ),
            Self::ForeignWrite => {
                f.write_str("another program wrote to the mirror's file: the mirror has to be seeded anew")
            }
            Self::SeedDamaged => f.write_str("the seed that arrived does not have the database sum that was announced"),
            Self::Io { doing, source } => write!(f, "failed to {doing}: {source}"),
            Self::Sqlite { doing, source } => write!(f, "failed to {doing}: {source}"),
            Self::Malformed(what) => write!(f, "the write-ahead log is malformed: {what}"),
            Self::Caller(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SumNotFound => "the file is in no state that the log ends with",
            Self::PageSize => "the page size has changed",
            Self::LogShrank => "the write-ahead log ends before the last captured commit",
            Self::LogRemoved => "the write-ahead log or the wal-index was removed from under its path",
            Self::CommitsMissed => "SQLite counted more commits than were seen",
            Self::ChecksumBroken => "the write-ahead log does not continue what was captured",
        })
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Sqlite { source, .. } => Some(source),
            Self::Block(source) => Some(source),
            _ => None,
        }
    }
}
