//! The body of an entry on its way into a segment: bytes in memory, or those of a file, which are copied piece by piece.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::vec;

use super::format::CRC32C;

/// Bytes of a file that are in memory at a time.
const PIECE: usize = 1 << 20;

/// What an entry holds behind its header.
#[derive(Clone, Copy)]
pub(super) enum Body<'b> {
    Bytes(&'b [u8]),
    /// So many bytes from the beginning of the file.
    File(&'b File, u32),
}

impl Body<'_> {
    /// That of an entry without one.
    pub const EMPTY: Self = Self::Bytes(&[]);

    pub fn len(&self) -> usize {
        match *self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(_, len) => len as usize,
        }
    }

    pub fn checksum(&self) -> io::Result<u32> {
        let mut digest = CRC32C.digest();
        self.pieces(|_, piece| {
            digest.update(piece);
            Ok(())
        })?;
        Ok(digest.finalize())
    }

    pub fn write_to(&self, to: &File, at: u64) -> io::Result<()> {
        self.pieces(|offset, piece| to.write_all_at(piece, at + offset))
    }

    /// Gives all of it to `take`, with where each piece lies.
    fn pieces(&self, mut take: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
        match *self {
            Self::Bytes(bytes) => take(0, bytes),
            Self::File(file, len) => {
                let (mut offset, len) = (0, u64::from(len));
                let mut room = vec![0; PIECE];
                while offset < len {
                    let piece = &mut room[..PIECE.min((len - offset) as usize)];
                    file.read_exact_at(piece, offset)?;
                    take(offset, piece)?;
                    offset += piece.len() as u64;
                }
                Ok(())
            }
        }
    }
}
