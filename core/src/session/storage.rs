//! The one storage trait: how core sees a database's log and pages. Opaque bytes at positions, nothing of SQLite.

use crate::message::{Chain, DatabaseSum, LogEnd, Position, SessionGuid, Timelines};
use crate::time::Duration;

/// A database of this instance by the number that its caller knows it by (`database_id`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId(pub u32);

/// A database's log as its storage found it when the instance started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundLog {
    /// Its end.
    pub end: LogEnd,
    /// Blocks that were once hardened are gone: the log once ended further than this end, and was not cut there on purpose. What was written
    /// and never reported durable does not count. A mirror is told so until its record says that it is incomplete; a principal until its log
    /// covers its file again, since it is only as a mirror that it would lack them (`docs/safety.md` R6).
    pub lost: bool,
}

/// Most bytes of what is kept beside a database for its partner, so that its message is a control message.
pub const ATTACHMENT_LEN_MAX: usize = 1_024;

/// Reads and writes of the logs and files of all databases.
///
/// Called synchronously in the endpoint's loop, so nothing here may wait for a disk: reads come from the page cache or
/// answer *pending*, writes hand their bytes over. What is durable is told later, by a call of the endpoint
/// (`hardened`, `seed_written`, `seed_installed`, `adopted`); until then nothing is claimed (`docs/safety.md` I5). The bytes that
/// are handed over and not yet confirmed are bounded by the credit that the session grants its partner.
pub trait Storage {
    /// The chain after the block at `position`; `None` when that block is not held, [`Position::START`] included unless the
    /// log still begins there.
    ///
    /// # Errors
    /// [`StorageError`] when the log cannot be read.
    fn chain_at(&mut self, database: DatabaseId, position: Position) -> Result<Option<Chain>, StorageError>;

    /// Principal (and a mirror whose tail is asked for): copies stored bytes of the block at `position` from `offset` on
    /// into `out`.
    ///
    /// # Errors
    /// [`StorageError::Gone`] when the block is not held any more, others when it cannot be read.
    fn read_block(
        &mut self,
        database: DatabaseId,
        position: Position,
        offset: u32,
        out: &mut [u8],
    ) -> Result<BlockRead, StorageError>;

    /// Mirror: takes the next bytes of a block. Chunks come in order; a chunk with offset 0 drops what was there of an
    /// unfinished block. With the last one the storage checks the block (CRC, chain after its predecessor) and begins to
    /// harden it; then `Endpoint::hardened` is called.
    ///
    /// # Errors
    /// [`StorageError::Chain`] for a block that does not follow, [`StorageError::Corrupt`] for one that is damaged,
    /// [`StorageError::Full`] or [`StorageError::Failed`] when it cannot be kept.
    fn write_block(&mut self, database: DatabaseId, at: BlockChunk, bytes: &[u8])
    -> Result<(), StorageError>;

    /// Principal after a restart: as [`Storage::write_block`], for the tail that its mirror holds beyond the own log. It
    /// goes into log and file; then `Endpoint::adopted` is called.
    ///
    /// # Errors
    /// As [`Storage::write_block`]; [`StorageError::CannotAdopt`] when the file has gone on by itself.
    fn adopt_block(&mut self, database: DatabaseId, at: BlockChunk, bytes: &[u8])
    -> Result<(), StorageError>;

    /// Mirror: everything up to `position` is decided and may be redone into the file.
    fn decided(&mut self, database: DatabaseId, position: Position);

    /// Principal: the version of what the instance keeps beside the database for whoever serves it next; another number than
    /// before when that has changed, 0 when there is nothing to tell. Opaque to core.
    fn attachment_version(&mut self, database: DatabaseId) -> u64 {
        let _ = database;
        0
    }

    /// Principal: copies it into `out` and returns its length; empty says that there is nothing any more.
    fn attachment(&mut self, database: DatabaseId, out: &mut [u8; ATTACHMENT_LEN_MAX]) -> Option<usize> {
        let _ = (database, out);
        None
    }

    /// Mirror: the principal's, in place of what came before. It comes again on every binding, so nothing waits for it to be
    /// durable.
    fn take_attachment(&mut self, database: DatabaseId, bytes: &[u8]) {
        let _ = (database, bytes);
    }

    /// Principal: holds a snapshot of the file to be read as a seed. *Pending* is asked again when `Endpoint::seed_ready` is
    /// called. A snapshot that is open already is dropped for a new one.
    ///
    /// # Errors
    /// [`StorageError`] when no snapshot can be had.
    fn seed_open(&mut self, database: DatabaseId) -> Result<SeedOpen, StorageError>;

    /// Principal: copies bytes of the open snapshot from `offset` on into `out`.
    ///
    /// # Errors
    /// [`StorageError`] when the snapshot cannot be read any more.
    fn seed_read(
        &mut self,
        database: DatabaseId,
        offset: u64,
        out: &mut [u8],
    ) -> Result<SeedRead, StorageError>;

    /// Principal: the snapshot is not needed any more. Also called when none is open.
    fn seed_close(&mut self, database: DatabaseId);

    /// Mirror: a seed begins. What an earlier, unfinished one left is dropped; the database's content stays until the seed
    /// is complete.
    ///
    /// # Errors
    /// [`StorageError`] when it cannot be kept.
    fn seed_begin(&mut self, database: DatabaseId, seed: SeedInfo) -> Result<(), StorageError>;

    /// Mirror: takes the next bytes of the seed, in order; `Endpoint::seed_written` confirms them.
    ///
    /// # Errors
    /// [`StorageError`] when they cannot be kept.
    fn seed_write(&mut self, database: DatabaseId, offset: u64, bytes: &[u8]) -> Result<(), StorageError>;

    /// Mirror: all bytes are here. The storage checks the sum, puts the content in the database's place, starts its log
    /// after `seed.at`, and when all that is durable calls `Endpoint::seed_installed` (or `Endpoint::storage_failed`).
    ///
    /// # Errors
    /// [`StorageError`] when that cannot begin.
    fn seed_finish(
        &mut self,
        database: DatabaseId,
        seed: SeedInfo,
        sum: DatabaseSum,
    ) -> Result<(), StorageError>;

    /// Mirror: an unfinished seed will not be continued. Also called when there is none.
    fn seed_abort(&mut self, database: DatabaseId);

    /// Copies the record with which the session `guid` ended here (its tombstone, as persisted) into `out` and returns its
    /// length; `None` when no such session ever ended here.
    fn ended(&mut self, guid: SessionGuid, out: &mut [u8]) -> Option<usize>;

    /// Age of the oldest unfinished operation of the shared log and record store; zero when there is none
    /// (`docs/safety.md` R9).
    fn progress_age(&mut self) -> Duration;
}

/// What [`Storage::read_block`] copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRead {
    /// Bytes copied into `out`.
    pub len: usize,
    /// Length of the whole block as stored.
    pub total: u32,
}

/// Where a piece of a block belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockChunk {
    /// The block.
    pub position: Position,
    /// Offset of the piece in the block.
    pub offset: u32,
    /// Length of the whole block.
    pub total: u32,
    /// The decided position that came beside it (`docs/safety.md` R7): never to be voided.
    pub decided: Position,
}

impl BlockChunk {
    /// Whether a piece of `len` bytes is the block's last.
    #[must_use]
    pub fn ends_with(&self, len: usize) -> bool {
        u32::try_from(len).is_ok_and(|len| self.offset.checked_add(len) == Some(self.total))
    }
}

/// A whole database as a seed: what it is a snapshot of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedInfo {
    /// The position whose content it has; blocks after it follow.
    pub at: LogEnd,
    /// The history up to there.
    pub timelines: Timelines,
    /// Bytes of a page.
    pub page_size: u32,
    /// Bytes of the whole.
    pub bytes: u64,
}

/// Answer of [`Storage::seed_open`].
#[expect(
    clippy::large_enum_variant,
    reason = "there is no heap to box on; asked once for each seed"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedOpen {
    /// The snapshot is held.
    Ready(SeedInfo),
    /// Not yet.
    Pending,
}

/// Answer of [`Storage::seed_read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedRead {
    /// That many bytes were copied, at least one.
    Bytes(usize),
    /// Nothing yet; asked again when `Endpoint::seed_ready` is called.
    Pending,
    /// Everything has been read; the sum of the content.
    End(DatabaseSum),
}

/// Why the storage refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorageError {
    /// Not held any more: pruned, or lost.
    Gone,
    /// Does not follow its predecessor: another history.
    Chain,
    /// Damaged bytes.
    Corrupt,
    /// No room.
    Full,
    /// The tail cannot be taken over: the file has gone on by itself.
    CannotAdopt,
    /// The database is not here or not in a state for this.
    Unavailable,
    /// The medium failed; nothing is claimed until a restart has read it again.
    Failed,
}

impl core::fmt::Display for StorageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Gone => "the block is not held any more",
            Self::Chain => "the block does not follow its predecessor",
            Self::Corrupt => "the bytes are damaged",
            Self::Full => "there is no room",
            Self::CannotAdopt => "the tail cannot be adopted: the file has gone on by itself",
            Self::Unavailable => "the database is not available",
            Self::Failed => "the medium failed",
        })
    }
}

impl core::error::Error for StorageError {}

/// The storage of an endpoint that holds no database: a witness, a probe.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDatabases;

impl Storage for NoDatabases {
    fn chain_at(&mut self, _: DatabaseId, _: Position) -> Result<Option<Chain>, StorageError> {
        Err(StorageError::Unavailable)
    }
    fn read_block(
        &mut self,
        _: DatabaseId,
        _: Position,
        _: u32,
        _: &mut [u8],
    ) -> Result<BlockRead, StorageError> {
        Err(StorageError::Unavailable)
    }
    fn write_block(&mut self, _: DatabaseId, _: BlockChunk, _: &[u8]) -> Result<(), StorageError> {
        Err(StorageError::Unavailable)
    }
    fn adopt_block(&mut self, _: DatabaseId, _: BlockChunk, _: &[u8]) -> Result<(), StorageError> {
        Err(StorageError::Unavailable)
    }
    fn decided(&mut self, _: DatabaseId, _: Position) {}
    fn seed_open(&mut self, _: DatabaseId) -> Result<SeedOpen, StorageError> {
        Err(StorageError::Unavailable)
    }
    fn seed_read(&mut self, _: DatabaseId, _: u64, _: &mut [u8]) -> Result<SeedRead, StorageError> {
        Err(StorageError::Unavailable)
    }
    fn seed_close(&mut self, _: DatabaseId) {}
    fn seed_begin(&mut self, _: DatabaseId, _: SeedInfo) -> Result<(), StorageError> {
        Err(StorageError::Unavailable)
    }
    fn seed_write(&mut self, _: DatabaseId, _: u64, _: &[u8]) -> Result<(), StorageError> {
        Err(StorageError::Unavailable)
    }
    fn seed_finish(&mut self, _: DatabaseId, _: SeedInfo, _: DatabaseSum) -> Result<(), StorageError> {
        Err(StorageError::Unavailable)
    }
    fn seed_abort(&mut self, _: DatabaseId) {}
    fn ended(&mut self, _: SessionGuid, _: &mut [u8]) -> Option<usize> {
        None
    }
    fn progress_age(&mut self) -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever holds no copy says so to whatever is asked of him, and promises nothing.
    #[test]
    fn an_endpoint_without_databases_holds_none() {
        let none = &mut NoDatabases;
        let (database, unavailable) = (DatabaseId::default(), StorageError::Unavailable);
        let chunk = BlockChunk {
            position: Position::START,
            offset: 0,
            total: 8,
            decided: Position::START,
        };
        let info = SeedInfo {
            at: LogEnd::START,
            timelines: Timelines::EMPTY,
            page_size: 4_096,
            bytes: 8_192,
        };
        assert_eq!(none.chain_at(database, Position::START), Err(unavailable));
        assert_eq!(
            none.read_block(database, Position::START, 0, &mut [0; 8]).err(),
            Some(unavailable)
        );
        assert_eq!(none.write_block(database, chunk, &[0; 8]), Err(unavailable));
        assert_eq!(none.adopt_block(database, chunk, &[0; 8]), Err(unavailable));
        assert_eq!(none.seed_open(database).err(), Some(unavailable));
        assert_eq!(none.seed_read(database, 0, &mut [0; 8]).err(), Some(unavailable));
        assert_eq!(none.seed_begin(database, info), Err(unavailable));
        assert_eq!(none.seed_write(database, 0, &[0; 8]), Err(unavailable));
        assert_eq!(
            none.seed_finish(database, info, DatabaseSum::default()),
            Err(unavailable)
        );
        none.decided(database, Position::START);
        none.seed_close(database);
        none.seed_abort(database);
        assert_eq!(none.ended(SessionGuid::default(), &mut [0; 8]), None);
        assert_eq!(none.progress_age(), Duration::ZERO);
        assert_eq!(none.attachment_version(database), 0);
        assert_eq!(none.attachment(database, &mut [0; ATTACHMENT_LEN_MAX]), None);
        none.take_attachment(database, &[0; 8]);
    }
}
