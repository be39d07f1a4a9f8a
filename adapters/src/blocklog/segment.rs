//! Segment files: names, making, listing.

use std::format;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use super::Current;
use super::format::{SEGMENT_HEADER, emit_segment_header};

/// The file of segment `number`.
pub(super) fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08x}.seg"))
}

/// Makes `dir`, for its owner only, unless it exists.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The numbers of all segments in `dir`, ascending.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(stem) = name.to_str().and_then(|n| n.strip_suffix(".seg")) else {
            continue;
        };
        if stem.len() == 8
            && let Ok(number) = u32::from_str_radix(stem, 16)
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes segment `number` of `size` bytes, written with zeros: overwriting needs no metadata at each `fdatasync`, which
/// growing a file or filling a hole does. The file and its name are durable on return. A disk without room for all of it refuses at
/// once, and keeps what room it has for others.
pub(super) fn create(dir: &Path, number: u32, size: u64) -> io::Result<Current> {
    let path = path(dir, number);
    let made = fill(&path, number, size).and_then(|file| {
        File::open(dir)?.sync_all()?;
        Ok(file)
    });
    match made {
        Ok(file) => Ok(Current {
            number,
            file: Arc::new(file),
            offset: SEGMENT_HEADER as u64,
            size,
        }),
        Err(e) => {
            // Half of a segment is of no use; a full disk gets its room back.
            let _ = std::fs::remove_file(&path);
            Err(e)
        }
    }
}

/// Makes segment `number` of `size` bytes without waiting for the disk: with room that was never written, which costs each `fdatasync` a
/// little more. The
/// second of the two is the folder; both are to be synced before anything in the segment counts as durable.
pub(super) fn create_at_once(dir: &Path, number: u32, size: u64) -> io::Result<(Current, Arc<File>)> {
    let folder = Arc::new(File::open(dir)?);
    let path = path(dir, number);
    let file = new_file(&path)?;
    let made = reserve(&file, size).and_then(|()| file.write_all_at(&emit_segment_header(number), 0));
    match made {
        Ok(()) => Ok((
            Current {
                number,
                file: Arc::new(file),
                offset: SEGMENT_HEADER as u64,
                size,
            },
            folder,
        )),
        Err(e) => {
            let _ = std::fs::remove_file(&path);
            Err(e)
        }
    }
}

/// Takes the room, so that a disk is full here and not at a later sync; where the file system cannot, the file is a hole.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(size),
        other => Ok(other?),
    }
}

/// Makes a file in `dir` that has no name, and so nothing to be removed later.
pub(super) fn nameless(dir: &Path) -> io::Result<File> {
    let path = dir.join("incoming");
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = new_file(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn fill(path: &Path, number: u32, size: u64) -> io::Result<File> {
    let file = new_file(path)?;
    reserve(&file, size)?;
    let zeros = vec![0; 1 << 20];
    let mut at = 0;
    while at < size {
        let len = (size - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..len as usize], at)?;
        at += len;
    }
    file.write_all_at(&emit_segment_header(number), 0)?;
    file.sync_all()?;
    Ok(file)
}
