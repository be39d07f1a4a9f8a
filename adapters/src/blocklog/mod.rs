//! The server's block log: one segmented log under `DIR/blocks/` for all databases of an instance, so that one
//! `fdatasync` hardens what all of them wrote (`docs/blocklog.md`).
//!
//! A block is opaque here: bytes of a database's log, with a position and a chain. [`BlockLog::append`] writes into the page cache
//! and returns; a worker makes everything written so far durable with one `fdatasync` per batch and reports the new
//! durable end of each log through the callback given to [`BlockLog::open`]. Blocks can be read as soon as they are
//! appended.
//!
//! After a failed `fdatasync` nobody knows what is on the disk, so the log is poisoned: every later append is refused and
//! nothing more is reported durable until the log has been opened, that is re-read, again.

mod body;
mod format;
mod recover;
mod segment;
#[cfg(test)]
mod tests;
mod worker;

use std::boxed::Box;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::vec::Vec;

use body::Body;
use dbmirror_core::message::{Chain, LogEnd, Position};
use format::{BODY_MAX, CRC32C, ENTRY_HEADER, Entry, Kind, Place, SEGMENT_HEADER};
pub use recover::Recovery;

/// One database's log within the block log: drawn at random when the log is made. It is not the family: two copies of one
/// family may live on one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub [u8; 16]);

/// Called by the worker, on its thread, after each batch.
pub type OnDurable = Box<dyn Fn(Durability) + Send + Sync>;

/// Makes a segment of a number and a size in a folder.
type Create = Box<dyn Fn(&Path, u32, u64) -> io::Result<Current> + Send + Sync>;

/// What a batch came to.
#[derive(Clone, Debug)]
pub enum Durability {
    /// Everything up to these ends, one per log that the batch touched, is on disk.
    Durable(Vec<(LogId, LogEnd)>),
    /// The disk refused. The log is poisoned.
    Failed(String),
}

/// Settings of [`BlockLog::open`].
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Size in bytes that a segment is preallocated with. A block that is larger gets a segment of its own.
    pub segment_size: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_size: 16 << 20,
        }
    }
}

/// What was appended up to some moment; [`BlockLog::wait`] waits until that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Part of a stored block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBlock {
    /// The block's position.
    pub position: Position,
    /// The chain after the block.
    pub chain: Chain,
    /// Bytes written into the caller's buffer.
    pub len: usize,
    /// Bytes of the whole block.
    pub total: usize,
}

/// Where a log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// After which blocks are held.
    pub base: LogEnd,
    /// The last block; `base` when there is none.
    pub end: LogEnd,
}

/// Why the log refuses.
#[derive(Debug)]
#[non_exhaustive]
pub enum LogError {
    /// An earlier `fdatasync` failed: reopen.
    Poisoned(String),
    /// The operating system refused; nothing was appended.
    Io(io::Error),
    /// There is no such log here: [`BlockLog::start_log`] first.
    UnknownLog,
    /// The block does not follow the log's end.
    NotNext {
        /// The end it should follow.
        end: Position,
    },
    /// More than a block may have (1 GiB).
    TooLarge,
    /// A newer version wrote here; nothing was changed.
    Newer {
        /// The segment.
        segment: u32,
        /// What this version does not know.
        what: Newer,
    },
}

/// What this version does not know of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newer {
    /// Its format.
    Format(u32),
    /// One of its entries.
    Entry {
        /// The entry's kind.
        kind: u8,
        /// Where it begins, in bytes.
        offset: u32,
    },
}

impl std::fmt::Display for LogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Poisoned(why) => write!(f, "the block log takes nothing more since its disk failed: {why}"),
            Self::Io(e) => write!(f, "the block log cannot be written or read: {e}"),
            Self::UnknownLog => f.write_str("the block log holds no log of this database"),
            Self::NotNext { end } => {
                write!(
                    f,
                    "the block does not follow the end of the log at {}:{}",
                    end.timeline, end.sequence
                )
            }
            Self::TooLarge => f.write_str("the block is larger than 1 GiB"),
            Self::Newer { segment, what } => {
                match what {
                    Newer::Format(version) => write!(f, "segment {segment:08x} has format {version}")?,
                    Newer::Entry { kind, offset } => write!(
                        f,
                        "segment {segment:08x} has an entry at byte {offset} (kind {kind}) that this version does not know"
                    )?,
                }
                f.write_str(
                    ": it was written by a newer dbmirror, which has to be started here; nothing was changed",
                )
            }
        }
    }
}

impl std::error::Error for LogError {}

impl From<io::Error> for LogError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// The block log of an instance. All methods may be called from any thread.
pub struct BlockLog {
    shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    dir: PathBuf,
    options: Options,
    /// Prepares a segment, without the lock.
    create: Create,
    state: Mutex<State>,
    /// Something was appended, the log closes, or the next segment is wanted.
    work: Condvar,
    /// A batch has ended.
    done: Condvar,
}

struct State {
    logs: HashMap<LogId, Held>,
    /// All segments that exist, with their size in bytes.
    segments: BTreeMap<u32, u64>,
    current: Option<Current>,
    /// Prepared ahead by the worker.
    next: Option<Current>,
    last_number: u32,
    /// Files written since the worker last took them, in order.
    dirty: Vec<Arc<File>>,
    /// Ends reached since then.
    reached: HashMap<LogId, LogEnd>,
    appended: u64,
    synced: u64,
    /// Since when something appended is not durable yet.
    waiting_since: Option<Instant>,
    durable: Place,
    poisoned: Option<String>,
    closing: bool,
    /// Files opened for reading.
    readers: HashMap<u32, Arc<File>>,
}

/// The segment being written.
struct Current {
    number: u32,
    file: Arc<File>,
    offset: u64,
    size: u64,
}

/// Where the blocks of one log lie.
#[derive(Clone, Debug)]
struct Held {
    base: LogEnd,
    blocks: VecDeque<Stored>,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    position: Position,
    chain: Chain,
    segment: u32,
    /// Of the body.
    offset: u64,
    len: u32,
}

impl Held {
    fn end(&self) -> LogEnd {
        self.blocks.back().map_or(self.base, |b| LogEnd {
            position: b.position,
            chain: b.chain,
        })
    }

    fn follows(&self, position: Position, previous: Chain) -> bool {
        let end = self.end();
        end.position.sequence.checked_add(1) == Some(position.sequence)
            && position.timeline >= end.position.timeline
            && previous == end.chain
    }

    fn find(&self, sequence: u64) -> Option<&Stored> {
        let index = sequence
            .checked_sub(self.base.position.sequence)?
            .checked_sub(1)?;
        self.blocks.get(usize::try_from(index).ok()?)
    }

    /// Whether the log reaches `at`, with that chain.
    fn holds(&self, at: LogEnd) -> bool {
        let found = self.find(at.position.sequence);
        self.base == at || found.is_some_and(|b| b.position == at.position && b.chain == at.chain)
    }

    /// Drops all blocks after `to`.
    fn truncate(&mut self, to: LogEnd) {
        while self
            .blocks
            .back()
            .is_some_and(|b| b.position.sequence > to.position.sequence)
        {
            self.blocks.pop_back();
        }
        if self.end() != to {
            self.base = to;
            self.blocks.clear();
        }
    }

    fn extent(&self) -> Extent {
        Extent {
            base: self.base,
            end: self.end(),
        }
    }
}

impl BlockLog {
    /// Opens the log in `dir`, which is made (0700) if it does not exist, re-reads it whole and starts the worker.
    ///
    /// # Errors
    /// [`LogError::Io`], and [`LogError::Newer`] for segments of a newer version. Torn and damaged entries are no errors:
    /// [`Recovery`] tells them.
    pub fn open(dir: &Path, options: Options, on_durable: OnDurable) -> Result<(Self, Recovery), LogError> {
        Self::open_with(dir, options, on_durable, Box::new(segment::create))
    }

    /// As [`BlockLog::open`], with what prepares a segment ahead of need.
    fn open_with(
        dir: &Path,
        options: Options,
        on_durable: OnDurable,
        create: Create,
    ) -> Result<(Self, Recovery), LogError> {
        segment::make_dir(dir)?;
        let (state, recovery) = recover::recover(dir)?;
        let shared = Arc::new(Shared {
            dir: dir.to_path_buf(),
            options,
            create,
            state: Mutex::new(state),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let worker = worker::spawn(Arc::clone(&shared), on_durable)?;
        Ok((
            Self {
                shared,
                worker: Mutex::new(Some(worker)),
            },
            recovery,
        ))
    }

    /// Begins (or begins anew) a log after `base`: what was held of it is void.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Io`].
    pub fn start_log(&self, id: LogId, base: LogEnd) -> Result<Ticket, LogError> {
        let mut state = self.shared.lock();
        let ticket = self
            .shared
            .write(&mut state, Kind::Base, id, base, base.chain, Body::EMPTY)?
            .0;
        state.logs.insert(
            id,
            Held {
                base,
                blocks: VecDeque::new(),
            },
        );
        Ok(ticket)
    }

    /// Appends a block's stored bytes: `previous` is the chain before it, `block` its position and the chain after it.
    ///
    /// # Errors
    /// [`LogError::NotNext`] unless it follows the end, [`LogError::UnknownLog`], [`LogError::TooLarge`],
    /// [`LogError::Poisoned`], [`LogError::Io`] (a full disk; nothing was appended).
    pub fn append(
        &self,
        id: LogId,
        previous: Chain,
        block: LogEnd,
        stored: &[u8],
    ) -> Result<Ticket, LogError> {
        self.append_body(id, previous, block, Body::Bytes(stored))
    }

    /// As [`BlockLog::append`], with a block whose stored bytes are the first `len` of `file`: one of [`BlockLog::nameless`]. No more than a piece
    /// of it is in memory at a time.
    ///
    /// # Errors
    /// As [`BlockLog::append`]; [`LogError::Io`] also when `file` cannot be read.
    pub fn append_file(
        &self,
        id: LogId,
        previous: Chain,
        block: LogEnd,
        file: &File,
        len: u32,
    ) -> Result<Ticket, LogError> {
        self.append_body(id, previous, block, Body::File(file, len))
    }

    /// A file without a name on the disk of the log, for a block that comes in pieces. What it takes is free again when it is closed, or when the
    /// process has ended.
    ///
    /// # Errors
    /// What the system answers.
    pub fn nameless(&self) -> io::Result<File> {
        // One at a time has the name that it is made under.
        let _state = self.shared.lock();
        segment::nameless(&self.shared.dir)
    }

    fn append_body(
        &self,
        id: LogId,
        previous: Chain,
        block: LogEnd,
        body: Body<'_>,
    ) -> Result<Ticket, LogError> {
        let mut state = self.shared.lock();
        let log = state.logs.get(&id).ok_or(LogError::UnknownLog)?;
        if !log.follows(block.position, previous) {
            return Err(LogError::NotNext {
                end: log.end().position,
            });
        }
        let (ticket, at) = self
            .shared
            .write(&mut state, Kind::Block, id, block, previous, body)?;
        let stored = Stored {
            position: block.position,
            chain: block.chain,
            segment: at.segment,
            offset: u64::from(at.offset) + ENTRY_HEADER as u64,
            len: body.len() as u32,
        };
        if let Some(log) = state.logs.get_mut(&id) {
            log.blocks.push_back(stored);
        }
        Ok(ticket)
    }

    /// Makes the blocks of `log` after `to` void: they lie beyond a fork of the timeline.
    ///
    /// # Errors
    /// [`LogError::UnknownLog`], [`LogError::Poisoned`], [`LogError::Io`].
    pub fn truncate(&self, id: LogId, to: LogEnd) -> Result<Ticket, LogError> {
        let mut state = self.shared.lock();
        if !state.logs.contains_key(&id) {
            return Err(LogError::UnknownLog);
        }
        let ticket = self
            .shared
            .write(&mut state, Kind::Truncate, id, to, to.chain, Body::EMPTY)?
            .0;
        if let Some(log) = state.logs.get_mut(&id) {
            log.truncate(to);
        }
        Ok(ticket)
    }

    /// Forgets a log. Nothing happens when it is not known.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Io`].
    pub fn forget(&self, id: LogId) -> Result<(), LogError> {
        let mut state = self.shared.lock();
        if state.logs.contains_key(&id) {
            self.shared.write(
                &mut state,
                Kind::Forget,
                id,
                LogEnd::START,
                Chain::START,
                Body::EMPTY,
            )?;
            state.logs.remove(&id);
        }
        Ok(())
    }

    /// Where the log begins and ends; `None` when it has none here.
    #[must_use]
    pub fn extent(&self, id: LogId) -> Option<Extent> {
        self.shared.lock().logs.get(&id).map(Held::extent)
    }

    /// The logs that have a log here.
    #[must_use]
    pub fn logs(&self) -> Vec<LogId> {
        self.shared.lock().logs.keys().copied().collect()
    }

    /// The position and chain of the block numbered `sequence`, or of the base when it is that one.
    #[must_use]
    pub fn chain_at(&self, id: LogId, sequence: u64) -> Option<LogEnd> {
        let state = self.shared.lock();
        let log = state.logs.get(&id)?;
        if sequence == log.base.position.sequence {
            return Some(log.base);
        }
        log.find(sequence).map(|b| LogEnd {
            position: b.position,
            chain: b.chain,
        })
    }

    /// Reads the stored bytes of the block numbered `sequence` from `offset` on into `out`. `None` when the log does not
    /// hold it.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn read(
        &self,
        id: LogId,
        sequence: u64,
        offset: usize,
        out: &mut [u8],
    ) -> Result<Option<ReadBlock>, LogError> {
        let (file, stored) = {
            let mut state = self.shared.lock();
            let Some(stored) = state.logs.get(&id).and_then(|log| log.find(sequence)).copied() else {
                return Ok(None);
            };
            (self.shared.reader(&mut state, stored.segment)?, stored)
        };
        let total = stored.len as usize;
        let len = total.saturating_sub(offset).min(out.len());
        file.read_exact_at(&mut out[..len], stored.offset + offset as u64)?;
        Ok(Some(ReadBlock {
            position: stored.position,
            chain: stored.chain,
            len,
            total,
        }))
    }

    /// Blocks until everything up to `ticket` is durable.
    ///
    /// # Errors
    /// [`LogError::Poisoned`] when it never will be.
    pub fn wait(&self, ticket: Ticket) -> Result<(), LogError> {
        let mut state = self.shared.lock();
        loop {
            if state.synced >= ticket.0 {
                return Ok(());
            }
            if let Some(why) = &state.poisoned {
                return Err(LogError::Poisoned(why.clone()));
            }
            state = self
                .shared
                .done
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Blocks until everything that has been appended is durable.
    ///
    /// # Errors
    /// As [`BlockLog::wait`].
    pub fn wait_all(&self) -> Result<(), LogError> {
        let ticket = Ticket(self.shared.lock().appended);
        self.wait(ticket)
    }

    /// Drops the blocks of each log up to and including the sequence that `keep_after` names, and deletes the
    /// segments that hold nothing else. Logs that it does not name are kept whole.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Io`].
    pub fn prune(&self, keep_after: &HashMap<LogId, u64>) -> Result<(), LogError> {
        let (victims, ticket) = {
            let mut state = self.shared.lock();
            for (id, sequence) in keep_after {
                if let Some(log) = state.logs.get_mut(id) {
                    while log
                        .blocks
                        .front()
                        .is_some_and(|b| b.position.sequence <= *sequence)
                    {
                        if let Some(dropped) = log.blocks.pop_front() {
                            log.base = LogEnd {
                                position: dropped.position,
                                chain: dropped.chain,
                            };
                        }
                    }
                }
            }
            let writing = state.current.as_ref().map_or(u32::MAX, |c| c.number);
            let needed = state
                .logs
                .values()
                .filter_map(|l| l.blocks.front())
                .map(|b| b.segment)
                .min()
                .unwrap_or(u32::MAX);
            let first_kept = needed.min(writing);
            let victims: Vec<u32> = state.segments.range(..first_kept).map(|(n, _)| *n).collect();
            if victims.is_empty() {
                return Ok(());
            }
            // Where a log stands may be written in the segments that go: say it again first.
            let bases: Vec<(LogId, LogEnd)> = state
                .logs
                .iter()
                .filter(|(_, log)| log.blocks.is_empty())
                .map(|(id, log)| (*id, log.base))
                .collect();
            let mut ticket = Ticket(state.appended);
            for (id, base) in bases {
                ticket = self
                    .shared
                    .write(&mut state, Kind::Base, id, base, base.chain, Body::EMPTY)?
                    .0;
            }
            (victims, ticket)
        };
        self.wait(ticket)?;
        for number in victims {
            std::fs::remove_file(segment::path(&self.shared.dir, number))?;
            let mut state = self.shared.lock();
            state.segments.remove(&number);
            state.readers.remove(&number);
        }
        Ok(())
    }

    /// How long the oldest append that is not durable yet has waited; zero when there is none.
    #[must_use]
    pub fn progress_age(&self) -> Duration {
        self.shared
            .lock()
            .waiting_since
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.lock().segments.values().sum()
    }
}

impl Drop for BlockLog {
    /// Makes what was appended durable and ends the worker.
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        let worker = self
            .worker
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(worker) = worker {
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Every critical section leaves the state whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(
        &self,
        state: &mut State,
        kind: Kind,
        id: LogId,
        at: LogEnd,
        previous: Chain,
        body: Body<'_>,
    ) -> Result<(Ticket, Place), LogError> {
        if let Some(why) = &state.poisoned {
            return Err(LogError::Poisoned(why.clone()));
        }
        if body.len() > BODY_MAX {
            return Err(LogError::TooLarge);
        }
        let mut entry = Entry {
            kind,
            body_len: body.len() as u32,
            body_crc: body.checksum()?,
            id,
            position: at.position,
            previous,
            chain: at.chain,
            durable: state.durable,
            segment: 0,
        };
        let span = entry.span();
        if state.current.as_ref().is_none_or(|c| c.offset + span > c.size) {
            self.next_segment(state, span)?;
        }
        let Some(current) = state.current.as_mut() else {
            return Err(LogError::Io(io::Error::other("no segment to write")));
        };
        entry.segment = current.number;
        let place = Place {
            segment: current.number,
            offset: current.offset as u32,
        };
        current.file.write_all_at(&entry.emit(), current.offset)?;
        body.write_to(&current.file, current.offset + ENTRY_HEADER as u64)?;
        current.offset += span;
        let file = Arc::clone(&current.file);
        if state.dirty.last().is_none_or(|last| !Arc::ptr_eq(last, &file)) {
            state.dirty.push(file);
        }
        state.appended += 1;
        state.waiting_since.get_or_insert_with(Instant::now);
        if kind == Kind::Forget {
            state.reached.remove(&id);
        } else {
            state.reached.insert(id, at);
        }
        self.work.notify_all();
        Ok((Ticket(state.appended), place))
    }

    /// Writes down how far the log is durable, after a batch. Without it nothing would tell damage to the last batch from a tear. It is not
    /// synchronised by itself: the next batch takes it along, and a process that is killed leaves it. Where there is no room for it, the next
    /// entry says the same.
    fn mark(state: &mut State) {
        let durable = state.durable;
        let Some(current) = state.current.as_mut() else {
            return;
        };
        let entry = Entry {
            kind: Kind::Mark,
            body_len: 0,
            body_crc: CRC32C.checksum(&[]),
            id: LogId([0; 16]),
            position: Position::START,
            previous: Chain::START,
            chain: Chain::START,
            durable,
            segment: current.number,
        };
        let fits = current.offset + entry.span() <= current.size;
        if fits && current.file.write_all_at(&entry.emit(), current.offset).is_ok() {
            current.offset += entry.span();
        }
    }

    /// Makes the next segment current, which has room for an entry of `span` bytes.
    fn next_segment(&self, state: &mut State, span: u64) -> Result<(), LogError> {
        let wanted = (SEGMENT_HEADER as u64 + span).max(u64::from(self.options.segment_size));
        let next = match state.next.take() {
            Some(next) if next.size >= wanted => next,
            unfit => {
                // A prepared segment that is too small keeps its number and its place in the order, empty.
                if let Some(unfit) = unfit {
                    state.segments.insert(unfit.number, unfit.size);
                }
                let number = state.last_number.checked_add(1).ok_or(LogError::TooLarge)?;
                // The caller may be a loop that connections wait for: nothing here waits for the disk.
                let (next, folder) = segment::create_at_once(&self.dir, number, wanted)?;
                state.dirty.push(folder);
                state.last_number = number;
                next
            }
        };
        state.segments.insert(next.number, next.size);
        state.current = Some(next);
        Ok(())
    }

    fn reader(&self, state: &mut State, number: u32) -> io::Result<Arc<File>> {
        if let Some(file) = state.readers.get(&number) {
            return Ok(Arc::clone(file));
        }
        // Bounded, so that a long log does not use up the process's descriptors.
        if state.readers.len() >= 32 {
            state.readers.clear();
        }
        let file = Arc::new(File::open(segment::path(&self.dir, number))?);
        state.readers.insert(number, Arc::clone(&file));
        Ok(file)
    }

    fn poison(&self, state: &mut State, why: &io::Error) -> String {
        let why = why.to_string();
        state.poisoned = Some(why.clone());
        why
    }
}
