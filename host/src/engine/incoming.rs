//! Blocks that come from elsewhere: from a partner in pieces, or whole out of a backup. Nobody's word is taken for one: header, lengths,
//! checksums, family, position and chain are checked here, and what is whole and follows goes into the log.
//!
//! A block may have up to 1 GiB, and a partner may stop anywhere. So pieces are checked as they come, and what is more than [`MEMORY`] of
//! one block waits for its end on the log's disk, in a file without a name.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use dbmirror_adapters::blocklog::{BlockLog, LogError, LogId};
use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::message::block::{BlockCheck, BlockError, BlockHeader};
use dbmirror_core::message::{Chain, FamilyGuid, LogEnd, Position};
use dbmirror_core::session::{BlockChunk, StorageError};

/// Largest block that is taken: what the block log takes.
const BLOCK_MAX: u32 = 1 << 30;
/// Bytes of one unfinished block that are held in memory: as many as a partner may send ahead of what the storage has confirmed.
const MEMORY: usize = 4 << 20;

type Check = BlockCheck<<RustCrypto as Provider>::Sha256>;

/// A block that arrives in pieces.
pub(super) struct Incoming {
    position: Position,
    family: FamilyGuid,
    /// What it is to follow.
    before: LogEnd,
    total: u32,
    came: u32,
    check: Check,
    kept: Kept,
}

/// Where the pieces are.
enum Kept {
    Memory(Vec<u8>),
    File(File),
}

impl Incoming {
    /// Expects the block whose first piece is `at`, behind `before`.
    pub(super) fn begin(at: BlockChunk, family: FamilyGuid, before: LogEnd) -> Result<Self, StorageError> {
        if at.total > BLOCK_MAX {
            return Err(StorageError::Full);
        }
        follows(at.position, before)?;
        Ok(Self {
            position: at.position,
            family,
            before,
            total: at.total,
            came: 0,
            check: Check::new(before.chain),
            kept: Kept::Memory(Vec::new()),
        })
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self, log: &BlockLog, at: BlockChunk, bytes: &[u8]) -> Result<(), StorageError> {
        let end = u32::try_from(bytes.len())
            .ok()
            .and_then(|len| self.came.checked_add(len))
            .filter(|end| *end <= self.total)
            .ok_or(StorageError::Corrupt)?;
        if at.position != self.position || at.total != self.total || at.offset != self.came {
            return Err(StorageError::Corrupt);
        }
        self.check.push(bytes).map_err(wrong)?;
        if let Some(header) = self.check.header() {
            is_of(header, self.position, self.family)?;
            if header.total_len() != u64::from(self.total) {
                return Err(StorageError::Corrupt);
            }
        }
        self.keep(log, bytes).map_err(|e| log_error(&LogError::Io(e)))?;
        self.came = end;
        Ok(())
    }

    fn keep(&mut self, log: &BlockLog, bytes: &[u8]) -> std::io::Result<()> {
        let at = u64::from(self.came);
        match &mut self.kept {
            Kept::Memory(kept) if kept.len() + bytes.len() <= MEMORY => kept.extend_from_slice(bytes),
            Kept::Memory(kept) => {
                let file = log.nameless()?;
                file.write_all_at(kept, 0)?;
                file.write_all_at(bytes, at)?;
                self.kept = Kept::File(file);
            }
            Kept::File(file) => file.write_all_at(bytes, at)?,
        }
        Ok(())
    }

    /// Appends the block, which is complete, to its log.
    pub(super) fn append(self, log: &BlockLog, id: LogId) -> Result<(), StorageError> {
        let chain = self.check.finish().map_err(wrong)?.header.chain;
        let block = LogEnd {
            position: self.position,
            chain,
        };
        let before = self.before.chain;
        match &self.kept {
            Kept::Memory(bytes) => log.append(id, before, block, bytes),
            Kept::File(file) => log.append_file(id, before, block, file, self.total),
        }
        .map(drop)
        .map_err(|e| log_error(&e))
    }
}

/// Checks a whole block that is to follow `end`, and gives the chain after it.
pub(super) fn check(
    bytes: &[u8],
    position: Position,
    family: FamilyGuid,
    end: LogEnd,
) -> Result<Chain, StorageError> {
    let mut check = Check::new(end.chain);
    check.push(bytes).map_err(wrong)?;
    let header = check.finish().map_err(wrong)?.header;
    is_of(&header, position, family)?;
    follows(position, end)?;
    Ok(header.chain)
}

fn wrong(e: BlockError) -> StorageError {
    if e == BlockError::ChainBroken {
        StorageError::Chain
    } else {
        StorageError::Corrupt
    }
}

fn is_of(header: &BlockHeader, position: Position, family: FamilyGuid) -> Result<(), StorageError> {
    if header.position == position && header.family == family {
        Ok(())
    } else {
        Err(StorageError::Corrupt)
    }
}

fn follows(position: Position, end: LogEnd) -> Result<(), StorageError> {
    if end.position.sequence.checked_add(1) == Some(position.sequence)
        && position.timeline >= end.position.timeline
    {
        Ok(())
    } else {
        Err(StorageError::Chain)
    }
}

pub(super) fn log_error(e: &LogError) -> StorageError {
    match e {
        LogError::Io(e) if e.kind() == std::io::ErrorKind::StorageFull => StorageError::Full,
        LogError::TooLarge => StorageError::Full,
        LogError::NotNext { .. } => StorageError::Chain,
        LogError::UnknownLog => StorageError::Unavailable,
        _ => StorageError::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dbmirror_adapters::blocklog::Options;
    use dbmirror_core::message::DatabaseSum;
    use dbmirror_core::message::block::{BlockSeal, EntryKind, PageEntry};

    use super::*;

    const FAMILY: FamilyGuid = FamilyGuid([7; 16]);
    const LOG: LogId = LogId([9; 16]);
    const FIRST: Position = Position {
        timeline: 1,
        sequence: 1,
    };

    /// The first block of a log, with so many pages.
    fn block(pages: u32, family: FamilyGuid) -> Vec<u8> {
        let size = 65_536;
        let mut header = BlockHeader {
            ungated: true,
            family,
            position: FIRST,
            page_size: size,
            pages_after: pages,
            page_count: pages,
            sum_after: DatabaseSum(5),
            raw_len: u64::from(pages) * u64::from(size),
            ..BlockHeader::default()
        };
        let entries = (1..=pages).map(|page| PageEntry {
            page,
            kind: EntryKind::Full,
            old_hash: 0,
            new_hash: u64::from(page),
        });
        let directory: Vec<u8> = entries.flat_map(|entry| entry.emit()).collect();
        let payload: Vec<u8> = (0..header.raw_len).map(|n| (n % 251) as u8).collect();
        let mut seal = BlockSeal::<<RustCrypto as Provider>::Sha256>::new(Chain::START);
        seal.directory(&directory);
        seal.payload(&payload);
        let mut block = seal.finish(&mut header).unwrap().to_vec();
        block.extend(directory);
        block.extend(payload);
        block
    }

    fn chunk(offset: usize, total: usize) -> BlockChunk {
        BlockChunk {
            position: FIRST,
            offset: offset as u32,
            total: total as u32,
            decided: Position::START,
        }
    }

    fn log(dir: &std::path::Path) -> BlockLog {
        let (log, _) = BlockLog::open(dir, Options::default(), Box::new(|_| {})).unwrap();
        log.start_log(LOG, LogEnd::START).unwrap();
        log
    }

    /// A partner decides how long a block is, and when its pieces come: it takes disk, and no memory beyond what credit is given for.
    #[test]
    fn a_large_block_in_pieces_takes_little_memory() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path());
        let whole = block(100, FAMILY);
        assert!(whole.len() > MEMORY + MEMORY / 2);
        let mut incoming = Incoming::begin(chunk(0, whole.len()), FAMILY, LogEnd::START).unwrap();
        let mut places = BTreeSet::new();
        for (n, piece) in whole.chunks(15_000).enumerate() {
            incoming
                .take(&log, chunk(n * 15_000, whole.len()), piece)
                .unwrap();
            places.insert(match &incoming.kept {
                Kept::Memory(bytes) => {
                    assert!(bytes.len() <= MEMORY && bytes.capacity() <= 2 * MEMORY);
                    "memory"
                }
                Kept::File(_) => "disk",
            });
        }
        assert_eq!(places, BTreeSet::from(["disk", "memory"]));
        incoming.append(&log, LOG).unwrap();
        log.wait_all().unwrap();
        let mut read = vec![0; whole.len()];
        assert_eq!(
            log.read(LOG, 1, 0, &mut read).unwrap().unwrap().total,
            whole.len()
        );
        assert!(read == whole);
        drop(log);
        // It is a block like any other, and what it waited in has left no name.
        let (log, recovery) = BlockLog::open(dir.path(), Options::default(), Box::new(|_| {})).unwrap();
        assert!(recovery.damaged.is_empty());
        assert_eq!(log.extent(LOG).unwrap().end.position, FIRST);
        let mut names = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        assert!(names.all(|path| path.extension().is_some_and(|e| e == "seg")));
    }

    /// What cannot become the block that it says it is is refused when that shows, and not with its last piece.
    #[test]
    fn a_block_is_refused_as_soon_as_it_shows() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path());
        let whole = block(2, FAMILY);
        let first = |whole: &[u8], total: usize| {
            Incoming::begin(chunk(0, total), FAMILY, LogEnd::START)
                .and_then(|mut incoming| incoming.take(&log, chunk(0, total), &whole[..200]))
        };
        assert_eq!(first(&whole, whole.len()), Ok(()));
        assert_eq!(
            first(&whole, whole.len() + 1),
            Err(StorageError::Corrupt),
            "another length"
        );
        assert_eq!(first(&whole, 2 << 30), Err(StorageError::Full));
        let other = block(2, FamilyGuid([8; 16]));
        assert_eq!(
            first(&other, other.len()),
            Err(StorageError::Corrupt),
            "another family"
        );
        let mut later = chunk(0, whole.len());
        later.position.sequence = 2;
        assert_eq!(
            Incoming::begin(later, FAMILY, LogEnd::START).err(),
            Some(StorageError::Chain)
        );
        // Pieces that are not the next ones.
        let mut incoming = Incoming::begin(chunk(0, whole.len()), FAMILY, LogEnd::START).unwrap();
        incoming.take(&log, chunk(0, whole.len()), &whole[..200]).unwrap();
        assert_eq!(
            incoming.take(&log, chunk(100, whole.len()), &whole[100..200]),
            Err(StorageError::Corrupt)
        );
        // And one whose bytes were changed goes nowhere.
        let mut damaged = whole.clone();
        damaged[100_000] ^= 1;
        let mut incoming = Incoming::begin(chunk(0, whole.len()), FAMILY, LogEnd::START).unwrap();
        incoming.take(&log, chunk(0, whole.len()), &damaged).unwrap();
        assert_eq!(incoming.append(&log, LOG), Err(StorageError::Corrupt));
        assert_eq!(log.extent(LOG).unwrap().end, LogEnd::START);
    }
}
