//! Where a database file stands in its log.

use dbmirror_core::message::block::{BlockHeader, WalPlace};
use dbmirror_core::message::{Chain, DatabaseSum, LogEnd, Position};

/// Length in bytes of a stored anchor.
pub const ANCHOR_LEN: usize = 72;
/// Layout version of a stored anchor.
const VERSION: u8 = 1;

/// A file's content, fingerprinted, and the position in the log that it is the content of.
///
/// The last block of a log is its own anchor ([`Anchor::of`]), so an anchor has to be stored only where a log begins:
/// when capture starts ([`super::Tail::anchor`]) and when a seed has been installed ([`super::SeedSink::complete`]). A mirror
/// may store a newer one after a checkpoint; an older one does as long as the log still holds the blocks after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchor {
    /// The position, and the chain there.
    pub end: LogEnd,
    /// The database sum.
    pub sum: DatabaseSum,
    /// Bytes a page.
    pub page_size: u32,
    /// Pages of the database.
    pub pages: u32,
    /// Where the capture stood in the write-ahead log; zero on a mirror.
    pub wal: WalPlace,
    /// `iChange` of the wal-index there; zero on a mirror.
    pub change_counter: u32,
}

impl Anchor {
    /// What a file is after the block with `header`.
    #[must_use]
    pub fn of(header: &BlockHeader) -> Self {
        Self {
            end: LogEnd {
                position: header.position,
                chain: header.chain,
            },
            sum: header.sum_after,
            page_size: header.page_size,
            pages: header.pages_after,
            wal: header.wal,
            change_counter: header.change_counter,
        }
    }

    /// Its stored form, little-endian: version, three zero bytes, page size, timeline, pages, sequence, chain, sum, salts, frame,
    /// change counter, eight zero bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ANCHOR_LEN] {
        let mut out = [0; ANCHOR_LEN];
        let parts: [&[u8]; 11] = [
            &[VERSION, 0, 0, 0],
            &self.page_size.to_le_bytes(),
            &self.end.position.timeline.to_le_bytes(),
            &self.pages.to_le_bytes(),
            &self.end.position.sequence.to_le_bytes(),
            &self.end.chain.0,
            &self.sum.0.to_le_bytes(),
            &self.wal.salts[0].to_le_bytes(),
            &self.wal.salts[1].to_le_bytes(),
            &self.wal.frame.to_le_bytes(),
            &self.change_counter.to_le_bytes(),
        ];
        for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        out
    }

    /// Reads the stored form; `None` for another length, an unknown version, or reserved bytes that are not zero.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ANCHOR_LEN] = bytes.try_into().ok()?;
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if word(0)? != u32::from(VERSION) || long(64)? != 0 {
            return None;
        }
        Some(Self {
            page_size: word(4)?,
            end: LogEnd {
                position: Position {
                    timeline: word(8)?,
                    sequence: long(16)?,
                },
                chain: Chain(bytes.get(24..40)?.try_into().ok()?),
            },
            pages: word(12)?,
            sum: DatabaseSum(long(40)?),
            wal: WalPlace {
                salts: [word(48)?, word(52)?],
                frame: word(56)?,
            },
            change_counter: word(60)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn stored_form_is_frozen() {
        let anchor = Anchor {
            end: LogEnd {
                position: Position {
                    timeline: 3,
                    sequence: 0x1_0000_0002,
                },
                chain: Chain([7; 16]),
            },
            sum: DatabaseSum(0x1122_3344_5566_7788),
            page_size: 4096,
            pages: 10,
            wal: WalPlace {
                salts: [1, 2],
                frame: 5,
            },
            change_counter: 9,
        };
        let mut expected: Vec<u8> = std::vec![
            1, 0, 0, 0, 0, 16, 0, 0, 3, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0
        ];
        expected.extend([7; 16]);
        expected.extend([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
        expected.extend([1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0]);
        expected.extend([0; 8]);
        assert_eq!(anchor.to_bytes().as_slice(), expected);
        assert_eq!(Anchor::from_bytes(&expected), Some(anchor));
        for at in [1, 2, 3, 64, 71] {
            let mut bad = expected.clone();
            bad[at] = 1;
            assert_eq!(Anchor::from_bytes(&bad), None, "byte {at}");
        }
        assert_eq!(Anchor::from_bytes(&expected[..71]), None);
    }
}
