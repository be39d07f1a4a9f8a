//! The block header: 128 bytes, little-endian, every field at a fixed offset (`docs/block.md`).

use super::BlockError;
use super::directory::ENTRY_LEN_U64;
use crate::message::ids::{Chain, DatabaseSum, FamilyGuid, Position};

/// Length in bytes of the header.
pub const HEADER_LEN: usize = 128;
/// The same, as lengths of blocks are counted.
pub(super) const HEADER_LEN_U64: u64 = 128;
/// The version that this code writes, and the only one so far. New codecs and kinds of entries come with a new number
/// in their own fields; the version rises only when the layout changes.
pub const BLOCK_VERSION: u8 = 1;
/// `DBMB`.
const MAGIC: [u8; 4] = *b"DBMB";

/// What a block stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockKind {
    /// A committed transaction.
    #[default]
    Commit,
    /// Restores the pages of a block whose commit did not happen (`docs/safety.md` R7).
    Void,
}

/// How the payload is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// Page images as they are.
    #[default]
    Raw,
}

/// Where in its source's write-ahead log a transaction ended: what a restarted capture goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalPlace {
    /// The log's salts, as its header holds them.
    pub salts: [u32; 2],
    /// The commit frame, counted from 1.
    pub frame: u32,
}

/// A block's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockHeader {
    /// What the block stands for.
    pub kind: BlockKind,
    /// How the payload is stored.
    pub codec: Codec,
    /// Whether the commit waited for nobody: its application did not load the gate.
    pub ungated: bool,
    /// The database and all its copies.
    pub family: FamilyGuid,
    /// The block's place in the log.
    pub position: Position,
    /// Bytes a page: a power of two from 512 to 65,536.
    pub page_size: u32,
    /// Pages of the database before the transaction.
    pub pages_before: u32,
    /// Pages of the database after it; at least 1.
    pub pages_after: u32,
    /// Entries of the directory; at least 1.
    pub page_count: u32,
    /// When the commit was seen, in microseconds since 1970-01-01T00:00:00Z.
    pub commit_time: i64,
    /// Where the source's write-ahead log held it.
    pub wal: WalPlace,
    /// The source's count of commits when it was published (`iChange` of the wal-index).
    pub change_counter: u32,
    /// The database sum after the transaction.
    pub sum_after: DatabaseSum,
    /// Bytes of the payload before compression.
    pub raw_len: u64,
    /// Bytes of the payload as stored.
    pub stored_len: u64,
    /// CRC32C of the payload as stored.
    pub payload_crc: u32,
    /// CRC32C of the directory.
    pub directory_crc: u32,
    /// The chain after this block.
    pub chain: Chain,
}

impl BlockHeader {
    /// Bytes of the directory.
    #[must_use]
    pub fn directory_len(&self) -> u64 {
        u64::from(self.page_count).saturating_mul(ENTRY_LEN_U64)
    }

    /// Bytes of the whole block.
    #[must_use]
    pub fn total_len(&self) -> u64 {
        HEADER_LEN_U64
            .saturating_add(self.directory_len())
            .saturating_add(self.stored_len)
    }

    /// Reads a header and checks everything that one can see from it alone.
    ///
    /// # Errors
    /// [`BlockError`] for what is not a header of this version, or contradicts itself.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, BlockError> {
        let mut from = Fields(bytes);
        if from.take::<4>()? != MAGIC {
            return Err(BlockError::NotABlock);
        }
        let [version, kind, codec, flags] = from.take::<4>()?;
        if version != BLOCK_VERSION {
            return Err(BlockError::Version(version));
        }
        let kind = match kind {
            1 => BlockKind::Commit,
            2 => BlockKind::Void,
            _ => return Err(BlockError::Unknown),
        };
        let codec = match codec {
            0 => Codec::Raw,
            _ => return Err(BlockError::Unknown),
        };
        let ungated = match flags {
            0 => false,
            1 => true,
            _ => return Err(BlockError::Unknown),
        };
        let family = FamilyGuid(from.take::<16>()?);
        let timeline = from.u32()?;
        let page_size = from.u32()?;
        let sequence = from.u64()?;
        let pages_before = from.u32()?;
        let pages_after = from.u32()?;
        let page_count = from.u32()?;
        if from.u32()? != 0 {
            return Err(BlockError::Reserved);
        }
        let commit_time = i64::from_le_bytes(from.take::<8>()?);
        let salts = [from.u32()?, from.u32()?];
        let frame = from.u32()?;
        let change_counter = from.u32()?;
        let header = Self {
            kind,
            codec,
            ungated,
            family,
            position: Position { timeline, sequence },
            page_size,
            pages_before,
            pages_after,
            page_count,
            commit_time,
            wal: WalPlace { salts, frame },
            change_counter,
            sum_after: DatabaseSum(from.u64()?),
            raw_len: from.u64()?,
            stored_len: from.u64()?,
            payload_crc: from.u32()?,
            directory_crc: from.u32()?,
            chain: Chain(from.take::<16>()?),
        };
        header.check()?;
        Ok(header)
    }

    /// What must hold between the fields.
    fn check(&self) -> Result<(), BlockError> {
        if self.position.timeline == 0 || self.position.sequence == 0 {
            return Err(BlockError::BadPosition);
        }
        if !self.page_size.is_power_of_two() || !(512..=65_536).contains(&self.page_size) {
            return Err(BlockError::BadPageSize);
        }
        let most = self.pages_before.max(self.pages_after);
        if self.pages_after == 0 || self.page_count == 0 || self.page_count > most {
            return Err(BlockError::BadLength);
        }
        let images = u64::from(self.page_count).saturating_mul(u64::from(self.page_size));
        let fits = match self.codec {
            Codec::Raw => self.stored_len == self.raw_len,
        };
        if !fits || self.raw_len > images {
            return Err(BlockError::BadLength);
        }
        Ok(())
    }

    /// The header's bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let kind = match self.kind {
            BlockKind::Commit => 1,
            BlockKind::Void => 2,
        };
        let codec = match self.codec {
            Codec::Raw => 0,
        };
        let mut out = [0; HEADER_LEN];
        let parts: [&[u8]; 20] = [
            &MAGIC,
            &[BLOCK_VERSION, kind, codec, u8::from(self.ungated)],
            &self.family.0,
            &self.position.timeline.to_le_bytes(),
            &self.page_size.to_le_bytes(),
            &self.position.sequence.to_le_bytes(),
            &self.pages_before.to_le_bytes(),
            &self.pages_after.to_le_bytes(),
            &self.page_count.to_le_bytes(),
            &[0; 4],
            &self.commit_time.to_le_bytes(),
            &salts_to_bytes(self.wal.salts),
            &self.wal.frame.to_le_bytes(),
            &self.change_counter.to_le_bytes(),
            &self.sum_after.0.to_le_bytes(),
            &self.raw_len.to_le_bytes(),
            &self.stored_len.to_le_bytes(),
            &self.payload_crc.to_le_bytes(),
            &self.directory_crc.to_le_bytes(),
            &self.chain.0,
        ];
        for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        out
    }
}

/// Both salts, one after the other.
fn salts_to_bytes([a, b]: [u32; 2]) -> [u8; 8] {
    (u64::from(a) | (u64::from(b) << 32)).to_le_bytes()
}

/// Cursor over a header or an entry; running out of bytes is an answer.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], BlockError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(BlockError::TooShort)?;
        self.0 = rest;
        Ok(*head)
    }
    pub fn u32(&mut self) -> Result<u32, BlockError> {
        Ok(u32::from_le_bytes(self.take()?))
    }
    pub fn u64(&mut self) -> Result<u64, BlockError> {
        Ok(u64::from_le_bytes(self.take()?))
    }
}
