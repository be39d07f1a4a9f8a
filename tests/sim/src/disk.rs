//! A storage in memory with what a real one has: a volatile half and a durable half, and time between them. What is handed over waits in
//! [`Disk::queue`] until the medium has it; a crash loses what is still there, or a part of it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use dbmirror_core::endpoint::Ticket;
use dbmirror_core::message::{Chain, DatabaseSum, LogEnd, Position, SessionGuid, Timelines};
use dbmirror_core::session::{
    BlockChunk, BlockRead, DatabaseId, SeedInfo, SeedOpen, SeedRead, Storage, StorageError, Stored,
};
use dbmirror_core::time::Duration;

use crate::db::{Block, Db, PAGE_ROWS, Redo, read_u64, sum_of};
use crate::dice::mix;
use crate::plan::DriverBug;

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
