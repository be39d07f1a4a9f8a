//! The page directory: 24 bytes a page, page numbers rising strictly (`docs/block.md`).

use super::BlockError;
use super::header::{BlockHeader, Fields};

/// Length in bytes of one entry.
pub const ENTRY_LEN: usize = 24;
/// The same, as lengths of blocks are counted.
pub(super) const ENTRY_LEN_U64: u64 = 24;

/// What became of a page, and how the payload tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// The payload holds the new image.
    Full,
    /// The new image is all zeros; the payload holds nothing.
    Zero,
    /// The page is beyond the database's new end; the payload holds nothing.
    Dropped,
}

impl EntryKind {
    /// Whether the payload holds an image for the entry.
    #[must_use]
    pub fn has_image(self) -> bool {
        match self {
            Self::Full => true,
            Self::Zero | Self::Dropped => false,
        }
    }
}

/// One page of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEntry {
    /// The page's number, from 1.
    pub page: u32,
    /// What became of it.
    pub kind: EntryKind,
    /// Hash of the image before; 0 for a page that the database did not have.
    pub old_hash: u64,
    /// Hash of the image after; 0 for a dropped page.
    pub new_hash: u64,
}

impl PageEntry {
    /// Reads one entry.
    ///
    /// # Errors
    /// [`BlockError::BadDirectory`] for page 0, a reserved byte that is not zero, or a dropped page with a new hash;
    /// [`BlockError::Unknown`] for a kind that this code does not know (XOR, code 2, comes with its codec).
    pub fn parse(bytes: &[u8; ENTRY_LEN]) -> Result<Self, BlockError> {
        let mut from = Fields(bytes);
        let page = from.u32()?;
        let [kind, a, b, c] = from.take::<4>()?;
        let kind = match kind {
            1 => EntryKind::Full,
            3 => EntryKind::Zero,
            4 => EntryKind::Dropped,
            _ => return Err(BlockError::Unknown),
        };
        let old_hash = from.u64()?;
        let new_hash = from.u64()?;
        if page == 0 || [a, b, c] != [0; 3] || (kind == EntryKind::Dropped && new_hash != 0) {
            return Err(BlockError::BadDirectory);
        }
        Ok(Self {
            page,
            kind,
            old_hash,
            new_hash,
        })
    }

    /// The entry's bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; ENTRY_LEN] {
        let kind: u8 = match self.kind {
            EntryKind::Full => 1,
            EntryKind::Zero => 3,
            EntryKind::Dropped => 4,
        };
        let mut out = [0; ENTRY_LEN];
        let parts: [&[u8]; 4] = [
            &self.page.to_le_bytes(),
            &[kind, 0, 0, 0],
            &self.old_hash.to_le_bytes(),
            &self.new_hash.to_le_bytes(),
        ];
        for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        out
    }

    /// Whether the entry may stand in a block with `header`, after the entry for page `last` (0 for none).
    ///
    /// # Errors
    /// [`BlockError::BadDirectory`] when it may not.
    pub fn check(&self, header: &BlockHeader, last: u32) -> Result<(), BlockError> {
        let inside = match self.kind {
            EntryKind::Full | EntryKind::Zero => self.page <= header.pages_after,
            EntryKind::Dropped => self.page > header.pages_after && self.page <= header.pages_before,
        };
        let fresh = self.page <= header.pages_before || self.old_hash == 0;
        if self.page <= last || !inside || !fresh || self.page == lock_page(header.page_size) {
            return Err(BlockError::BadDirectory);
        }
        Ok(())
    }
}

/// The page that covers the byte at 1 GiB. SQLite keeps its locks there, never stores content in it, and it is no part of
/// blocks, sums or seeds.
#[must_use]
pub fn lock_page(page_size: u32) -> u32 {
    0x4000_0000_u32
        .checked_div(page_size)
        .unwrap_or(0)
        .saturating_add(1)
}
