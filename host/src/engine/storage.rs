//! Core's one storage trait over the block log and the databases' threads. Called in the loop, so nothing here waits for a
//! disk: bytes go into the page cache or to a thread, which confirms them by a job.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use dbmirror_adapters::blocklog::{BlockLog, LogId};
use dbmirror_core::message::{Chain, DatabaseSum, FamilyGuid, LogEnd, Position, SessionGuid};
use dbmirror_core::session::{
    ATTACHMENT_LEN_MAX, BlockChunk, BlockRead, DatabaseId, SeedInfo, SeedOpen, SeedRead, Storage,
    StorageError,
};
use dbmirror_core::time::Duration;

use super::incoming::{Incoming, log_error};
use super::records::Records;
use super::worker::{Command, PIECE, SeedReader, Worker};
use super::{DatabaseChange, Notices};

/// Pieces of a seed that are read ahead.
const AHEAD: u64 = 4;

/// The logs and threads of all databases.
pub(super) struct Logs {
    pub log: Arc<BlockLog>,
    /// Logs that were found, at the start, to end before something that was durable.
    pub lost: HashSet<LogId>,
    pub records: Arc<Mutex<Records>>,
    pub databases: HashMap<DatabaseId, Database>,
    /// What the instance keeps beside a database for its partner, with the number of its last change.
    pub attachments: HashMap<DatabaseId, (u64, Vec<u8>)>,
    notices: Arc<dyn Notices>,
}

/// One database as the loop holds it.
pub(super) struct Database {
    pub log_id: LogId,
    pub family: FamilyGuid,
    pub worker: Worker,
    /// How far the mirror's file is.
    pub redone: Arc<Mutex<Option<Position>>>,
    /// What was hardened last, in either role.
    pub hardened: LogEnd,
    /// Up to where the mirror may redo.
    pub decided: Position,
    /// Its file is captured: it is a principal's, or nobody's partner.
    pub capturing: bool,
    /// The principal takes over its mirror's tail.
    pub adopting: bool,
    /// A seed arrives: what the log says meanwhile is not the session's.
    pub seeding: bool,
    /// Writers are being shut out, and what they committed goes into the log.
    pub settling: bool,
    /// When that is done the copy is a mirror's.
    pub closes: bool,
    /// Why its file is not captured until an operator accepts it.
    pub refused: Option<String>,
    /// A block that arrives in pieces.
    incoming: Option<Incoming>,
    seed_out: SeedOut,
}

/// The snapshot that is read as a seed.
enum SeedOut {
    None,
    /// The database's thread opens it.
    Opening,
    Open(Box<OpenSeed>),
    /// It could not be had.
    Failed(StorageError),
}

struct OpenSeed {
    reader: SeedReader,
    /// The piece at hand, and where it lies.
    offset: u64,
    piece: Vec<u8>,
    /// Up to where pieces have been asked for.
    asked: u64,
}

impl Database {
    pub(super) fn new(
        log_id: LogId,
        family: FamilyGuid,
        worker: Worker,
        redone: Arc<Mutex<Option<Position>>>,
        hardened: LogEnd,
    ) -> Self {
        Self {
            log_id,
            family,
            worker,
            redone,
            hardened,
            // What was hardened in an earlier run was either decided or will be said to be again.
            decided: Position::START,
            capturing: false,
            adopting: false,
            seeding: false,
            settling: false,
            closes: false,
            refused: None,
            incoming: None,
            seed_out: SeedOut::None,
        }
    }

    pub(super) fn seed_opened(&mut self, opened: Result<SeedReader, StorageError>) {
        if !matches!(self.seed_out, SeedOut::Opening) {
            return;
        }
        self.seed_out = match opened {
            Ok(reader) => {
                let mut open = OpenSeed {
                    reader,
                    offset: 0,
                    piece: Vec::new(),
                    asked: 0,
                };
                open.ask();
                SeedOut::Open(Box::new(open))
            }
            Err(e) => SeedOut::Failed(e),
        };
    }

    /// Lets the thread write what is both hardened and decided into the file.
    pub(super) fn redo(&self) {
        let hardened = self.hardened.position;
        let upto = if self.adopting || hardened.sequence < self.decided.sequence {
            hardened
        } else {
            self.decided
        };
        if upto.sequence > 0 {
            self.worker.send(Command::Apply {
                upto,
                adopt: self.adopting,
            });
        }
    }
}

impl OpenSeed {
    /// Keeps some pieces on their way.
    fn ask(&mut self) {
        let bytes = self.reader.info.bytes;
        let upto = self.offset.saturating_add(AHEAD * PIECE as u64).min(bytes);
        while self.asked < upto {
            let _ = self.reader.wanted.send(self.asked);
            self.asked = self.asked.saturating_add(PIECE as u64);
        }
    }

    fn read(&mut self, offset: u64, out: &mut [u8]) -> Result<SeedRead, StorageError> {
        if offset >= self.reader.info.bytes {
            return Ok(SeedRead::End(self.reader.sum));
        }
        let within = |open: &Self| {
            let end = open.offset + open.piece.len() as u64;
            (open.offset..end)
                .contains(&offset)
                .then(|| (offset - open.offset) as usize)
        };
        if within(self).is_none() {
            if offset != self.offset + self.piece.len() as u64 {
                // Not where the last piece ended: begin anew there.
                (self.offset, self.asked) = (offset, offset);
                self.piece.clear();
            }
            loop {
                match self.reader.pieces.try_recv() {
                    Ok((at, Ok(piece))) if at == offset && !piece.is_empty() => {
                        (self.offset, self.piece) = (at, piece);
                        self.ask();
                        break;
                    }
                    Ok((_, Ok(_))) => {}
                    Ok((_, Err(()))) => return Err(StorageError::Failed),
                    Err(std::sync::mpsc::TryRecvError::Empty) => {
                        self.ask();
                        return Ok(SeedRead::Pending);
                    }
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                        return Err(StorageError::Unavailable);
                    }
                }
            }
        }
        let Some(at) = within(self) else {
            return Ok(SeedRead::Pending);
        };
        let n = out.len().min(self.piece.len() - at);
        out[..n].copy_from_slice(&self.piece[at..at + n]);
        Ok(SeedRead::Bytes(n))
    }
}

impl Logs {
    pub(super) fn new(log: Arc<BlockLog>, records: Arc<Mutex<Records>>, notices: Arc<dyn Notices>) -> Self {
        Self {
            log,
            lost: HashSet::new(),
            records,
            databases: HashMap::new(),
            attachments: HashMap::new(),
            notices,
        }
    }

    /// From now on `bytes` is what a mirror is told.
    pub(super) fn attach(&mut self, database: DatabaseId, bytes: Vec<u8>) {
        let (version, held) = self.attachments.entry(database).or_default();
        if *version == 0 || *held != bytes {
            *version += 1;
            *held = bytes;
        }
    }

    fn get(&mut self, database: DatabaseId) -> Result<&mut Database, StorageError> {
        self.databases.get_mut(&database).ok_or(StorageError::Unavailable)
    }

    fn log_id(&self, database: DatabaseId) -> Result<LogId, StorageError> {
        self.databases
            .get(&database)
            .map(|d| d.log_id)
            .ok_or(StorageError::Unavailable)
    }

    /// Takes a piece of a block; with the last one the block is appended.
    fn take_block(&mut self, database: DatabaseId, at: BlockChunk, bytes: &[u8]) -> Result<(), StorageError> {
        let log = Arc::clone(&self.log);
        let d = self.get(database)?;
        // One of which a piece is refused is dropped.
        let begun = d.incoming.take();
        let mut incoming = if at.offset == 0 {
            let end = log.extent(d.log_id).ok_or(StorageError::Unavailable)?.end;
            Incoming::begin(at, d.family, end)?
        } else {
            begun.ok_or(StorageError::Corrupt)?
        };
        incoming.take(&log, at, bytes)?;
        if at.ends_with(bytes.len()) {
            return incoming.append(&log, d.log_id);
        }
        d.incoming = Some(incoming);
        Ok(())
    }
}

impl Storage for Logs {
    fn attachment_version(&mut self, database: DatabaseId) -> u64 {
        self.attachments.get(&database).map_or(0, |(version, _)| *version)
    }

    fn attachment(&mut self, database: DatabaseId, out: &mut [u8; ATTACHMENT_LEN_MAX]) -> Option<usize> {
        let (_, bytes) = self.attachments.get(&database)?;
        out.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(bytes.len())
    }

    fn take_attachment(&mut self, database: DatabaseId, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        let change = DatabaseChange::MasterKey { bytes };
        self.notices.database_changed(database.0.cast_signed(), change);
    }

    fn chain_at(&mut self, database: DatabaseId, position: Position) -> Result<Option<Chain>, StorageError> {
        let id = self.log_id(database)?;
        Ok(self
            .log
            .chain_at(id, position.sequence)
            .filter(|at| at.position == position)
            .map(|at| at.chain))
    }

    fn read_block(
        &mut self,
        database: DatabaseId,
        position: Position,
        offset: u32,
        out: &mut [u8],
    ) -> Result<BlockRead, StorageError> {
        let id = self.log_id(database)?;
        let read = self
            .log
            .read(id, position.sequence, offset as usize, out)
            .map_err(|e| log_error(&e))?;
        let read = read
            .filter(|r| r.position == position)
            .ok_or(StorageError::Gone)?;
        let total = u32::try_from(read.total).map_err(|_| StorageError::Corrupt)?;
        Ok(BlockRead { len: read.len, total })
    }

    fn write_block(
        &mut self,
        database: DatabaseId,
        at: BlockChunk,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        self.take_block(database, at, bytes)?;
        self.decided(database, at.decided);
        Ok(())
    }

    fn adopt_block(
        &mut self,
        database: DatabaseId,
        at: BlockChunk,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        self.get(database)?.adopting = true;
        self.take_block(database, at, bytes)
    }

    fn decided(&mut self, database: DatabaseId, position: Position) {
        if let Some(d) = self.databases.get_mut(&database)
            && position.sequence > d.decided.sequence
        {
            d.decided = position;
            d.redo();
        }
    }

    fn seed_open(&mut self, database: DatabaseId) -> Result<SeedOpen, StorageError> {
        let d = self.get(database)?;
        match std::mem::replace(&mut d.seed_out, SeedOut::None) {
            SeedOut::Failed(e) => Err(e),
            SeedOut::Opening => {
                d.seed_out = SeedOut::Opening;
                Ok(SeedOpen::Pending)
            }
            SeedOut::Open(open) if open.offset == 0 && open.piece.is_empty() => {
                let info = open.reader.info;
                d.seed_out = SeedOut::Open(open);
                Ok(SeedOpen::Ready(info))
            }
            // One that was begun is dropped for a new one.
            SeedOut::None | SeedOut::Open(_) => {
                d.seed_out = SeedOut::Opening;
                d.worker.send(Command::SeedOpen);
                Ok(SeedOpen::Pending)
            }
        }
    }

    fn seed_read(
        &mut self,
        database: DatabaseId,
        offset: u64,
        out: &mut [u8],
    ) -> Result<SeedRead, StorageError> {
        match &mut self.get(database)?.seed_out {
            SeedOut::Open(open) => open.read(offset, out),
            SeedOut::None | SeedOut::Opening | SeedOut::Failed(_) => Err(StorageError::Unavailable),
        }
    }

    fn seed_close(&mut self, database: DatabaseId) {
        if let Some(d) = self.databases.get_mut(&database) {
            d.seed_out = SeedOut::None;
        }
    }

    fn seed_begin(&mut self, database: DatabaseId, seed: SeedInfo) -> Result<(), StorageError> {
        let d = self.get(database)?;
        d.incoming = None;
        d.seeding = true;
        d.worker.send(Command::SeedBegin(seed));
        Ok(())
    }

    fn seed_write(&mut self, database: DatabaseId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let bytes = bytes.to_vec();
        self.get(database)?
            .worker
            .send(Command::SeedWrite { offset, bytes });
        Ok(())
    }

    fn seed_finish(
        &mut self,
        database: DatabaseId,
        seed: SeedInfo,
        sum: DatabaseSum,
    ) -> Result<(), StorageError> {
        let d = self.get(database)?;
        let family = d.family;
        d.worker.send(Command::SeedFinish { seed, sum, family });
        Ok(())
    }

    fn seed_abort(&mut self, database: DatabaseId) {
        if let Some(d) = self.databases.get_mut(&database) {
            d.seeding = false;
            d.worker.send(Command::SeedAbort);
        }
    }

    fn ended(&mut self, guid: SessionGuid, out: &mut [u8]) -> Option<usize> {
        let records = self
            .records
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let record = records.ended(guid)?;
        out.get_mut(..record.len())?.copy_from_slice(&record);
        Some(record.len())
    }

    fn progress_age(&mut self) -> Duration {
        let micros = self.log.progress_age().as_micros();
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}
