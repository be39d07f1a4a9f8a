//! Capture without a gap: the tail of an application's write-ahead log (`docs/capture.md`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use dbmirror_core::message::block::WalPlace;
use dbmirror_core::message::{FamilyGuid, LogEnd, Position};

use super::files::{Files, begin_read, checkpoint_passive, end_read, is_busy};
use super::identity::{FileId, Head, Identity};
use super::shm::{IndexHeader, Lock};
use super::table::{PageTable, State, Wanted, hash_main, load};
use super::transaction::{Source, Transaction};
use super::wal::{FrameReader, WalHeader};
use super::write_lock::WriteLock;
use super::{Anchor, Block, Error, GapReason, Result, SeedSource};

/// Settings of a [`Tail`].
#[derive(Clone, Copy, Debug)]
pub struct TailOptions {
    /// The database and all its copies: goes into every block.
    pub family: FamilyGuid,
    /// Frames in the write-ahead log from which on [`Tail::wants_checkpoint`] says yes.
    pub checkpoint_frames: u32,
    /// Largest block in bytes; a larger transaction is [`Error::TooLarge`].
    pub max_block: u64,
    /// How long an operation waits for locks that other connections hold only for moments.
    pub patience: Duration,
}

impl TailOptions {
    /// The defaults for a database of `family`.
    #[must_use]
    pub fn new(family: FamilyGuid) -> Self {
        Self {
            family,
            checkpoint_frames: 1_000,
            max_block: 1 << 30,
            patience: Duration::from_secs(5),
        }
    }
}

/// What a checkpoint came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpointed {
    /// Whether all captured frames are in the main file; otherwise a reader's snapshot or a writer held it up.
    pub complete: bool,
}

/// A file that holds everything up to `anchor`, without its write-ahead log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// The main file.
    pub path: PathBuf,
    /// What it is the content of. The sum was computed from the file itself.
    pub anchor: Anchor,
}

/// The capture of one database file, for as long as this value lives.
///
/// Order of calls: [`Tail::start`] or [`Tail::resume`]; then, every millisecond or so, [`Tail::next_block`] until it
/// returns `None`; [`Tail::checkpoint`] when [`Tail::wants_checkpoint`] and every block that was returned is durable in
/// the local log (`docs/safety.md`, "The log block"). After an error that is not [`Error::Busy`], and when a returned block could
/// not be stored, drop the value and resume from the log's last block.
pub struct Tail {
    // Connections before descriptors: they must close first (`files`).
    /// Two readers. `readers[holding]` holds the log: while it reads, no frame that is not captured can be overwritten.
    readers: [Connection; 2],
    checkpointer: Connection,
    /// Takes SQLite's write lock for a moment.
    locker: Connection,
    holding: usize,
    files: Arc<Files>,
    options: TailOptions,
    timeline: u32,
    table: PageTable,
    anchor: Anchor,
    file: FileId,
    /// The header of page 1 at the anchor.
    head: Head,
    /// Checksum of the last captured frame.
    checksum: [u32; 2],
    /// What is published and not yet captured to its end.
    target: Option<IndexHeader>,
    /// The last header that was captured to its end.
    reached: IndexHeader,
    /// Commits captured since.
    commits: u32,
    /// The log being read, and where.
    reading: Option<(WalHeader, FrameReader)>,
    /// Frame of the last complete checkpoint in this log.
    folded: u32,
    looked: Instant,
    /// Since when the published header has not been whole.
    torn: Option<Instant>,
    /// After a checkpoint that could not be completed: when the next one is worth trying.
    again: Option<Instant>,
}

/// How often the paths are compared with the open files.
pub(super) const IDENTITY_EVERY: Duration = Duration::from_millis(250);
/// How long a header may stay half written before its writer is taken for dead: it takes a writer nanoseconds, and a
/// descheduled one keeps its lock, so nothing breaks if this is too short.
const TORN_FOR: Duration = Duration::from_millis(50);
/// Between checkpoints that a reader's snapshot or a long write transaction holds up.
pub(super) const CHECKPOINT_AGAIN: Duration = Duration::from_millis(200);
/// How long a checkpoint tries for the write lock before it leaves that for the next time.
const LOCK_TRIES: u32 = 20;
/// How often a checkpoint begins anew beside a writer that is faster, before it stops the writer.
const ROUNDS: u32 = 4;

/// Where blocks go that are captured because a checkpoint or a snapshot needs them.
pub trait BlockSink {
    /// Takes the next one. It need not be durable when this returns: a sync for each would make everybody wait for all of them.
    ///
    /// # Errors
    /// Its own, which ends what was under way.
    fn append(&mut self, block: Block) -> Result<()>;

    /// Returns when all that was appended is durable.
    ///
    /// # Errors
    /// Its own, which ends what was under way.
    fn wait(&mut self) -> Result<()>;
}

impl Tail {
    /// Begins a log: the file as it is now is the content of `at`. The next block follows it in timeline `timeline`.
    /// [`Tail::anchor`] has to be stored: it is what [`Tail::resume`] needs while the log has no block.
    ///
    /// # Errors
    /// The refusals of a file: [`Error::NotADatabase`], [`Error::NotWal`], [`Error::Exclusive`],
    /// [`Error::NetworkFilesystem`], [`Error::InUse`]; others when the system or SQLite refuse.
    pub fn start(path: &Path, options: TailOptions, at: LogEnd, timeline: u32) -> Result<Self> {
        Self::open(path, options, at, timeline, &Wanted::Last)
    }

    /// Goes on after `from`: [`Anchor::of`] the log's last block, or the anchor of [`Tail::start`] when it has none. Finds the state
    /// with that sum in the file and its write-ahead log; what was committed after it while nobody captured comes as blocks.
    /// Reads the whole file once.
    ///
    /// # Errors
    /// [`Error::Gap`] when there is no such state: start a new log and seed the mirror. Otherwise as [`Tail::start`].
    pub fn resume(path: &Path, options: TailOptions, from: &Anchor, timeline: u32) -> Result<Self> {
        let wanted = Wanted::With {
            sum: from.sum,
            pages: from.pages,
            frame: from.wal.frame,
            salts: from.wal.salts,
        };
        let tail = Self::open(path, options, from.end, timeline, &wanted)?;
        if tail.anchor.page_size != from.page_size {
            return Err(Error::Gap(GapReason::PageSize));
        }
        Ok(tail)
    }

    fn open(path: &Path, options: TailOptions, at: LogEnd, timeline: u32, wanted: &Wanted) -> Result<Self> {
        let (files, first) = Files::open(path, false)?;
        // Nobody may checkpoint while the file is read: that would take away states which can still be had. Commits go on.
        files.lock(Lock::Checkpoint, options.patience)?;
        begin_read(&first)?;
        // The reader holds the log. If it found everything backfilled, the log may be restarted, and the main file cannot change;
        // otherwise the log cannot be restarted.
        let (published, backfilled) = published(&files, options.patience)?;
        let state = load(&files, &published, backfilled, wanted)?;
        files.unlock(Lock::Checkpoint)?;
        let State {
            table,
            frame,
            checksum,
            salts,
            change,
            head,
        } = state;
        let anchor = Anchor {
            end: at,
            sum: table.sum(),
            page_size: files.page_size,
            pages: table.pages(),
            wal: WalPlace { salts, frame },
            change_counter: change,
        };
        Ok(Self {
            readers: [first, files.connect()?],
            checkpointer: files.connect()?,
            locker: files.connect()?,
            holding: 0,
            options,
            timeline,
            table,
            anchor,
            file: FileId::of(&files.main)?,
            head,
            checksum,
            target: None,
            reached: IndexHeader {
                max_frame: frame,
                salts,
                ..published
            },
            // Commits between the found state and the published one are counted in `published.change` already.
            commits: 0,
            reading: None,
            folded: 0,
            looked: Instant::now(),
            torn: None,
            again: None,
            files: Arc::new(files),
        })
    }

    /// Where the capture stands: after the last block that was returned.
    #[must_use]
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Which file it is, and what SQLite counts in it at [`Tail::anchor`].
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            file: self.file,
            page_size: self.anchor.page_size,
            pages: self.anchor.pages,
            head: self.head,
        }
    }

    /// The next block begins timeline `timeline` (`docs/safety.md` R7).
    pub fn set_timeline(&mut self, timeline: u32) {
        self.timeline = timeline;
    }

    /// Takes SQLite's write lock, waiting up to `patience`, and keeps it: other programs read, and are told that the database is locked
    /// when they write. What they committed before is still to be captured.
    ///
    /// # Errors
    /// [`Error::Busy`] while somebody is within a transaction that writes.
    pub fn fence(&self, patience: Duration) -> Result<()> {
        self.files.lock(Lock::Write, patience)
    }

    /// Lets other programs write again.
    ///
    /// # Errors
    /// [`Error::Io`] when the lock cannot be given up.
    pub fn lift_fence(&self) -> Result<()> {
        self.files.unlock(Lock::Write)
    }

    /// The lock of [`Tail::fence`], for longer than the file is captured.
    #[must_use]
    pub fn keep_fence(&self) -> WriteLock {
        WriteLock::of_files(Arc::clone(&self.files))
    }

    /// The next committed transaction; `None` when there is none. Costs a few loads from shared memory when nothing has changed.
    ///
    /// # Errors
    /// [`Error::Gap`], [`Error::Replaced`], [`Error::TooLarge`], or what reading answers.
    pub fn next_block(&mut self) -> Result<Option<Block>> {
        if self.target.is_none() && !self.look()? {
            return Ok(None);
        }
        let Some(published) = self.target else {
            return Ok(None);
        };
        if self.anchor.wal.frame == published.max_frame {
            // A restarted log without frames.
            self.arrived(published)?;
            return Ok(None);
        }
        let (log, reader) = match &mut self.reading {
            Some(reading) => reading,
            none => {
                let log = WalHeader::read(&self.files.log)?
                    .ok_or(Error::Malformed("the log's header is not valid"))?;
                if log.salts != published.salts {
                    return Err(Error::Gap(GapReason::LogShrank));
                }
                let last = self.anchor.wal.frame;
                let before = if last == 0 { log.checksum } else { self.checksum };
                none.insert((log, FrameReader::new(&log, last, before)))
            }
        };
        let transaction = Transaction::read(reader, &self.files, published.max_frame)?;
        let head = transaction.head(&self.files)?;
        self.checksum = transaction.checksum;
        let frame = transaction.frame;
        let source = Source {
            files: &self.files,
            log,
            published: &published,
            family: self.options.family,
            position: Position {
                timeline: self.timeline,
                sequence: self.anchor.end.position.sequence + 1,
            },
            max_block: self.options.max_block,
        };
        let block = transaction.into_block(&source, &mut self.table, &mut self.anchor)?;
        self.head = head.unwrap_or(self.head);
        self.commits += 1;
        if frame == published.max_frame {
            if self.checksum != published.frame_checksum {
                return Err(Error::Gap(GapReason::ChecksumBroken));
            }
            self.arrived(published)?;
        }
        Ok(Some(block))
    }

    /// Whether the last [`Tail::next_block`] that returned `None` found the file's last commit captured: not while a dead
    /// writer's half-published commit waits to be mended.
    #[must_use]
    pub const fn is_level(&self) -> bool {
        self.target.is_none() && self.torn.is_none()
    }

    /// Looks whether something was published that is not captured; then it becomes the target.
    fn look(&mut self) -> Result<bool> {
        if self.looked.elapsed() >= IDENTITY_EVERY {
            self.looked = Instant::now();
            self.files.check_identity()?;
        }
        let Some(published) = self.files.shm.header() else {
            return self.mend();
        };
        self.torn = None;
        if published == self.reached && published.max_frame == self.anchor.wal.frame {
            return Ok(false);
        }
        if published.max_frame > 0 && published.page_size != self.files.page_size {
            return Err(Error::Gap(GapReason::PageSize));
        }
        if published.salts != self.anchor.wal.salts {
            // The log was restarted. Our reader allows that only when all its frames were captured.
            if self.reached.max_frame != self.anchor.wal.frame {
                return Err(Error::Gap(GapReason::LogShrank));
            }
            self.anchor.wal = WalPlace {
                salts: published.salts,
                frame: 0,
            };
            self.folded = 0;
            self.reading = None;
        } else if published.max_frame < self.anchor.wal.frame {
            return Err(Error::Gap(GapReason::LogShrank));
        }
        self.target = Some(published);
        Ok(true)
    }

    /// The header is being written right now: it is looked at again the next time. When it stays so, its writer has died; then reading
    /// makes SQLite rebuild the wal-index, and with it the commit that the writer did not get to publish.
    fn mend(&mut self) -> Result<bool> {
        let since = *self.torn.get_or_insert_with(Instant::now);
        if since.elapsed() >= TORN_FOR {
            self.torn = None;
            match begin_read(&self.checkpointer) {
                Ok(()) => end_read(&self.checkpointer)?,
                Err(Error::Busy(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(false)
    }

    /// Everything up to `published` is captured.
    fn arrived(&mut self, published: IndexHeader) -> Result<()> {
        // SQLite counts commits; a recovery of the wal-index sets the count back, and a commit may be padded with copies of its
        // last frame, which were captured as commits of their own.
        let counted = published.change.wrapping_sub(self.reached.change);
        if published.change > self.reached.change && counted > self.commits {
            return Err(Error::Gap(GapReason::CommitsMissed));
        }
        self.reached = published;
        self.commits = 0;
        self.target = None;
        Ok(())
    }

    /// Whether the write-ahead log has grown enough for a checkpoint, and the last one that could not be completed is a moment
    /// ago.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        self.anchor.wal.frame.saturating_sub(self.folded) >= self.options.checkpoint_frames
            && self.again.is_none_or(|again| Instant::now() >= again)
    }

    /// Moves captured frames into the main file and lets the application restart its log.
    ///
    /// Every block that was returned before must be durable in the local log; those captured meanwhile go to `sink`, and are waited for
    /// together. Writers wait for the last part of it: the frames of the last moment, until they are durable, and the checkpoint's syncs.
    ///
    /// # Errors
    /// What `sink` answers, and as [`Tail::next_block`].
    pub fn checkpoint(&mut self, sink: &mut dyn BlockSink) -> Result<Checkpointed> {
        // First without stopping anybody, again while a fast writer leaves much to do meanwhile.
        for _ in 0..ROUNDS {
            self.checkpoint_beside_writers(sink)?;
            let (published, _) = published(&self.files, self.options.patience)?;
            let rest = match published.salts == self.anchor.wal.salts {
                true => published.max_frame.saturating_sub(self.anchor.wal.frame),
                false => published.max_frame,
            };
            if rest < self.options.checkpoint_frames {
                break;
            }
        }
        // Then the rest, with writers stopped.
        self.again = Some(Instant::now() + CHECKPOINT_AGAIN);
        if !self.lock_writers()? {
            return Ok(Checkpointed { complete: false });
        }
        let done = self.checkpoint_locked(sink);
        let unlocked = end_read(&self.locker);
        let complete = done?;
        unlocked?;
        if complete {
            self.folded = self.anchor.wal.frame;
            self.again = None;
        }
        Ok(Checkpointed { complete })
    }

    /// A reader at the present end, everything up to there captured and durable, then backfill. The new reader's mark keeps later frames out
    /// of the main file.
    fn checkpoint_beside_writers(&mut self, sink: &mut dyn BlockSink) -> Result<()> {
        let (old, new) = (self.holding, 1 - self.holding);
        if !self.readers[new].is_autocommit() {
            // Left over from a checkpoint that an error ended.
            end_read(&self.readers[new])?;
        }
        begin_read(&self.readers[new])?;
        self.holding = new;
        self.capture_published(sink)?;
        end_read(&self.readers[old])?;
        checkpoint_passive(&self.checkpointer)
    }

    /// The part of a checkpoint for which writers wait.
    fn checkpoint_locked(&mut self, sink: &mut dyn BlockSink) -> Result<bool> {
        let (held, free) = (self.holding, 1 - self.holding);
        self.capture_published(sink)?;
        begin_read(&self.readers[free])?;
        self.holding = free;
        end_read(&self.readers[held])?;
        checkpoint_passive(&self.checkpointer)?;
        // Begun now, a reader finds everything backfilled and takes slot 0: the log may be restarted, and then nothing is backfilled
        // until the next checkpoint.
        begin_read(&self.readers[held])?;
        self.holding = held;
        end_read(&self.readers[free])?;
        Ok(self.files.shm.backfilled() == self.anchor.wal.frame)
    }

    /// Captures everything that is published at this moment, and returns when it is durable.
    fn capture_published(&mut self, sink: &mut dyn BlockSink) -> Result<()> {
        let (published, _) = published(&self.files, self.options.patience)?;
        self.capture_to(&published, sink)
    }

    /// Captures up to `published`, exactly, and returns when that is durable.
    fn capture_to(&mut self, published: &IndexHeader, sink: &mut dyn BlockSink) -> Result<()> {
        let mut any = false;
        loop {
            let wal = self.anchor.wal;
            if wal.salts == published.salts && wal.frame >= published.max_frame {
                return if any { sink.wait() } else { Ok(()) };
            }
            match self.next_block()? {
                Some(block) => {
                    any = true;
                    sink.append(block)?;
                }
                // Between two headers: look again.
                None => std::thread::yield_now(),
            }
        }
    }

    /// Takes SQLite's write lock, trying for a moment.
    fn lock_writers(&self) -> Result<bool> {
        for attempt in 0..LOCK_TRIES {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            match self.locker.execute_batch("BEGIN IMMEDIATE") {
                Ok(()) => return Ok(true),
                Err(e) if is_busy(&e) => {}
                Err(e) => return Err(Error::sqlite("lock the database")(e)),
            }
        }
        Ok(false)
    }

    /// Folds the write-ahead log completely into the main file, reads that back and compares its sum. The file keeps that
    /// content until the next checkpoint, whatever is committed meanwhile.
    ///
    /// # Errors
    /// [`Error::Busy`] when a reader's old snapshot or a writer is not done in time; as [`Tail::checkpoint`].
    pub fn fold(&mut self, sink: &mut dyn BlockSink) -> Result<Folded> {
        let deadline = Instant::now() + self.options.patience;
        while !self.checkpoint(sink)?.complete {
            if Instant::now() >= deadline {
                return Err(Error::Busy(
                    "the database's log, by a reader's snapshot or an open write transaction,",
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let main = hash_main(&self.files, self.anchor.pages)?;
        if main.sum() != self.anchor.sum || self.files.main_pages()? != self.anchor.pages {
            return Err(Error::NoSuchContent);
        }
        Ok(Folded {
            path: self.files.path.clone(),
            anchor: self.anchor,
        })
    }

    /// Holds a snapshot of the whole database as a seed, at the position that [`SeedSource::end`] tells. What is captured up to it goes
    /// to `sink`, and is durable. The source lives on its own and may be moved to another thread; while it lives the write-ahead log grows.
    ///
    /// # Errors
    /// What `sink` answers, and as [`Tail::next_block`].
    pub fn snapshot(&mut self, sink: &mut dyn BlockSink) -> Result<SeedSource> {
        let reader = self.files.connect()?;
        begin_read(&reader)?;
        let (published, backfilled) = published(&self.files, self.options.patience)?;
        self.capture_to(&published, sink)?;
        SeedSource::new(
            reader,
            Arc::clone(&self.files),
            self.anchor,
            &published,
            backfilled,
        )
    }
}

/// The published header and the count of backfilled frames that belongs to it.
pub(super) fn published(files: &Files, patience: Duration) -> Result<(IndexHeader, u32)> {
    loop {
        let header = files.header(patience)?;
        let backfilled = files.shm.backfilled();
        if files.shm.is_at(&header) {
            return Ok((header, backfilled));
        }
    }
}
