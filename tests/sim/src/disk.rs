//! A storage in memory with what a real one has: a volatile half and a durable half, and time between them.
//!
//! A *row* is one commit; the database's file is its rows in pages of eight, and the log holds one block for each row. What is handed
//! over waits in [`Disk::queue`] until the medium has it; a crash loses what is still there, or a part of it. A block carries the chain before it, the sum of the
//! file before and after it, and a checksum, so that a block in the wrong place, a damaged one and a file that is not what it
//! should be are all noticed.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use dbmirror_core::crypto::{Hash, Provider, rustcrypto::RustCrypto};
use dbmirror_core::endpoint::Ticket;
use dbmirror_core::message::{
    Chain, DatabaseSum, FamilyGuid, ForkId, LogEnd, Position, SessionGuid, Timeline, Timelines,
};
use dbmirror_core::session::{
    BlockChunk, BlockRead, DatabaseId, SeedInfo, SeedOpen, SeedRead, Storage, StorageError, Stored,
};
use dbmirror_core::time::Duration;

use crate::dice::mix;
use crate::plan::DriverBug;

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

fn read_u64(bytes: &[u8], at: usize) -> u64 {
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
fn checksum(bytes: &[u8]) -> u32 {
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
    partial: Option<(Position, Vec<u8>)>,
    snapshot: Option<(LogEnd, Vec<u8>, u64)>,
    incoming: Option<(SeedInfo, Vec<u8>)>,
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
    fn check(&self, position: Position, bytes: &[u8], lax: bool) -> Result<Chain, StorageError> {
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

    fn forget_volatile(&mut self) {
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

/// A change of the store of session records.
#[derive(Clone, Debug)]
pub enum RecordChange {
    /// The database's record is now this.
    Live(DatabaseId, Vec<u8>),
    /// It has none any more; this is its tombstone.
    Ended(DatabaseId, SessionGuid, Vec<u8>),
    /// It has none any more.
    Removed(DatabaseId),
    /// What is kept as a witness of that session; what was kept of another goes.
    Witness(SessionGuid, Vec<u8>, Option<SessionGuid>),
    /// Nothing is kept of it any more.
    WitnessRemoved(SessionGuid),
}

/// Something that was handed over.
#[derive(Clone, Debug)]
pub enum Write {
    /// A record, to be confirmed by its ticket.
    Record(Ticket, RecordChange),
    /// The log up to that end.
    Log(DatabaseId, LogEnd),
    /// The mirror's tail up to that end, log and file.
    Adopted(DatabaseId, LogEnd),
    /// Bytes of a seed.
    SeedBytes(DatabaseId, u64),
    /// A whole seed, to be put in the database's place.
    Seed(DatabaseId, Box<SeedInfo>, Vec<u8>),
    /// Nothing: the answer to the writer is a failure.
    Failed(DatabaseId, StorageError),
}

/// What is on its way to the medium.
#[derive(Clone, Debug)]
pub struct Pending {
    /// When it was handed over.
    pub issued: u64,
    /// When the medium has it, if nothing holds it up.
    pub due: u64,
    /// What.
    pub write: Write,
}

/// How the medium behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Medium {
    /// As it should.
    #[default]
    Healthy,
    /// So many times slower.
    Slow(u64),
    /// Nothing becomes durable.
    Hung,
    /// A sync has failed: nothing is claimed any more until a restart has read the medium again.
    Failed,
}

/// All that an instance stores.
#[derive(Debug, Default)]
pub struct Disk {
    /// Its databases.
    pub dbs: BTreeMap<DatabaseId, Db>,
    /// Durable session records.
    pub records: BTreeMap<DatabaseId, Vec<u8>>,
    /// Durable tombstones.
    pub tombstones: BTreeMap<SessionGuid, Vec<u8>>,
    /// What is kept as a witness.
    pub witnessed: BTreeMap<SessionGuid, Vec<u8>>,
    /// On its way.
    pub queue: VecDeque<Pending>,
    /// The medium.
    pub medium: Medium,
    /// What a healthy medium takes for a sync, in microseconds.
    pub latency: u64,
    /// Blocks and seeds are refused with this.
    pub refuse: Option<StorageError>,
    /// A snapshot is not there at once.
    pub slow_seed: bool,
    /// Snapshots that were asked for and are being prepared.
    pub opening: Vec<DatabaseId>,
    /// A tail is never taken over.
    pub never_adopt: bool,
    /// Set before each call: the world's time.
    pub now: u64,
    /// Mirrors that may have something to redo.
    pub redo_wanted: Vec<DatabaseId>,
    /// Planted: what breaks the storage's promises.
    pub bug: Option<DriverBug>,
    /// Planted: what was told before it was so.
    pub early: Vec<Write>,
    /// Planted: the records before the last ones.
    pub older: BTreeMap<DatabaseId, Vec<u8>>,
    /// Durable sessions by guid.
    pub known: BTreeMap<SessionGuid, (DatabaseId, Stored)>,
}

impl Disk {
    /// The database.
    #[must_use]
    pub fn db(&self, database: DatabaseId) -> Option<&Db> {
        self.dbs.get(&database)
    }

    fn get(&mut self, database: DatabaseId) -> Result<&mut Db, StorageError> {
        self.dbs.get_mut(&database).ok_or(StorageError::Unavailable)
    }

    /// Hands something over.
    pub fn hand_over(&mut self, write: Write) {
        let factor = match self.medium {
            Medium::Slow(factor) => factor,
            Medium::Healthy | Medium::Hung | Medium::Failed => 1,
        };
        let took = self.latency * factor + mix(self.now ^ self.queue.len() as u64) % (self.latency + 1);
        let last = self.queue.back().map_or(0, |pending| pending.due);
        if self.bug == Some(DriverBug::AckBeforeSync) && matches!(write, Write::Log(..)) {
            self.early.push(write.clone());
        }
        self.queue.push_back(Pending {
            issued: self.now,
            due: last.max(self.now + took),
            write,
        });
    }

    /// When the next thing becomes durable.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        match self.medium {
            Medium::Healthy | Medium::Slow(_) => self.queue.front().map(|pending| pending.due),
            Medium::Failed if self.bug == Some(DriverBug::RetrySync) => {
                self.queue.front().map(|pending| pending.due)
            }
            Medium::Hung | Medium::Failed => None,
        }
    }

    /// Takes what has become durable by `now`, and makes it so.
    pub fn confirm(&mut self, now: u64) -> Option<Write> {
        if self.due()? > now {
            return None;
        }
        let pending = self.queue.pop_front()?;
        if self.medium != Medium::Failed {
            self.apply(&pending.write);
        }
        Some(pending.write)
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::Record(_, change) => match change {
                RecordChange::Live(database, record) => {
                    if let Ok(stored) = Stored::decode(record) {
                        if stored.incomplete
                            && let Some(db) = self.dbs.get_mut(database)
                        {
                            db.lost = false;
                        }
                        self.known.retain(|_, (known, _)| known != database);
                        self.known.insert(stored.guid, (*database, stored));
                    }
                    if let Some(before) = self.records.insert(*database, record.clone()) {
                        self.older.insert(*database, before);
                    }
                }
                RecordChange::Ended(database, guid, record) => {
                    self.known.retain(|_, (known, _)| known != database);
                    if let Ok(stored) = Stored::decode(record)
                        && let Some(db) = self.dbs.get_mut(database)
                        && stored.timelines.last().is_some()
                    {
                        db.timelines = stored.timelines;
                    }
                    self.records.remove(database);
                    self.tombstones.insert(*guid, record.clone());
                }
                RecordChange::Witness(guid, record, replaces) => {
                    if let Some(replaces) = replaces {
                        self.witnessed.remove(replaces);
                    }
                    self.witnessed.insert(*guid, record.clone());
                }
                RecordChange::WitnessRemoved(guid) => {
                    self.witnessed.remove(guid);
                }
                RecordChange::Removed(database) => {
                    self.known.retain(|_, (known, _)| known != database);
                    self.records.remove(database);
                }
            },
            Write::Log(database, end) | Write::Adopted(database, end) => {
                let adopt = matches!(write, Write::Adopted(..));
                if let Some(db) = self.dbs.get_mut(database) {
                    let count = db.blocks.iter().rposition(|block| block.position == end.position);
                    db.durable = db.durable.max(count.map_or(0, |index| index + 1));
                    db.ever_durable = db.ever_durable.max(end.position.sequence);
                    while adopt && db.rows.len() < db.base_rows + db.durable && db.redo() == Ok(Redo::Done) {}
                }
            }
            Write::Seed(database, info, bytes) => {
                if let Some(db) = self.dbs.get_mut(database) {
                    db.rows = bytes.chunks(8).map(|word| read_u64(word, 0)).collect();
                    db.base = info.at;
                    db.lost = false;
                    db.base_rows = db.rows.len();
                    db.captured = db.rows.len();
                    db.blocks.clear();
                    db.durable = 0;
                    db.timelines = info.timelines;
                    db.ever_durable = db.ever_durable.max(info.at.position.sequence);
                }
            }
            Write::SeedBytes(..) | Write::Failed(..) => {}
        }
    }

    /// The process dies: what the medium was handed stays, since the machine goes on.
    pub fn kill(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        let failed = self.medium == Medium::Failed;
        for pending in queue {
            let lives = !matches!(
                pending.write,
                Write::SeedBytes(..) | Write::Seed(..) | Write::Failed(..)
            );
            if lives && !failed {
                self.apply(&pending.write);
            }
        }
        self.lose();
    }

    /// The machine loses its power: of what was not durable the first `keep` writes survive, and a block after them is torn.
    pub fn lose_power(&mut self, keep: usize) {
        let queue = std::mem::take(&mut self.queue);
        for pending in queue.into_iter().take(keep) {
            if !matches!(
                pending.write,
                Write::SeedBytes(..) | Write::Seed(..) | Write::Failed(..)
            ) {
                self.apply(&pending.write);
            }
        }
        self.lose();
    }

    fn lose(&mut self) {
        self.refuse = None;
        self.medium = Medium::Healthy;
        self.opening.clear();
        self.redo_wanted.clear();
        for db in self.dbs.values_mut() {
            // A torn block is found by its checksum when the log is opened, and the log is cut there.
            db.cut(db.durable);
            db.forget_volatile();
        }
    }

    /// Another copy takes a database's place, with a log of its own: what was on its way into the old one is nobody's any more.
    pub fn replace(&mut self, database: DatabaseId, db: Db) {
        self.queue.retain(|pending| match pending.write {
            Write::Log(of, _)
            | Write::Adopted(of, _)
            | Write::Seed(of, ..)
            | Write::SeedBytes(of, _)
            | Write::Failed(of, _) => of != database,
            Write::Record(..) => true,
        });
        self.dbs.insert(database, db);
    }

    /// A bit of a stored block flips. Whether there was one.
    pub fn rot(&mut self, database: DatabaseId, back: usize, bit: usize) -> bool {
        let Some(db) = self.dbs.get_mut(&database) else {
            return false;
        };
        let Some(index) = db.durable.checked_sub(1 + back) else {
            return false;
        };
        let Some(block) = db.blocks.get_mut(index) else {
            return false;
        };
        let mut bytes = block.bytes.clone();
        let at = bit % (bytes.len() * 8);
        bytes[at / 8] ^= 1 << (at % 8);
        *block = Rc::new(Block {
            position: block.position,
            bytes,
            chain: block.chain,
        });
        true
    }

    /// Reads every block again, as an instance does when it starts: a log ends before damage. How many blocks that cost.
    pub fn open(&mut self) -> usize {
        let mut lost = 0;
        let claims = self.bug == Some(DriverBug::ClaimLost);
        for db in self.dbs.values_mut() {
            let good = db
                .blocks
                .iter()
                .position(|block| block.is_damaged())
                .unwrap_or(db.blocks.len());
            lost += db.blocks.len() - good;
            db.claimed = claims.then(|| db.end());
            // A start that dies before the session has kept that would find the log already cut.
            db.lost |= good < db.blocks.len();
            db.cut(good);
            if !db.online {
                // A mirror's file is put back to where its log ends.
                let rows = db.log_rows();
                db.rows.truncate(rows);
            }
            db.decided = Position::START;
        }
        lost
    }

    fn take(
        &mut self,
        database: DatabaseId,
        at: BlockChunk,
        bytes: &[u8],
        adopt: bool,
    ) -> Result<(), StorageError> {
        if let Some(error) = self.refuse {
            return Err(error);
        }
        if self.medium == Medium::Failed {
            return Err(StorageError::Failed);
        }
        let never = self.never_adopt && adopt;
        let lax = self.bug == Some(DriverBug::WrongChain);
        let db = self.get(database)?;
        if never {
            return Err(StorageError::CannotAdopt);
        }
        if at.offset == 0 {
            db.partial = Some((at.position, Vec::new()));
        }
        let (position, partial) = db.partial.as_mut().ok_or(StorageError::Corrupt)?;
        if *position != at.position || partial.len() != at.offset as usize {
            db.partial = None;
            return Err(StorageError::Corrupt);
        }
        partial.extend_from_slice(bytes);
        if !at.ends_with(bytes.len()) {
            return Ok(());
        }
        let (position, bytes) = db.partial.take().ok_or(StorageError::Corrupt)?;
        let chain = db.check(position, &bytes, lax)?;
        if adopt {
            let row = read_u64(&bytes, 0);
            let here = db.rows.get(db.log_rows());
            if here.is_some_and(|here| *here != row) {
                return Err(StorageError::CannotAdopt);
            }
        }
        db.blocks.push(Rc::new(Block {
            position,
            bytes,
            chain,
        }));
        let end = db.end();
        self.hand_over(if adopt {
            Write::Adopted(database, end)
        } else {
            Write::Log(database, end)
        });
        Ok(())
    }
}

impl Storage for Disk {
    fn chain_at(&mut self, database: DatabaseId, position: Position) -> Result<Option<Chain>, StorageError> {
        let found = self.get(database)?.chain(position.sequence);
        Ok(found.filter(|(at, _)| *at == position).map(|(_, chain)| chain))
    }

    fn read_block(
        &mut self,
        database: DatabaseId,
        position: Position,
        offset: u32,
        out: &mut [u8],
    ) -> Result<BlockRead, StorageError> {
        let block = self
            .get(database)?
            .block(position.sequence)
            .ok_or(StorageError::Gone)?;
        if block.position != position {
            return Err(StorageError::Gone);
        }
        if offset == 0 && block.is_damaged() {
            return Err(StorageError::Corrupt);
        }
        let rest = block.bytes.get(offset as usize..).ok_or(StorageError::Corrupt)?;
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        Ok(BlockRead {
            len,
            total: block.bytes.len() as u32,
        })
    }

    fn write_block(
        &mut self,
        database: DatabaseId,
        at: BlockChunk,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        self.take(database, at, bytes, false)?;
        self.decided(database, at.decided);
        Ok(())
    }

    fn adopt_block(
        &mut self,
        database: DatabaseId,
        at: BlockChunk,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        self.take(database, at, bytes, true)
    }

    fn decided(&mut self, database: DatabaseId, position: Position) {
        if let Some(db) = self.dbs.get_mut(&database)
            && position.sequence > db.decided.sequence
        {
            db.decided = position;
            self.redo_wanted.push(database);
        }
    }

    fn seed_open(&mut self, database: DatabaseId) -> Result<SeedOpen, StorageError> {
        if self.medium == Medium::Failed {
            return Err(StorageError::Failed);
        }
        if std::mem::take(&mut self.slow_seed) || self.opening.contains(&database) {
            self.opening.push(database);
            return Ok(SeedOpen::Pending);
        }
        let db = self.get(database)?;
        // The snapshot is of what the durable log covers.
        let rows = &db.rows[..(db.base_rows + db.durable).min(db.rows.len())];
        let bytes: Vec<u8> = rows.iter().flat_map(|row| row.to_le_bytes()).collect();
        let info = SeedInfo {
            at: db.durable_end(),
            timelines: Timelines::EMPTY,
            page_size: (PAGE_ROWS * 8) as u32,
            bytes: bytes.len() as u64,
        };
        db.snapshot = Some((info.at, bytes, sum_of(rows)));
        Ok(SeedOpen::Ready(info))
    }

    fn seed_read(
        &mut self,
        database: DatabaseId,
        offset: u64,
        out: &mut [u8],
    ) -> Result<SeedRead, StorageError> {
        let (_, bytes, sum) = self
            .get(database)?
            .snapshot
            .as_ref()
            .ok_or(StorageError::Unavailable)?;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(SeedRead::End(DatabaseSum(*sum)));
        }
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        Ok(SeedRead::Bytes(len))
    }

    fn seed_close(&mut self, database: DatabaseId) {
        self.opening.retain(|open| *open != database);
        if let Some(db) = self.dbs.get_mut(&database) {
            db.snapshot = None;
        }
    }

    fn seed_begin(&mut self, database: DatabaseId, seed: SeedInfo) -> Result<(), StorageError> {
        if let Some(error) = self.refuse {
            return Err(error);
        }
        if self.medium == Medium::Failed {
            return Err(StorageError::Failed);
        }
        let db = self.get(database)?;
        db.partial = None;
        db.incoming = Some((seed, Vec::new()));
        Ok(())
    }

    fn seed_write(&mut self, database: DatabaseId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        if let Some(error) = self.refuse {
            return Err(error);
        }
        let (_, have) = self
            .get(database)?
            .incoming
            .as_mut()
            .ok_or(StorageError::Unavailable)?;
        if have.len() as u64 != offset {
            return Err(StorageError::Corrupt);
        }
        have.extend_from_slice(bytes);
        let upto = have.len() as u64;
        self.hand_over(Write::SeedBytes(database, upto));
        Ok(())
    }

    fn seed_finish(
        &mut self,
        database: DatabaseId,
        seed: SeedInfo,
        sum: DatabaseSum,
    ) -> Result<(), StorageError> {
        let (begun, bytes) = self
            .get(database)?
            .incoming
            .take()
            .ok_or(StorageError::Unavailable)?;
        if begun != seed {
            return Err(StorageError::Corrupt);
        }
        let rows: Vec<u64> = bytes.chunks(8).map(|word| read_u64(word, 0)).collect();
        self.hand_over(if DatabaseSum(sum_of(&rows)) == sum {
            Write::Seed(database, Box::new(seed), bytes)
        } else {
            Write::Failed(database, StorageError::Corrupt)
        });
        Ok(())
    }

    fn seed_abort(&mut self, database: DatabaseId) {
        if let Some(db) = self.dbs.get_mut(&database) {
            db.incoming = None;
        }
    }

    fn ended(&mut self, guid: SessionGuid, out: &mut [u8]) -> Option<usize> {
        let record = self.tombstones.get(&guid)?;
        out.get_mut(..record.len())?.copy_from_slice(record);
        Some(record.len())
    }

    fn progress_age(&mut self) -> Duration {
        Duration::from_micros(self.queue.front().map_or(0, |pending| self.now - pending.issued))
    }
}
