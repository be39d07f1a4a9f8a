//! A database in memory: its file, and its log.
//!
//! A *row* is one commit; the file is its rows in pages of eight, and the log holds one block for each row. A block carries the chain before
//! it, the sum of the file before and after it, and a checksum, so that a block in the wrong place, a damaged one and a file that is not what
//! it should be are all noticed.

use std::rc::Rc;

use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{Hash, Provider};
use dbmirror_core::message::{Chain, FamilyGuid, ForkId, LogEnd, Position, Timeline, Timelines};
use dbmirror_core::session::{SeedInfo, StorageError};

use crate::dice::mix;

/// Rows of a page.
pub const PAGE_ROWS: usize = 8;
/// Bytes of a block before its filler.
const BLOCK_HEAD: usize = 44;

/// A block as stored.
#[derive(Debug)]
pub struct Block {
    /// Where it lies.
    pub position: Position,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The chain after it.
    pub chain: Chain,
}

impl Block {
    /// The row that it brings.
    #[must_use]
    pub fn row(&self) -> u64 {
        read_u64(&self.bytes, 0)
    }

    /// Whether a bit of it has flipped since it was stored.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        let (body, sum) = self.bytes.split_at(self.bytes.len() - 4);
        checksum(body).to_le_bytes() != *sum
    }
}

pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    if let Some(from) = bytes.get(at..at + 8) {
        out.copy_from_slice(from);
    }
    u64::from_le_bytes(out)
}

/// Length of the block that brings `row`: mostly small, now and then larger than a record, rarely larger than the room of a connection.
fn block_len(row: u64) -> usize {
    let look = mix(row ^ 0x51);
    match look % 64 {
        0 => 20_000 + (look >> 8) as usize % 60_000,
        1..=5 => 1_000 + (look >> 8) as usize % 16_000,
        _ => BLOCK_HEAD + 4 + (look >> 8) as usize % 300,
    }
}

/// The chain after `bytes`.
#[must_use]
pub fn chain_after(before: Chain, bytes: &[u8]) -> Chain {
    let mut hash = <RustCrypto as Provider>::Sha256::new();
    hash.update(&before.0);
    hash.update(bytes);
    let mut chain = [0; 16];
    chain.copy_from_slice(&hash.finish()[..16]);
    Chain(chain)
}

/// A checksum that notices a flipped bit anywhere.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = 0x811c_9dc5_u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = mix(sum ^ u64::from_le_bytes(word));
    }
    sum as u32
}

/// The sum of a file with one more row at `index`.
#[must_use]
pub fn sum_with(sum: u64, index: usize, row: u64) -> u64 {
    sum ^ mix(row.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// The sum of a file.
#[must_use]
pub fn sum_of(rows: &[u64]) -> u64 {
    rows.iter()
        .enumerate()
        .fold(0, |sum, (index, row)| sum_with(sum, index, *row))
}

/// What came of redoing the next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redo {
    /// It is in the file.
    Done,
    /// There was none.
    Nothing,
    /// It cannot be read any more.
    Damaged,
}

/// One database of one instance: log and file.
#[derive(Clone, Debug, Default)]
pub struct Db {
    /// Its family.
    pub family: FamilyGuid,
    /// The log begins after this.
    pub base: LogEnd,
    /// Rows of the file there.
    pub base_rows: usize,
    /// The log.
    pub blocks: Vec<Rc<Block>>,
    /// How many of the blocks are durable.
    pub durable: usize,
    /// The history as this instance knows it: a principal's.
    pub timelines: Timelines,
    /// The file: a principal's as applications wrote it, a mirror's as far as it was redone.
    pub rows: Vec<u64>,
    /// Rows whose blocks the capture has made once: others can still be captured after a loss of log, these perhaps not.
    pub captured: usize,
    /// Everything up to here may be redone.
    pub decided: Position,
    /// The highest end that ever was durable here, for each fork: what was claimed must not lie beyond.
    pub ever_durable: u64,
    /// The file is written by applications here, and captured when the session allows it.
    pub online: bool,
    /// The next capture finds commits that cannot be captured any more.
    pub force_gap: bool,
    /// Blocks that were durable were found damaged when this storage was opened, and nobody keeps a note of that but the session.
    pub lost: bool,
    /// Planted: the end of log that is told at the start, whatever was found.
    pub claimed: Option<LogEnd>,
    pub(crate) partial: Option<(Position, Vec<u8>)>,
    pub(crate) snapshot: Option<(LogEnd, Vec<u8>, u64)>,
    pub(crate) incoming: Option<(SeedInfo, Vec<u8>)>,
}

impl Db {
    /// One that holds nothing.
    #[must_use]
    pub fn of(family: FamilyGuid) -> Self {
        Self {
            family,
            ..Self::default()
        }
    }

    /// The end of the log, durable or not.
    #[must_use]
    pub fn end(&self) -> LogEnd {
        self.end_at(self.blocks.len())
    }

    /// The end of what is durable.
    #[must_use]
    pub fn durable_end(&self) -> LogEnd {
        self.end_at(self.durable)
    }

    fn end_at(&self, count: usize) -> LogEnd {
        count
            .checked_sub(1)
            .and_then(|last| self.blocks.get(last))
            .map_or(self.base, |block| LogEnd {
                position: block.position,
                chain: block.chain,
            })
    }

    /// Rows that the log brings the file to.
    #[must_use]
    pub fn log_rows(&self) -> usize {
        self.base_rows + self.blocks.len()
    }

    /// The block with that sequence number.
    #[must_use]
    pub fn block(&self, sequence: u64) -> Option<&Rc<Block>> {
        let index = sequence
            .checked_sub(self.base.position.sequence)?
            .checked_sub(1)?;
        self.blocks.get(usize::try_from(index).ok()?)
    }

    /// The chain at a sequence number that the log holds.
    #[must_use]
    pub fn chain(&self, sequence: u64) -> Option<(Position, Chain)> {
        if sequence == self.base.position.sequence {
            return Some((self.base.position, self.base.chain));
        }
        self.block(sequence).map(|block| (block.position, block.chain))
    }

    /// Rows of the log that are not in the file yet.
    pub fn undone_rows(&self) -> impl Iterator<Item = u64> + '_ {
        let done = self.rows.len().saturating_sub(self.base_rows);
        self.blocks.iter().skip(done).map(|block| block.row())
    }

    /// The file in pages.
    #[must_use]
    pub fn pages(&self) -> Vec<Vec<u64>> {
        self.rows.chunks(PAGE_ROWS).map(<[u64]>::to_vec).collect()
    }

    /// Goes on in a new timeline after the end of the log.
    pub fn begin_timeline(&mut self, fork: u64) -> Timeline {
        let end = self.end();
        let timeline = Timeline {
            number: self.timelines.last().map_or(1, |t| t.number + 1),
            fork: ForkId(fork),
            first: end.position.sequence + 1,
            chain_before: end.chain,
        };
        let _ = self.timelines.fork(timeline);
        timeline
    }

    /// Commits were made that nobody captured: the log begins anew, one number further, with a chain that follows from nothing.
    pub fn begin_log(&mut self, fork: u64) -> Timeline {
        let old = self.end();
        let timeline = self.begin_timeline(fork);
        let mut chain = [0; 16];
        chain[..8].copy_from_slice(&mix(fork).to_le_bytes());
        chain[8..].copy_from_slice(&fork.to_le_bytes());
        self.base = LogEnd {
            position: Position {
                timeline: timeline.number,
                sequence: old.position.sequence + 1,
            },
            chain: Chain(chain),
        };
        self.base_rows = self.rows.len();
        self.captured = self.rows.len();
        self.blocks.clear();
        self.durable = 0;
        self.ever_durable = self.ever_durable.max(self.base.position.sequence);
        timeline
    }

    /// Makes a block of the file's next row that the log does not hold yet.
    pub fn capture_next(&mut self) -> Option<LogEnd> {
        let index = self.log_rows();
        let row = *self.rows.get(index)?;
        let end = self.end();
        let position = self.timelines.locate(end.position.sequence + 1)?;
        let before = sum_of(&self.rows[..index]);
        let after = sum_with(before, index, row);
        let mut bytes = Vec::with_capacity(block_len(row));
        bytes.extend_from_slice(&row.to_le_bytes());
        bytes.extend_from_slice(&end.chain.0);
        bytes.extend_from_slice(&before.to_le_bytes());
        bytes.extend_from_slice(&after.to_le_bytes());
        bytes.extend_from_slice(&position.timeline.to_le_bytes());
        bytes.resize(block_len(row) - 4, row as u8);
        bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
        let chain = chain_after(end.chain, &bytes);
        self.blocks.push(Rc::new(Block {
            position,
            bytes,
            chain,
        }));
        self.captured = self.captured.max(self.log_rows());
        Some(self.end())
    }

    /// Checks a block that is to follow the log's end.
    pub(crate) fn check(&self, position: Position, bytes: &[u8], lax: bool) -> Result<Chain, StorageError> {
        let end = self.end();
        let split = bytes.len().checked_sub(4).ok_or(StorageError::Corrupt)?;
        let (body, sum) = bytes.split_at(split);
        if body.len() < BLOCK_HEAD || checksum(body).to_le_bytes() != *sum {
            return Err(StorageError::Corrupt);
        }
        if (body[8..24] != end.chain.0 && !lax)
            || position.sequence != end.position.sequence + 1
            || position.timeline < end.position.timeline
        {
            return Err(StorageError::Chain);
        }
        if body[40..44] != position.timeline.to_le_bytes() {
            return Err(StorageError::Corrupt);
        }
        Ok(chain_after(end.chain, bytes))
    }

    /// Redoes one block into the file. `Err`: the file is not what the block says that it follows.
    pub fn redo(&mut self) -> Result<Redo, String> {
        let Some(index) = self.rows.len().checked_sub(self.base_rows) else {
            return Err("the file ends before its log begins".into());
        };
        let Some(block) = self.blocks.get(index).cloned() else {
            return Ok(Redo::Nothing);
        };
        if block.is_damaged() {
            return Ok(Redo::Damaged);
        }
        let (before, after) = (read_u64(&block.bytes, 24), read_u64(&block.bytes, 32));
        let have = sum_of(&self.rows);
        if have != before {
            return Err(format!(
                "redo of {:?}: the file's sum is {have:016x}, the block follows {before:016x}",
                block.position
            ));
        }
        self.rows.push(block.row());
        if sum_of(&self.rows) != after {
            return Err(format!("redo of {:?} gives another file", block.position));
        }
        Ok(Redo::Done)
    }

    /// Redoes blocks until the file has so many rows, or the log has no more. `Ok(Redo::Damaged)`: one of them cannot be read.
    pub fn redo_to(&mut self, rows: usize) -> Result<Redo, String> {
        while self.rows.len() < rows {
            match self.redo()? {
                Redo::Done => {}
                Redo::Nothing => break,
                Redo::Damaged => return Ok(Redo::Damaged),
            }
        }
        Ok(Redo::Done)
    }

    /// Cuts the log after `count` blocks.
    pub fn cut(&mut self, count: usize) {
        self.blocks.truncate(count);
        self.durable = self.durable.min(count);
    }

    pub(crate) fn forget_volatile(&mut self) {
        self.partial = None;
        self.snapshot = None;
        self.incoming = None;
    }

    /// Whether a snapshot is being read.
    #[must_use]
    pub fn is_seeding(&self) -> bool {
        self.snapshot.is_some()
    }
}
