//! A whole database at one position: read out of a running one, written into a new file (`docs/capture.md`).
//!
//! A seed is the database's pages in order, page 1 first, as one run of bytes: what the main file would be after a
//! complete checkpoint at that position.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use std::collections::HashMap;

use dbmirror_core::message::block::{WalPlace, lock_page};
use dbmirror_core::message::{DatabaseSum, LogEnd};
use rusqlite::Connection;

use super::files::{Files, check_header, refuse_if_held};
use super::install::{CompleteSeed, sync_folder};
use super::shm::IndexHeader;
use super::wal::{WalHeader, image_offset, read_frame};
use super::{Anchor, Error, Result, page_hash};
use crate::beside::{Temporary, beside};

/// A held snapshot, from [`super::Tail::snapshot`].
pub struct SeedSource {
    // Closes before the descriptors (`files`); while it reads, neither the frames below nor the pages beside them change.
    _reader: Connection,
    files: Arc<Files>,
    anchor: Anchor,
    /// Pages whose image is in the log, with the offset there.
    in_log: HashMap<u32, u64>,
}

impl SeedSource {
    /// Takes over `reader`, which began to read before `published` was published or just then; `anchor` is the state there.
    pub(super) fn new(
        reader: Connection,
        files: Arc<Files>,
        anchor: Anchor,
        published: &IndexHeader,
        backfilled: u32,
    ) -> Result<Self> {
        let mut in_log = HashMap::new();
        if published.max_frame > backfilled {
            let log =
                WalHeader::read(&files.log)?.ok_or(Error::Malformed("the log's header is not valid"))?;
            for number in 1..=published.max_frame {
                let frame = read_frame(&files.log, &log, number)?;
                in_log.insert(frame.page, image_offset(number, files.page_size));
            }
        }
        Ok(Self {
            _reader: reader,
            files,
            anchor,
            in_log,
        })
    }

    /// The position that the content is that of. Blocks after it follow.
    #[must_use]
    pub fn end(&self) -> LogEnd {
        self.anchor.end
    }

    /// Position, sum, page size, pages.
    #[must_use]
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Bytes of the whole.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.anchor.page_size) * u64::from(self.anchor.pages)
    }

    /// Copies content from `offset` on into `out`, as much as fits; 0 at the end. Any order, any number of times.
    ///
    /// # Errors
    /// What reading answers.
    pub fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let size = u64::from(self.anchor.page_size);
        let left = self.bytes().saturating_sub(offset);
        let len = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let (page, within) = ((at / size) as u32 + 1, at % size);
            let piece = (len - done).min((size - within) as usize);
            let to = &mut out[done..done + piece];
            if page == lock_page(self.anchor.page_size) {
                to.fill(0);
            } else if let Some(image) = self.in_log.get(&page) {
                self.files
                    .log
                    .read_exact_at(to, image + within)
                    .map_err(Error::io("read the write-ahead log"))?;
            } else {
                self.files.read_main(at, to)?;
            }
            done += piece;
        }
        Ok(len)
    }
}

/// A seed that arrives: a temporary file beside its destination until it is complete and proved.
pub struct SeedSink {
    path: PathBuf,
    temporary: Temporary,
    file: File,
    page_size: u32,
    pages: u32,
    arrived: u64,
    /// The page that is not complete yet.
    page: vec::Vec<u8>,
    sum: u64,
}

impl SeedSink {
    /// Begins a seed of `bytes` bytes that is to become the database at `path`. An unfinished earlier one is dropped; what is
    /// at `path` stays until it is installed ([`SeedSink::complete`], [`CompleteSeed`]).
    ///
    /// # Errors
    /// [`Error::WrongDatabase`] for a size or page size that no database has; what the system answers.
    pub fn create(path: &Path, page_size: u32, bytes: u64) -> Result<Self> {
        let sane = page_size.is_power_of_two() && (512..=65_536).contains(&page_size);
        let pages = u32::try_from(bytes.checked_div(u64::from(page_size)).unwrap_or(0)).unwrap_or(0);
        if !sane || pages == 0 || u64::from(pages) * u64::from(page_size) != bytes {
            return Err(Error::WrongDatabase);
        }
        let name = beside(path, "-seed");
        match fs::remove_file(&name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove an old seed")(e)),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&name)
            .map_err(Error::io("create the file of the seed"))?;
        Ok(Self {
            path: path.to_path_buf(),
            temporary: Temporary(Some(name)),
            file,
            page_size,
            pages,
            arrived: 0,
            page: vec::Vec::with_capacity(page_size as usize),
            sum: 0,
        })
    }

    /// Takes the next bytes, in order: `offset` is what has arrived before.
    ///
    /// # Errors
    /// [`Error::SeedDamaged`] for another offset or too many bytes; what writing answers.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let size = self.page_size as usize;
        let whole = u64::from(self.pages) * u64::from(self.page_size);
        if offset != self.arrived || bytes.len() as u64 > whole - self.arrived {
            return Err(Error::SeedDamaged);
        }
        self.file
            .write_all_at(bytes, offset)
            .map_err(Error::io("write the seed"))?;
        self.arrived += bytes.len() as u64;
        let mut number = ((offset - self.page.len() as u64) / size as u64) as u32 + 1;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((size - self.page.len()).min(rest.len()));
            self.page.extend_from_slice(piece);
            rest = behind;
            if self.page.len() == size {
                if number != lock_page(self.page_size) {
                    self.sum ^= page_hash(number, &self.page);
                }
                number += 1;
                self.page.clear();
            }
        }
        Ok(())
    }

    /// Bytes that have arrived.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Makes everything that has arrived durable.
    ///
    /// # Errors
    /// What the system answers.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("sync the seed"))
    }

    /// Checks size and sum and syncs: all that can fail without a look at what lies at the destination.
    ///
    /// # Errors
    /// [`Error::SeedDamaged`] for another size or sum, [`Error::NotADatabase`] and [`Error::NotWal`] for content that is none;
    /// what the system answers.
    pub fn complete(self, at: LogEnd, sum: DatabaseSum) -> Result<CompleteSeed> {
        let whole = u64::from(self.pages) * u64::from(self.page_size);
        if self.arrived != whole || self.sum != sum.0 {
            return Err(Error::SeedDamaged);
        }
        check_header(&self.path, &self.file)?;
        self.sync()?;
        Ok(CompleteSeed::new(
            self.path,
            self.temporary,
            Anchor {
                end: at,
                sum,
                page_size: self.page_size,
                pages: self.pages,
                wal: WalPlace::default(),
                change_counter: 0,
            },
        ))
    }
}

/// Makes an empty database in WAL mode at `path`, which must not exist (CREATE DATABASE).
///
/// # Errors
/// [`Error::Io`] when the file exists or cannot be made, [`Error::Sqlite`] when SQLite refuses.
pub fn create_database(path: &Path, page_size: u32) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("create the database file"))?;
    let connection = Connection::open(path).map_err(Error::sqlite("create the database"))?;
    connection
        .pragma_update(None, "page_size", page_size)
        .and_then(|()| connection.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(())))
        .map_err(Error::sqlite("create the database"))?;
    drop(connection);
    OpenOptions::new()
        .read(true)
        .open(path)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("sync the database file"))?;
    sync_folder(path)
}

/// The database sum and the number of pages of the main file at `path` as it is, without its write-ahead log: of a folded file.
/// Nothing in this process may have it open.
///
/// # Errors
/// [`Error::InUse`] when a `Tail` or `Applier` of this process holds it; [`Error::NotADatabase`]; [`Error::Io`].
pub fn database_sum(path: &Path) -> Result<(DatabaseSum, u32)> {
    refuse_if_held(path)?;
    let file = File::open(path).map_err(Error::io("open the database file"))?;
    let mut head = [0; 18];
    file.read_exact_at(&mut head, 0)
        .map_err(Error::io("read the database file"))?;
    let page_size = match u32::from(u16::from_be_bytes([head[16], head[17]])) {
        1 => 65_536,
        size => size,
    };
    if &head[..16] != b"SQLite format 3\0" || !page_size.is_power_of_two() || page_size < 512 {
        return Err(Error::NotADatabase(path.to_path_buf()));
    }
    let len = file
        .metadata()
        .map_err(Error::io("measure the database file"))?
        .len();
    let pages =
        u32::try_from(len / u64::from(page_size)).map_err(|_| Error::NotADatabase(path.to_path_buf()))?;
    let mut image = vec![0; page_size as usize];
    let mut sum = 0;
    for page in (1..=pages).filter(|page| *page != lock_page(page_size)) {
        file.read_exact_at(&mut image, u64::from(page - 1) * u64::from(page_size))
            .map_err(Error::io("read the database file"))?;
        sum ^= page_hash(page, &image);
    }
    Ok((DatabaseSum(sum), pages))
}
