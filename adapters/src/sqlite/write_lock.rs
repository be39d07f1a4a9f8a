//! SQLite's write lock on a file that nobody here uses: on one that nobody may write for now, on one that has come to its place and is not
//! opened yet, and on one that was replaced while applications have it open (`docs/capture.md`, *Installation*).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::files::Files;
use super::seed::{Temporary, beside};
use super::shm::{BLOCK, IndexHeader, Lock, Shm};
use super::sys::{is_open_elsewhere, try_lock, try_share, unlock};
use super::{Error, Result};

/// The bytes on which every open connection to a database in WAL mode holds a shared lock (SQLite, `os.h`: SHARED_FIRST,
/// SHARED_SIZE).
pub(super) const SHARED: (i64, i64) = (0x4000_0002, 510);
/// The byte that a connection must be able to lock, for a moment, before it gets that one (`os.h`: PENDING_BYTE).
const PENDING: (i64, i64) = (0x4000_0000, 1);
/// How long the doorstep is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a connection takes, at most, from that lock to the opening of the wal-index: it follows at once.
const ON_THE_DOORSTEP: Duration = Duration::from_millis(20);

/// Keeps other programs from writing to a database, as long as it lives. They read, and are told that the database is locked when
/// they write. Nor does the last of them to close it remove the log and the wal-index, which SQLite does by name: once those names
/// lead to another database's, that one would lose them.
pub struct WriteLock(Option<Held>);

struct Held {
    main: File,
    shm: Shm,
}

impl WriteLock {
    /// Takes the lock of the database at `path`, waiting up to `patience`.
    ///
    /// # Errors
    /// [`Error::Busy`] while somebody is within a transaction that writes; the refusals of a file as in
    /// [`super::Tail::start`].
    pub fn take(path: &Path, patience: Duration) -> Result<Self> {
        // Bound in this order, the connection closes before the descriptors.
        let (files, _first) = Files::open(path, true)?;
        files.lock(Lock::Write, patience)?;
        files.keep_lock()
    }

    /// The write lock that `shm` holds, which goes on when that is closed.
    pub(super) fn of(main: &File, shm: &Shm) -> Result<Self> {
        let main = main.try_clone().map_err(Error::io("keep the database file"))?;
        let shm = shm.try_clone().map_err(Error::io("keep the wal-index"))?;
        // As a connection holds them. The first is not had in the moment in which somebody else closes the database, who then
        // removes what is still its own; nobody ever has the second alone while a connection is open.
        let _ = try_share(&main, SHARED.0, SHARED.1);
        let _ = shm.try_share(Lock::Open);
        Ok(Self(Some(Held { main, shm })))
    }

    /// Whether another program has the database open. Where the file system cannot tell, it is taken to have.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|held| is_open_elsewhere(&held.main).unwrap_or(true))
    }

    /// Lets no further connection in: from now on whoever opens the file is told that it is locked, as long as this value lives. Who
    /// opens a database opens its wal-index and its log by name, after the file itself; when the names change hands in between, that
    /// connection would have one database's file and another's log.
    pub(super) fn shut(&self) -> Result<()> {
        let Some(held) = &self.0 else { return Ok(()) };
        let deadline = Instant::now() + PATIENCE;
        while !try_lock(&held.main, PENDING.0, PENDING.1).map_err(Error::io("lock the replaced file"))? {
            if Instant::now() >= deadline {
                return Err(Error::Busy("the file that is to be replaced"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(ON_THE_DOORSTEP);
        Ok(())
    }

    /// The descriptors of main file and wal-index with what they hold, if it is the database at `path` that is locked.
    pub(super) fn into_parts(mut self, path: &Path) -> Option<(File, Shm)> {
        let at = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
        let is_there = self.0.as_ref().is_some_and(|held| {
            let main = held.main.metadata().ok().map(|m| (m.dev(), m.ino()));
            main.is_some() && at(path) == main && at(&beside(path, "-shm")) == held.shm.id().ok()
        });
        let held = self.0.take_if(|_| is_there)?;
        Some((held.main, held.shm))
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        // Closing alone is not enough, as in `Files`.
        if let Some(held) = self.0.take() {
            for lock in [Lock::Write, Lock::Open] {
                let _ = held.shm.unlock(lock);
            }
            for (start, len) in [SHARED, PENDING] {
                let _ = unlock(&held.main, start, len);
            }
        }
    }
}

/// The empty log and the wal-index of a database that is about to come to its place. Until it has, and [`Staged::publish`] was called, nobody
/// can even read there: the wal-index says nothing yet, and who would fill it needs the write lock.
pub(super) struct Staged {
    lock: WriteLock,
    index: Temporary,
    log: Temporary,
}

impl Staged {
    /// Makes both beside `path`, for the main file that is called `name` so far.
    pub fn new(path: &Path, name: &Path) -> Result<Self> {
        let main = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name)
            .map_err(Error::io("open the seed"))?;
        // As SQLite makes them: who may use the database may use its log.
        let mode = main.metadata().map_err(Error::io("look at the seed"))?.mode() & 0o777;
        let create = |suffix| {
            let name = beside(path, suffix);
            match fs::remove_file(&name) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&name)?;
            Ok((Temporary(Some(name)), file))
        };
        let (log, _) = create("-seed-log").map_err(Error::io("create the log of the seed"))?;
        let failed = Error::io("create the wal-index of the seed");
        let (index, file) = create("-seed-index").map_err(failed)?;
        file.set_len(BLOCK as u64).map_err(failed)?;
        let shm = Shm::new(file, true).map_err(failed)?;
        let locked = shm
            .try_share(Lock::Open)
            .and_then(|open| Ok(open && shm.try_lock(Lock::Write)?))
            .and_then(|both| Ok(both && try_share(&main, SHARED.0, SHARED.1)?));
        if !locked.map_err(Error::io("lock the seed"))? {
            return Err(Error::Busy("the seed"));
        }
        Ok(Self {
            lock: WriteLock(Some(Held { main, shm })),
            index,
            log,
        })
    }

    /// Puts both beside `path`, in the place of what is there.
    pub fn install(&mut self, path: &Path) -> io::Result<()> {
        // The index first: from now on nobody can begin to write into the log that is about to go.
        put(&mut self.index, beside(path, "-shm"))?;
        put(&mut self.log, beside(path, "-wal"))
    }

    /// Lets readers in: the log is empty.
    pub fn publish(self) -> WriteLock {
        if let Some(held) = &self.lock.0 {
            held.shm.publish_restart(IndexHeader::default());
        }
        self.lock
    }
}

fn put(from: &mut Temporary, to: PathBuf) -> io::Result<()> {
    if let Some(name) = &from.0 {
        fs::rename(name, to)?;
    }
    from.0 = None;
    Ok(())
}
