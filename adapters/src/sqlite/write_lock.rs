//! SQLite's write lock on a file that nobody here uses: on one that nobody may write for now, on one that has come to its place and is not
//! opened yet, and on one that was replaced while applications have it open (`docs/capture.md`, *Installation*).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::Vec;

use super::files::Files;
use super::shm::{BLOCK, IndexHeader, Lock, Shm};
use super::sys::{is_open_elsewhere, try_lock, try_share, unlock};
use super::{Error, Result};
use crate::beside::{Temporary, beside};

/// The bytes on which every open connection to a database in WAL mode holds a shared lock (SQLite, `os.h`: SHARED_FIRST,
/// SHARED_SIZE).
pub(super) const SHARED: (i64, i64) = (0x4000_0002, 510);
/// The byte that a connection must be able to lock, for a moment, before it gets that one (`os.h`: PENDING_BYTE).
const PENDING: (i64, i64) = (0x4000_0000, 1);
/// All that SQLite locks of a database in another mode than WAL: PENDING, RESERVED and SHARED.
const ALL: (i64, i64) = (0x4000_0000, 512);
/// How long locks are waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a connection may take from that lock to the opening of the wal-index, which follows at once: on a machine with five
/// processes waiting for each processor the longest of 33,000 took 144 ms.
const ON_THE_DOORSTEP: Duration = Duration::from_millis(500);

/// Keeps other programs from writing to a database, as long as it lives. They read, and are told that the database is locked when
/// they write. Nor does the last of them to close it remove the log and the wal-index, which SQLite does by name: once those names
/// lead to another database's, that one would lose them.
pub struct WriteLock(Option<Held>);

/// Whose descriptors hold the locks.
enum Held {
    Own {
        main: File,
        /// None where there is no log: then nobody reads either.
        shm: Option<Shm>,
        /// Wal-indexes of another database that somebody has opened together with this main file.
        strays: Vec<Shm>,
    },
    /// Those of a capture that has ended. Somebody here may still read the file, whose locks would go if another descriptor of it were
    /// closed.
    Of(Arc<Files>),
}

impl Held {
    fn main(&self) -> &File {
        match self {
            Self::Own { main, .. } => main,
            Self::Of(files) => &files.main,
        }
    }

    fn shm(&self) -> Option<&Shm> {
        match self {
            Self::Own { shm, .. } => shm.as_ref(),
            Self::Of(files) => Some(&files.shm),
        }
    }

    /// As a connection holds them. The first is not had in the moment in which somebody else closes the database, who then removes what
    /// is still its own; nobody ever has the second alone while a connection is open.
    fn share(&self) {
        let _ = try_share(self.main(), SHARED.0, SHARED.1);
        if let Some(shm) = self.shm() {
            let _ = shm.try_share(Lock::Open);
        }
    }
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

    /// Locks the database at `path`, which has no write-ahead log, against everybody.
    pub(super) fn take_all(path: &Path) -> Result<Self> {
        let main = OpenOptions::new().read(true).write(true).open(path);
        let main = main.map_err(Error::io("open the file that is replaced"))?;
        let deadline = Instant::now() + PATIENCE;
        while !try_lock(&main, ALL.0, ALL.1).map_err(Error::io("lock the file that is replaced"))? {
            if Instant::now() >= deadline {
                return Err(Error::Busy("the file that is to be replaced"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Self(Some(Held::Own {
            main,
            shm: None,
            strays: Vec::new(),
        })))
    }

    /// That of a database which nobody has open, and whose log is empty: the SHARED bytes of `main` are locked exclusively.
    pub(super) fn alone(main: File) -> Self {
        Self(Some(Held::Own {
            main,
            shm: None,
            strays: Vec::new(),
        }))
    }

    /// The write lock that `shm` holds, which goes on when that is closed.
    pub(super) fn of(main: &File, shm: &Shm) -> Result<Self> {
        let held = Held::Own {
            main: main.try_clone().map_err(Error::io("keep the database file"))?,
            shm: Some(shm.try_clone().map_err(Error::io("keep the wal-index"))?),
            strays: Vec::new(),
        };
        held.share();
        Ok(Self(Some(held)))
    }

    /// The write lock that `files` hold, which somebody here may still read with.
    pub(super) fn of_files(files: Arc<Files>) -> Self {
        let held = Held::Of(files);
        held.share();
        Self(Some(held))
    }

    /// Whether another program has the database open. Where the file system cannot tell, whether one has read it that way.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        let Some(held) = &self.0 else { return false };
        is_open_elsewhere(held.main()).unwrap_or_else(|_| {
            let alone = try_lock(held.main(), SHARED.0, SHARED.1).unwrap_or(false);
            if alone {
                held.share();
            }
            !alone
        })
    }

    /// Whether `path` leads to the file that is locked, and its wal-index.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        let at = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
        self.0.as_ref().is_some_and(|held| {
            let main = held.main().metadata().ok().map(|m| (m.dev(), m.ino()));
            let index = held.shm().map(|shm| shm.id().ok());
            main.is_some() && at(path) == main && index.is_none_or(|index| at(&beside(path, "-shm")) == index)
        })
    }

    /// Lets no further connection in: from now on whoever opens the file is told that it is locked, as long as this value lives. Who
    /// opens a database opens its wal-index and its log by name, after the file itself; when the names change hands in between, that
    /// connection would have one database's file and another's log.
    pub(super) fn shut(&self) -> Result<()> {
        let Some(held) = &self.0 else { return Ok(()) };
        let failed = Error::io("lock the replaced file");
        let deadline = Instant::now() + PATIENCE;
        while !try_lock(held.main(), PENDING.0, PENDING.1).map_err(failed)? {
            if Instant::now() >= deadline {
                // An application in exclusive mode may have it for good: then it is that one that lets nobody in.
                if try_share(held.main(), PENDING.0, PENDING.1).map_err(failed)? {
                    let _ = unlock(held.main(), PENDING.0, PENDING.1);
                    return Err(Error::Busy("the file that is to be replaced"));
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(ON_THE_DOORSTEP);
        Ok(())
    }

    /// Keeps a wal-index of another database locked that somebody has opened together with this one's main file.
    pub(super) fn keep_stray(&mut self, index: Shm) {
        // (It was made one's own before it was shut.)
        if let Some(Held::Own { strays, .. }) = &mut self.0 {
            strays.push(index);
        }
    }

    /// Makes the descriptors this value's alone.
    ///
    /// # Errors
    /// [`Error::InUse`] while somebody here reads the file with them.
    pub(super) fn own(&mut self) -> Result<()> {
        if let Some(Held::Of(files)) = &self.0 {
            if Arc::strong_count(files) > 1 {
                return Err(Error::InUse(files.path.clone()));
            }
            let own = files.keep_lock()?.0.take();
            // The files are closed: their locks are `own`'s by now.
            self.0 = own;
        }
        Ok(())
    }

    /// Descriptors of main file and wal-index that hold the same locks.
    pub(super) fn parts(&self) -> Result<Option<(File, Shm)>> {
        match &self.0 {
            Some(held) => match held.shm() {
                Some(shm) => {
                    let main = held
                        .main()
                        .try_clone()
                        .map_err(Error::io("open the database file"))?;
                    let shm = shm.try_clone().map_err(Error::io("open the wal-index"))?;
                    Ok(Some((main, shm)))
                }
                None => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// The descriptors themselves, which give nothing up when they are closed one by one.
    pub(super) fn into_parts(mut self) -> Option<(File, Option<Shm>)> {
        match self.0.take()? {
            Held::Own { main, shm, .. } => Some((main, shm)),
            Held::Of(_) => None,
        }
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        // Closing alone is not enough, as in `Files`.
        let Some(held) = self.0.take() else { return };
        let strays: &[Shm] = match &held {
            Held::Own { strays, .. } => strays,
            Held::Of(_) => &[],
        };
        for shm in held.shm().into_iter().chain(strays) {
            for lock in [Lock::Write, Lock::Open] {
                let _ = shm.unlock(lock);
            }
        }
        let _ = unlock(held.main(), ALL.0, ALL.1);
    }
}

/// The empty log and the wal-index of a database that is about to come to its place. Until it has, and [`Staged::publish`] was called, nobody
/// can even read there: the wal-index says nothing yet, and who would fill it needs the write lock.
pub(super) struct Staged {
    shm: Shm,
    index: Temporary,
    log: Temporary,
}

impl Staged {
    /// Makes both beside `path`, for the main file `main`, whose SHARED bytes are locked from now on as a connection does.
    pub fn new(path: &Path, main: &File) -> Result<Self> {
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
            .and_then(|both| Ok(both && try_share(main, SHARED.0, SHARED.1)?));
        if !locked.map_err(Error::io("lock the seed"))? {
            return Err(Error::Busy("the seed"));
        }
        Ok(Self { shm, index, log })
    }

    /// Puts both beside `path`, in the place of what is there.
    pub fn install(&mut self, path: &Path) -> io::Result<()> {
        // The index first: from now on nobody can begin to write into the log that is about to go.
        put(&mut self.index, beside(path, "-shm"))?;
        put(&mut self.log, beside(path, "-wal"))
    }

    /// Whether nobody has opened the wal-index yet: who has it came by the main file that is still there.
    pub fn is_alone(&self) -> io::Result<bool> {
        let alone = self.shm.try_lock(Lock::Open)?;
        // Shared again, without a moment in between.
        Ok(self.shm.try_share(Lock::Open)? && alone)
    }

    /// What is held when it is of no use.
    pub fn into_index(self) -> Shm {
        self.shm
    }

    /// Lets readers in, now that `main` is in its place: the log is empty.
    pub fn publish(self, main: File) -> WriteLock {
        self.shm.publish_restart(IndexHeader::default());
        WriteLock(Some(Held::Own {
            main,
            shm: Some(self.shm),
            strays: Vec::new(),
        }))
    }
}

fn put(from: &mut Temporary, to: PathBuf) -> io::Result<()> {
    if let Some(name) = &from.0 {
        fs::rename(name, to)?;
    }
    from.0 = None;
    Ok(())
}
