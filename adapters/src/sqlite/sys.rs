//! The two things of this room that need `unsafe`: memory that other processes write to, and locks on bytes of a file that belong
//! to a descriptor instead of the process.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A shared mapping of part of a file. Other processes change it at any time, so every access is atomic.
pub(super) struct SharedMap {
    base: *mut u8,
    len: usize,
    writable: bool,
}

// SAFETY: the mapping is not bound to a thread, and every access to it is an atomic load or store.
unsafe impl Send for SharedMap {}
// SAFETY: as above; all methods but `drop` may run at the same time.
unsafe impl Sync for SharedMap {}

impl SharedMap {
    /// Maps `len` bytes of `file` from `offset` on; both are multiples of the system's page size, and the file is that long (a
    /// shorter file would raise SIGBUS at the first access, so this is checked).
    pub fn new(file: &File, offset: u64, len: usize, writable: bool) -> io::Result<Self> {
        if file.metadata()?.len() < offset + len as u64 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let protection = if writable {
            ProtFlags::READ | ProtFlags::WRITE
        } else {
            ProtFlags::READ
        };
        // SAFETY: a new mapping at an address of the system's choice aliases no memory of this program; it lives until
        // `drop`, and no reference into it is ever handed out.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED,
                file,
                offset,
            )
        }?;
        Ok(Self {
            base: base.cast(),
            len,
            writable,
        })
    }

    /// Where the `size` bytes at `at` are; panics outside the mapping or when not aligned.
    fn place(&self, at: usize, size: usize) -> *mut u8 {
        assert!(
            at.is_multiple_of(size) && at + size <= self.len,
            "inside the mapping"
        );
        // SAFETY: `at` lies within the mapping, as was just checked.
        unsafe { self.base.add(at) }
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        // SAFETY: in bounds and aligned (`place`), mapped until `self` is dropped; atomics may be shared with other
        // processes, and no non-atomic access exists.
        unsafe { AtomicU32::from_ptr(self.place(at, 4).cast()) }
    }

    fn half(&self, at: usize) -> &AtomicU16 {
        // SAFETY: as for `word`.
        unsafe { AtomicU16::from_ptr(self.place(at, 2).cast()) }
    }

    /// The 32-bit word at byte `at`.
    pub fn load(&self, at: usize) -> u32 {
        self.word(at).load(Ordering::Acquire)
    }

    /// Sets the 32-bit word at byte `at`.
    pub fn store(&self, at: usize, value: u32) {
        assert!(self.writable, "mapped for writing");
        self.word(at).store(value, Ordering::Release);
    }

    /// The 16-bit word at byte `at`.
    pub fn load_half(&self, at: usize) -> u16 {
        self.half(at).load(Ordering::Acquire)
    }

    /// Sets the 16-bit word at byte `at`.
    pub fn store_half(&self, at: usize, value: u16) {
        assert!(self.writable, "mapped for writing");
        self.half(at).store(value, Ordering::Release);
    }

    /// Everything before is visible to other processes before anything after.
    pub fn barrier() {
        fence(Ordering::SeqCst);
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        // SAFETY: base and length are those of `mmap`, and nothing refers into the mapping any more.
        let _ = unsafe { munmap(self.base.cast(), self.len) };
    }
}

/// Tries to lock bytes of `file` exclusively, for this descriptor: the lock conflicts with SQLite's own of any process, this one
/// included, and no other descriptor's closing drops it. Returns whether the lock was had.
pub(super) fn try_lock(file: &File, start: i64, len: i64) -> io::Result<bool> {
    match set_lock(file, libc::F_WRLCK, start, len) {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Tries to lock bytes of `file` shared, for this descriptor. Returns whether the lock was had.
pub(super) fn try_share(file: &File, start: i64, len: i64) -> io::Result<bool> {
    match set_lock(file, libc::F_RDLCK, start, len) {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The kernel's number, which `libc` does not have (`asm-generic/fcntl.h`).
const F_SETSIG: libc::c_int = 10;

/// Whether anybody has `file` open by another descriptor, in this process or any: the system gives a write lease only to who is
/// alone (fcntl(2), *Leases*).
pub(super) fn is_open_elsewhere(file: &File) -> io::Result<bool> {
    let control = |command: libc::c_int, argument: libc::c_int| {
        // SAFETY: the descriptor is open while `file` is borrowed, and these commands take a number.
        match unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // Who opens the file in the instant in which there is a lease makes the system send a signal: one that is ignored unless asked for.
    control(F_SETSIG, libc::SIGURG)?;
    match control(libc::F_SETLEASE, libc::F_WRLCK) {
        Ok(()) => control(libc::F_SETLEASE, libc::F_UNLCK).map(|()| false),
        Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        Err(e) => Err(e),
    }
}

/// Releases what [`try_lock`] locked.
pub(super) fn unlock(file: &File, start: i64, len: i64) -> io::Result<()> {
    set_lock(file, libc::F_UNLCK, start, len)
}

fn set_lock(file: &File, kind: libc::c_int, start: i64, len: i64) -> io::Result<()> {
    let request = region(kind, start, len)?;
    // SAFETY: the descriptor is open while `file` is borrowed, and F_OFD_SETLK only reads the structure.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const request) };
    if answer == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn region(kind: libc::c_int, start: i64, len: i64) -> io::Result<libc::flock> {
    let failed = || io::Error::from(io::ErrorKind::InvalidInput);
    Ok(libc::flock {
        l_type: kind.try_into().map_err(|_| failed())?,
        l_whence: libc::SEEK_SET.try_into().map_err(|_| failed())?,
        l_start: start,
        l_len: len,
        l_pid: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    #[test]
    fn locks_belong_to_a_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .unwrap()
        };
        let (a, b) = (open(), open());
        assert!(try_lock(&a, 120, 1).unwrap());
        assert!(!try_lock(&b, 118, 4).unwrap());
        assert!(try_lock(&b, 121, 4).unwrap());
        drop(open());
        assert!(
            !try_lock(&b, 120, 1).unwrap(),
            "closing another descriptor changes nothing"
        );
        unlock(&a, 120, 1).unwrap();
        assert!(try_lock(&b, 120, 1).unwrap());
        assert!(try_share(&a, 128, 1).unwrap());
        assert!(try_share(&b, 128, 1).unwrap());
        assert!(!try_lock(&b, 128, 1).unwrap());
        assert!(is_open_elsewhere(&a).unwrap());
        drop(b);
        assert!(!is_open_elsewhere(&a).unwrap());
    }

    #[test]
    fn mappings_share_memory_and_refuse_short_files() {
        let file = tempfile::tempfile().unwrap();
        assert!(SharedMap::new(&file, 0, 4096, true).is_err());
        file.set_len(8192).unwrap();
        let a = SharedMap::new(&file, 4096, 4096, true).unwrap();
        let b = SharedMap::new(&file, 4096, 4096, false).unwrap();
        a.store(8, 0x0102_0304);
        a.store_half(12, 7);
        assert_eq!((b.load(8), b.load_half(12)), (0x0102_0304, 7));
    }
}
