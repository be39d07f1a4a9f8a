//! SQLite's wal-index, the `-shm` file: what the write-ahead log's frames are, and which locks there are
//! (<https://sqlite.org/walformat.html> §2). All numbers in it are the machine's own.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::vec::Vec;

use super::sys::{SharedMap, try_lock, try_share, unlock};
use super::wal::checksum_native;

/// Bytes of one block of the wal-index.
pub(super) const BLOCK: usize = 32_768;
/// Frames that a block indexes; the first has less room because of the header.
const FRAMES: u32 = 4_096;
const FRAMES_FIRST: u32 = FRAMES - (HEADERS as u32) / 4;
/// Slots of a block's hash table.
const SLOTS: u32 = 8_192;
/// Bytes of both header copies and the checkpoint information.
const HEADERS: usize = 136;
/// Where a block's hash table begins.
const HASH_AT: usize = 16_384;
/// Version of the format, the only one there ever was.
const VERSION: u32 = 3_007_000;

/// Where the counts of backfilled frames lie.
const BACKFILL_AT: usize = 96;
const READ_MARKS_AT: usize = 100;
const BACKFILL_ATTEMPTED_AT: usize = 128;
/// A read mark that no reader uses.
const MARK_UNUSED: u32 = u32::MAX;

/// The wal-index's locks are bytes of the `-shm` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// Held by whoever writes.
    Write,
    /// Held by whoever checkpoints.
    Checkpoint,
    /// Held shared by readers of the log, all marks but slot 0.
    ReadMarks,
    /// Held shared by every connection: who has it exclusively takes the index for a dead machine's, and empties it.
    Open,
}

impl Lock {
    fn bytes(self) -> (i64, i64) {
        match self {
            Self::Write => (120, 1),
            Self::Checkpoint => (121, 1),
            Self::ReadMarks => (124, 4),
            Self::Open => (128, 1),
        }
    }
}

/// One copy of the wal-index header, checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct IndexHeader {
    /// Whether the log's checksums read words big-endian.
    pub big_endian: bool,
    /// Counts commits.
    pub change: u32,
    /// Bytes a page; 0 while the log was never written.
    pub page_size: u32,
    /// The last published frame.
    pub max_frame: u32,
    /// Pages of the database.
    pub pages: u32,
    /// Checksum of the last published frame.
    pub frame_checksum: [u32; 2],
    /// The log's salts, as the big-endian numbers that its header holds.
    pub salts: [u32; 2],
}

impl IndexHeader {
    fn from_words(words: &[u32; 12]) -> Option<Self> {
        let [info0, info1, size_low, size_high] = words[3].to_ne_bytes();
        if words[0] != VERSION
            || info0 != 1
            || checksum_native(words[..10].iter().copied()) != [words[10], words[11]]
        {
            return None;
        }
        let size = u32::from(u16::from_ne_bytes([size_low, size_high]));
        Some(Self {
            big_endian: info1 != 0,
            change: words[2],
            // 65,536 does not fit: SQLite stores 1.
            page_size: (size & 0xfe00) | ((size & 1) << 16),
            max_frame: words[4],
            pages: words[5],
            frame_checksum: [words[6], words[7]],
            salts: [words[8], words[9]].map(|raw| u32::from_be_bytes(raw.to_ne_bytes())),
        })
    }

    fn to_words(self) -> [u32; 12] {
        let size = ((self.page_size & 0xff00) | (self.page_size >> 16)) as u16;
        let [low, high] = size.to_ne_bytes();
        let salts = self.salts.map(|salt| u32::from_ne_bytes(salt.to_be_bytes()));
        let mut words = [
            VERSION,
            0,
            self.change,
            u32::from_ne_bytes([1, u8::from(self.big_endian), low, high]),
            self.max_frame,
            self.pages,
            self.frame_checksum[0],
            self.frame_checksum[1],
            salts[0],
            salts[1],
            0,
            0,
        ];
        let sum = checksum_native(words[..10].iter().copied());
        words[10] = sum[0];
        words[11] = sum[1];
        words
    }
}

/// The `-shm` file, opened beside SQLite's own connections. It stays open as long as they do.
pub(super) struct Shm {
    file: File,
    /// Its first page: both headers and the checkpoint information.
    head: SharedMap,
}

impl Shm {
    /// Takes the `-shm` file of a database that a connection of ours has open in WAL mode. Who does not write maps it read-only.
    pub fn new(file: File, writable: bool) -> io::Result<Self> {
        let head = SharedMap::new(&file, 0, 4_096, writable)?;
        Ok(Self { file, head })
    }

    /// Tries to take `lock` exclusively; never waits.
    pub fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        let (start, len) = lock.bytes();
        try_lock(&self.file, start, len)
    }

    /// Tries to take `lock` shared.
    pub fn try_share(&self, lock: Lock) -> io::Result<bool> {
        let (start, len) = lock.bytes();
        try_share(&self.file, start, len)
    }

    /// The same file, and the same locks, once more.
    pub fn try_clone(&self) -> io::Result<Self> {
        Self::new(self.file.try_clone()?, true)
    }

    /// Which file it is: device and inode.
    pub fn id(&self) -> io::Result<(u64, u64)> {
        let meta = self.file.metadata()?;
        Ok((meta.dev(), meta.ino()))
    }

    /// Releases `lock`.
    pub fn unlock(&self, lock: Lock) -> io::Result<()> {
        let (start, len) = lock.bytes();
        unlock(&self.file, start, len)
    }

    /// The header as published: both copies equal and the checksum right. `None` while somebody is writing it, or when a writer
    /// died in that.
    pub fn header(&self) -> Option<IndexHeader> {
        let copy = |from: usize| -> [u32; 12] { std::array::from_fn(|i| self.head.load(from + i * 4)) };
        let first = copy(0);
        SharedMap::barrier();
        let second = copy(48);
        (first == second)
            .then(|| IndexHeader::from_words(&first))
            .flatten()
    }

    /// Whether the published header is, word for word, `header`.
    pub fn is_at(&self, header: &IndexHeader) -> bool {
        self.header().as_ref() == Some(header)
    }

    /// Frames that a checkpoint has moved into the main file.
    pub fn backfilled(&self) -> u32 {
        self.head.load(BACKFILL_AT)
    }

    // Writing, under the WRITE lock only.

    /// Publishes `header`: the second copy, a barrier, then the first, so that no reader takes half of it.
    pub fn publish(&self, header: IndexHeader) {
        let words = header.to_words();
        SharedMap::barrier();
        for (i, word) in words.into_iter().enumerate() {
            self.head.store(48 + i * 4, word);
        }
        SharedMap::barrier();
        for (i, word) in words.into_iter().enumerate() {
            self.head.store(i * 4, word);
        }
        SharedMap::barrier();
    }

    /// Publishes an empty log. Also needs CHECKPOINT and the read marks. Nothing counts as backfilled any more *before* the
    /// header says so: who dies in between leaves frames to be backfilled twice, not frames that are never looked at.
    pub fn publish_restart(&self, header: IndexHeader) {
        self.head.store(BACKFILL_AT, 0);
        self.head.store(BACKFILL_ATTEMPTED_AT, 0);
        self.publish(header);
        self.head.store(READ_MARKS_AT + 4, 0);
        for mark in 2..5 {
            self.head.store(READ_MARKS_AT + mark * 4, MARK_UNUSED);
        }
    }
}

/// The part of the wal-index that says which page each frame holds, mapped for writing as far as it was needed.
#[derive(Default)]
pub(super) struct IndexWriter {
    blocks: Vec<SharedMap>,
}

impl IndexWriter {
    /// Enters page `page` for frame `frame`, which is the one after the last published or entered.
    pub fn enter(&mut self, shm: &Shm, frame: u32, page: u32) -> io::Result<()> {
        let (number, zero) = block_of(frame);
        self.map(shm, number)?;
        let block = &self.blocks[number];
        let pages_at = if number == 0 { HEADERS } else { 0 };
        let index = frame - zero;
        let page_at = |index: u32| pages_at + (index as usize - 1) * 4;
        if index == 1 {
            for at in (pages_at..BLOCK).step_by(4) {
                block.store(at, 0);
            }
        }
        if block.load(page_at(index)) != 0 {
            // A writer left entries beyond what was published: it died, or rolled a spilled transaction back.
            let limit = index - 1;
            for slot in 0..SLOTS {
                let at = HASH_AT + slot as usize * 2;
                if u32::from(block.load_half(at)) > limit {
                    block.store_half(at, 0);
                }
            }
            for at in (pages_at + limit as usize * 4..HASH_AT).step_by(4) {
                block.store(at, 0);
            }
        }
        block.store(page_at(index), page);
        let mut slot = page.wrapping_mul(383) % SLOTS;
        for _ in 0..SLOTS {
            let at = HASH_AT + slot as usize * 2;
            if block.load_half(at) == 0 {
                block.store_half(at, index as u16);
                return Ok(());
            }
            slot = (slot + 1) % SLOTS;
        }
        Err(io::Error::other("the wal-index's hash table is full"))
    }

    /// Maps blocks up to `number`, and makes the file long enough.
    fn map(&mut self, shm: &Shm, number: usize) -> io::Result<()> {
        while self.blocks.len() <= number {
            let offset = (self.blocks.len() * BLOCK) as u64;
            let end = offset + BLOCK as u64;
            if shm.file.metadata()?.len() < end {
                shm.file.set_len(end)?;
            }
            self.blocks.push(SharedMap::new(&shm.file, offset, BLOCK, true)?);
        }
        Ok(())
    }
}

/// The block that indexes `frame`, and the frame before its first.
fn block_of(frame: u32) -> (usize, u32) {
    let number = (frame + FRAMES - FRAMES_FIRST - 1) / FRAMES;
    let zero = match number {
        0 => 0,
        n => FRAMES_FIRST + (n - 1) * FRAMES,
    };
    (number as usize, zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_lie_in_blocks_as_sqlite_has_them() {
        assert_eq!(block_of(1), (0, 0));
        assert_eq!(block_of(4_062), (0, 0));
        assert_eq!(block_of(4_063), (1, 4_062));
        assert_eq!(block_of(8_158), (1, 4_062));
        assert_eq!(block_of(8_159), (2, 8_158));
    }

    #[test]
    fn header_words_come_back() {
        for page_size in [512, 4_096, 32_768, 65_536] {
            let header = IndexHeader {
                big_endian: false,
                change: 7,
                page_size,
                max_frame: 9,
                pages: 3,
                frame_checksum: [1, 2],
                salts: [0x0102_0304, 0x0506_0708],
            };
            let words = header.to_words();
            assert_eq!(IndexHeader::from_words(&words), Some(header));
            for at in [0, 2, 3, 4, 9, 10, 11] {
                let mut bad = words;
                bad[at] ^= 1;
                assert_eq!(IndexHeader::from_words(&bad), None);
            }
        }
    }
}
