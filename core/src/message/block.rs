//! The log block: one committed transaction of a database, as it is stored, sent and chained (`docs/block.md`).
//!
//! A block is a fixed header, a directory of pages and one payload:
//!
//! ```text
//! header 128 B | directory 24 B a page, ascending | payload: the pages' images in the directory's order
//! ```
//!
//! Its bytes are written once and re-sent as stored. What moves afterwards, such as the decided position, travels beside
//! the block and never in it (`docs/safety.md`, "The log block"). Nothing here holds a whole block: [`BlockCheck`] takes the bytes in
//! pieces of any size, and [`BlockSeal`] makes a header while the payload goes by.

mod directory;
mod header;

pub use directory::{ENTRY_LEN, EntryKind, PageEntry, lock_page};
pub use header::{BLOCK_VERSION, BlockHeader, BlockKind, Codec, HEADER_LEN, WalPlace};

use super::crc::Crc;
use super::ids::{Chain, DatabaseSum};
use crate::crypto::Hash;

/// Bytes of the header that the chain covers: all but the chain itself.
pub const CHAINED_LEN: usize = 112;

/// Makes a block's header while its directory and payload go by, in that order.
///
/// The chain is SHA-256, cut to 16 bytes, over (chain before ‖ directory ‖ payload ‖ header without the chain). The header
/// comes last so that one pass over the payload is enough although the header, which holds the payload's CRC, is stored
/// first.
pub struct BlockSeal<H: Hash> {
    hash: H,
    directory_crc: Crc,
    payload_crc: Crc,
    stored: u64,
}

impl<H: Hash> BlockSeal<H> {
    /// Starts a block that follows `before`.
    #[must_use]
    pub fn new(before: Chain) -> Self {
        let mut hash = H::new();
        hash.update(&before.0);
        Self {
            hash,
            directory_crc: Crc::new(),
            payload_crc: Crc::new(),
            stored: 0,
        }
    }

    /// Takes in bytes of the directory: all of it before the first byte of payload.
    pub fn directory(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.directory_crc.update(bytes);
    }

    /// Takes in stored bytes of the payload.
    pub fn payload(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.payload_crc.update(bytes);
        self.stored = self
            .stored
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }

    /// Fills `header`'s stored length, CRCs and chain, and returns its bytes.
    ///
    /// # Errors
    /// [`BlockError`] when the other fields do not make a block that a reader would take.
    pub fn finish(self, header: &mut BlockHeader) -> Result<[u8; HEADER_LEN], BlockError> {
        header.stored_len = self.stored;
        header.payload_crc = self.payload_crc.finish();
        header.directory_crc = self.directory_crc.finish();
        header.chain = Chain::START;
        let bytes = header.emit();
        header.chain = close(self.hash, &bytes);
        let bytes = header.emit();
        BlockHeader::parse(&bytes)?;
        Ok(bytes)
    }
}

/// The chain after a block whose directory and payload `hash` has taken in.
fn close<H: Hash>(mut hash: H, header: &[u8; HEADER_LEN]) -> Chain {
    hash.update(header.get(..CHAINED_LEN).unwrap_or_default());
    let digest = hash.finish();
    let mut chain = [0; 16];
    for (to, from) in chain.iter_mut().zip(digest) {
        *to = from;
    }
    Chain(chain)
}

/// Checks a stored block that arrives in pieces, from the first byte to the chain.
///
/// Order of calls: [`Self::push`] until every byte is in, then [`Self::finish`]. Nothing of a block may be believed before
/// [`Self::finish`] has returned; what must be used earlier (the header's lengths, to place what arrives) is checked for
/// its form as soon as it is complete.
pub struct BlockCheck<H: Hash> {
    before: Chain,
    hash: H,
    directory_crc: Crc,
    payload_crc: Crc,
    header_bytes: [u8; HEADER_LEN],
    header: Option<BlockHeader>,
    entry: [u8; ENTRY_LEN],
    last_page: u32,
    images: u64,
    sum_delta: u64,
    seen: u64,
}

impl<H: Hash> BlockCheck<H> {
    /// Expects the first byte of a block that follows `before`.
    #[must_use]
    pub fn new(before: Chain) -> Self {
        let mut hash = H::new();
        hash.update(&before.0);
        Self {
            before,
            hash,
            directory_crc: Crc::new(),
            payload_crc: Crc::new(),
            header_bytes: [0; HEADER_LEN],
            header: None,
            entry: [0; ENTRY_LEN],
            last_page: 0,
            images: 0,
            sum_delta: 0,
            seen: 0,
        }
    }

    /// The chain that the block must follow.
    #[must_use]
    pub fn before(&self) -> Chain {
        self.before
    }

    /// The header, once its 128 bytes are in.
    #[must_use]
    pub fn header(&self) -> Option<&BlockHeader> {
        self.header.as_ref()
    }

    /// Bytes that are still missing; what is left of the header while that is not complete.
    #[must_use]
    pub fn missing(&self) -> u64 {
        let total = self
            .header
            .map_or(header::HEADER_LEN_U64, |header| header.total_len());
        total.saturating_sub(self.seen)
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    /// [`BlockError`] for bytes that no block has there, and for bytes beyond the block's end. After an error the check
    /// is of no further use.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), BlockError> {
        while !bytes.is_empty() {
            let header = match self.header {
                Some(header) => header,
                None => {
                    let taken = fill(&mut self.header_bytes, self.seen, bytes);
                    bytes = self.advance(bytes, taken);
                    if self.seen == header::HEADER_LEN_U64 {
                        self.header = Some(BlockHeader::parse(&self.header_bytes)?);
                    }
                    continue;
                }
            };
            let in_directory = self.seen.saturating_sub(header::HEADER_LEN_U64);
            if in_directory < header.directory_len() {
                let at = in_directory.checked_rem(directory::ENTRY_LEN_U64).unwrap_or(0);
                let taken = fill(&mut self.entry, at, bytes);
                let piece = bytes.get(..taken).unwrap_or_default();
                self.hash.update(piece);
                self.directory_crc.update(piece);
                bytes = self.advance(bytes, taken);
                if at.saturating_add(len_u64(piece)) == directory::ENTRY_LEN_U64 {
                    self.take_entry(&header)?;
                }
                continue;
            }
            let missing = self.missing();
            if len_u64(bytes) > missing {
                return Err(BlockError::TooLong);
            }
            self.hash.update(bytes);
            self.payload_crc.update(bytes);
            self.seen = self.seen.saturating_add(len_u64(bytes));
            bytes = &[];
        }
        Ok(())
    }

    /// Ends the check: the block is whole, undamaged and follows the chain it was expected to follow.
    ///
    /// # Errors
    /// [`BlockError::TooShort`], [`BlockError::DirectoryDamaged`], [`BlockError::PayloadDamaged`],
    /// [`BlockError::BadLength`] when directory and payload do not fit each other, [`BlockError::ChainBroken`].
    pub fn finish(self) -> Result<CheckedBlock, BlockError> {
        let header = self.header.ok_or(BlockError::TooShort)?;
        if self.seen != header.total_len() {
            return Err(BlockError::TooShort);
        }
        if self.directory_crc.finish() != header.directory_crc {
            return Err(BlockError::DirectoryDamaged);
        }
        if self.payload_crc.finish() != header.payload_crc {
            return Err(BlockError::PayloadDamaged);
        }
        if self.images.checked_mul(u64::from(header.page_size)) != Some(header.raw_len) {
            return Err(BlockError::BadLength);
        }
        if close(self.hash, &self.header_bytes) != header.chain {
            return Err(BlockError::ChainBroken);
        }
        Ok(CheckedBlock {
            header,
            sum_before: DatabaseSum(header.sum_after.0 ^ self.sum_delta),
        })
    }

    /// Counts `taken` bytes and returns the rest.
    fn advance<'b>(&mut self, bytes: &'b [u8], taken: usize) -> &'b [u8] {
        let (piece, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
        self.seen = self.seen.saturating_add(len_u64(piece));
        rest
    }

    /// Checks the entry that has just become complete.
    fn take_entry(&mut self, header: &BlockHeader) -> Result<(), BlockError> {
        let entry = PageEntry::parse(&self.entry)?;
        entry.check(header, self.last_page)?;
        self.last_page = entry.page;
        if entry.kind.has_image() {
            self.images = self.images.saturating_add(1);
        }
        self.sum_delta ^= entry.old_hash ^ entry.new_hash;
        Ok(())
    }
}

/// What a complete check proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedBlock {
    /// The block's header.
    pub header: BlockHeader,
    /// The database sum that the block expects to find: its own less what its directory changes.
    pub sum_before: DatabaseSum,
}

/// Copies as much of `bytes` as fits into `buf` from `at` on; returns how much that was.
fn fill(buf: &mut [u8], at: u64, bytes: &[u8]) -> usize {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let mut taken: usize = 0;
    for (to, from) in buf.iter_mut().skip(at).zip(bytes) {
        *to = *from;
        taken = taken.saturating_add(1);
    }
    taken
}

/// A slice's length as the lengths of blocks are counted.
fn len_u64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Why bytes are not a block, or not the block that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockError {
    /// Does not begin with the magic.
    NotABlock,
    /// A version that this code does not know.
    Version(u8),
    /// An unknown kind of block, codec or flag.
    Unknown,
    /// A reserved field is not zero.
    Reserved,
    /// A page size that SQLite does not have.
    BadPageSize,
    /// Lengths or counts contradict each other.
    BadLength,
    /// A position without a timeline or a sequence number.
    BadPosition,
    /// An entry of the directory is malformed, out of order, or names a page outside the database.
    BadDirectory,
    /// Bytes beyond the block's end.
    TooLong,
    /// The block's end is missing.
    TooShort,
    /// The CRC32C of the directory does not fit.
    DirectoryDamaged,
    /// The CRC32C of the payload does not fit.
    PayloadDamaged,
    /// The block is whole, but it does not follow the block before it.
    ChainBroken,
}

const _: () = assert!(core::mem::size_of::<BlockError>() <= 2);

impl BlockError {
    /// Its frozen number (`docs/block.md`).
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::NotABlock => 1,
            Self::Version(_) => 2,
            Self::Unknown => 3,
            Self::Reserved => 4,
            Self::BadPageSize => 5,
            Self::BadLength => 6,
            Self::BadPosition => 7,
            Self::BadDirectory => 8,
            Self::TooLong => 9,
            Self::TooShort => 10,
            Self::DirectoryDamaged => 11,
            Self::PayloadDamaged => 12,
            Self::ChainBroken => 13,
        }
    }
}

impl core::fmt::Display for BlockError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotABlock => f.write_str("not a log block"),
            Self::Version(version) => write!(f, "log block version {version} is not known here"),
            Self::Unknown => f.write_str("unknown kind, codec or flag of a log block"),
            Self::Reserved => f.write_str("a reserved field of a log block is not zero"),
            Self::BadPageSize => f.write_str("a log block names an impossible page size"),
            Self::BadLength => f.write_str("the lengths in a log block contradict each other"),
            Self::BadPosition => f.write_str("a log block has no position"),
            Self::BadDirectory => f.write_str("the page directory of a log block is malformed"),
            Self::TooLong => f.write_str("bytes beyond the end of a log block"),
            Self::TooShort => f.write_str("a log block is cut short"),
            Self::DirectoryDamaged => f.write_str("the page directory of a log block is damaged"),
            Self::PayloadDamaged => f.write_str("the payload of a log block is damaged"),
            Self::ChainBroken => f.write_str("a log block does not follow the one before it"),
        }
    }
}

impl core::error::Error for BlockError {}

#[cfg(test)]
mod tests;
