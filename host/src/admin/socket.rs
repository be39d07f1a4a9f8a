//! The socket in the data directory: its address, and who is at the other end.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::SOCKET_NAME;

/// Longest path that surely fits into a socket address (108 bytes with the end mark on Linux).
const ADDRESS_LENGTH_MAX: usize = 100;

/// Runs `with` on a path to the socket that fits into a socket address. A longer one goes through a descriptor of
/// the directory.
fn at_socket<T>(dir: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let direct = dir.join(SOCKET_NAME);
    if direct.as_os_str().len() <= ADDRESS_LENGTH_MAX {
        return with(&direct);
    }
    let directory = rustix::fs::open(
        dir,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    with(&PathBuf::from(format!(
        "/proc/self/fd/{}/{SOCKET_NAME}",
        directory.as_raw_fd()
    )))
}

/// Binds the socket of the instance that owns `dir`. What a dead instance left behind is replaced, so the caller
/// must hold the directory's lock.
pub(super) fn bind(dir: &Path) -> io::Result<UnixListener> {
    at_socket(dir, |path| {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        // The directory keeps others out until this is done.
        rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
        Ok(listener)
    })
}

pub(super) fn connect(dir: &Path) -> io::Result<UnixStream> {
    at_socket(dir, |path| UnixStream::connect(path))
}

/// The user and process at the other end, as the system knows them.
pub(super) fn credentials(stream: &UnixStream) -> io::Result<(u32, i32)> {
    let credentials = rustix::net::sockopt::socket_peercred(stream)?;
    Ok((credentials.uid.as_raw(), credentials.pid.as_raw_nonzero().get()))
}

/// Whether the other end has gone, without taking anything from it.
pub(super) fn is_closed(stream: &UnixStream) -> bool {
    use rustix::net::{RecvFlags, recv};
    let mut byte = [0_u8; 1];
    match recv(stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, length)) => length == 0,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
        Err(_) => true,
    }
}
