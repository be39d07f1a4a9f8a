//! The mirror's writer: log blocks become transactions of an ordinary write-ahead log (`docs/capture.md`).

use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use dbmirror_core::crypto::rustcrypto::Sha256;
use dbmirror_core::message::block::{
    BlockCheck, BlockError, BlockHeader, CheckedBlock, ENTRY_LEN, EntryKind, HEADER_LEN, PageEntry,
};
use dbmirror_core::message::{FamilyGuid, LogEnd};
use rusqlite::Connection;

use super::files::{Files, begin_read, checkpoint_passive, end_read};
use super::shm::{IndexHeader, IndexWriter, Lock};
use super::table::{PageTable, Wanted, hash_main, load};
use super::tail::{CHECKPOINT_AGAIN, Checkpointed, Folded, IDENTITY_EVERY, published};
use super::wal::{WalHeader, emit_frame, frame_offset};
use super::write_lock::WriteLock;
use super::{Anchor, Error, Result, page_hash};

/// Settings of an [`Applier`].
#[derive(Clone, Copy, Debug)]
pub struct ApplierOptions {
    /// The database that the blocks must belong to.
    pub family: FamilyGuid,
    /// Frames in the mirror's write-ahead log from which on [`Applier::wants_checkpoint`] says yes.
    pub checkpoint_frames: u32,
    /// How long an operation waits for locks that other connections hold only for moments.
    pub patience: Duration,
}

impl ApplierOptions {
    /// The defaults for a database of `family`.
    #[must_use]
    pub fn new(family: FamilyGuid) -> Self {
        Self {
            family,
            checkpoint_frames: 1_000,
            patience: Duration::from_secs(5),
        }
    }
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in the file, and readers see it.
    Now,
    /// It was in the file already.
    Before,
}

/// The only writer of one mirror's file, for as long as this value lives: it holds SQLite's write lock, so other programs
/// read and get "database is locked" when they write.
pub struct Applier {
    // Closes before the descriptors (`files`).
    checkpointer: Connection,
    files: Files,
    options: ApplierOptions,
    table: PageTable,
    anchor: Anchor,
    /// What is published: by us, or found when the file was opened.
    published: IndexHeader,
    /// Header of the log that is being written; `None` until its first frame.
    log: Option<WalHeader>,
    index: IndexWriter,
    /// Frame of the last complete checkpoint in this log.
    folded: u32,
    /// After a checkpoint that could not be completed: when the next one is worth trying.
    again: Option<Instant>,
    looked: Instant,
}

/// What a file was found to be.
struct Found {
    table: PageTable,
    anchor: Anchor,
    header: IndexHeader,
    log: Option<WalHeader>,
}

/// Bytes of frames that are written at once.
const WRITE_BEHIND: usize = 1 << 20;
/// Most entries that the directory's buffer is made for before any of them has arrived.
const DIRECTORY_AHEAD: usize = 4_096;

impl Applier {
    /// Opens a mirror's file (or, to adopt a tail, a principal's own) and finds out which position it is at: that of `from`, or of
    /// one of the blocks after it. `from` is any stored anchor, `later(sequence)` the header of that block, `None` after the
    /// log's end. Reads the whole file once.
    ///
    /// # Errors
    /// [`Error::NoSuchContent`] when the file is at none of them: seed it anew. The refusals of a file as in
    /// [`super::Tail::start`]; what `later` answers.
    pub fn open(
        path: &Path,
        options: ApplierOptions,
        from: &Anchor,
        later: &mut dyn FnMut(u64) -> Result<Option<BlockHeader>>,
    ) -> Result<Self> {
        Self::open_locked(path, &mut None, options, from, later)
    }

    /// As [`Applier::open`], of a file whose write lock may be held already: then no other program can have written in between. When
    /// it fails with the write lock in hand, that is left in `lock`: whoever writes to a file that is of no use writes in vain.
    ///
    /// # Errors
    /// As [`Applier::open`]; [`Error::InUse`] while somebody here reads the file.
    pub fn open_locked(
        path: &Path,
        lock: &mut Option<WriteLock>,
        options: ApplierOptions,
        from: &Anchor,
        later: &mut dyn FnMut(u64) -> Result<Option<BlockHeader>>,
    ) -> Result<Self> {
        let (files, first) = Files::open_with(path, true, lock)?;
        // Kept for life: nobody else writes.
        files.lock(Lock::Write, options.patience)?;
        let found = match Self::find(&files, &first, options, from, later) {
            Ok(found) => found,
            Err(e) => {
                *lock = files.keep_lock().ok();
                return Err(e);
            }
        };
        Ok(Self {
            checkpointer: first,
            files,
            options,
            table: found.table,
            anchor: found.anchor,
            published: found.header,
            log: found.log,
            index: IndexWriter::default(),
            folded: 0,
            again: None,
            looked: Instant::now(),
        })
    }

    /// Reads the whole file and finds out where it is.
    fn find(
        files: &Files,
        first: &Connection,
        options: ApplierOptions,
        from: &Anchor,
        later: &mut dyn FnMut(u64) -> Result<Option<BlockHeader>>,
    ) -> Result<Found> {
        if files.page_size != from.page_size {
            return Err(Error::NoSuchContent);
        }
        // While the file is read nobody checkpoints either.
        files.lock(Lock::Checkpoint, options.patience)?;
        begin_read(first)?;
        let (header, backfilled) = published(files, options.patience)?;
        let state = load(files, &header, backfilled, &Wanted::Last)?;
        end_read(first)?;
        files.unlock(Lock::Checkpoint)?;

        // The file is at the first position whose sum it has. (Where a later one has it too, the blocks in between are applied once
        // more; nothing that is not decided yet is taken for applied.)
        let is = |anchor: &Anchor| anchor.sum == state.table.sum() && anchor.pages == state.table.pages();
        let mut found = is(from).then_some(*from);
        let mut sequence = from.end.position.sequence;
        while found.is_none()
            && let Some(block) = later(sequence + 1)?
        {
            found = Some(Anchor::of(&block)).filter(is);
            sequence += 1;
        }
        let mut anchor = found.ok_or(Error::NoSuchContent)?;
        (anchor.wal, anchor.change_counter) = Default::default();
        let log = match header.max_frame {
            0 => None,
            _ => WalHeader::read(&files.log)?.filter(|log| log.salts == header.salts),
        };
        if header.max_frame > 0 && log.is_none() {
            return Err(Error::Malformed("the log's header is not the published one"));
        }
        Ok(Found {
            table: state.table,
            anchor,
            header,
            log,
        })
    }

    /// Closes the file, which is about to be replaced, and keeps the lock.
    ///
    /// # Errors
    /// What the system answers when it has no descriptors.
    pub fn retire(self) -> Result<WriteLock> {
        self.files.keep_lock()
    }

    /// The position that the file is at. May be stored after a checkpoint or fold.
    #[must_use]
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Makes the next block a transaction of the file. `block` yields its stored bytes; nothing is visible to readers
    /// before all of it has been checked. Nothing is synced: the block log is the redo.
    ///
    /// # Errors
    /// [`Error::NotNext`], [`Error::Block`], [`Error::WrongDatabase`] for a block that does not belong here (nothing
    /// has changed); [`Error::PageDamaged`], [`Error::ForeignWrite`] when the file does not fit (seed it anew).
    pub fn apply(&mut self, block: &mut dyn Read) -> Result<Applied> {
        let mut incoming = Incoming::new(block, self.anchor.end)?;
        let header = incoming.header;
        if header.family != self.options.family || header.page_size != self.files.page_size {
            return Err(Error::WrongDatabase);
        }
        let (at, got) = (self.anchor.end.position, header.position);
        if got.sequence <= at.sequence {
            return Ok(Applied::Before);
        }
        if got.sequence != at.sequence + 1 || got.timeline < at.timeline {
            return Err(Error::NotNext { at, got });
        }
        if header.pages_before != self.anchor.pages {
            return Err(Error::WrongDatabase);
        }
        if self.looked.elapsed() >= IDENTITY_EVERY {
            self.files.check_identity()?;
            self.looked = Instant::now();
        }
        if !self.files.shm.is_at(&self.published) {
            return Err(Error::ForeignWrite);
        }
        let entries = incoming.directory()?;
        for entry in &entries {
            let here = self.table.get(entry.page);
            if here != entry.old_hash && here != entry.new_hash {
                return Err(Error::PageDamaged { page: entry.page });
            }
        }
        let last = entries
            .iter()
            .rev()
            .find(|entry| entry.kind != EntryKind::Dropped);
        let Some(last) = last.map(|entry| entry.page) else {
            // Every transaction writes a page; one that only drops some is nothing that SQLite makes.
            return Err(Error::Block(BlockError::BadDirectory));
        };

        self.restart_log()?;
        let log = self.begin_log()?;
        let mut frames = FrameWriter::new(&self.files, &log, &self.published);
        let mut image = vec![0; self.files.page_size as usize];
        for entry in &entries {
            match entry.kind {
                EntryKind::Full => incoming.image(entry, &mut image)?,
                EntryKind::Zero => {
                    image.fill(0);
                    if page_hash(entry.page, &image) != entry.new_hash {
                        return Err(Error::Block(BlockError::BadDirectory));
                    }
                }
                EntryKind::Dropped => continue,
            }
            let commit = if entry.page == last { header.pages_after } else { 0 };
            frames.push(entry.page, commit, &image)?;
        }
        // The last checks: every byte, the chain, and the whole database before it. The commit frame is not even in the log
        // yet, so that no recovery finds what fails here.
        let checked = incoming.finish()?;
        if checked.sum_before != self.anchor.sum {
            return Err(Error::NoSuchContent);
        }
        frames.flush()?;
        let (end, checksum) = (frames.end, frames.checksum);
        let written = entries.iter().filter(|entry| entry.kind != EntryKind::Dropped);
        for (frame, entry) in (self.published.max_frame + 1..).zip(written) {
            self.index
                .enter(&self.files.shm, frame, entry.page)
                .map_err(Error::io("write the wal-index"))?;
        }
        self.table.resize(header.pages_after);
        for entry in entries.iter().filter(|entry| entry.kind != EntryKind::Dropped) {
            self.table.set(entry.page, entry.new_hash);
        }
        self.published = IndexHeader {
            big_endian: log.big_endian,
            change: self.published.change.wrapping_add(1),
            page_size: self.files.page_size,
            max_frame: end,
            pages: header.pages_after,
            frame_checksum: checksum,
            salts: log.salts,
        };
        self.files.shm.publish(self.published);
        self.anchor = Anchor {
            wal: Default::default(),
            change_counter: 0,
            ..Anchor::of(&header)
        };
        Ok(Applied::Now)
    }

    /// Starts the log over when a checkpoint has moved all of it into the main file and no reader needs it.
    fn restart_log(&mut self) -> Result<()> {
        let shm = &self.files.shm;
        if self.published.max_frame == 0 || shm.backfilled() != self.published.max_frame {
            return Ok(());
        }
        let locking = |lock| shm.try_lock(lock).map_err(Error::io("lock the wal-index"));
        // No checkpoint may run, and no reader may use the log. Readers of the main file alone are not disturbed.
        if !locking(Lock::Checkpoint)? {
            return Ok(());
        }
        let free = locking(Lock::ReadMarks);
        if matches!(free, Ok(true)) {
            if shm.backfilled() == self.published.max_frame {
                let restarts = self.log.map_or(0, |log| log.restarts.wrapping_add(1));
                let salts = [self.published.salts[0].wrapping_add(1), fresh_salt()?];
                self.published.max_frame = 0;
                self.published.salts = salts;
                shm.publish_restart(self.published);
                self.log = Some(WalHeader::new(self.files.page_size, restarts, salts));
                self.folded = 0;
            }
            self.files.unlock(Lock::ReadMarks)?;
        }
        self.files.unlock(Lock::Checkpoint)?;
        free.map(drop)
    }

    /// The log's header, written first when the log has no frame yet.
    fn begin_log(&mut self) -> Result<WalHeader> {
        if self.published.max_frame > 0
            && let Some(log) = self.log
        {
            return Ok(log);
        }
        let log = match self.log {
            Some(log) => log,
            None if self.published.salts != [0, 0] => WalHeader::new(
                self.files.page_size,
                WalHeader::read(&self.files.log)?.map_or(0, |old| old.restarts.wrapping_add(1)),
                self.published.salts,
            ),
            None => WalHeader::new(self.files.page_size, 0, [fresh_salt()?, fresh_salt()?]),
        };
        // Synced before any frame: after a crash of the machine no frame of the old log may seem to belong to the new one.
        self.files
            .log
            .write_all_at(&log.emit(), 0)
            .and_then(|()| self.files.log.sync_data())
            .map_err(Error::io("write the header of the write-ahead log"))?;
        self.log = Some(log);
        Ok(log)
    }

    /// Whether the write-ahead log has grown enough for a checkpoint, and the last one that could not be completed is a moment
    /// ago.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        self.published.max_frame.saturating_sub(self.folded) >= self.options.checkpoint_frames
            && self.again.is_none_or(|again| Instant::now() >= again)
    }

    /// Syncs the write-ahead log, moves it into the main file as far as readers' snapshots allow, and syncs that. Readers are
    /// never blocked.
    ///
    /// # Errors
    /// What SQLite answers.
    pub fn checkpoint(&mut self) -> Result<Checkpointed> {
        checkpoint_passive(&self.checkpointer)?;
        let complete = self.files.shm.backfilled() == self.published.max_frame;
        self.again = Some(Instant::now() + CHECKPOINT_AGAIN);
        if complete {
            self.folded = self.published.max_frame;
            self.again = None;
        }
        Ok(Checkpointed { complete })
    }

    /// Folds the write-ahead log completely into the main file, reads that back and compares its sum. The file keeps that
    /// content until the next checkpoint.
    ///
    /// # Errors
    /// [`Error::Busy`] when a reader's old snapshot is not released in time; [`Error::NoSuchContent`] when the file has another
    /// sum.
    pub fn fold(&mut self) -> Result<Folded> {
        let deadline = Instant::now() + self.options.patience;
        while !self.checkpoint()?.complete {
            if Instant::now() >= deadline {
                return Err(Error::Busy("the database's log, by a reader's snapshot,"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if !self.files.shm.is_at(&self.published) {
            return Err(Error::ForeignWrite);
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
}

/// A random salt for a log.
fn fresh_salt() -> Result<u32> {
    getrandom::u32().map_err(|e| Error::io("draw a random number")(io::Error::other(e)))
}

/// A stored block being read and checked. It is read in large pieces, and never beyond its end.
struct Incoming<'a> {
    from: &'a mut dyn Read,
    check: BlockCheck<Sha256>,
    header: BlockHeader,
    /// Bytes that `from` still has of the block.
    left: u64,
    buffer: Vec<u8>,
    /// Where the bytes that were not taken yet begin in `buffer`.
    at: usize,
}

/// Bytes of a block that are read at once.
const READ_AHEAD: usize = 64 << 10;

impl<'a> Incoming<'a> {
    /// Reads the header of a block that is expected to follow `end`.
    fn new(from: &'a mut dyn Read, end: LogEnd) -> Result<Self> {
        let mut check = BlockCheck::new(end.chain);
        let mut bytes = [0; HEADER_LEN];
        read_exact(from, &mut bytes)?;
        check.push(&bytes)?;
        let header = *check.header().ok_or(BlockError::TooShort)?;
        Ok(Self {
            from,
            left: check.missing(),
            check,
            header,
            buffer: Vec::new(),
            at: 0,
        })
    }

    /// Takes the next bytes of the block.
    fn take(&mut self, out: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < out.len() {
            if self.at == self.buffer.len() {
                let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(READ_AHEAD);
                if len == 0 {
                    return Err(Error::Block(BlockError::BadLength));
                }
                self.buffer.resize(len, 0);
                self.at = 0;
                read_exact(self.from, &mut self.buffer)?;
                self.left -= len as u64;
            }
            let piece = (out.len() - done).min(self.buffer.len() - self.at);
            out[done..done + piece].copy_from_slice(&self.buffer[self.at..self.at + piece]);
            self.at += piece;
            done += piece;
        }
        self.check.push(out)?;
        Ok(())
    }

    /// Reads the directory.
    fn directory(&mut self) -> Result<Vec<PageEntry>> {
        let count = self.header.page_count as usize;
        let mut entries = Vec::with_capacity(count.min(DIRECTORY_AHEAD));
        let mut bytes = [0; ENTRY_LEN];
        for _ in 0..count {
            self.take(&mut bytes)?;
            entries.push(PageEntry::parse(&bytes)?);
        }
        Ok(entries)
    }

    /// Reads the image of `entry`.
    fn image(&mut self, entry: &PageEntry, image: &mut [u8]) -> Result<()> {
        self.take(image)?;
        if page_hash(entry.page, image) != entry.new_hash {
            return Err(Error::Block(BlockError::PayloadDamaged));
        }
        Ok(())
    }

    fn finish(self) -> Result<CheckedBlock> {
        Ok(self.check.finish()?)
    }
}

fn read_exact(from: &mut dyn Read, out: &mut [u8]) -> Result<()> {
    from.read_exact(out).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => Error::Block(BlockError::TooShort),
        _ => Error::io("read a log block")(e),
    })
}

/// Frames on their way into the log, behind what is published.
struct FrameWriter<'a> {
    files: &'a Files,
    log: &'a WalHeader,
    buffer: Vec<u8>,
    /// Where the buffer goes.
    offset: u64,
    end: u32,
    checksum: [u32; 2],
}

impl<'a> FrameWriter<'a> {
    fn new(files: &'a Files, log: &'a WalHeader, published: &IndexHeader) -> Self {
        let end = published.max_frame;
        Self {
            files,
            log,
            buffer: Vec::new(),
            offset: frame_offset(end + 1, log.page_size),
            end,
            checksum: if end == 0 {
                log.checksum
            } else {
                published.frame_checksum
            },
        }
    }

    fn push(&mut self, page: u32, commit: u32, image: &[u8]) -> Result<()> {
        self.checksum = emit_frame(&mut self.buffer, self.log, self.checksum, page, commit, image);
        self.end += 1;
        if self.buffer.len() >= WRITE_BEHIND && commit == 0 {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.files
            .log
            .write_all_at(&self.buffer, self.offset)
            .map_err(Error::io("write the write-ahead log"))?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
