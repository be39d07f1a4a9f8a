//! A storage in memory. A block is eight bytes of value and padding; the database's content is the list of values.

use std::collections::{BTreeMap, VecDeque};
use std::vec::Vec;

use crate::crypto::{Hash, rustcrypto::Sha256};
use crate::message::{Chain, DatabaseSum, ForkId, LogEnd, Position, SessionGuid, Timeline, Timelines};
use crate::session::{
    BlockChunk, BlockRead, DatabaseId, SeedInfo, SeedOpen, SeedRead, Storage, StorageError,
};
use crate::time::Duration;

/// What the storage will confirm later.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Later {
    Hardened(DatabaseId, LogEnd),
    Adopted(DatabaseId, LogEnd),
    SeedWritten(DatabaseId, u64),
    SeedInstalled(DatabaseId, LogEnd),
    Failed(DatabaseId, StorageError),
}

#[derive(Clone)]
pub struct Block {
    pub position: Position,
    pub bytes: Vec<u8>,
    pub chain: Chain,
}

/// One database: log and content.
#[derive(Clone, Default)]
pub struct Db {
    pub base: LogEnd,
    pub base_content: Vec<u64>,
    pub blocks: Vec<Block>,
    /// How many of `blocks` survive a crash.
    pub hard: usize,
    partial: Option<(Position, Vec<u8>)>,
    snapshot: Option<(LogEnd, Vec<u8>)>,
    incoming: Option<(SeedInfo, Vec<u8>)>,
    pub timelines: Timelines,
    pub decided: Position,
}

pub fn chain_after(before: Chain, bytes: &[u8]) -> Chain {
    let mut hash = Sha256::new();
    hash.update(&before.0);
    hash.update(bytes);
    Chain(hash.finish()[..16].try_into().unwrap())
}

impl Db {
    pub fn end(&self) -> LogEnd {
        self.blocks.last().map_or(self.base, |b| LogEnd {
            position: b.position,
            chain: b.chain,
        })
    }

    pub fn hard_end(&self) -> LogEnd {
        self.hard.checked_sub(1).map_or(self.base, |last| LogEnd {
            position: self.blocks[last].position,
            chain: self.blocks[last].chain,
        })
    }

    pub fn content(&self) -> Vec<u64> {
        let mut out = self.base_content.clone();
        out.extend(
            self.blocks
                .iter()
                .map(|b| u64::from_le_bytes(b.bytes[..8].try_into().unwrap())),
        );
        out
    }

    pub fn begin_timeline(&mut self, fork: u64) -> Timeline {
        let end = self.end();
        let timeline = Timeline {
            number: self.timelines.last().map_or(1, |t| t.number + 1),
            fork: ForkId(fork),
            first: end.position.sequence + 1,
            chain_before: end.chain,
        };
        self.timelines.push(timeline).unwrap();
        timeline
    }

    pub fn append(&mut self, value: u64, len: usize) -> LogEnd {
        let mut bytes = value.to_le_bytes().to_vec();
        bytes.resize(len.max(8), value as u8);
        self.push(bytes);
        self.end()
    }

    fn push(&mut self, bytes: Vec<u8>) {
        let end = self.end();
        let position = self.timelines.locate(end.position.sequence + 1).unwrap();
        let chain = chain_after(end.chain, &bytes);
        self.blocks.push(Block {
            position,
            bytes,
            chain,
        });
    }

    /// Drops every block after `sequence`; `None` where the log does not reach back to it.
    pub fn rewind(&mut self, sequence: u64) -> Option<LogEnd> {
        if sequence < self.base.position.sequence {
            return None;
        }
        self.blocks.retain(|b| b.position.sequence <= sequence);
        self.hard = self.blocks.len();
        self.partial = None;
        self.timelines = self.timelines.until(sequence);
        Some(self.end())
    }

    /// The content stays, the log begins anew after it: what a principal does whose log has a gap.
    pub fn lose_log(&mut self, extra: u64, fork: u64) -> Timeline {
        let mut end = self.end();
        let mut content = self.content();
        content.push(extra);
        end.position.sequence += 1;
        end.chain = chain_after(end.chain, &extra.to_be_bytes());
        let number = self.timelines.last().map_or(1, |t| t.number + 1);
        let timeline = Timeline {
            number,
            fork: ForkId(fork),
            first: end.position.sequence,
            chain_before: end.chain,
        };
        self.timelines.push(timeline).unwrap();
        end.position.timeline = number;
        self.base = end;
        self.base_content = content;
        self.blocks.clear();
        self.hard = 0;
        timeline
    }
}

/// All databases of an instance, and its tombstones.
#[derive(Default)]
pub struct Disk {
    pub dbs: BTreeMap<DatabaseId, Db>,
    pub tombstones: BTreeMap<SessionGuid, Vec<u8>>,
    pub later: VecDeque<Later>,
    /// Refuses the next writes of blocks and seeds with this.
    pub refuse: Option<StorageError>,
    /// A tail is not taken over.
    pub never_adopt: bool,
    /// The next seed's sum does not fit.
    pub bad_sum: bool,
    /// A snapshot is not there at once.
    pub slow_seed: bool,
    pub writes: u64,
    pub stuck: Duration,
    /// Beside each database: version and bytes, on either side.
    pub attachments: BTreeMap<DatabaseId, (u64, Vec<u8>)>,
}

impl Disk {
    pub fn db(&mut self, id: DatabaseId) -> &mut Db {
        self.dbs.get_mut(&id).unwrap()
    }

    /// Loses what was not hardened, and all that was only in memory. `keep` of the unhardened blocks survive by luck.
    pub fn crash(&mut self, keep: usize) {
        self.later.clear();
        self.refuse = None;
        for db in self.dbs.values_mut() {
            let survive = (db.hard + keep).min(db.blocks.len());
            db.blocks.truncate(survive);
            db.hard = db.blocks.len();
            db.partial = None;
            db.snapshot = None;
            db.incoming = None;
        }
    }

    fn take(
        &mut self,
        database: DatabaseId,
        at: BlockChunk,
        bytes: &[u8],
    ) -> Result<Option<LogEnd>, StorageError> {
        self.writes += 1;
        if let Some(error) = self.refuse {
            return Err(error);
        }
        let db = self.dbs.get_mut(&database).ok_or(StorageError::Unavailable)?;
        if at.offset == 0 {
            db.partial = Some((at.position, Vec::new()));
        }
        let (position, partial) = db.partial.as_mut().expect("the first piece came first");
        assert_eq!(*position, at.position);
        assert_eq!(partial.len(), at.offset as usize, "pieces come in order");
        partial.extend_from_slice(bytes);
        if !at.ends_with(bytes.len()) {
            return Ok(None);
        }
        let (position, bytes) = db.partial.take().unwrap();
        let end = db.end();
        assert_eq!(position.sequence, end.position.sequence + 1);
        let chain = chain_after(end.chain, &bytes);
        db.blocks.push(Block {
            position,
            bytes,
            chain,
        });
        Ok(Some(db.end()))
    }
}

impl Storage for Disk {
    fn attachment_version(&mut self, database: DatabaseId) -> u64 {
        self.attachments.get(&database).map_or(0, |(version, _)| *version)
    }

    fn attachment(
        &mut self,
        database: DatabaseId,
        out: &mut [u8; crate::session::ATTACHMENT_LEN_MAX],
    ) -> Option<usize> {
        let (_, bytes) = self.attachments.get(&database)?;
        out[..bytes.len()].copy_from_slice(bytes);
        Some(bytes.len())
    }

    fn take_attachment(&mut self, database: DatabaseId, bytes: &[u8]) {
        self.attachments.insert(database, (0, bytes.to_vec()));
    }

    fn chain_at(&mut self, database: DatabaseId, position: Position) -> Result<Option<Chain>, StorageError> {
        let db = self.db(database);
        if position == db.base.position {
            return Ok(Some(db.base.chain));
        }
        Ok(db.blocks.iter().find(|b| b.position == position).map(|b| b.chain))
    }

    fn read_block(
        &mut self,
        database: DatabaseId,
        position: Position,
        offset: u32,
        out: &mut [u8],
    ) -> Result<BlockRead, StorageError> {
        let db = self.db(database);
        let block = db
            .blocks
            .iter()
            .find(|b| b.position == position)
            .ok_or(StorageError::Gone)?;
        let rest = &block.bytes[offset as usize..];
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
        if let Some(end) = self.take(database, at, bytes)? {
            self.later.push_back(Later::Hardened(database, end));
        }
        Ok(())
    }

    fn adopt_block(
        &mut self,
        database: DatabaseId,
        at: BlockChunk,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        if self.never_adopt {
            return Err(StorageError::CannotAdopt);
        }
        if let Some(end) = self.take(database, at, bytes)? {
            self.later.push_back(Later::Adopted(database, end));
        }
        Ok(())
    }

    fn decided(&mut self, database: DatabaseId, position: Position) {
        let db = self.db(database);
        db.decided = db.decided.max(position);
    }

    fn seed_open(&mut self, database: DatabaseId) -> Result<SeedOpen, StorageError> {
        if core::mem::take(&mut self.slow_seed) {
            return Ok(SeedOpen::Pending);
        }
        let db = self.db(database);
        let bytes: Vec<u8> = db.content().iter().flat_map(|v| v.to_le_bytes()).collect();
        let at = db.end();
        db.snapshot = Some((at, bytes));
        Ok(SeedOpen::Ready(SeedInfo {
            at,
            timelines: Timelines::EMPTY,
            page_size: 8,
            bytes: db.snapshot.as_ref().unwrap().1.len() as u64,
        }))
    }

    fn seed_read(
        &mut self,
        database: DatabaseId,
        offset: u64,
        out: &mut [u8],
    ) -> Result<SeedRead, StorageError> {
        let db = self.db(database);
        let (_, bytes) = db.snapshot.as_ref().ok_or(StorageError::Gone)?;
        let rest = &bytes[offset as usize..];
        if rest.is_empty() {
            return Ok(SeedRead::End(sum(bytes)));
        }
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        Ok(SeedRead::Bytes(len))
    }

    fn seed_close(&mut self, database: DatabaseId) {
        if let Some(db) = self.dbs.get_mut(&database) {
            db.snapshot = None;
        }
    }

    fn seed_begin(&mut self, database: DatabaseId, seed: SeedInfo) -> Result<(), StorageError> {
        if let Some(error) = self.refuse {
            return Err(error);
        }
        self.writes += 1;
        self.db(database).incoming = Some((seed, Vec::new()));
        Ok(())
    }

    fn seed_write(&mut self, database: DatabaseId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        if let Some(error) = self.refuse {
            return Err(error);
        }
        self.writes += 1;
        let (_, have) = self.db(database).incoming.as_mut().expect("a seed has begun");
        assert_eq!(have.len() as u64, offset);
        have.extend_from_slice(bytes);
        let end = have.len() as u64;
        self.later.push_back(Later::SeedWritten(database, end));
        Ok(())
    }

    fn seed_finish(
        &mut self,
        database: DatabaseId,
        seed: SeedInfo,
        expected: DatabaseSum,
    ) -> Result<(), StorageError> {
        let bad = core::mem::take(&mut self.bad_sum);
        let db = self.db(database);
        let (begun, bytes) = db.incoming.take().expect("a seed has begun");
        assert_eq!(begun, seed);
        if bad || sum(&bytes) != expected {
            self.later
                .push_back(Later::Failed(database, StorageError::Corrupt));
            return Ok(());
        }
        db.base = seed.at;
        db.base_content = bytes
            .chunks(8)
            .map(|c| u64::from_le_bytes(c.try_into().unwrap()))
            .collect();
        db.blocks.clear();
        db.hard = 0;
        db.timelines = seed.timelines;
        self.later.push_back(Later::SeedInstalled(database, seed.at));
        Ok(())
    }

    fn seed_abort(&mut self, database: DatabaseId) {
        if let Some(db) = self.dbs.get_mut(&database) {
            db.incoming = None;
        }
    }

    fn ended(&mut self, guid: SessionGuid, out: &mut [u8]) -> Option<usize> {
        let record = self.tombstones.get(&guid)?;
        out[..record.len()].copy_from_slice(record);
        Some(record.len())
    }

    fn progress_age(&mut self) -> Duration {
        self.stuck
    }
}

fn sum(bytes: &[u8]) -> DatabaseSum {
    DatabaseSum(bytes.chunks(8).fold(7, |sum, c| {
        sum ^ u64::from_le_bytes(c.try_into().unwrap()).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }))
}
