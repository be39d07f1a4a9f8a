//! The backup file: a row of numbered backup sets, each whole or not there (`docs/backup.md` has the byte table).
//!
//! ```text
//! set     = header ‖ chunk … ‖ end chunk ‖ trailer
//! header  = "DBMSET1\0" ‖ fixed fields ‖ names ‖ CRC32C of all before
//! chunk   = length u32 (1…1 MiB) ‖ CRC32C of the bytes ‖ bytes;  the end chunk has length 0 and nothing behind
//! trailer = "DBMEND1\0" ‖ last LSN u128 ‖ body length u64 ‖ SHA-256 of body and last LSN
//! ```
//! Numbers are little-endian. A set is appended and counted only when its trailer is there; what a crash left behind the last
//! whole set is cut off by the next append.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::path::Path;

use dbmirror_adapters::beside::{beside, folder_of, sync_entry};
use sha2::{Digest as _, Sha256};

#[cfg(test)]
mod tests;

const HEADER_MAGIC: [u8; 8] = *b"DBMSET1\0";
const TRAILER_MAGIC: [u8; 8] = *b"DBMEND1\0";
/// The fixed part of a header, its magic included.
const FIXED_LEN: usize = 96;
const TRAILER_LEN: usize = 64;
/// Most bytes of one chunk.
const CHUNK_MAX: usize = 1 << 20;
/// Most bytes of a name in a header.
const NAME_MAX: usize = 1024;
/// Most sets of one file.
const SETS_MAX: u32 = 100_000;

const CRC32C: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// What a backup set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1: the pages of the database at one LSN.
    Full,
    /// 2: the log blocks between two LSNs.
    Log,
}

/// What is known of a backup set before its body is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Full or log.
    pub kind: Kind,
    /// Its number in the file, from 1.
    pub number: u32,
    /// COPY_ONLY: it does not count for the chain of log backups.
    pub copy_only: bool,
    /// The database's family.
    pub family_guid: [u8; 16],
    /// The LSN behind which a log set begins; that of the last log backup for a full one, or 0.
    pub first_lsn: u128,
    /// Seconds since 1970.
    pub time: i64,
    /// The database's name.
    pub database: String,
    /// NAME of the statement.
    pub name: String,
}

/// A whole backup set of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// What it is.
    pub header: Header,
    /// The LSN at which it ends.
    pub last_lsn: u128,
    /// Bytes of its body.
    pub body_len: u64,
    /// Where its first chunk lies in the file.
    body_at: u64,
    /// Where the next set begins.
    end: u64,
    /// What the body must hash to.
    sha256: [u8; 32],
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Header {
    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let (database, name) = (self.database.as_bytes(), self.name.as_bytes());
        if database.len() > NAME_MAX || name.len() > NAME_MAX {
            return Err(io::Error::other("a name is too long for a backup set"));
        }
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes();
        let mut out = Vec::with_capacity(FIXED_LEN + database.len() + name.len() + 4);
        out.extend_from_slice(&HEADER_MAGIC);
        out.push(match self.kind {
            Kind::Full => 1,
            Kind::Log => 2,
        });
        out.push(u8::from(self.copy_only));
        out.extend_from_slice(&length(database));
        out.extend_from_slice(&length(name));
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.family_guid);
        out.extend_from_slice(&self.first_lsn.to_le_bytes());
        out.extend_from_slice(&self.time.to_le_bytes());
        out.resize(FIXED_LEN, 0);
        out.extend_from_slice(database);
        out.extend_from_slice(name);
        out.extend_from_slice(&CRC32C.checksum(&out).to_le_bytes());
        Ok(out)
    }

    /// Reads the header at the file's position; nothing at the end of the file.
    fn read(file: &mut impl Read) -> io::Result<Option<Self>> {
        let mut bytes = vec![0; FIXED_LEN];
        let Some((first, rest)) = bytes.split_first_mut() else {
            return Ok(None);
        };
        if file.read(std::slice::from_mut(first))? == 0 {
            return Ok(None);
        }
        file.read_exact(rest)?;
        if !bytes.starts_with(&HEADER_MAGIC) {
            return Err(damaged("a backup set does not begin where one must"));
        }
        let database_len = usize::from(u16::from_le_bytes(array(&bytes, 10)?));
        let name_len = usize::from(u16::from_le_bytes(array(&bytes, 12)?));
        if database_len > NAME_MAX || name_len > NAME_MAX {
            return Err(damaged("the header of a backup set is damaged"));
        }
        let all = FIXED_LEN + database_len + name_len;
        bytes.resize(all + 4, 0);
        file.read_exact(bytes.get_mut(FIXED_LEN..).unwrap_or_default())?;
        let (covered, check) = bytes.split_at(all);
        if CRC32C.checksum(covered).to_le_bytes() != check {
            return Err(damaged("the header of a backup set is damaged"));
        }
        let text = |from: usize, length: usize| {
            let bytes = covered.get(from..from + length).unwrap_or_default();
            String::from_utf8(bytes.to_vec()).map_err(|_| damaged("a name in a backup set is not UTF-8"))
        };
        Ok(Some(Self {
            kind: match covered.get(8) {
                Some(1) => Kind::Full,
                Some(2) => Kind::Log,
                _ => return Err(damaged("a backup set of an unknown kind")),
            },
            copy_only: covered.get(9) == Some(&1),
            number: u32::from_le_bytes(array(covered, 16)?),
            family_guid: array(covered, 24)?,
            first_lsn: u128::from_le_bytes(array(covered, 40)?),
            time: i64::from_le_bytes(array(covered, 56)?),
            database: text(FIXED_LEN, database_len)?,
            name: text(FIXED_LEN + database_len, name_len)?,
        }))
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    bytes
        .get(at..at + N)
        .and_then(|part| part.try_into().ok())
        .ok_or_else(|| damaged("a backup set is cut short"))
}

/// Whether `path` begins as a backup file does. An empty file does not.
#[must_use]
pub fn is_backup(path: &Path) -> bool {
    let mut magic = [0; 8];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok()
        && magic == HEADER_MAGIC
}

/// The whole sets of a backup file, and how many bytes they take. What lies behind the last one is no set: either a
/// backup that was cut off, or damage, told by the second value being shorter than the file.
///
/// # Errors
/// The system's; [`io::ErrorKind::InvalidData`] for a file that begins with no whole set, or sets out of order.
pub fn sets(path: &Path) -> io::Result<(Vec<Set>, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut sets = Vec::new();
    let mut at = 0;
    while at < length {
        file.seek(SeekFrom::Start(at))?;
        match read_set(&mut file, at) {
            Ok(Some(set)) => {
                if set.header.number != u32::try_from(sets.len() + 1).unwrap_or(u32::MAX) {
                    return Err(damaged("the backup sets are not numbered in a row"));
                }
                at = set.end;
                sets.push(set);
            }
            Ok(None) => break,
            Err(error) if sets.is_empty() => return Err(error),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
                ) =>
            {
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((sets, at))
}

/// Reads over the set at `at`, checking its structure; the bytes of its body are left to [`Body`].
fn read_set(file: &mut File, at: u64) -> io::Result<Option<Set>> {
    let mut input = io::BufReader::new(&mut *file);
    let Some(header) = Header::read(&mut input)? else {
        return Ok(None);
    };
    let header_len = header.to_bytes()?.len();
    let body_at = at + u64::try_from(header_len).unwrap_or(u64::MAX);
    let (mut chunks_len, mut body_len) = (0_u64, 0_u64);
    loop {
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        chunks_len += 4;
        let length = u32::from_le_bytes(length);
        if length == 0 {
            break;
        }
        if length > u32::try_from(CHUNK_MAX).unwrap_or(u32::MAX) {
            return Err(damaged("a chunk of a backup set is too long"));
        }
        input.seek_relative(i64::from(length) + 4)?;
        chunks_len += 4 + u64::from(length);
        body_len += u64::from(length);
    }
    let mut trailer = [0; TRAILER_LEN];
    input.read_exact(&mut trailer)?;
    if !trailer.starts_with(&TRAILER_MAGIC) || u64::from_le_bytes(array(&trailer, 24)?) != body_len {
        return Err(damaged("the trailer of a backup set is damaged"));
    }
    Ok(Some(Set {
        header,
        last_lsn: u128::from_le_bytes(array(&trailer, 8)?),
        body_len,
        body_at,
        end: body_at + chunks_len + u64::try_from(TRAILER_LEN).unwrap_or(0),
        sha256: array(&trailer, 32)?,
    }))
}

/// Writes one backup set behind those of `path`, or as the only one of a new file, and returns it.
///
/// `fill` writes the body and returns the LSN at which it ends. If anything fails the file is as before.
///
/// # Errors
/// `fill`'s; the system's as [`io::Error`] made `E`. [`io::ErrorKind::InvalidData`] when `path` exists and is no backup file,
/// [`io::ErrorKind::ResourceBusy`] when another statement uses it.
pub fn write<E: From<io::Error>>(
    path: &Path,
    replace: bool,
    header: Header,
    fill: impl FnOnce(&mut dyn Write) -> Result<u128, E>,
) -> Result<Set, E> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::create_dir_all(folder_of(path))?;
    let exists = path.exists();
    if exists && !is_backup(path) && std::fs::metadata(path)?.len() > 0 {
        return Err(damaged("the file exists and is not a backup; it is not overwritten").into());
    }
    // One statement at a time writes to a file; the lock goes with the descriptor.
    let lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(
            io::Error::new(io::ErrorKind::ResourceBusy, "another statement is using the file").into(),
        );
    }
    let written = if replace && exists {
        // Beside it, and no other backup's: Sales.bak and Sales.trn may be replaced at the same time.
        let temporary = beside(path, ".replacing");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        append(&file, 0, Header { number: 1, ..header }, fill)
            .and_then(|set| Ok(std::fs::rename(&temporary, path).map(|()| set)?))
            .inspect_err(|_| drop(std::fs::remove_file(&temporary)))
    } else {
        let (count, end) = if lock.metadata()?.len() == 0 {
            (0, 0)
        } else {
            let (sets, end) = sets(path)?;
            if ends_whole(&lock, end)? {
                let text = "a backup set before its last one is damaged; nothing is appended, since that would cut off those after it: \
                            back up to another file";
                return Err(damaged(text).into());
            }
            (u32::try_from(sets.len()).unwrap_or(u32::MAX), end)
        };
        if count >= SETS_MAX {
            return Err(io::Error::other("the file holds too many backup sets").into());
        }
        append(
            &lock,
            end,
            Header {
                number: count + 1,
                ..header
            },
            fill,
        )
        .inspect_err(|_| {
            let _ = if exists {
                lock.set_len(end)
            } else {
                std::fs::remove_file(path)
            };
        })
    };
    let set = written?;
    sync_entry(path)?;
    Ok(set)
}

/// Whether a whole set ends the file, behind `end` where the readable ones do. What a crash left of a set does not end with a trailer.
fn ends_whole(file: &File, end: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let length = file.metadata()?.len();
    let trailer = u64::try_from(TRAILER_LEN).unwrap_or(u64::MAX);
    let Some(at) = length.checked_sub(trailer).filter(|at| *at >= end) else {
        return Ok(false);
    };
    let mut magic = [0; TRAILER_MAGIC.len()];
    file.read_exact_at(&mut magic, at)?;
    Ok(magic == TRAILER_MAGIC)
}

fn append<E: From<io::Error>>(
    file: &File,
    at: u64,
    header: Header,
    fill: impl FnOnce(&mut dyn Write) -> Result<u128, E>,
) -> Result<Set, E> {
    file.set_len(at)?;
    let mut out = BufWriter::new(file);
    out.seek(SeekFrom::Start(at))?;
    let head = header.to_bytes()?;
    out.write_all(&head)?;
    let mut chunks = Chunks {
        out,
        chunk: Vec::with_capacity(CHUNK_MAX),
        hash: Sha256::new(),
        body_len: 0,
        chunks_len: 0,
    };
    let last_lsn = fill(&mut chunks)?;
    chunks.emit()?;
    let Chunks {
        mut out,
        hash,
        body_len,
        chunks_len,
        ..
    } = chunks;
    let sha256: [u8; 32] = hash.chain_update(last_lsn.to_le_bytes()).finalize().into();
    out.write_all(&0_u32.to_le_bytes())?;
    out.write_all(&TRAILER_MAGIC)?;
    out.write_all(&last_lsn.to_le_bytes())?;
    out.write_all(&body_len.to_le_bytes())?;
    out.write_all(&sha256)?;
    out.flush()?;
    drop(out);
    file.sync_all()?;
    let body_at = at + u64::try_from(head.len()).unwrap_or(u64::MAX);
    Ok(Set {
        header,
        last_lsn,
        body_len,
        body_at,
        end: body_at + chunks_len + 4 + u64::try_from(TRAILER_LEN).unwrap_or(0),
        sha256,
    })
}

/// Cuts what is written into chunks.
struct Chunks<W: Write> {
    out: W,
    chunk: Vec<u8>,
    hash: Sha256,
    body_len: u64,
    chunks_len: u64,
}

impl<W: Write> Chunks<W> {
    fn emit(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(self.chunk.len()).map_err(io::Error::other)?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&CRC32C.checksum(&self.chunk).to_le_bytes())?;
        self.out.write_all(&self.chunk)?;
        self.hash.update(&self.chunk);
        self.body_len += u64::from(length);
        self.chunks_len += 8 + u64::from(length);
        self.chunk.clear();
        Ok(())
    }
}

impl<W: Write> Write for Chunks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_MAX - self.chunk.len();
        let taken = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        self.chunk.extend_from_slice(taken);
        if self.chunk.len() == CHUNK_MAX {
            self.emit()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body of a set, every chunk of it checked as it is read.
pub struct Body {
    file: io::BufReader<File>,
    chunk: Vec<u8>,
    at: usize,
    left: u64,
}

impl Set {
    /// Opens the body after one pass over it: what is given out is what was written.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::InvalidData`] when the body is damaged.
    pub fn open(&self, path: &Path) -> io::Result<Body> {
        let mut hash = Sha256::new();
        let mut body = self.body(path)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = body.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hash.update(buffer.get(..count).unwrap_or_default());
        }
        hash.update(self.last_lsn.to_le_bytes());
        if <[u8; 32]>::from(hash.finalize()) != self.sha256 {
            return Err(damaged("the body of the backup set does not fit its checksum"));
        }
        self.body(path)
    }

    fn body(&self, path: &Path) -> io::Result<Body> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.body_at))?;
        Ok(Body {
            file: io::BufReader::new(file),
            chunk: Vec::new(),
            at: 0,
            left: self.body_len,
        })
    }
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() && self.left > 0 {
            let mut head = [0; 8];
            self.file.read_exact(&mut head)?;
            let length = u32::from_le_bytes(array(&head, 0)?);
            let check = u32::from_le_bytes(array(&head, 4)?);
            if u64::from(length) > self.left || length == 0 {
                return Err(damaged("a chunk of the backup set is damaged"));
            }
            self.chunk
                .resize(usize::try_from(length).map_err(io::Error::other)?, 0);
            self.file.read_exact(&mut self.chunk)?;
            if CRC32C.checksum(&self.chunk) != check {
                return Err(damaged("a chunk of the backup set is damaged"));
            }
            self.left -= u64::from(length);
            self.at = 0;
        }
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        let count = rest.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}
