//! A complete seed takes its place (`docs/capture.md`, *Installation*): beside nothing, over a database whose applications have
//! gone, or over a mirror's copy, which is kept.
//!
//! Whenever the machine stops, either the whole old database is there or the whole new one: the log of an old file goes before
//! the new file comes, or it would be taken for the new one's, and before it goes all of it is in the old file, or kept with it.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use std::vec::Vec;

use super::files::{connect, is_busy, refuse_if_held};
use super::sys::try_lock;
use super::write_lock::{SHARED, Staged, WriteLock};
use super::{Anchor, Error, Result};
use crate::beside::{Temporary, beside, sync_entry};

/// What may stand beside a database file.
const LOGS: [&str; 3] = ["-wal", "-shm", "-journal"];
/// How long a file that is replaced is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the names change hands anew for somebody who is on the doorstep.
const TRIES: usize = 3;
/// Between the name of a copy that was kept and where the log of its successor begins.
const KEPT: &str = "-before-";
/// So many kept copies of one database at most: the first, which is the likeliest to be wanted, and the last ones.
const KEPT_MOST: usize = 3;

/// A seed that is whole and on disk, beside its destination. Removed when dropped.
pub struct CompleteSeed {
    path: PathBuf,
    temporary: Temporary,
    anchor: Anchor,
}

/// A seed in its place.
pub struct Installed {
    /// What a [`super::Tail`] or an [`super::Applier`] goes on from.
    pub anchor: Anchor,
    /// The copy that was there before, under its new name.
    pub kept: Option<PathBuf>,
    /// The write lock of the new file, for [`super::Applier::open_locked`].
    pub lock: WriteLock,
    /// The write lock of the copy that was there before: to be held while [`WriteLock::is_wanted`]. Who had that open goes on with
    /// it, and would write where nobody looks.
    pub retired: Option<WriteLock>,
}

impl CompleteSeed {
    pub(super) fn new(path: PathBuf, temporary: Temporary, anchor: Anchor) -> Self {
        Self {
            path,
            temporary,
            anchor,
        }
    }

    /// What it is the content of.
    #[must_use]
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Puts it where nothing is.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is a file, or the log of one; what the system answers. Nothing has changed then.
    pub fn install_new(self) -> Result<Anchor> {
        for path in LOGS.map(|suffix| beside(&self.path, suffix)) {
            if fs::symlink_metadata(&path).is_ok() {
                return Err(Error::Exists(path));
            }
        }
        if let Some(name) = self.temporary.0.as_ref() {
            // Unlike a rename, a link never replaces a file that came meanwhile. The other name goes with `self`.
            fs::hard_link(name, &self.path).map_err(|e| match e.kind() {
                io::ErrorKind::AlreadyExists => Error::Exists(self.path.clone()),
                _ => Error::io("put the seed in its place")(e),
            })?;
        }
        sync_folder(&self.path)?;
        Ok(self.anchor)
    }

    /// Puts it in the place of a database that nobody has open, which is gone afterwards. Other programs can write to neither meanwhile: who was
    /// about to open the old one gets no further, and would otherwise go on with that file and the log of the new one.
    ///
    /// # Errors
    /// [`Error::InUse`] when a `Tail` or `Applier` holds the file there; [`Error::Busy`] when an application has it open: what that
    /// went on to commit would be in no database; what the system answers. The old database is there still, and whole.
    pub fn install_over(mut self) -> Result<Installed> {
        refuse_if_held(&self.path)?;
        let mut retired = self.exclusive()?;
        if let Some(old) = &retired {
            old.shut()?;
        }
        let lock = self.swap_locked(&mut retired)?;
        Ok(Installed {
            anchor: self.anchor,
            kept: None,
            lock,
            retired,
        })
    }

    /// The file that is replaced, folded and locked against every connection; `None` where no database is.
    fn exclusive(&self) -> Result<Option<WriteLock>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = log_state(&self.path);
            let folded = fold(&self.path);
            let file = match OpenOptions::new().read(true).write(true).open(&self.path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(Error::io("open the file that is replaced")(e)),
            };
            match folded {
                Ok(()) => {
                    let locked = try_lock(&file, SHARED.0, SHARED.1);
                    let locked = locked.map_err(Error::io("lock the file that is replaced"))?;
                    // A commit may have come after the log was folded.
                    if locked && log_state(&self.path) == before {
                        return Ok(Some(WriteLock::alone(file)));
                    }
                }
                Err(Error::Busy(_)) => {}
                // No database, or a damaged one, which is replaced for that.
                Err(Error::NotADatabase(_)) => return Ok(None),
                Err(e) => return Err(e),
            }
            if Instant::now() >= deadline {
                return Err(Error::Busy("the file that is to be replaced"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Puts it in the place of a mirror's copy, whose readers may go on with what they have open. The copy that was there is kept
    /// under another name beside it, with its log where that could not be folded into it: a seed follows from what the principal's
    /// file holds, and the principal's file may be the wrong one.
    ///
    /// Other programs can write to neither meanwhile (`docs/capture.md` says with which rest). `held` is the write lock of the copy
    /// that is there, where the caller has it; after a failure it is given back, or the one that was taken for it.
    ///
    /// # Errors
    /// [`Error::InUse`] when a `Tail` or `Applier` holds the file there, or somebody here reads it; [`Error::Busy`] and
    /// [`Error::Exclusive`] while an application is within a transaction that writes; what the system answers.
    pub fn install_keeping(mut self, held: &mut Option<WriteLock>) -> Result<Installed> {
        // Another file may have been put there meanwhile.
        if held.as_ref().is_some_and(|held| !held.is_of(&self.path)) {
            *held = None;
        }
        if let Some(held) = held {
            held.own()?;
        }
        refuse_if_held(&self.path)?;
        if held.is_none() {
            *held = self.shut_writers_out()?;
        }
        let kept = self.keep()?;
        if let Some(held) = held {
            held.shut()?;
        }
        let lock = self.swap_locked(held)?;
        Ok(Installed {
            anchor: self.anchor,
            kept,
            lock,
            retired: held.take(),
        })
    }

    /// The write lock of the database that is replaced, if there is one that SQLite opens.
    fn shut_writers_out(&self) -> Result<Option<WriteLock>> {
        match WriteLock::take(&self.path, PATIENCE) {
            Ok(lock) => Ok(Some(lock)),
            Err(Error::NotWal(_)) => WriteLock::take_all(&self.path).map(Some),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            // Damaged, which may be why it is replaced.
            Err(Error::NotADatabase(_) | Error::Sqlite { .. } | Error::Malformed(_) | Error::Gap(_)) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn swap_locked(&mut self, retired: &mut Option<WriteLock>) -> Result<WriteLock> {
        let failed = Error::io("put the seed in its place");
        let name = self
            .temporary
            .0
            .clone()
            .ok_or(Error::Malformed("the seed is gone"))?;
        let main = OpenOptions::new().read(true).write(true).open(&name);
        let main = main.map_err(Error::io("open the seed"))?;
        for _ in 0..TRIES {
            let mut staged = Staged::new(&self.path, &main)?;
            staged.install(&self.path).map_err(failed)?;
            match fs::remove_file(beside(&self.path, "-journal")) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
                _ => {}
            }
            // The old log has gone for good before the new file comes.
            sync_folder(&self.path)?;
            if staged.is_alone().map_err(failed)? {
                fs::rename(&name, &self.path).map_err(failed)?;
                self.temporary.0 = None;
                sync_folder(&self.path)?;
                return Ok(staged.publish(main));
            }
            // Somebody was slower on the doorstep than anybody should be. It keeps what it has, where it can do no harm.
            if let Some(retired) = retired {
                retired.keep_stray(staged.into_index());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(Error::Busy("the file that is to be replaced"))
    }

    fn keep(&self) -> Result<Option<PathBuf>> {
        if !fs::exists(&self.path).unwrap_or(true) {
            return Ok(None);
        }
        let at = self.anchor.end.position;
        let mut suffix = std::format!("{KEPT}{}-{}", at.timeline, at.sequence);
        // At one position again: the name is taken by the file of an attempt that did not get further, or by an earlier copy.
        let mut n = 1;
        while fs::symlink_metadata(beside(&self.path, &suffix)).is_ok() {
            n += 1;
            suffix = std::format!("{KEPT}{}-{}-{n}", at.timeline, at.sequence);
        }
        let kept = beside(&self.path, &suffix);
        let error = Error::io("keep the copy that is replaced");
        fs::hard_link(&self.path, &kept).map_err(error)?;
        if fold(&self.path).is_err() && has_log(&self.path) {
            fs::hard_link(beside(&self.path, "-wal"), beside(&kept, "-wal"))
                .map_err(Error::io("keep the log of the copy that is replaced"))?;
        }
        // What a database without a log needs to undo a transaction that a crash cut off.
        match fs::hard_link(beside(&self.path, "-journal"), beside(&kept, "-journal")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(error(e)),
            _ => {}
        }
        sync_folder(&self.path)?;
        prune(&self.path)?;
        Ok(Some(kept))
    }
}

/// What changes with every commit: length and time of the log.
fn log_state(path: &Path) -> Option<(u64, SystemTime)> {
    let log = fs::metadata(beside(path, "-wal")).ok()?;
    Some((log.len(), log.modified().ok()?))
}

fn has_log(path: &Path) -> bool {
    fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

/// Removes kept copies of the database at `path` beyond [`KEPT_MOST`].
fn prune(path: &Path) -> Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let prefix = std::format!("{}{KEPT}", name.to_string_lossy());
    let listed = fs::read_dir(folder).map_err(Error::io("look for kept copies"))?;
    let mut kept: Vec<(Vec<u64>, PathBuf)> = listed
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let numbers: Option<Vec<u64>> = name
                .strip_prefix(&prefix)?
                .split('-')
                .map(|number| number.parse().ok())
                .collect();
            Some((numbers?, path))
        })
        .collect();
    kept.sort();
    let surplus = kept.len().saturating_sub(KEPT_MOST);
    for (_, path) in kept.iter().skip(1).take(surplus) {
        for file in [path.clone()]
            .into_iter()
            .chain(LOGS.map(|suffix| beside(path, suffix)))
        {
            let _ = fs::remove_file(file);
        }
    }
    Ok(())
}

/// Moves the whole write-ahead log of the database at `path`, which nobody in this process holds, into its file.
fn fold(path: &Path) -> Result<()> {
    if !has_log(path) || !fs::exists(path).unwrap_or(false) {
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    let failed = |e: rusqlite::Error| match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            Error::NotADatabase(path.to_path_buf())
        }
        _ => Error::sqlite("fold the file that is replaced")(e),
    };
    let connection = connect(path)?;
    loop {
        let folded = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
            ))
        });
        match folded {
            Ok((0, frames, moved)) if frames == moved => return Ok(()),
            Ok(_) => {}
            Err(e) if is_busy(&e) => {}
            Err(e) => return Err(failed(e)),
        }
        if Instant::now() >= deadline {
            return Err(Error::Busy("the file that is to be replaced"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes the entry of the database at `path` in its folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    sync_entry(path).map_err(Error::io("sync the folder of the database"))
}
