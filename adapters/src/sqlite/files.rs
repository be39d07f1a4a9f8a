//! A database's three files, opened once and kept open.
//!
//! Closing any descriptor of the main file or of `-shm` drops all locks that SQLite's connections of this process hold on
//! them. So every holder has its own `Arc` of one [`Files`], and closes its connections before it lets go of that: the
//! descriptors close after the last connection has.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::string::String;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::shm::{IndexHeader, Lock, Shm};
use super::sys::{try_lock, unlock};
use super::write_lock::{SHARED, WriteLock};
use super::{Error, GapReason, Result};
use crate::beside::beside;

/// The byte of the main file that whoever captures or applies holds: far beyond what SQLite locks or a file is long.
const SOLE_LOCK: i64 = 0x6462_6d69_7272_6f72;

/// Files of this process by device and inode: a second opener is refused before it has a descriptor to close.
static HELD: Mutex<Option<HashSet<(u64, u64)>>> = Mutex::new(None);

/// An entry of [`HELD`].
struct Claim((u64, u64));

impl Claim {
    fn new(path: &Path) -> Result<Self> {
        let meta = fs::metadata(path).map_err(Error::io("find the database file"))?;
        let id = (meta.dev(), meta.ino());
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.get_or_insert_default().insert(id) {
            return Err(Error::InUse(path.to_path_buf()));
        }
        Ok(Self(id))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.get_or_insert_default().remove(&self.0);
    }
}

/// Fails when this process holds `path` open for capture or apply.
pub(super) fn refuse_if_held(path: &Path) -> Result<()> {
    match Claim::new(path) {
        Ok(_) => Ok(()),
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// The descriptors of one database.
pub(super) struct Files {
    /// Canonical path of the main file.
    pub path: PathBuf,
    pub main: File,
    pub log: std::sync::Arc<File>,
    pub shm: Shm,
    pub page_size: u32,
    /// Log and wal-index by path, and which files those were when they were opened.
    beside: [(PathBuf, (u64, u64)); 2],
    /// The write lock lives on in a [`WriteLock`].
    kept: AtomicBool,
    /// The descriptors by which the write lock was held before.
    _handed: Option<(File, Option<Shm>)>,
    // Last, so that it is given up after the descriptors are closed.
    claim: Claim,
}

impl Files {
    /// Opens the files of the database at `path` for one holder, and a first connection, which has read once. (Bound in this
    /// order, the connection is dropped first.)
    ///
    /// # Errors
    /// The refusals of a file.
    pub fn open(path: &Path, writable_index: bool) -> Result<(Self, Connection)> {
        Self::open_with(path, writable_index, &mut None)
    }

    /// As [`Files::open`], of a file whose write lock may be held already: it goes over without a moment in which nobody has it, and
    /// stays where it is when the file cannot be opened.
    pub fn open_with(
        path: &Path,
        writable_index: bool,
        lock: &mut Option<WriteLock>,
    ) -> Result<(Self, Connection)> {
        let path = fs::canonicalize(path).map_err(Error::io("find the database file"))?;
        // A lock of another file is worth nothing, and goes before a connection is opened: its descriptors would take that one's
        // locks with them.
        if lock.as_ref().is_some_and(|lock| !lock.is_of(&path)) {
            *lock = None;
        }
        let handed = match lock {
            Some(lock) => {
                lock.own()?;
                lock.parts()?
            }
            None => None,
        };
        let claim = Claim::new(&path)?;
        let (main, index) = match handed {
            Some((main, shm)) => (main, Some(shm)),
            None => {
                let main = OpenOptions::new().read(true).write(true).open(&path);
                (main.map_err(Error::io("open the database file"))?, None)
            }
        };
        refuse_network(&path, &main)?;
        check_header(&path, &main)?;
        if !try_lock(&main, SOLE_LOCK, 1).map_err(Error::io("lock the database file"))? {
            return Err(Error::InUse(path));
        }
        let first = first_connection(&path)?;
        let page_size: u32 = first
            .query_row("PRAGMA page_size", [], |row| row.get(0))
            .map_err(Error::sqlite("read the page size"))?;
        let open = |suffix: &str| {
            let name = beside(&path, suffix);
            let file = OpenOptions::new().read(true).write(true).open(&name)?;
            let meta = file.metadata()?;
            Ok((file, (name, (meta.dev(), meta.ino()))))
        };
        let (log, log_id) = open("-wal").map_err(Error::io("open the write-ahead log"))?;
        let (shm, shm_id) = match index {
            Some(shm) => {
                let id = shm.id().map_err(Error::io("open the wal-index"))?;
                (shm, (beside(&path, "-shm"), id))
            }
            None => {
                let (file, id) = open("-shm").map_err(Error::io("open the wal-index"))?;
                let shm = Shm::new(file, writable_index).map_err(Error::io("open the wal-index"))?;
                (shm, id)
            }
        };
        // The connection has its own by now.
        let _ = unlock(&main, SHARED.0, SHARED.1);
        let files = Self {
            path,
            main,
            log: std::sync::Arc::new(log),
            shm,
            page_size,
            beside: [log_id, shm_id],
            kept: AtomicBool::new(false),
            _handed: lock.take().and_then(WriteLock::into_parts),
            claim,
        };
        Ok((files, first))
    }

    /// The write lock, which is held, for longer than these files are open. Nobody may read with them any more.
    pub fn keep_lock(&self) -> Result<WriteLock> {
        let lock = WriteLock::of(&self.main, &self.shm)?;
        self.kept.store(true, Ordering::Relaxed);
        Ok(lock)
    }

    /// Another connection to the same database.
    pub fn connect(&self) -> Result<Connection> {
        connect(&self.path)
    }

    /// Fails when the path leads to another file by now, or log or wal-index do: whoever removed those has others write into new
    /// ones, which nothing here would ever see.
    pub fn check_identity(&self) -> Result<()> {
        let is = |path: &Path, id| fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == id);
        if !is(&self.path, self.claim.0) {
            return Err(Error::Replaced(self.path.clone()));
        }
        if !self.beside.iter().all(|(path, id)| is(path, *id)) {
            return Err(Error::Gap(GapReason::LogRemoved));
        }
        Ok(())
    }

    /// The published header, waiting while a writer is just writing it.
    pub fn header(&self, patience: Duration) -> Result<IndexHeader> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(header) = self.shm.header() {
                return Ok(header);
            }
            if Instant::now() >= deadline {
                return Err(Error::Busy("the wal-index, whose header nobody completes,"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes `lock`, waiting up to `patience`.
    pub fn lock(&self, lock: Lock, patience: Duration) -> Result<()> {
        let what = match lock {
            Lock::Write => "the database's write lock",
            Lock::Checkpoint => "the database's checkpoint lock",
            Lock::ReadMarks | Lock::Open => "the database's log",
        };
        let deadline = Instant::now() + patience;
        while !self.shm.try_lock(lock).map_err(Error::io("lock the wal-index"))? {
            if Instant::now() >= deadline {
                return Err(Error::Busy(what));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Releases `lock`.
    pub fn unlock(&self, lock: Lock) -> Result<()> {
        self.shm.unlock(lock).map_err(Error::io("unlock the wal-index"))
    }

    /// Pages that the main file is long.
    pub fn main_pages(&self) -> Result<u32> {
        let len = self
            .main
            .metadata()
            .map_err(Error::io("measure the database file"))?
            .len();
        u32::try_from(len / u64::from(self.page_size))
            .map_err(|_| Error::Malformed("the main file is too long"))
    }

    /// Reads from the main file; what lies behind its end is zeros.
    pub fn read_main(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < out.len() {
            match self.main.read_at(&mut out[done..], offset + done as u64) {
                Ok(0) => {
                    out[done..].fill(0);
                    break;
                }
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read the database file")(e)),
            }
        }
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Closing alone is not enough: a process that is just being started has copies of our descriptors, and with them our
        // locks, until it runs its program.
        for lock in [Lock::Checkpoint, Lock::ReadMarks] {
            let _ = self.shm.unlock(lock);
        }
        if !self.kept.load(Ordering::Relaxed) {
            for lock in [Lock::Write, Lock::Open] {
                let _ = self.shm.unlock(lock);
            }
        }
        let _ = unlock(&self.main, SOLE_LOCK, 1);
    }
}

/// How long a file may be held exclusively before that is taken for lasting: the last application to close a database holds it
/// while it folds the log.
const EXCLUSIVE_MOMENT: Duration = Duration::from_secs(2);

/// A connection that has read once.
fn first_connection(path: &Path) -> Result<Connection> {
    let deadline = Instant::now() + EXCLUSIVE_MOMENT;
    loop {
        match try_first_connection(path) {
            Err(Error::Exclusive(_)) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

fn try_first_connection(path: &Path) -> Result<Connection> {
    let first = connect(path)?;
    let mode: String = first
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .map_err(|e| refusal(path, e))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(Error::NotWal(path.to_path_buf()));
    }
    begin_read(&first).map_err(|e| match e {
        Error::Sqlite { source, .. } => refusal(path, *source),
        Error::Busy(_) => Error::Exclusive(path.to_path_buf()),
        other => other,
    })?;
    end_read(&first)?;
    Ok(first)
}

/// A connection of ours: never waits, never checkpoints by itself, never tidies up when it is the last to close.
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(Error::sqlite("open the database"))?;
    connection
        .busy_timeout(Duration::ZERO)
        .and_then(|()| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true))
        .and_then(|_| connection.execute_batch("PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=FULL;"))
        .map_err(|e| refusal(path, e))?;
    Ok(connection)
}

/// Begins a read transaction, which holds a read lock until [`end_read`].
pub(super) fn begin_read(connection: &Connection) -> Result<()> {
    connection
        .execute_batch("BEGIN")
        .and_then(|()| connection.query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0)))
        .map(drop)
        .map_err(|e| {
            if !connection.is_autocommit() {
                let _ = connection.execute_batch("ROLLBACK");
            }
            if is_busy(&e) {
                return Error::Busy("the database");
            }
            Error::sqlite("read the database")(e)
        })
}

/// Ends a read transaction.
pub(super) fn end_read(connection: &Connection) -> Result<()> {
    connection
        .execute_batch("ROLLBACK")
        .map_err(Error::sqlite("end a read"))
}

/// Moves as much of the write-ahead log into the main file as readers allow.
pub(super) fn checkpoint_passive(connection: &Connection) -> Result<()> {
    connection
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        .or_else(|e| if is_busy(&e) { Ok(()) } else { Err(e) })
        .map_err(Error::sqlite("checkpoint the database"))
}

/// Whether SQLite answered that a lock is held.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// What a first answer of SQLite means.
fn refusal(path: &Path, error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Exclusive(path.to_path_buf()),
        Some(ErrorCode::NotADatabase) => Error::NotADatabase(path.to_path_buf()),
        _ => Error::sqlite("open the database")(error),
    }
}

/// Looks at the first 100 bytes: a database, and in WAL mode.
pub(super) fn check_header(path: &Path, main: &File) -> Result<()> {
    let mut head = [0; 20];
    match main.read_exact_at(&mut head, 0) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            let len = main
                .metadata()
                .map_err(Error::io("measure the database file"))?
                .len();
            // SQLite takes an empty file for an empty database in its default mode.
            return Err(if len == 0 {
                Error::NotWal(path.to_path_buf())
            } else {
                Error::NotADatabase(path.to_path_buf())
            });
        }
        Err(e) => return Err(Error::io("read the database file")(e)),
    }
    if &head[..16] != b"SQLite format 3\0" {
        return Err(Error::NotADatabase(path.to_path_buf()));
    }
    if head[18..20] != [2, 2] {
        return Err(Error::NotWal(path.to_path_buf()));
    }
    Ok(())
}

/// Refuses file systems whose hosts do not share memory mappings.
fn refuse_network(path: &Path, main: &File) -> Result<()> {
    let kind = rustix::fs::fstatfs(main)
        .map_err(|e| Error::io("look at the file system")(e.into()))?
        .f_type;
    // The numbers are the kernel's (statfs(2)); the field's type differs between architectures, its low 32 bits do not.
    let name = match kind as u32 {
        0x0000_6969 => "NFS",
        0xff53_4d42 | 0xfe53_4d42 | 0x0000_517b => "SMB",
        0x5346_414f => "AFS",
        0x7375_7245 => "Coda",
        0x00c3_6400 => "CephFS",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x0102_1997 => "9p",
        _ => return Ok(()),
    };
    Err(Error::NetworkFilesystem(path.to_path_buf(), name))
}
