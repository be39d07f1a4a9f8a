//! The hash of every page, and the database sum that follows from them; read from a file at a published state.

use std::os::unix::fs::FileExt;
use std::vec;
use std::vec::Vec;

use dbmirror_core::message::DatabaseSum;
use dbmirror_core::message::block::lock_page;

use super::files::Files;
use super::identity::{HEAD_LEN, Head};
use super::page_hash;
use super::shm::IndexHeader;
use super::wal::{FrameReader, WalHeader, image_offset};
use super::{Error, GapReason, Result};

/// Eight bytes a page.
#[derive(Clone)]
pub(super) struct PageTable {
    /// Hash of page *i* + 1; 0 for the lock page.
    hashes: Vec<u64>,
    sum: u64,
    lock_page: u32,
}

impl PageTable {
    fn new(page_size: u32) -> Self {
        Self {
            hashes: Vec::new(),
            sum: 0,
            lock_page: lock_page(page_size),
        }
    }

    /// Pages of the database.
    pub fn pages(&self) -> u32 {
        // A database has less than 2^32 pages, and only pages of databases are entered.
        self.hashes.len() as u32
    }

    pub fn sum(&self) -> DatabaseSum {
        DatabaseSum(self.sum)
    }

    /// Hash of `page`; 0 when the database does not have it.
    pub fn get(&self, page: u32) -> u64 {
        self.hashes.get(page as usize - 1).copied().unwrap_or(0)
    }

    /// Enters `hash`; pages between the end and `page` are entered as absent.
    pub fn set(&mut self, page: u32, hash: u64) {
        if page == self.lock_page {
            return;
        }
        let index = page as usize - 1;
        if self.hashes.len() <= index {
            self.hashes.resize(index + 1, 0);
        }
        self.sum ^= self.hashes[index] ^ hash;
        self.hashes[index] = hash;
    }

    /// Cuts off, or adds as absent, the pages behind `pages`.
    pub fn resize(&mut self, pages: u32) {
        for hash in self.hashes.drain((pages as usize).min(self.hashes.len())..) {
            self.sum ^= hash;
        }
        self.hashes.resize(pages as usize, 0);
    }
}

/// A state of a file: the table there, and where in the log it lies.
pub(super) struct State {
    pub table: PageTable,
    pub frame: u32,
    /// Checksum of that frame; that of the log's header for frame 0.
    pub checksum: [u32; 2],
    pub salts: [u32; 2],
    pub change: u32,
    /// The header of page 1.
    pub head: Head,
}

/// Which state is wanted.
pub(super) enum Wanted {
    /// The last published one.
    Last,
    /// The one with this sum and size, preferably after this frame of the log with these salts.
    With {
        sum: DatabaseSum,
        pages: u32,
        frame: u32,
        salts: [u32; 2],
    },
}

/// Reads the file as published in `header`, which was read, followed by `backfilled`, while a reader of ours held the log and
/// while nobody checkpoints; finds the wanted state and its table.
///
/// Every state from the backfilled one on can be read exactly. An earlier one has lost pages to a checkpoint, unless the
/// checkpoint happened to leave them as they were; its sum then tells.
pub(super) fn load(files: &Files, header: &IndexHeader, backfilled: u32, wanted: &Wanted) -> Result<State> {
    let last = header.max_frame;
    let base_pages = files.main_pages()?;
    let base = hash_main(files, base_pages.max(header.pages))?;
    let log = if last > backfilled {
        let log = WalHeader::read(&files.log)?.ok_or(Error::Malformed("the log's header is not valid"))?;
        if log.salts != header.salts || log.page_size != files.page_size {
            return Err(Error::Malformed("the log's header is not the published one"));
        }
        Some(log)
    } else {
        None
    };
    let Some(log) = log else {
        // All frames are in the main file. (A log that was never written publishes no size.)
        let mut table = base;
        table.resize(if last == 0 { base_pages } else { header.pages });
        let state = State {
            head: read_head(files, None)?,
            table,
            frame: last,
            checksum: header.frame_checksum,
            salts: header.salts,
            change: header.change,
        };
        return match *wanted {
            Wanted::With { sum, pages, .. } if (sum, pages) != (state.table.sum(), state.table.pages()) => {
                Err(Error::Gap(GapReason::SumNotFound))
            }
            _ => Ok(state),
        };
    };
    let mut replay = Replay::new(files, base, base_pages, &log);
    let found = match *wanted {
        Wanted::Last => Some(last),
        Wanted::With {
            sum,
            pages,
            frame,
            salts,
        } => {
            let hint = (salts == log.salts).then_some(frame);
            replay.find(&log, header, (sum.0, pages), hint)?
        }
    };
    let Some(found) = found else {
        return Err(Error::Gap(GapReason::SumNotFound));
    };
    let state = replay.at(&log, header, found)?;
    Ok(state)
}

/// The frames of a log over the pages of the main file.
struct Replay<'a> {
    files: &'a Files,
    base: PageTable,
    base_pages: u32,
    /// Page and hash of each frame that was read.
    frames: Vec<(u32, u64)>,
    /// Commit frames with their size in pages and checksum.
    commits: Vec<(u32, u32, [u32; 2])>,
    reader: FrameReader,
}

impl<'a> Replay<'a> {
    fn new(files: &'a Files, base: PageTable, base_pages: u32, log: &WalHeader) -> Self {
        Self {
            files,
            base,
            base_pages,
            frames: Vec::new(),
            commits: Vec::new(),
            reader: FrameReader::new(log, 0, log.checksum),
        }
    }

    /// Reads frames up to and with `end`.
    fn read(&mut self, end: u32) -> Result<()> {
        while let Some((frame, image)) = self.reader.next(&self.files.log, end)? {
            self.frames.push((frame.page, page_hash(frame.page, image)));
            if frame.commit != 0 {
                self.commits.push((frame.number, frame.commit, frame.checksum));
            }
        }
        Ok(())
    }

    /// The commit frame after which the file has that sum and size; 0 for the main file alone.
    fn find(
        &mut self,
        log: &WalHeader,
        header: &IndexHeader,
        (sum, pages): (u64, u32),
        hint: Option<u32>,
    ) -> Result<Option<u32>> {
        if let Some(hint) = hint
            && hint <= header.max_frame
        {
            let state = self.at(log, header, hint)?;
            if (state.table.sum().0, state.table.pages()) == (sum, pages) {
                return Ok(Some(hint));
            }
        }
        self.read(header.max_frame)?;
        // All pages ever seen stay in `full`; the sum of the first `size` of them is kept beside it.
        let mut full = self.base.clone();
        let mut size = self.base_pages;
        full.resize(size.max(self.base.pages()));
        let mut current = 0;
        for page in 1..=size {
            current ^= full.get(page);
        }
        let mut found = (current == sum && size == pages).then_some(0);
        let mut at = 0;
        for &(commit, new_size, _) in &self.commits {
            for &(page, hash) in &self.frames[at as usize..commit as usize] {
                if page <= size {
                    current ^= full.get(page) ^ hash;
                }
                put(&mut full, page, hash, self.files.page_size);
            }
            at = commit;
            if full.pages() < new_size {
                extend_with_zero_pages(&mut full, new_size, self.files.page_size);
            }
            for page in size.min(new_size) + 1..=size.max(new_size) {
                current ^= full.get(page);
            }
            size = new_size;
            if current == sum && size == pages {
                found = Some(commit);
            }
        }
        Ok(found)
    }

    /// The state after commit frame `frame`.
    fn at(&mut self, log: &WalHeader, header: &IndexHeader, frame: u32) -> Result<State> {
        self.read(frame)?;
        let mut table = self.base.clone();
        let (pages, checksum) = if frame == 0 {
            (self.base_pages, log.checksum)
        } else {
            let commit = self.commits.iter().find(|(number, ..)| *number == frame);
            let Some(&(_, pages, checksum)) = commit else {
                // Not the end of a transaction: no state at all.
                return Ok(State {
                    head: Head::default(),
                    table: PageTable::new(self.files.page_size),
                    frame,
                    checksum: [0, 0],
                    salts: log.salts,
                    change: 0,
                });
            };
            (pages, checksum)
        };
        for &(page, hash) in &self.frames[..frame as usize] {
            put(&mut table, page, hash, self.files.page_size);
        }
        if table.pages() < pages {
            extend_with_zero_pages(&mut table, pages, self.files.page_size);
        }
        table.resize(pages);
        if frame == header.max_frame && checksum != header.frame_checksum {
            return Err(Error::Malformed("the log's last frame is not the published one"));
        }
        let first = self.frames[..frame as usize]
            .iter()
            .rposition(|(page, _)| *page == 1);
        Ok(State {
            head: read_head(self.files, first.map(|index| index as u32 + 1))?,
            table,
            frame,
            checksum,
            salts: log.salts,
            change: header.change,
        })
    }
}

/// The header of page 1, out of that frame, or out of the main file.
fn read_head(files: &Files, frame: Option<u32>) -> Result<Head> {
    let mut bytes = [0; HEAD_LEN];
    match frame {
        Some(frame) => files
            .log
            .read_exact_at(&mut bytes, image_offset(frame, files.page_size))
            .map_err(Error::io("read the write-ahead log"))?,
        None => files.read_main(0, &mut bytes)?,
    }
    Ok(Head::parse(&bytes))
}

/// Enters a page that may lie behind the end: pages in between were never written.
fn put(table: &mut PageTable, page: u32, hash: u64, page_size: u32) {
    if page > table.pages() + 1 {
        extend_with_zero_pages(table, page - 1, page_size);
    }
    table.set(page, hash);
}

/// Pages that neither file holds read as zeros.
fn extend_with_zero_pages(table: &mut PageTable, pages: u32, page_size: u32) {
    let zeros = vec![0; page_size as usize];
    for page in table.pages() + 1..=pages {
        table.set(page, page_hash(page, &zeros));
    }
    // `set` leaves the lock page out, also as the last one.
    table.resize(pages);
}

/// Hashes of the first `pages` pages of the main file.
pub(super) fn hash_main(files: &Files, pages: u32) -> Result<PageTable> {
    let size = files.page_size as usize;
    let mut table = PageTable::new(files.page_size);
    table.hashes.reserve(pages as usize);
    let at_once = ((1 << 20) / size).max(1) as u32;
    let mut buffer = vec![0; at_once as usize * size];
    let mut first = 1;
    while first <= pages {
        let count = at_once.min(pages - first + 1);
        let piece = &mut buffer[..count as usize * size];
        files.read_main(u64::from(first - 1) * size as u64, piece)?;
        for (page, image) in (first..).zip(piece.chunks_exact(size)) {
            table.set(page, page_hash(page, image));
        }
        first += count;
    }
    table.resize(pages);
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_follows_every_change() {
        let mut table = PageTable::new(65_536);
        table.set(1, 0xa);
        table.set(3, 0xb);
        assert_eq!((table.pages(), table.sum().0, table.get(2)), (3, 0xa ^ 0xb, 0));
        table.set(3, 0xc);
        assert_eq!(table.sum().0, 0xa ^ 0xc);
        table.resize(1);
        assert_eq!((table.pages(), table.sum().0, table.get(3)), (1, 0xa, 0));
        table.set(16_385, 0xff);
        assert_eq!(table.sum().0, 0xa, "the lock page is no part of the sum");
    }
}
